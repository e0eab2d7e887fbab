"""Fusing rankings of the same queries: reciprocal rank fusion and a weighted sum of scores.

RRF: Cormack, Clarke and Büttcher, SIGIR 2009: score(d) = Σ_runs w / (k + rank(d)), ranks from 1.
Weighted sum: scores normalised per query and run; a doc that a run did not return counts with the
run's lowest normalised score there (0 under min-max), the usual choice (Lee, SIGIR 1997; ranx).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.errors import ConfigError
from evalkit.run import Run, union

NORMALISATIONS = ("min_max", "z_score", "rank", "sigmoid")
# Under these a doc that a run did not return scores 0, below all that it did.
_ZERO_BASED = ("min_max", "rank")


def _checked_weights(runs: Sequence[Run], weights: Sequence[float] | None) -> Sequence[float]:
    if weights is None:
        return [1.0] * len(runs)
    if len(weights) != len(runs):
        raise ConfigError(f"{len(weights)} fusion weights for {len(runs)} runs; give one a run")
    return weights


def rrf(runs: Sequence[Run], k: float = 60.0, weights: Sequence[float] | None = None) -> Run:
    """Reciprocal rank fusion; ranks are those of the canonical order, computed in float64."""
    weights = _checked_weights(runs, weights)
    fused = union(runs)
    total = np.zeros(len(fused), dtype=np.float64)
    for run, weight in zip(runs, weights, strict=True):
        # Ranks go through a Run's float32 scores, exact up to 2**24 results a query.
        rank = fused.scores_in(Run(**{**vars(run), "scores": (run.ranks + 1).astype(np.float32)}))
        total += np.where(np.isnan(rank), 0.0, weight / (k + rank.astype(np.float64)))
    return fused.with_scores(total.astype(np.float32))


def normalised(
    run: Run,
    method: str,
    temperature: float = 1.0,
    clip: tuple[float, float] | None = None,
) -> np.ndarray:
    """Scores normalised within each query: float64, shape (n,).

    min_max: to [0, 1]; z_score: mean 0, standard deviation 1; rank: (n - rank) / n with ranks from
    0, so 1 for the first; sigmoid: 1 / (1 + exp(-score / temperature)), which looks at no other
    score. Where all scores of a query are equal, min_max gives 1 (each is the best) and z_score 0.
    clip: bounds put on the scores before that, against outliers.
    """
    if method not in NORMALISATIONS:
        raise ConfigError(f"normalisation '{method}' is unknown; choose from {NORMALISATIONS}")
    scores = run.scores.astype(np.float64)
    if len(scores) == 0:
        return scores
    if clip is not None:
        scores = np.clip(scores, *clip)
    rows, sizes = run.rows, np.maximum(run.sizes, 1)
    if method == "sigmoid":
        return 0.5 * (1.0 + np.tanh(0.5 * scores / temperature))
    if method == "rank":
        return (sizes[rows] - run.ranks) / sizes[rows]
    if method == "min_max":
        filled = np.flatnonzero(run.sizes)
        high, low = np.zeros(len(sizes)), np.zeros(len(sizes))
        high[filled] = scores[run.offsets[:-1][filled]]
        low[filled] = scores[run.offsets[1:][filled] - 1]
        span = high - low
        flat = span == 0
        return np.where(flat[rows], 1.0, (scores - low[rows]) / np.where(flat, 1.0, span)[rows])
    mean = np.bincount(rows, scores, len(sizes)) / sizes
    spread = np.sqrt(np.bincount(rows, (scores - mean[rows]) ** 2, len(sizes)) / sizes)
    return (scores - mean[rows]) / np.where(spread == 0, 1.0, spread)[rows]


def weighted_sum(
    runs: Sequence[Run],
    weights: Sequence[float] | None = None,
    normalisation: str = "min_max",
) -> Run:
    """Σ_runs weight × normalised score over the union of the runs' docs."""
    weights = _checked_weights(runs, weights)
    fused = union(runs)
    total = np.zeros(len(fused), dtype=np.float64)
    for run, weight in zip(runs, weights, strict=True):
        scores = normalised(run, normalisation)
        lowest = np.zeros(len(run.query_ids))
        filled = np.flatnonzero(run.sizes)
        if normalisation not in _ZERO_BASED:
            lowest[filled] = scores[run.offsets[1:][filled] - 1]
        theirs = fused.scores_in(Run(**{**vars(run), "scores": scores.astype(np.float32)}))
        total += weight * np.where(np.isnan(theirs), lowest[fused.rows], theirs.astype(np.float64))
    return fused.with_scores(total.astype(np.float32))
