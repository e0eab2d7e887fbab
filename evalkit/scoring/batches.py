"""Batches by tokens: longest pairs first, as many as a token budget holds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def batches(lengths: np.ndarray, budget: int, padded: bool) -> Iterator[np.ndarray]:
    """Positions of n sequences of these lengths, in batches: int64 arrays.

    Longest first, so that what needs the most memory is tried at once, and so that a batch holds
    sequences of about one length. budget: tokens a batch, those of padding included if `padded`; a
    sequence longer than the budget is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    taken = np.concatenate([[0], np.cumsum(lengths[order])])
    start = 0
    while start < len(order):
        if padded:
            end = start + budget // max(int(lengths[order[start]]), 1)
        else:
            end = int(np.searchsorted(taken, taken[start] + budget, side="right")) - 1
        end = max(end, start + 1)
        yield order[start:end]
        start = end
