"""Quality under a deadline: a query that takes longer gets a fallback's ranking.

The latency of a query and what its ranking is worth belong together (long queries may be the ones
that a reranker helps), so both are joined query by query; no independence is assumed. A query that
was measured r times degrades in the share of its repeats that were late.

A fallback helps only if it is there by the deadline. It is taken to run beside the system, as a
first stage's ranking is there before its reranker's; a query whose fallback is late too gets
nothing, which counts 0. Of the two shares of late repeats the smaller one is taken to be that of
both: exact where one contains the other, as a system contains its first stage, else an upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.errors import DataError
from evalkit.measures.bootstrap import LEVEL, RESAMPLES, bootstrap_intervals
from evalkit.types import IntervalMethod

Interval = tuple[float, float]


@dataclass(frozen=True)
class Samples:
    """Measured latencies of one system: query positions int64 and milliseconds float64, (n,) each.

    A query is measured once or several times; those never measured have no part in what follows.
    """

    rows: np.ndarray
    ms: np.ndarray

    def late_share(self, deadline_ms: float) -> tuple[np.ndarray, np.ndarray]:
        """The measured queries' positions, ascending, and each one's share of late repeats."""
        rows, inverse = np.unique(self.rows, return_inverse=True)
        late = np.bincount(inverse, weights=self.ms > deadline_ms, minlength=len(rows))
        return rows, late / np.bincount(inverse, minlength=len(rows))


@dataclass(frozen=True)
class UnderDeadline:
    """What users of a system with a deadline get, over the queries whose latency was measured.

    quality: the expected value of the measure. degraded: the share of late queries, which get the
    fallback; unanswered: of all queries, those whose fallback is late too. without_deadline,
    fallback: what all queries would be worth with the one and with the other. Intervals are
    bootstraps over queries, that of a share of none or all is exact; (nan, nan) for fewer than two
    queries, and where a bootstrap would be of equal values.
    """

    deadline_ms: float
    quality: float
    quality_interval: Interval
    degraded: float
    degraded_interval: Interval
    unanswered: float
    without_deadline: float
    fallback: float
    num_queries: int
    num_samples: int


def under_deadline(
    values: np.ndarray,
    fallback: np.ndarray,
    samples: Samples,
    fallback_samples: Samples,
    deadline_ms: float,
    cached_share: float = 0.0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    method: IntervalMethod = "percentile",
) -> UnderDeadline:
    """The expected quality of a system with a deadline.

    values, fallback: the measure of each query's ranking and of what replaces it, float64, shape
    (Q,). samples, fallback_samples: what both took, of the same queries. cached_share: the share of
    late queries whose own result is in a cache, and so served all the same. Raises DataError where
    no latency was measured.
    """
    rows, late = samples.late_share(deadline_ms)
    same, also_late = fallback_samples.late_share(deadline_ms)
    if not len(rows) or not np.array_equal(rows, same):
        raise DataError(
            "no latency of the system and its fallback was measured on the same queries; run again "
            "with latency=on"
        )
    uncached, exact = 1.0 - cached_share, _of_none_or_all(late, level)
    unanswered, late = np.minimum(late, also_late) * uncached, late * uncached
    expected = (1.0 - late) * values[rows] + (late - unanswered) * fallback[rows]
    columns = np.stack([expected, late], axis=1)
    bounds = bootstrap_intervals(columns, resamples, level, seed, method)
    # A bootstrap of equal values has no width, however few they are.
    bounds[np.ptp(columns, axis=0) == 0.0] = np.nan
    low, high = bounds[0].tolist()
    least, most = bounds[1].tolist() if exact is None else (uncached * end for end in exact)
    return UnderDeadline(
        deadline_ms=deadline_ms,
        quality=float(expected.mean()),
        quality_interval=(low, high),
        degraded=float(late.mean()),
        degraded_interval=(least, most),
        unanswered=float(unanswered.mean()),
        without_deadline=float(values[rows].mean()),
        fallback=float(fallback[rows].mean()),
        num_queries=len(rows),
        num_samples=len(samples.rows),
    )


def _of_none_or_all(late: np.ndarray, level: float) -> Interval | None:
    """The interval of the share of late queries where none was late, or all; None elsewhere.

    It is Clopper and Pearson's (1934): with the share 1 − tail ** (1 / n) none of n queries is late
    in `tail` of all samples.
    """
    if len(late) < 2 or late.min() != late.max() or late[0] not in (0.0, 1.0):
        return None
    width = float(1.0 - ((1.0 - level) / 2.0) ** (1.0 / len(late)))
    return (0.0, width) if late[0] == 0.0 else (1.0 - width, 1.0)


@dataclass(frozen=True)
class LargestK:
    """measured: the largest K of those measured whose p95 meets the target; None: not even the
    smallest. surely: the largest whose interval's upper end does too; has_intervals: whether there
    are any to tell. between: the largest K on straight lines between the measured ones: an
    interpolation, not a measurement."""

    target_ms: float
    measured: int | None
    surely: int | None
    between: int | None
    has_intervals: bool


def largest_k(
    p95_ms: Mapping[int, float], target_ms: float, upper_ms: Mapping[int, float] | None = None
) -> LargestK:
    """The largest K that meets a p95 target; upper_ms: the upper ends of the p95s' intervals.

    A K counts only if every smaller one that was measured meets the target too: a single lucky K
    above one that misses it is noise.
    """
    ks = sorted(p95_ms)
    measured = _last_within([p95_ms[k] for k in ks], ks, target_ms)
    uppers = upper_ms or {}
    known = [k for k in ks if k in uppers]
    surely = _last_within([uppers[k] for k in known], known, target_ms)
    between = measured
    if measured is not None and measured != ks[-1]:
        above = ks[ks.index(measured) + 1]
        slope = (p95_ms[above] - p95_ms[measured]) / (above - measured)
        between = measured + int((target_ms - p95_ms[measured]) / slope)
    return LargestK(target_ms, measured, surely, between, bool(known))


def _last_within(values: Sequence[float], ks: Sequence[int], target: float) -> int | None:
    found = None
    for k, value in zip(ks, values, strict=True):
        if value > target:
            return found
        found = k
    return found
