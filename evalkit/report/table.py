"""Results as tables: the grid retriever × reranker × K, and what a cutoff at N does to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evalkit.report.layout import (
    DIGITS,
    MISSING,
    Cell,
    Column,
    Row,
    Table,
    number,
    percent,
    printable,
)
from evalkit.report.names import (
    cutoff_of,
    display_name,
    is_judged,
    is_lower_better,
    is_quality,
    is_recall,
    synthetic_note,
)
from evalkit.report.render import to_html, to_latex, to_markdown, to_rich
from evalkit.results import Results, SystemResult

__all__ = [
    "Cell",
    "Column",
    "Table",
    "cutoff_table",
    "grid_table",
    "tables",
    "to_html",
    "to_latex",
    "to_markdown",
    "to_rich",
]

_TIED_SHARE_WORTH_A_NOTE = 0.01


class _Pick(NamedTuple):
    """A column of numbers: a measure of the rankings cut to n documents (None: not cut)."""

    title: str
    measure: str
    n: int | None


def grid_table(results: Results) -> Table:
    """Every uncut system, a row; every measure, a column, the primary one first."""
    picks = [_Pick(display_name(m), m, None) for m in results.measure_names]
    caption = _caption(results, f"N: rankings are measured uncut, {_deepest(results)}.")
    return Table(caption, _columns(picks), _groups(results, picks), _notes(results))


def tables(results: Results) -> list[Table]:
    """The grid, and the cutoffs N where rankings were cut: what every output shows."""
    cut = any(system.n is not None for system in results.systems)
    return [grid_table(results), *([cutoff_table(results)] if cut else [])]


def cutoff_table(results: Results) -> Table:
    """What is lost when only N documents go downstream: a column per N, and one uncut.

    Shows the primary measure, and recall where it is among the measures.
    """
    ns = sorted({s.n for s in results.systems if s.n is not None})
    picks = [
        _Pick(f"{display_name(m)}, {'uncut' if n is None else f'N={n}'}", m, n)
        for m in primary_and_recall(results)
        for n in (*ns, None)
    ]
    shown = f" ({', '.join(map(str, ns))})" if ns else ""
    caption = _caption(
        results,
        f"N{shown}: a ranking is cut to its first N documents before it is measured; "
        f"ranks below N count as not relevant. Uncut: {_deepest(results)}.",
    )
    return Table(caption, _columns(picks), _groups(results, picks))


def primary_and_recall(results: Results) -> list[str]:
    """The primary measure and the first recall measure, once where they are the same."""
    primary = results.measure_names[0]
    recall = [m for m in results.measure_names if is_recall(m)][:1]
    return list(dict.fromkeys([primary, *recall]))


def _columns(picks: Sequence[_Pick]) -> tuple[Column, ...]:
    names = (Column("Retriever", "left"), Column("Reranker", "left"), Column("K"))
    return (*names, *(Column(pick.title) for pick in picks))


def _groups(results: Results, picks: Sequence[_Pick]) -> tuple[tuple[Row, ...], ...]:
    """A group per retriever: its first stage, then its rerankers by K."""
    systems = {(s.retriever, s.reranker, s.k, s.n): s for s in results.systems}
    retrievers = list(dict.fromkeys(s.retriever for s in results.systems))
    rerankers = list(dict.fromkeys(s.reranker for s in results.systems))
    keys = sorted(
        {(s.retriever, s.reranker, s.k) for s in results.systems},
        key=lambda key: (
            retrievers.index(key[0]),
            key[2] is not None,
            rerankers.index(key[1]),
            key[2] or 0,
        ),
    )
    columns = [_value_cells([systems.get((*key, p.n)) for key in keys], p.measure) for p in picks]
    rows = [
        (
            Cell(printable(retriever)),
            Cell(printable(reranker)),
            Cell(MISSING if k is None else str(k)),
            *(column[i] for column in columns),
        )
        for i, (retriever, reranker, k) in enumerate(keys)
    ]
    return tuple(
        tuple(row for row, key in zip(rows, keys, strict=True) if key[0] == retriever)
        for retriever in retrievers
    )


def _value_cells(systems: Sequence[SystemResult | None], measure: str) -> list[Cell]:
    """A measure's cells over systems, the highest and second highest values marked.

    Values that print alike are marked alike, and a column of one value or of no quality measure
    is not marked.
    """
    values = [np.nan if s is None else round(s.measures[measure], DIGITS) for s in systems]
    known = sorted({v for v in values if not np.isnan(v)}, reverse=True)
    marked = is_quality(measure) and np.isfinite(values).sum() > 1
    best = known[0] if marked else None
    second = known[1] if marked and len(known) > 1 else None
    return [
        Cell(
            number(value),
            None if s is None else interval(s, measure),
            is_best=best is not None and value == best,
            is_second=second is not None and value == second,
        )
        for s, value in zip(systems, values, strict=True)
    ]


def interval(system: SystemResult, measure: str) -> tuple[float, float] | None:
    """A system's interval, None where there are too few queries for one."""
    low, high = system.ci.get(measure, (np.nan, np.nan))
    return None if np.isnan(low) or np.isnan(high) else (float(low), float(high))


def _caption(results: Results, about_n: str) -> str:
    info = results.dataset
    queries = len(results.query_ids)
    intervals = any(interval(s, m) for s in results.systems for m in results.measure_names)
    created = results.manifest.get("created")
    return " ".join(
        [
            f"{printable(info.dataset_id)}: {queries:,} {'query' if queries == 1 else 'queries'}"
            + (
                f", {info.num_docs:,} documents."
                if info.num_docs
                else ", judgements without texts."
            ),
            *filter(None, [synthetic_note(info)]),
            *_about_k(results),
            about_n,
            f"In brackets: {percent(results.level)} bootstrap intervals over queries."
            if intervals
            else "No intervals: there are too few queries to resample.",
            *([f"Measured {printable(str(created)).split('T')[0]}."] if created else []),
        ]
    )


def _about_k(results: Results) -> list[str]:
    ks = sorted({s.k for s in results.systems if s.k is not None})
    if not ks:
        return []
    config = results.manifest.get("config")
    sweep = config.get("sweep") if isinstance(config, dict) else None
    tail = {
        "keep": "; the documents below keep their order under the reranked ones",
        "drop": "; the documents below are dropped",
    }.get(sweep.get("tail", "") if isinstance(sweep, dict) else "", "")
    return [f"K ({', '.join(map(str, ks))}): candidates that are reranked{tail}."]


def _notes(results: Results) -> tuple[str, ...]:
    """What a reader must know so as not to misread the numbers."""
    systems = results.uncut
    notes = []
    for measure in filter(is_judged, results.measure_names):
        low = [s for s in systems if s.measures[measure] < 1]
        if low:
            least = min(low, key=lambda s: s.measures[measure])
            notes.append(
                f"{display_name(measure)} is below 1 for {len(low)} of {len(systems)} systems "
                f"(lowest: {printable(least.run_name)}, {number(least.measures[measure])}); "
                "unjudged documents count as not relevant, except in measures that skip them."
            )
    notes += [
        f"{display_name(measure)}: lower is better; 0 if no document repeats one above it."
        for measure in filter(is_lower_better, results.measure_names)
    ]
    notes += _reading_deeper(results)
    tied = max(systems, key=lambda s: s.tied_share, default=None)
    if tied is not None and tied.tied_share >= _TIED_SHARE_WORTH_A_NOTE:
        notes.append(
            f"Tied scores: up to {100 * tied.tied_share:.1f} % of a system's results "
            f"({printable(tied.run_name)}) score the same as the result before; "
            "ties are broken by document id, descending."
        )
    return tuple(notes)


def _reading_deeper(results: Results) -> list[str]:
    """A note per set of rankings that are shorter than measures read."""
    depth = {s.run_name: _depth(results, s) for s in results.uncut if s.run_name in results.runs}
    readers: dict[tuple[str, ...], list[str]] = {}
    for measure in filter(is_quality, results.measure_names):
        cutoff, size = cutoff_of(measure) or 0, results.dataset.num_docs
        reach = min(cutoff, size or cutoff)  # judgements without texts: no size is known
        short = tuple(name for name, d in depth.items() if d < reach)
        if short:
            readers.setdefault(short, []).append(display_name(measure))
    notes = []
    for short, measures in readers.items():
        name = min(short, key=lambda name: depth[name])
        notes.append(
            f"{', '.join(measures)} {'reads' if len(measures) == 1 else 'read'} deeper than "
            f"{len(short)} of {len(depth)} rankings "
            f"({printable(name)} holds at most {depth[name]} documents a query); "
            "empty ranks count as not relevant."
        )
    return notes


def _deepest(results: Results) -> str:
    depth = max((int(run.sizes.max(initial=0)) for run in results.runs.values()), default=0)
    return f"up to {depth:,} documents a query"


def _depth(results: Results, system: SystemResult) -> int:
    return int(results.runs[system.run_name].sizes.max(initial=0))
