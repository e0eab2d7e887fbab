"""What a number of queries can show: power of the paired t-test (for IR: Webber, Moffat and Zobel,
CIKM 2008; Sakai, Information Retrieval Journal 2016), equal to statsmodels' `TTestPower`.

For planning: `difference` is one that would matter, not the one that was measured. The power of
what was measured says nothing that its p-value does not (Hoenig and Heisey 2001). Levels are of a
single comparison; a correction for several needs more queries.
"""

from __future__ import annotations

import numpy as np

LEVEL = 0.05
POWER = 0.8
# More judged queries than any test collection has; a search beyond it has no use.
MOST_QUERIES = 10_000_000
# Two queries show it; the noncentral t distribution cannot be computed for much larger ones.
_LARGEST_EFFECT = 50.0


def power_of(
    difference: np.ndarray | float, sd: np.ndarray | float, queries: np.ndarray | int,
    level: float = LEVEL,
) -> np.ndarray:  # fmt: skip
    """Chance that a two-sided test at `level` finds a mean difference with this spread."""
    from scipy.special import nctdtr, stdtrit

    effect = np.minimum(np.abs(difference) / np.asarray(sd, dtype=float), _LARGEST_EFFECT)
    freedom = np.asarray(queries, dtype=float) - 1.0
    shift = effect * np.sqrt(queries)
    limit = stdtrit(freedom, 1.0 - level / 2.0)
    # Far from the shift, where the tail is 0, scipy gives NaN.
    missed, wrong_way = (np.nan_to_num(nctdtr(freedom, shift, end)) for end in (limit, -limit))
    return 1.0 - missed + wrong_way


def queries_needed(
    difference: float, sd: np.ndarray, power: float = POWER, level: float = LEVEL
) -> np.ndarray:
    """Fewest queries that show `difference` with this power: float64 whole numbers, shape (C,).

    sd: standard deviations of the per-query differences. NaN for one that is not known or 0;
    infinity above MOST_QUERIES.
    """
    sd = np.asarray(sd, dtype=np.float64)
    known = np.isfinite(sd) & (sd > 0)

    def suffices(count: np.ndarray) -> np.ndarray:
        return power_of(difference, sd[known], count, level) >= power

    low = np.ones(int(known.sum()), dtype=np.int64)  # never suffices: a single query has no spread
    high = np.full_like(low, 2)
    while np.any(missing := ~suffices(high) & (high < MOST_QUERIES)):
        low, high = np.where(missing, high, low), np.where(missing, 2 * high, high)
    while np.any(high - low > 1):
        middle = np.maximum((low + high) // 2, 2)
        enough = suffices(middle)
        high, low = np.where(enough, middle, high), np.where(enough, low, middle)
    needed = np.full(sd.shape, np.nan)
    needed[known] = np.where(high < MOST_QUERIES, high, np.inf)
    return needed


def detectable(
    sd: np.ndarray, queries: int, power: float = POWER, level: float = LEVEL
) -> np.ndarray:
    """Smallest mean difference that `queries` queries show with this power: float64, shape (C,)."""
    from scipy.optimize import brentq

    if queries < 2:
        return np.full(np.shape(sd), np.nan)
    effect = brentq(
        lambda d: float(power_of(d, 1.0, queries, level)) - power, 0.0, _LARGEST_EFFECT, xtol=1e-9
    )
    return effect * np.asarray(sd, dtype=np.float64)
