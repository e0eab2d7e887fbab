"""Two systems compared query by query, and which ones a reader asks about first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.report.layout import DIGITS
from evalkit.report.names import is_lower_better
from evalkit.results import NO_RERANKER, Results, SystemResult
from evalkit.statistics.effects import counts, mean_interval
from evalkit.statistics.paired import paired_differences


@dataclass(frozen=True, eq=False)
class Comparison:
    """`system` against `base` on one measure; differences: float64, shape (Q,), system - base, 0
    where the two differ by rounding alone. level: of the interval."""

    system: SystemResult
    base: SystemResult
    measure: str
    differences: np.ndarray
    level: float = 0.95

    @property
    def mean(self) -> float:
        return float(self.differences.mean())

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's t interval of the mean difference, the one of the tables of tests (see
        `mean_interval` for why); None for a single query."""
        low, high = mean_interval(self.differences[:, None], self.level)[0]
        return None if np.isnan(low) else (float(low), float(high))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Queries on which the system is higher, lower and equal."""
        found = counts(self.differences)
        return int(found.above), int(found.below), int(found.equal)

    def largest(self, count: int, gains: bool) -> list[int]:
        """Positions of at most `count` queries with the largest gains, or losses, largest first."""
        signed = self.differences if gains else -self.differences
        order = np.argsort(-signed, kind="stable")[:count]
        return [int(i) for i in order if signed[i] > 0]


def compare(results: Results, system: SystemResult, base: SystemResult, measure: str) -> Comparison:
    """`system` against `base`, both of these results, whose level the interval has."""
    differences = paired_differences(system.values[measure], base.values[measure])
    return Comparison(system, base, measure, differences, results.level)


def best_of(systems: list[SystemResult], measure: str) -> list[SystemResult]:
    """The systems with the highest value, to four digits; the cheapest kind first.

    The lowest, of a measure of which less is better. Cheaper: without a reranker before with one,
    then the smaller K.
    """
    known = [s for s in systems if not np.isnan(s.measures[measure])]
    best = min if is_lower_better(measure) else max
    top = best((round(s.measures[measure], DIGITS) for s in known), default=None)
    equal = [s for s in known if round(s.measures[measure], DIGITS) == top]
    return sorted(equal, key=lambda s: (s.reranker != NO_RERANKER, s.k or 0))


def first_stages(results: Results) -> list[SystemResult]:
    return [s for s in results.uncut if s.reranker == NO_RERANKER]


def reranked(results: Results) -> list[SystemResult]:
    return [s for s in results.uncut if s.reranker != NO_RERANKER]


def own_first_stage(results: Results, system: SystemResult) -> SystemResult | None:
    """The first stage that a reranked system starts from, None where it was not measured."""
    own = [s for s in first_stages(results) if s.retriever == system.retriever]
    return own[0] if own else None
