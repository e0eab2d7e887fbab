"""Exact top k in canonical order, ties at the border included."""

from __future__ import annotations

import numpy as np


def top_k(scores: np.ndarray, k: int, order_of_ids: np.ndarray) -> np.ndarray:
    """Positions of the k best of n scores, in canonical order: int64, shape (min(k, n),).

    scores: float32, shape (n,). order_of_ids: int, shape (n,), each doc's place when ids are sorted
    ascending; among equal scores the higher id wins, which a plain partial sort leaves to chance.
    """
    if k >= len(scores):
        chosen = np.arange(len(scores))
    else:
        border = np.partition(scores, len(scores) - k)[len(scores) - k]
        chosen = np.flatnonzero(scores >= border)
    order = np.lexsort((-order_of_ids[chosen], -scores[chosen]))
    return chosen[order[:k]]


def order_of(ids: np.ndarray) -> np.ndarray:
    """Each id's place when ids are sorted ascending: int64, shape (n,)."""
    places = np.empty(len(ids), dtype=np.int64)
    places[np.argsort(ids, kind="stable")] = np.arange(len(ids))
    return places
