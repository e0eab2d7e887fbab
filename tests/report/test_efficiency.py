"""Tables of measured latency: what stands in them, and what a reader is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.efficiency.percentiles import (
    FIGURES,
    queries_needed,
    ranks,
    resampled,
    statistics,
)
from evalkit.efficiency.timing_model import fitted_model
from evalkit.report.cost import cost_quality_table
from evalkit.report.efficiency import efficiency_tables
from evalkit.report.render import to_html, to_latex, to_markdown
from evalkit.report.table import tables

from .conftest import build

KS = (None, 10, 50)


def ends(system):
    low, high = system["stages"]["total"]["ci"]["p50_ms"]
    return None if low is None else (low, high)


def measured(noise=0.0, queries=40, repeats=3, load=0.5, ks=KS, n=5):
    """Results whose reranker takes 20 ms + 2 ms a document, and its retriever 5 ms."""
    quality = {"nDCG@10": np.linspace(0.2, 0.6, 8)}
    cells = {
        ("bm25", "none" if k is None else "cross_encoder", k, cut): quality
        for k in ks
        for cut in ((None, n) if n else (None,))
    }
    generator = np.random.default_rng(0)
    draws = resampled(queries, 200, 0)
    systems = {}
    for k in ks:
        rerank = 0 if k is None else 20 + 2 * k
        shape = queries, repeats
        ms = {"retrieval": 5 + generator.normal(0, 0.1, shape) + noise * generator.random(shape)}
        if k is not None:
            ms["rerank"] = rerank + generator.normal(0, 0.1, shape)
        ms["total"] = sum(ms.values())
        name = "bm25" if k is None else f"bm25+cross_encoder+k{k}"
        systems[name] = {
            "system": name, "retriever": "bm25", "k": k, "candidates": float(k or 50),
            "reranker": "none" if k is None else "cross_encoder",
            "stages": {stage: statistics(values, draws, 0.95) for stage, values in ms.items()},
            "_ms": ms["total"].mean(axis=1),
        }  # fmt: skip
    placed = ranks({name: ends(system) for name, system in systems.items()})
    reranked = [s for s in systems.values() if s["k"]]
    model = fitted_model(
        np.array([[float(s["k"])] * queries for s in reranked]),
        np.array([s["_ms"] for s in reranked]), draws, 0.95, [100],
    )  # fmt: skip
    models = [] if model is None else [{"retriever": "bm25", "reranker": "cross_encoder", **model}]
    protocol = {
        "queries": queries, "queries_wanted": 50, "queries_of_dataset": 300, "repeats": repeats,
        "budget_s": 30, "ci_level": 0.95,
        "interval_queries": {figure: queries_needed(figure, 0.95) for figure in FIGURES},
        "skipped": [{"system": "bm25+ltr", "reason": "it learns"}],
        "threads": {"cores": 4, "cores_usable": 2},
        "load_average": {"before": [load, 1.0, 1.0], "after": None},
    }  # fmt: skip
    section = {
        "protocol": protocol,
        "systems": [{**s, **placed[name]} for name, s in systems.items()],
        "models": models,
    }
    return replace(build(cells), efficiency={"latency": section})


def cells_of(table):
    titles = [column.title for column in table.columns]
    return [dict(zip(titles, [c.text for c in row], strict=True)) for row in table.rows]


def test_the_shape_of_the_literature():
    table = efficiency_tables(measured())[0]
    first, *reranked = cells_of(table)
    assert list(first) == [
        "Retriever", "Reranker", "K", "N", "Rerank p50 (ms)", "Total p50 (ms)", "Total p95 (ms)",
        "Total p99 (ms)", "Rank by p50", "NDCG@10",
    ]  # fmt: skip
    assert (first["K"], first["N"], first["Rerank p50 (ms)"]) == ("–", "5", "–")
    assert [row["K"] for row in reranked] == ["10", "50"]
    assert [round(float(row["Rerank p50 (ms)"])) for row in reranked] == [40, 120]
    assert [round(float(row["Total p50 (ms)"])) for row in reranked] == [45, 125]
    assert [row["Rank by p50"] for row in (first, *reranked)] == ["1", "2", "3"]
    assert "40 of 300 queries, one at a time, 3 times each" in table.caption
    assert "N=5" in table.caption


def test_systems_that_cannot_be_told_apart_have_no_single_rank():
    results = measured()
    section = results.efficiency["latency"]
    twin = {**section["systems"][1], "system": "bm25+cross_encoder+k11", "k": 11}
    both = [section["systems"][0], {**section["systems"][1]}, twin, section["systems"][2]]
    placed = ranks({s["system"]: ends(s) for s in both})
    both = [{**s, **placed[s["system"]]} for s in both]
    changed = replace(results, efficiency={"latency": {**section, "systems": both}})
    table = efficiency_tables(changed)[0]
    assert [row["Rank by p50"] for row in cells_of(table)] == ["1", "2–3", "2–3", "4"]
    assert any("2 of 4 systems cannot be told" in note for note in table.notes)


def test_a_percentile_without_support_is_a_dash_and_a_note():
    table = efficiency_tables(measured(queries=15, repeats=2))[0]
    assert {row["Total p99 (ms)"] for row in cells_of(table)} == {"–"}
    assert "–" not in {row["Total p95 (ms)"] for row in cells_of(table)}
    assert any(note.startswith("p99: 30 times are too few") for note in table.notes)


def test_without_intervals_nobody_is_ranked():
    shown = efficiency_tables(measured(queries=3, ks=(None, 10, 20, 50)))
    assert {row["Rank by p50"] for row in cells_of(shown[0])} == {"1–4"}
    assert any("3 queries are too few for intervals" in note for note in shown[0].notes)
    # Those of quality alone are explained.
    assert (
        shown[0].notes[0] == "In brackets: 95 % bootstrap intervals of NDCG@10 over its 8 queries."
    )
    assert "brackets" not in " ".join([shown[2].caption, *shown[1].notes, *shown[0].notes[1:]])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"noise": 30.0}, "Noisy"),
        ({"load": 7.5}, "load average 7.5 on 2 cores"),
        ({}, "40 queries in place of 50, to keep to 30 seconds"),
        ({}, "bm25+ltr is not measured: it learns"),
    ],
)
def test_what_a_reader_must_know_is_said(settings, words):
    latency, stages, *_ = efficiency_tables(measured(**settings))
    for table in (latency, stages):
        assert any(words in note for note in table.notes), table.name


def test_stages_say_what_their_brackets_are():
    assert "In brackets: 95 % bootstrap intervals over queries." in (
        efficiency_tables(measured())[1].notes
    )


def test_without_a_cut_there_is_no_column_of_n():
    table = efficiency_tables(measured(n=None))[0]
    assert "N" not in cells_of(table)[0]
    assert "NDCG@10 uncut" in table.caption


def test_quiet_machines_need_no_warning():
    notes = " ".join(efficiency_tables(measured(queries=50))[0].notes)
    for words in ("Noisy", "busy", "too few", "in place of", "cannot be told"):
        assert words not in notes


def test_a_percentile_without_an_interval_says_how_many_queries_it_takes():
    table = efficiency_tables(measured(queries=50))[0]
    (note,) = (n for n in table.notes if n.startswith("No interval of"))
    assert "No interval of p95, p99: of 50 queries" in note
    assert "ask 72 for p95, 368 for p99" in note
    by_title = {column.title: i for i, column in enumerate(table.columns)}
    for row in table.rows:
        assert row[by_title["Total p50 (ms)"]].interval is not None
        assert row[by_title["Total p95 (ms)"]].interval is None
    assert not any(
        "No interval of p95" in n for n in efficiency_tables(measured(queries=80))[0].notes
    )


def test_lists_shorter_than_k_are_said():
    results = measured(ks=(None, 10, 50, 100))
    assert "Fewer docs than K" not in " ".join(efficiency_tables(results)[0].notes)
    for system in results.efficiency["latency"]["systems"]:
        system["candidates"] = min(system["candidates"], 18.25)
    (note,) = (n for n in efficiency_tables(results)[0].notes if n.startswith("Fewer docs than K"))
    assert "18.2 for bm25+cross_encoder+k50, 18.2 for bm25+cross_encoder+k100" in note
    assert "k10," not in note


def test_vectors_that_were_read_from_disk_are_said():
    results = measured()
    assert "from disk" not in " ".join(efficiency_tables(results)[0].notes)
    protocol = results.efficiency["latency"]["protocol"]
    protocol["doc_vectors"] = {"dense": "disk", "sparse": "memory"}
    (note,) = (n for n in efficiency_tables(results)[0].notes if "from disk" in n)
    assert note.startswith("dense: doc vectors")


def test_a_line_below_zero_predicts_a_dash():
    results = measured(ks=(None, 10, 20, 50))
    (model,) = results.efficiency["latency"]["models"]
    model["predictions"][0] |= {"mean_ms": None, "ci": [None, None]}
    table = efficiency_tables(results)[2]
    assert cells_of(table)[0]["K=100 (ms), predicted"] == "–"
    assert any("falls below zero" in note for note in table.notes)


def test_stages_add_up_to_the_total_as_printed():
    table = efficiency_tables(measured())[1]
    for row in cells_of(table):
        parts = [row["Retrieval (ms)"], row["Rerank (ms)"]]
        total = sum(float(part) for part in parts if part != "–")
        assert float(row["Total (ms)"]) == pytest.approx(total, abs=0.011)


def test_the_model_and_its_predictions():
    results = measured(ks=(None, 10, 20, 50))
    (row,) = cells_of(efficiency_tables(results)[2])
    assert float(row["a (ms)"]) == pytest.approx(25, abs=0.3)
    assert float(row["b (ms per document)"]) == pytest.approx(2, abs=0.01)
    assert float(row["K=100 (ms), predicted"]) == pytest.approx(225, abs=1)
    notes = " ".join(efficiency_tables(results)[2].notes)
    assert "K=100 lies outside" in notes
    (model,) = results.efficiency["latency"]["models"]
    further = [*model["predictions"], {**model["predictions"][0], "k": 200}]
    models = [{**model, "predictions": further}]
    section = {**results.efficiency["latency"], "models": models}
    both = efficiency_tables(replace(results, efficiency={"latency": section}))[2]
    assert "K=100, 200 lie outside" in " ".join(both.notes)
    assert "R², residual" not in notes
    two = efficiency_tables(measured())[2]
    assert cells_of(two)[0]["R²"] == "–"
    assert any("a line meets any two points" in note for note in two.notes)


def test_growth_that_cannot_be_told_from_noise_is_said():
    results = measured(ks=(None, 10, 20, 50))
    (model,) = results.efficiency["latency"]["models"]
    flat = {**model, "b_ms": 0.01, "ci": {**model["ci"], "b_ms": [-0.2, 0.3]}}
    changed = {**results.efficiency["latency"], "models": [flat]}
    notes = efficiency_tables(replace(results, efficiency={"latency": changed}))[2].notes
    assert any("b's interval includes 0 for 1 of 1 models" in note for note in notes)


def test_one_k_makes_no_model_and_no_latency_no_table():
    assert len(efficiency_tables(measured(ks=(None, 10)))) == 2
    assert efficiency_tables(replace(measured(), efficiency={})) == []


def test_they_follow_the_tables_of_quality_and_render_in_every_format():
    shown = tables(measured())
    names = [table.name for table in shown]
    assert names[-3:] == ["k_latency", "latency_breakdown", "latency_model"]
    for table in shown[-3:]:
        assert to_markdown(table).count("\n| bm25") == len(table.rows)
        assert r"\toprule" in to_latex(table)
        assert "<table" in to_html(table)


def test_a_reranker_that_passes_queries_over_says_so_beside_its_times():
    shares = {"queries_left_out_share": 0.6}
    results = replace(measured(), details={"reranker.cross_encoder": {"bm25": shares}})
    said = "cross_encoder reranks queries of its language only: 60.0 % of them stay"
    for made in (*efficiency_tables(results)[:2], cost_quality_table(results)):
        (note,) = (note for note in made.notes if note.startswith(said))
        assert "times and costs are of all queries" in note
    assert not any("stay as" in note for note in cost_quality_table(measured()).notes)
    # Without times, beside costs alone.
    priced = replace(results, efficiency={"cost": {"systems": []}})
    assert any(note.startswith(said) for note in cost_quality_table(priced).notes)
