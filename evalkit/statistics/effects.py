"""How large a paired difference is, in units of its spread, and who wins on how many queries."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evalkit.statistics.paired import standard_deviation, t_statistic


class EffectSize(NamedTuple):
    """Per comparison, float64 of shape (C,); NaN where the differences have no spread.

    d: Cohen's d_z, the mean difference over the standard deviation of the differences. low, high:
    its interval. hedges: Hedges' g, d without its bias for few queries.
    """

    d: np.ndarray
    low: np.ndarray
    high: np.ndarray
    hedges: np.ndarray


def effect_size(differences: np.ndarray, level: float = 0.95) -> EffectSize:
    """Effect sizes of the columns of `differences`, shape (Q, C).

    The interval is exact for normal differences: the noncentrality parameters under which the
    observed t lies at the tails (Steiger and Fouladi 1997). g: Hedges 1981, with Q - 1 degrees of
    freedom.
    """
    from scipy.special import gammaln, nctdtrinc

    queries, columns = differences.shape
    if queries < 2:
        nothing = np.full(columns, np.nan)
        return EffectSize(nothing, nothing, nothing, nothing)
    freedom = queries - 1
    flat = standard_deviation(differences) == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(flat, np.nan, t_statistic(differences))
    tail = (1.0 - level) / 2.0
    ends = [nctdtrinc(freedom, share, t) / np.sqrt(queries) for share in (1.0 - tail, tail)]
    low, high = (np.where(flat, np.nan, end) for end in ends)
    d = t / np.sqrt(queries)
    bias = np.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) * np.sqrt(2 / freedom)
    return EffectSize(d, low, high, d * (bias if freedom > 1 else np.nan))


class Counts(NamedTuple):
    """Queries on which the system is above the base, equal to it, and below: int64, shape (C,).
    One where either has no value is in none of them."""

    above: np.ndarray
    equal: np.ndarray
    below: np.ndarray


def counts(differences: np.ndarray) -> Counts:
    """Of `paired_differences`, in which equal values differ by 0."""
    kinds = differences > 0, differences == 0, differences < 0
    return Counts(*(kind.sum(axis=0) for kind in kinds))


def mean_interval(differences: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Student's t intervals of the mean differences: float64, shape (C, 2); NaN for one query.

    Paired differences are 0 on many queries. There the t interval holds its level with few of them
    and the percentile bootstrap does not: 96, 95, 95 % against 86, 92, 93 % for 10, 30 and 50
    queries, half of them equal.
    """
    from scipy.stats import t

    queries, columns = differences.shape
    if queries < 2:
        return np.full((columns, 2), np.nan)
    half = t.isf((1.0 - level) / 2.0, queries - 1) * standard_deviation(differences)
    half = half / np.sqrt(queries)
    means = differences.mean(axis=0)
    return np.stack([means - half, means + half], axis=1)
