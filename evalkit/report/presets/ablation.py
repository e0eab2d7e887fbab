"""Ablation: the best system with one of its parts changed at a time."""

from __future__ import annotations

from evalkit.report.cells import value_cells
from evalkit.report.compare import best_of, compare
from evalkit.report.grid import named
from evalkit.report.layout import MISSING, Cell, Column, Row, Table, percent
from evalkit.report.names import display_name
from evalkit.report.presets.needs import NotMeasured, in_order
from evalkit.report.wording import caption, deepest, notes
from evalkit.results import NO_RERANKER, Results, SystemResult

_CHANGES = ("no reranker", "with reranker", "other reranker", "other retriever", "other K")


def ablation(results: Results) -> Table:
    """First the best system, then those that differ from it in one part, with paired differences.

    The differences are system minus best, so that what a part is worth is the loss without it.
    """
    measure = results.measure_names[0]
    ranked = best_of(results.uncut, measure)
    if not ranked:
        raise NotMeasured(f"{display_name(measure)} is not defined for any system")
    full = ranked[0]
    changed = {
        change: [s for s in in_order(results, results.uncut) if _change(s, full) == change]
        for change in _CHANGES
    }
    rows = [(full, "best system")] + [(s, word) for word, of in changed.items() for s in of]
    if len(rows) == 1:
        raise NotMeasured(
            "no system differs from the best one in one part; run it with more retrievers, "
            "rerankers or K, for instance reranker=[none,bi_encoder]"
        )
    values = value_cells([s for s, _ in rows], measure)
    shown: list[Row] = [
        (
            Cell(word),
            *named(s.retriever, s.reranker, s.k),
            value,
            *_against(results, s, full, measure),
        )
        for (s, word), value in zip(rows, values, strict=True)
    ]
    groups = [[row for row in shown if row[0].text == word] for word in ("best system", *_CHANGES)]
    about = (
        f"Δ: mean paired difference from the best system in {display_name(measure)}, with its "
        f"{percent(results.level)} interval of Student's t; higher, lower, equal: queries."
    )
    picked = (
        "The best system was picked on the queries that it is measured on: differences from it "
        "are more likely too large than too small; their intervals are not corrected for this."
    )
    return Table(
        caption(
            results,
            [f"N: rankings are measured uncut, {deepest(results)}.", about],
            lead="Ablation: one part of the best system changed at a time.",
            ks=sorted({s.k for s, _ in rows if s.k is not None}),
        ),
        (
            Column("Changed", "left"), Column("Retriever", "left"), Column("Reranker", "left"),
            Column("K"), Column(display_name(measure)), Column("Δ"), Column("Higher"),
            Column("Lower"), Column("Equal"),
        ),
        tuple(tuple(group) for group in groups if group),
        (picked, *notes(results, [measure])),
        "ablation",
    )  # fmt: skip


def _change(system: SystemResult, full: SystemResult) -> str:
    """Which single part of the best system another one lacks or replaces; "" for several."""
    same = {
        "retriever": system.retriever == full.retriever,
        "reranker": system.reranker == full.reranker,
        "k": system.k == full.k,
    }
    if same["retriever"] and not same["reranker"]:  # K comes and goes with the reranker
        if system.reranker == NO_RERANKER:
            return "no reranker"
        if full.reranker == NO_RERANKER:
            return "with reranker"
    differs = [part for part, equal in same.items() if not equal]
    words = {"retriever": "other retriever", "reranker": "other reranker", "k": "other K"}
    return words[differs[0]] if len(differs) == 1 else ""


def _against(results: Results, system: SystemResult, full: SystemResult, measure: str) -> Row:
    """Paired difference from the best system, and the queries on which it is so."""
    if system is full:
        return (Cell(MISSING),) * 4
    found = compare(results, system, full, measure)
    return (
        Cell(f"{found.mean:+.4f}", found.interval),
        *(Cell(str(count)) for count in found.counts),
    )
