"""The grid of measures × cutoffs × N over whole rankings in numpy: one join with the qrels serves
every cell of a ranking.

The measures are ir_measures', and so are their definitions: those of the providers that it picks,
trec_eval for all but Judged and RR with a cutoff (MS MARCO's own script). They are computed here
because ir_measures asks trec_eval anew for every ranking and N, on dictionaries, which takes
minutes where this takes seconds; tests/measures/test_grid.py holds every value to ir_measures' own
within 1e-9. What `in_grid` denies is left to ir_measures.

What trec_eval does: unjudged docs and grades below a measure's relevance level are not relevant;
relevant docs that were not found count in recall, AP, Rprec and the ideal of nDCG; P@k divides by k
however few docs there are; a query without a relevant doc has the value 0. Cut to N, a ranking ends
there: nDCG@10 of 5 docs is measured against an ideal of 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.measures.gains import Gains, discounted, ideal_dcg
from evalkit.measures.judged import JudgedResults, Judgements, ordinals
from evalkit.run import Run

if TYPE_CHECKING:
    from ir_measures import Measure

# What a measure makes of rankings that were cut to what it looks at: float64, shape (Q,).
Formula = Callable[[JudgedResults], np.ndarray]
WHOLE = np.iinfo(np.int64).max


class Grid:
    """Measures bound to qrels; evaluates any number of runs.

    measures: those that `in_grid` admits. grades: query_id → doc_id → grade, no query without any.
    """

    def __init__(
        self, measures: Sequence[Measure], grades: Mapping[str, Mapping[str, int]]
    ) -> None:
        self._judgements = Judgements(grades)
        self._cutoffs = [int(m.params.get("cutoff", WHOLE)) for m in measures]
        self._formulas = [_FORMULAS[m.NAME](m, self._judgements) for m in measures]

    def values(self, run: Run, depths: Sequence[int | None]) -> np.ndarray:
        """float64, shape (len(depths), measures, Q): of the run cut to each depth, None: uncut.

        Queries are in the order of `grades`; one that the run does not have, or that has no
        results, counts 0, and queries of the run that are not judged are left out.
        """
        whole = self._judgements.in_run(run)
        longest = int(whole.sizes.max(initial=0))
        values = np.empty((len(depths), len(self._formulas), len(whole.sizes)))
        # Cells differ only in where a ranking ends: most at the same rank, such as a measure's
        # own cutoff, or the end of all rankings.
        ends = [
            [min(cutoff, longest if depth is None else depth, longest) for cutoff in self._cutoffs]
            for depth in depths
        ]
        for end in sorted({end for row in ends for end in row}):
            cut = whole.top(end)
            for i, formula in enumerate(self._formulas):
                cells = [d for d, row in enumerate(ends) if row[i] == end]
                if cells:
                    values[cells, i] = formula(cut)
        return values


def in_grid(measure: Measure) -> bool:
    """Whether the grid computes a measure, its parameters included."""
    rel, gains = measure.params.get("rel", 1), measure.params.get("gains", {})
    return (
        measure.NAME in _FORMULAS
        and not measure.params.get("judged_only")
        and not measure.params.get("relative")
        and measure.params.get("dcg", "log2") == "log2"
        # Lower levels pytrec_eval refuses.
        and rel >= 1
        and all(isinstance(gain, int) for gain in gains.values())
    )


# ------------------------------------------------------------------------ a formula per measure


def _of_relevant(
    formula: Callable[[Measure, JudgedResults, np.ndarray], np.ndarray],
) -> Callable[[Measure, Judgements], Formula]:
    """A binary measure: what `formula` makes of the relevant results and of the number of relevant
    judgements, int64 of shape (Q,)."""

    def bound(measure: Measure, judgements: Judgements) -> Formula:
        level = int(measure.params.get("rel", 1))
        relevant = judgements.queries[judgements.grades >= level]
        existing = np.bincount(relevant, minlength=len(judgements.query_ids))
        return lambda found: formula(measure, found.where(found.grades >= level), existing)

    return bound


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole where there is a whole, else 0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def _precision(measure: Measure, relevant: JudgedResults, existing: np.ndarray) -> np.ndarray:
    return relevant.counts() / int(measure.params["cutoff"])


def _set_precision(measure: Measure, relevant: JudgedResults, existing: np.ndarray) -> np.ndarray:
    return _share(relevant.counts(), relevant.sizes)


def _recall(measure: Measure, relevant: JudgedResults, existing: np.ndarray) -> np.ndarray:
    return _share(relevant.counts(), existing)


def _r_precision(measure: Measure, relevant: JudgedResults, existing: np.ndarray) -> np.ndarray:
    return _share(relevant.where(relevant.ranks < existing[relevant.queries]).counts(), existing)


def _success(measure: Measure, relevant: JudgedResults, existing: np.ndarray) -> np.ndarray:
    return np.sign(relevant.counts()).astype(np.float64)


def _reciprocal_rank(measure: Measure, relevant: JudgedResults, existing: np.ndarray) -> np.ndarray:
    first = relevant.where(ordinals(relevant.queries) == 0)
    return first.counts(1.0 / (first.ranks + 1))


def _average_precision(
    measure: Measure, relevant: JudgedResults, existing: np.ndarray
) -> np.ndarray:
    precisions = (ordinals(relevant.queries) + 1) / (relevant.ranks + 1)
    return _share(relevant.counts(precisions), existing)


def _judged(measure: Measure, judgements: Judgements) -> Formula:
    # Of the docs that are there: ten of ten of a ranking of ten, whatever the cutoff.
    return lambda found: _share(found.counts(), found.sizes)


def _ndcg(measure: Measure, judgements: Judgements) -> Formula:
    gains: Gains = measure.params.get("gains", {})
    ideal = ideal_dcg(judgements, gains, int(measure.params.get("cutoff", WHOLE)))
    return lambda found: _share(found.counts(discounted(found.grades, found.ranks, gains)), ideal)


_FORMULAS: Mapping[str, Callable[[Any, Judgements], Formula]] = {
    "AP": _of_relevant(_average_precision),
    "Judged": _judged,
    "P": _of_relevant(_precision),
    "R": _of_relevant(_recall),
    "RR": _of_relevant(_reciprocal_rank),
    "Rprec": _of_relevant(_r_precision),
    "SetP": _of_relevant(_set_precision),
    "SetR": _of_relevant(_recall),
    "Success": _of_relevant(_success),
    "nDCG": _ndcg,
}
