"""Agreement of two judges beyond chance, and of two orders of systems.

Cohen's κ (1960), weighted by squared distance (1968), from confusion matrices, so that one product
serves all bootstrap resamples. Kendall's τ-b through scipy; τ_AP, which minds the top of the order
more (Yilmaz, Aslam and Robertson, SIGIR 2008).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

Weights = Literal["equal", "quadratic"]


class Estimate(NamedTuple):
    """A value and its bootstrap interval; NaN where one is not defined."""

    value: float
    low: float
    high: float


def confusion(
    rows: np.ndarray, human: np.ndarray, model: np.ndarray, queries: int, levels: int
) -> np.ndarray:
    """Counts of grade pairs a query: int64, shape (queries, levels, levels), human grades first.

    rows: each pair's query; human, model: its grades, 0 to levels - 1; all of shape (pairs,).
    """
    cells = (rows * levels + human) * levels + model
    counts = np.bincount(cells.astype(np.int64), minlength=queries * levels * levels)
    return counts.reshape(queries, levels, levels)


def kappa(counts: np.ndarray, weights: Weights = "equal") -> np.ndarray:
    """Cohen's κ of confusion matrices: float64, their shape without the last two axes.

    NaN where both judges give every pair one and the same grade: chance alone agrees then.
    """
    levels = np.arange(counts.shape[-1])
    apart = np.abs(levels[:, None] - levels[None, :]).astype(np.float64)
    cost = apart**2 if weights == "quadratic" else (apart > 0).astype(np.float64)
    total = counts.sum(axis=(-2, -1)).astype(np.float64)
    by_chance = counts.sum(axis=-1)[..., :, None] * counts.sum(axis=-2)[..., None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = (cost * counts).sum(axis=(-2, -1)) / total
        expected = (cost * by_chance).sum(axis=(-2, -1)) / total**2
        return np.where(expected > 0, 1.0 - seen / expected, np.nan)


def kappa_estimate(
    counts: np.ndarray, weights: Weights, resamples: int, level: float, seed: int
) -> Estimate:
    """κ over all queries, with a percentile interval over resampled queries: pairs of one query
    are not independent. counts: as `confusion` gives them. Resamples without a κ are left out."""
    queries = len(counts)
    value = float(kappa(counts.sum(axis=0), weights))
    if queries < 2 or np.isnan(value):
        return Estimate(value, np.nan, np.nan)
    draws = np.random.default_rng(seed).multinomial(
        queries, np.full(queries, 1.0 / queries), size=resamples
    )
    flat = draws @ counts.reshape(queries, -1)
    values = kappa(flat.reshape(resamples, *counts.shape[1:]), weights)
    values = values[~np.isnan(values)]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return Estimate(value, float(low), float(high))


def kendall_tau(reference: np.ndarray, other: np.ndarray) -> float:
    """τ-b of two lists of values, shape (systems,); NaN below two systems, or where one list has
    one value only."""
    from scipy.stats import kendalltau

    if len(reference) < 2:
        return float("nan")
    return float(kendalltau(reference, other).statistic)


def tau_ap(reference: np.ndarray, other: np.ndarray) -> float:
    """τ_AP of the order by `other` against that by `reference`, both with the highest value first.

    NaN below two systems and where two of them tie, for which it is not defined.
    """
    count = len(reference)
    if count < 2 or len(set(reference)) < count or len(set(other)) < count:
        return float("nan")
    ordered = reference[np.argsort(-other)]
    above = [float((ordered[:i] > ordered[i]).mean()) for i in range(1, count)]
    return 2.0 * float(np.mean(above)) - 1.0
