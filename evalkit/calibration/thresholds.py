"""Where to cut: precision against coverage, and the least threshold that a precision asks for.

Precision is that of all docs kept, over all queries together. Coverage: the share of docs, or of
queries, that are left with any (El-Yaniv and Wiener, JMLR 2010: risk and coverage).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from evalkit.errors import ConfigError, DataError

# Enough for the ends of a 95 % interval to stand still in the second digit.
RESAMPLES = 1000
LEVEL = 0.95


class Coverage(NamedTuple):
    """What thresholds keep; each of shape (m,), float64. relevant: the share of the relevant docs
    that is kept."""

    threshold: np.ndarray
    precision: np.ndarray
    docs: np.ndarray
    queries: np.ndarray
    relevant: np.ndarray

    def as_json(self) -> dict[str, Any]:
        return {name: np.round(c, 6).tolist() for name, c in self._asdict().items()}


def coverage(
    scores: np.ndarray,
    labels: np.ndarray,
    queries: np.ndarray,
    num_queries: int,
    thresholds: np.ndarray,
) -> Coverage:
    """Precision and coverage of {score ≥ threshold}; thresholds that keep nothing are left out.

    scores: float, labels: bool, queries: int from 0 to num_queries - 1, each of shape (n,).
    """
    labels = np.asarray(labels, dtype=bool)
    rows = []
    for threshold in thresholds:
        kept = scores >= threshold
        count, relevant = int(kept.sum()), int(labels[kept].sum())
        if count:
            share = len(np.unique(queries[kept])) / num_queries
            found = relevant / max(int(labels.sum()), 1)
            rows.append((threshold, relevant / count, count / len(scores), share, found))
    return Coverage(*np.array(rows, dtype=np.float64).reshape(-1, len(Coverage._fields)).T)


class _Steps(NamedTuple):
    """Docs by falling score, cut where the score changes: a threshold is one of `values`."""

    values: np.ndarray
    ends: np.ndarray
    labels: np.ndarray
    queries: np.ndarray

    def least(self, precision: float, weights: np.ndarray | None = None) -> float:
        each = np.ones(len(self.labels)) if weights is None else weights[self.queries]
        kept = np.cumsum(each)[self.ends]
        relevant = np.cumsum(each * self.labels)[self.ends]
        # A score that a resample does not hold is no threshold of it.
        held = np.diff(kept, prepend=0.0) > 0
        enough = np.flatnonzero(held & (relevant >= precision * kept))
        return float(self.values[enough[-1]]) if len(enough) else float("inf")


def _steps(scores: np.ndarray, labels: np.ndarray, queries: np.ndarray, precision: float) -> _Steps:
    if not 0 < precision <= 1:
        raise ConfigError(f"precision={precision}; expected above 0, at most 1")
    if not len(scores):
        raise DataError("no docs with a score and a label; a threshold needs at least one")
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    falling = np.asarray(scores, dtype=np.float64)[order]
    ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    return _Steps(falling[ends], ends, np.asarray(labels)[order] > 0, np.asarray(queries)[order])


def least_threshold(scores: np.ndarray, labels: np.ndarray, precision: float) -> float:
    """The least threshold at which the docs that reach it have this precision; inf for none.

    Precision need not rise with the threshold: one above it may reach less.
    """
    return _steps(scores, labels, np.zeros(len(scores), np.int64), precision).least(precision)


def threshold_interval(
    scores: np.ndarray,
    labels: np.ndarray,
    queries: np.ndarray,
    precision: float,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of `least_threshold`, by query: docs of one go together.

    queries: each doc's query, int, shape (n,). An end is inf where so many resamples have no
    threshold of that precision.
    """
    _, position = np.unique(queries, return_inverse=True)
    steps = _steps(scores, labels, position, precision)
    count = int(position.max()) + 1
    generator = np.random.default_rng(seed)
    even = np.full(count, 1.0 / count)
    found = np.sort(
        [
            steps.least(precision, generator.multinomial(count, even).astype(np.float64))
            for _ in range(resamples)
        ]
    )
    tail = (1.0 - level) / 2.0
    # Values that occur, not between two of them: one may be infinite.
    low, high = found[[int(tail * (resamples - 1)), int(np.ceil((1 - tail) * (resamples - 1)))]]
    return float(low), float(high)
