"""T(K) = a + b·K: what a pipeline takes for K candidates, fitted to the K that were measured.

Least squares over the mean time at each K, all K weighted alike; intervals by resampling queries
and fitting again. K is the number of docs that the reranker was really given, which is less than
the sweep's where the first stage finds fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evalkit.efficiency.percentiles import LEAST_QUERIES

METHOD = "least squares over the mean time at each K"


def fitted_model(
    candidates: np.ndarray, ms: np.ndarray, draws: np.ndarray, level: float, predict: Sequence[int]
) -> dict[str, Any] | None:
    """The model as plain JSON data; None where the means cover a single K.

    candidates: float64, shape (S, Q), docs given to the reranker for S sizes and Q queries. ms:
    float64, shape (S, Q), the mean time over repeats. draws: see `percentiles.resampled`. predict:
    the K to predict; a prediction is None where the line says zero or less, which is no time. r2
    and the largest residual of two sizes say nothing, since a line meets any two points: they are
    None.
    """
    x, y = candidates.mean(axis=1), ms.mean(axis=1)
    if len(np.unique(x)) < 2:
        return None
    a, b = (float(part[0]) for part in _least_squares(x[:, None], y[:, None]))
    residuals = y - (a + b * x)
    worst = int(np.abs(residuals).argmax())
    exact = len(np.unique(x)) == 2
    spread = ((y - y.mean()) ** 2).sum()
    return {
        "a_ms": a,
        "b_ms": b,
        "r2": None if exact or spread == 0 else float(1 - (residuals**2).sum() / spread),
        "largest_residual_ms": None if exact else float(residuals[worst]),
        "largest_residual_k": None if exact else float(x[worst]),
        "method": METHOD,
        "candidates": x.tolist(),
        "mean_ms": y.tolist(),
        **_intervals(candidates, ms, draws, level, predict, (a, b)),
    }


def _intervals(
    candidates: np.ndarray,
    ms: np.ndarray,
    draws: np.ndarray,
    level: float,
    predict: Sequence[int],
    fit: tuple[float, float],
) -> dict[str, Any]:
    """Intervals of a and b, and the predictions with theirs."""
    tail = (1 - level) / 2
    several = ms.shape[1] >= LEAST_QUERIES
    a, b = _resampled_fits(candidates, ms, draws) if several else (np.empty(0), np.empty(0))

    def interval(values: np.ndarray) -> list[float | None]:
        return np.quantile(values, [tail, 1 - tail]).tolist() if len(values) else [None, None]

    measured = candidates.mean(axis=1)
    predictions = [
        {
            "k": k,
            "mean_ms": at if (at := fit[0] + fit[1] * k) > 0 else None,
            "ci": interval(a + b * k) if at > 0 else [None, None],
            "predicted": True,
            "extrapolated": not measured.min() <= k <= measured.max(),
        }
        for k in predict
    ]
    return {"ci": {"a_ms": interval(a), "b_ms": interval(b)}, "predictions": predictions}


def _resampled_fits(
    candidates: np.ndarray, ms: np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """a and b of each resample whose means cover more than one K: float64, shape (≤ resamples,)."""
    x, y = candidates[:, draws].mean(axis=2), ms[:, draws].mean(axis=2)
    usable = np.ptp(x, axis=0) > 0
    return _least_squares(x[:, usable], y[:, usable])


def _least_squares(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intercept and slope of each column; x, y: float64, shape (S, columns)."""
    centred = x - x.mean(axis=0)
    slope = (centred * y).sum(axis=0) / (centred**2).sum(axis=0)
    return y.mean(axis=0) - slope * x.mean(axis=0), slope
