"""The knee of quality over K: from which K on reranking more candidates gains nothing that shows.

The knee is the smallest K that no larger K beats: for each larger one the interval of the paired
mean difference (bootstrap over queries) includes zero or lies below it. Steps from one K to the
next are not what is asked: many small steps, none of which shows, can add up to one that does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.measures.bootstrap import LEVEL, RESAMPLES, bootstrap_intervals
from evalkit.types import IntervalMethod


@dataclass(frozen=True)
class Gain:
    """What a larger K gains over a smaller one: the mean difference and its interval."""

    k: int
    larger: int
    mean: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Knee:
    """k: the knee; 0 where no K beats the first stage, None where the largest K still gains, so
    that the curve was not followed far enough, or where there are too few queries to tell.
    ks: those compared, ascending. gains: of the best larger K over each, all but the largest.
    """

    k: int | None
    ks: Sequence[int]
    gains: Sequence[Gain]


def knee(
    values: Mapping[int, np.ndarray],
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    method: IntervalMethod = "percentile",
) -> Knee:
    """The knee of one reranker's curve.

    values: K → the measure by query, float64, shape (Q,), all over the same queries; K = 0 is the
    first stage.
    """
    ks = sorted(values)
    pairs = [(k, larger) for i, k in enumerate(ks) for larger in ks[i + 1 :]]
    if not pairs:
        return Knee(None, ks, [])
    differences = np.stack([values[larger] - values[k] for k, larger in pairs], axis=1)
    bounds = bootstrap_intervals(differences, resamples, level, seed, method)
    found = [
        Gain(k, larger, float(mean), (float(low), float(high)))
        for (k, larger), mean, (low, high) in zip(
            pairs, differences.mean(axis=0), bounds, strict=True
        )
    ]
    best = [max((g for g in found if g.k == k), key=lambda g: g.interval[0]) for k in ks[:-1]]
    if np.isnan(bounds).any():
        return Knee(None, ks, best)
    flat = (gain.k for gain in best if gain.interval[0] <= 0)
    return Knee(next(flat, None), ks, best)
