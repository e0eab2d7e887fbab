"""Percentile bootstrap intervals of means over queries (Efron and Tibshirani 1993; for IR: Sakai,
SIGIR 2006). Queries are what is resampled; all systems and measures share the same resamples."""

from __future__ import annotations

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
_BLOCK = 500


def bootstrap_intervals(
    values: np.ndarray, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> np.ndarray:
    """Intervals of the column means: float64, shape (M, 2), as (low, high).

    values: float64, shape (Q, M), a column per system and measure. Fewer than two queries have no
    spread to resample: (nan, nan). Deterministic for a seed; a resample is a vector of Q counts, so
    that all columns cost one matrix product.
    """
    num_queries, columns = values.shape
    if num_queries < 2:
        return np.full((columns, 2), np.nan)
    generator = np.random.default_rng(seed)
    even = np.full(num_queries, 1.0 / num_queries)
    means = np.empty((resamples, columns))
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        counts = generator.multinomial(num_queries, even, size=size)
        means[start : start + size] = counts @ values / num_queries
    tail = (1.0 - level) / 2.0
    return np.quantile(means, [tail, 1.0 - tail], axis=0).T
