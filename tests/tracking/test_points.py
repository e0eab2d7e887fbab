"""Metrics over K: what of results.json becomes a point, and at which step."""

from __future__ import annotations

from typing import Any

from evalkit.tracking.points import points_of

BY_RERANKER = {
    "none": {"retriever": "bm25", "reranker": "none", "k": None},
    "ce": {"retriever": "bm25", "reranker": "ce", "k": 50},
}


def points(reranker: str, **more: Any) -> dict[tuple[str, int], float]:
    cells = {
        name: [{**system, "n": None, "measures": {"nDCG@10": 0.5}, "ci": {}}]
        for name, system in BY_RERANKER.items()
    }
    cells["ce"].append({**cells["ce"][0], "k": 10})
    systems = [system for group in cells.values() for system in group]
    results = {"measures": ["nDCG@10"], "systems": systems, **more}
    return {
        (p.name, p.step): p.value for p in points_of(results, "bm25", reranker, cells[reranker])
    }


def test_the_ceiling_of_the_retriever_is_a_curve() -> None:
    ceiling = {"bm25": {"10": {"nDCG@10": 0.6, "other": 1.0}, "50": {"nDCG@10": None}}, "dense": {}}
    found = points("ce", ceiling=ceiling)
    assert found == {
        ("quality/NDCG_10", 10): 0.5,
        ("quality/NDCG_10", 50): 0.5,
        ("quality_ceiling/NDCG_10", 10): 0.6,
    }


def test_cost_is_a_curve_and_flat_without_a_reranker() -> None:
    costs = [{**BY_RERANKER["none"], "usd_per_1k": 0.1}, {**BY_RERANKER["ce"], "usd_per_1k": 2.0}]
    costs += [{**BY_RERANKER["ce"], "k": 10, "usd_per_1k": None}]
    found = points("none", efficiency={"cost": {"systems": costs}})
    assert {k: v for k, v in found.items() if "cost" in k[0]} == {
        ("serving_cost/usd_per_1k", 10): 0.1,
        ("serving_cost/usd_per_1k", 50): 0.1,
    }
    found = points("ce", efficiency={"cost": {"systems": costs}})
    assert {k: v for k, v in found.items() if "cost" in k[0]} == {
        ("serving_cost/usd_per_1k", 50): 2.0
    }


def test_a_percentile_without_support_gives_no_point() -> None:
    stages = {"total": {"p50_ms": 4.0, "p99_ms": 9.0, "unsupported": ["p99_ms"], "queries": 7}}
    latency = {"systems": [{**BY_RERANKER["ce"], "stages": stages}]}
    found = points("ce", efficiency={"latency": latency})
    assert {k: v for k, v in found.items() if "latency" in k[0]} == {
        ("latency/total_p50_ms", 50): 4
    }


def test_joules_are_a_curve_of_their_own_system() -> None:
    counted = [
        {"system": "bm25", "joules_per_query": 0.2},
        {"system": "bm25+ce+k10", "joules_per_query": 1.5},
        {"system": "bm25+ce+k50", "joules_per_query": None, "note": "below 10 J in all"},
        {"system": "dense+ce+k10", "joules_per_query": 9.0},
    ]
    energy = {"available": True, "systems": counted}
    assert of_section("ce", "energy", energy=energy) == {("energy/joules_per_query", 10): 1.5}
    assert of_section("none", "energy", energy=energy) == {
        ("energy/joules_per_query", 10): 0.2,
        ("energy/joules_per_query", 50): 0.2,
    }
    missing = {"available": False, "reason": "no counter can be read"}
    assert of_section("ce", "energy", energy=missing) == {}


def test_what_the_index_of_the_first_stage_cost_is_flat() -> None:
    nothing = {"peak_rss_bytes": None, "tokens": None}
    rows = [
        {"retriever": "bm25", "seconds": 1.5, "bytes": 4096, **nothing},
        {"retriever": "dense", "seconds": 60.0, "bytes": 9, **nothing},
    ]
    assert of_section("ce", "index", index=rows) == {
        ("index/seconds", 10): 1.5,
        ("index/seconds", 50): 1.5,
        ("index/bytes", 10): 4096,
        ("index/bytes", 50): 4096,
    }


def of_section(reranker: str, section: str, **efficiency: Any) -> dict[tuple[str, int], float]:
    found = points(reranker, efficiency=efficiency)
    return {key: value for key, value in found.items() if key[0].startswith(f"{section}/")}
