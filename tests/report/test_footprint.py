"""Tables of indexes, vectors and energy: what is known, and that nothing is made up."""

from __future__ import annotations

from types import SimpleNamespace

from evalkit.report.footprint import footprint_tables
from evalkit.report.render import to_markdown

INDEX = [
    {
        "retriever": "bm25", "built": True, "seconds": 1.234, "bytes": 3 << 20, "tokens": 12345,
        "peak_rss_bytes": 300 << 20, "rss_before_bytes": 200 << 20, "num_docs": 1000,
        "bytes_per_doc": 3145.7, "built_at": "2026-01-01 00:00:00", "note": "memory: told",
    },
    {
        "retriever": "hybrid", "built": False, "seconds": None, "bytes": None, "tokens": None,
        "peak_rss_bytes": None, "num_docs": 1000, "bytes_per_doc": None, "note": "no index",
    },
]  # fmt: skip
VECTORS = [
    {
        "component": "reranker.colbert", "docs": 10, "doc_tokens": 1234, "times": 123.4,
        "token_bytes_per_doc": 94771, "single_bytes_per_doc": 768,
    }
]  # fmt: skip
ENERGY = {
    "available": True, "tool": "tirex-tracker", "seconds": 5.0, "idle_watts": {"cpu": 40.0},
    "counters": {"cpu": "cores of the first processor (RAPL)"},
    "systems": [
        {"system": "bm25", "queries": 4000, "joules": {"cpu": 300.0}, "joules_per_query": 0.075},
        {"system": "quick", "queries": 4000, "joules": {"cpu": 3.0}, "joules_per_query": None},
    ],
}  # fmt: skip


def shown(**efficiency):
    return [to_markdown(t) for t in footprint_tables(SimpleNamespace(efficiency=efficiency))]


def cells(markdown, name):
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_indexes():
    (table,) = shown(index=INDEX)
    assert cells(table, "bm25")[1:] == [
        "now", "1.23", "300", "200", "12,345", "1,000", "3.00", "3,146",
    ]  # fmt: skip
    assert cells(table, "hybrid")[1:] == ["–", "–", "–", "–", "–", "1,000", "–", "–"]
    assert "hybrid: no index." in table


def test_vectors_and_energy():
    vectors, energy = shown(vectors=VECTORS, energy=ENERGY)
    assert "123.4" in cells(vectors, "reranker.colbert")
    assert cells(energy, "bm25") == ["bm25", "4,000", "300", "0.075"]
    assert cells(energy, "quick")[-1] == "–"
    assert "cpu 40.0 W" in energy


def test_what_was_not_measured_has_no_table():
    assert shown() == []
    assert shown(vectors=[], energy={"available": False, "reason": "no counter"}) == []
