"""How much a score hangs on documents that nobody judged: its value if these holes were relevant.

A measure counts an unjudged document as not relevant (Buckley and Voorhees, SIGIR 2004, on what
that does). Were all holes of the top N relevant, P and RR could only rise, but nDCG, AP and recall
may fall: what is relevant and stands low costs. So beside "none" and "all" there are true bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.measures import parse_measures
from evalkit.measures.grid import Grid, in_grid
from evalkit.report.names import cutoff_of, is_judged
from evalkit.run import Run
from evalkit.types import Qrel, grades_of

Grades = dict[str, dict[str, int]]


@dataclass(frozen=True)
class HoleBounds:
    """Means over queries. judged: share of the top's documents that are judged. holes: unjudged
    documents there, over all queries. none, all: the measure if no hole, or each, were relevant.
    lowest, highest: the bounds over every choice of relevant holes."""

    judged: float
    holes: int
    none: float
    all: float
    lowest: float
    highest: float


def has_bounds(measure: str) -> bool:
    """Whether holes can be filled: not for Judged, nor measures that are left to ir_measures."""
    return not is_judged(measure) and in_grid(parse_measures([measure])[0])


def hole_bounds(
    run: Run, measure: str, qrels: Sequence[Qrel], grade: int, depth: int | None = None
) -> HoleBounds:
    """Of a run over the judged queries; holes are looked for down to the measure's cutoff, or to
    `depth` where it has none, and would have this grade.

    The bounds are exact. With m relevant holes the ideal ranking, and the number of relevant
    documents, are the same whichever they are, and every measure of the grid gains when a relevant
    document stands higher: so it is best when they are the first m holes, worst when the last m.
    """
    grades = grades_of(qrels)
    kinds = parse_measures([measure])
    top = run.select(tuple(grades))
    cut = cutoff_of(measure) or depth
    top = top if cut is None else top.top(cut)
    holes = {q: [d for d in docs if d not in grades[q]] for q, docs in top}
    most = max(map(len, holes.values()), default=0)
    judged = np.array([1 - len(holes[q]) / size if size else 0.0 for q, size in _sized(top)])

    def filled(order: Mapping[str, Sequence[str]]) -> np.ndarray:
        """The measure with the first 0, 1, ... of each query's holes relevant: shape (m+1, Q)."""
        known: Grades = {q: dict(own) for q, own in grades.items()}
        values = [_values(kinds, known, run)]
        for m in range(most):
            for query_id, docs in order.items():
                if m < len(docs):
                    known[query_id][docs[m]] = grade
            values.append(_values(kinds, known, run))
        return np.stack(values)

    best = filled(holes)
    worst = filled({q: docs[::-1] for q, docs in holes.items()})
    return HoleBounds(
        judged=float(judged.mean()),
        holes=sum(map(len, holes.values())),
        none=float(best[0].mean()),
        all=float(best[-1].mean()),
        lowest=float(worst.min(axis=0).mean()),
        highest=float(best.max(axis=0).mean()),
    )


def _sized(run: Run) -> Iterable[tuple[str, int]]:
    return zip(run.query_ids, run.sizes.tolist(), strict=True)


def _values(kinds: Sequence, grades: Grades, run: Run) -> np.ndarray:
    """The one measure of `kinds`, in the order of `grades`: shape (Q,)."""
    return Grid(kinds, grades).values(run, [None])[0, 0]
