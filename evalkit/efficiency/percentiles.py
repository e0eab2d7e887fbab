"""Mean, percentiles and spread of measured times, with intervals over queries; and who is faster.

Percentile bootstrap (Efron and Tibshirani 1993) of whole queries, all repeats of one together: two
times of one query are not independent. Percentiles are interpolated linearly (Hyndman and Fan 1996,
type 7; numpy's default).

No resample goes beyond the largest time. Where too few queries were asked for that one to lie above
the true percentile as often as the level demands, there is no interval: it would end at the
largest time, and miss more often than it says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

PERCENTILES = {"p50_ms": 0.50, "p90_ms": 0.90, "p95_ms": 0.95, "p99_ms": 0.99}
FIGURES = ("mean_ms", *PERCENTILES)
# Of two queries there are three resamples, of five 126: fewer make no interval of a mean.
LEAST_QUERIES = 5
# Entries of one block of resampled times: 128 MiB of float64.
_BLOCK = 1 << 24


def statistics(ms: np.ndarray, draws: np.ndarray, level: float) -> dict[str, Any]:
    """What is reported of one stage of one system.

    ms: float64, shape (Q, R), times of Q queries, R repeats each. draws: see `resampled`. Plain
    JSON data: FIGURES; "ci", their intervals ([None, None] below `queries_needed`); "cv", the
    coefficient of variation of all times, queries and noise together; "repeat_cv", that of one
    query's repeats, noise alone (None without repeats); "unsupported", the percentiles beyond which
    not even one time is expected, so that the figure given is close to the largest time.
    """
    flat = ms.reshape(-1)
    values = _figures(flat[None, :])[0]
    ends = _interval(ms, draws, level)
    return {
        **dict(zip(FIGURES, values.tolist(), strict=True)),
        "cv": _variation(flat),
        "repeat_cv": _repeat_variation(ms),
        "samples": len(flat),
        "ci": {
            name: list(pair) if len(ms) >= queries_needed(name, level) else [None, None]
            for name, pair in zip(FIGURES, ends, strict=True)
        },
        "unsupported": [p for p, share in PERCENTILES.items() if len(flat) < needed(share)],
    }


def needed(share: float) -> int:
    """Times that a percentile needs for one of them to be expected above it: 100 for 0.99."""
    return round(1 / (1 - share))


def queries_needed(figure: str, level: float) -> int:
    """Queries that a figure's interval needs.

    The largest of n independent times lies below the percentile p in p ** n of all samples, which
    must be at most (1 - level) / 2, the misses that an interval may have above. At 95 %: 6 for the
    median, 36 for p90, 72 for p95, 368 for p99. LEAST_QUERIES at least, and for the mean.
    """
    if figure not in PERCENTILES:
        return LEAST_QUERIES
    needed = math.log((1 - level) / 2) / math.log(PERCENTILES[figure])
    return max(math.ceil(needed), LEAST_QUERIES)


def resampled(queries: int, resamples: int, seed: int) -> np.ndarray:
    """Queries drawn with replacement: int64, shape (resamples, queries)."""
    return np.random.default_rng(seed).integers(0, queries, size=(resamples, queries))


def _interval(ms: np.ndarray, draws: np.ndarray, level: float) -> list[list[float]]:
    """Low and high end of each of FIGURES, whether or not the queries are enough for it."""
    step = max(_BLOCK // ms.size, 1)
    blocks = [draws[start : start + step] for start in range(0, len(draws), step)]
    found = np.concatenate([_figures(ms[block].reshape(len(block), -1)) for block in blocks])
    tail = (1 - level) / 2
    ends: list[list[float]] = np.quantile(found, [tail, 1 - tail], axis=0).T.tolist()
    return ends


def _figures(times: np.ndarray) -> np.ndarray:
    """FIGURES of each row of times: float64, shape (rows, 5)."""
    percentiles = np.quantile(times, list(PERCENTILES.values()), axis=1)
    return np.vstack([times.mean(axis=1), percentiles]).T


def _variation(times: np.ndarray) -> float | None:
    mean = float(times.mean())
    return float(times.std(ddof=1)) / mean if len(times) > 1 and mean > 0 else None


def _repeat_variation(ms: np.ndarray) -> float | None:
    """Root mean square over queries of the coefficient of variation of one query's repeats."""
    means = ms.mean(axis=1)
    if ms.shape[1] < 2 or not (means > 0).all():
        return None
    return float(np.sqrt(((ms.std(axis=1, ddof=1) / means) ** 2).mean()))


def ranks(intervals: Mapping[str, tuple[float, float] | None]) -> dict[str, dict[str, Any]]:
    """System → "rank": [best, worst] that its interval allows, 1 the fastest; and
    "not_distinguishable_from": the systems whose intervals overlap its own.

    intervals: system → (low, high) of its time; None for none, which can be told from no other.
    """
    found = {}
    for name, own in intervals.items():
        others = {other: each for other, each in intervals.items() if other != name}
        faster = [o for o, each in others.items() if own and each and each[1] < own[0]]
        slower = [o for o, each in others.items() if own and each and own[1] < each[0]]
        found[name] = {
            "rank": [1 + len(faster), len(intervals) - len(slower)],
            "not_distinguishable_from": [o for o in others if o not in {*faster, *slower}],
        }
    return found
