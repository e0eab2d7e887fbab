"""The grid retriever × reranker × K, and what a cutoff at N does to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evalkit.report.cells import legend, value_cells
from evalkit.report.layout import MISSING, Cell, Column, Row, Table, printable
from evalkit.report.names import cutoff_of, display_name, is_recall
from evalkit.report.wording import caption, deepest, notes
from evalkit.results import Results
from evalkit.statistics.markers import Marks, markers


class _Pick(NamedTuple):
    """A column of numbers: a measure of the rankings cut to n documents (None: not cut)."""

    title: str
    measure: str
    n: int | None


def grid_table(results: Results) -> Table:
    """Every uncut system, a row; every measure, a column, the primary one first."""
    picks = [_Pick(display_name(m), m, None) for m in results.measure_names]
    about = f"N: rankings are measured uncut, {deepest(results)}."
    marks = markers(results)
    groups = _groups(results, picks, marks)
    return Table(
        caption(results, [about]),
        _columns(picks),
        groups,
        (*legend(marks, [row for group in groups for row in group]), *notes(results)),
        "grid",
    )


def cutoff_table(results: Results) -> Table:
    """What is lost when only N documents go downstream: a column per N, and one uncut.

    Shows the primary measure, and recall where it is among the measures. An N that a measure does
    not read beyond, such as 10 for NDCG@10, has no column: it would be the uncut one again.
    """
    ns = sorted({s.n for s in results.systems if s.n is not None})
    picks = [
        _Pick(f"{display_name(m)}, {'uncut' if n is None else f'N={n}'}", m, n)
        for m in primary_and_recall(results)
        for n in (*ns, None)
        if n is None or not _is_uncut(results, m, n)
    ]
    shown = f" ({', '.join(map(str, ns))})" if ns else ""
    about = (
        f"N{shown}: a ranking is cut to its first N documents before it is measured; "
        f"ranks below N count as not relevant. Uncut: {deepest(results)}."
    )
    groups = _groups(results, picks)
    lead = "Rankings cut to N documents."
    return Table(
        caption(results, [about], lead), _columns(picks), groups, _alike(results), "cutoffs"
    )


def _is_uncut(results: Results, measure: str, n: int) -> bool:
    """Whether the cut takes nothing that the measure reads, and every value is the uncut one.

    Both: a measure that first skips unjudged documents reads beyond its cutoff.
    """
    cutoff = cutoff_of(measure)
    if cutoff is None or n < cutoff:
        return False
    uncut = {(s.retriever, s.reranker, s.k): s.values[measure] for s in results.uncut}
    equal = [
        np.array_equal(s.values[measure], uncut[key], equal_nan=True)
        for s in results.systems
        if s.n == n and (key := (s.retriever, s.reranker, s.k)) in uncut
    ]
    return bool(equal) and all(equal)


def _alike(results: Results) -> tuple[str, ...]:
    """A note on each N that has no column of its own."""
    ns = sorted({s.n for s in results.systems if s.n is not None})
    found: dict[tuple[int, ...], list[str]] = {}
    for measure in primary_and_recall(results):
        alike = tuple(n for n in ns if _is_uncut(results, measure, n))
        if alike:
            found.setdefault(alike, []).append(display_name(measure))
    return tuple(
        f"N={', '.join(map(str, alike))}: as uncut, {' and '.join(measures)} "
        f"{'reads' if len(measures) == 1 else 'read'} no further."
        for alike, measures in found.items()
    )


def primary_and_recall(results: Results) -> list[str]:
    """The primary measure and the first recall measure, once where they are the same."""
    primary = results.measure_names[0]
    recall = [m for m in results.measure_names if is_recall(m)][:1]
    return list(dict.fromkeys([primary, *recall]))


def _columns(picks: Sequence[_Pick]) -> tuple[Column, ...]:
    names = (Column("Retriever", "left"), Column("Reranker", "left"), Column("K"))
    return (*names, *(Column(pick.title) for pick in picks))


def _groups(
    results: Results, picks: Sequence[_Pick], marks: Marks | None = None
) -> tuple[tuple[Row, ...], ...]:
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
    columns = [
        value_cells([systems.get((*key, p.n)) for key in keys], p.measure, marks) for p in picks
    ]
    rows = [(*named(*key), *(column[i] for column in columns)) for i, key in enumerate(keys)]
    return tuple(
        tuple(row for row, key in zip(rows, keys, strict=True) if key[0] == retriever)
        for retriever in retrievers
    )


def named(retriever: str, reranker: str, k: int | None) -> Row:
    """The cells that say which system a row is of."""
    return (
        Cell(printable(retriever)),
        Cell(printable(reranker)),
        Cell(MISSING if k is None else str(k)),
    )
