"""Probabilities as scores of a ranking, whose order must stay that of the raw scores."""

from __future__ import annotations

import numpy as np

from evalkit.run import Run

# What is rarer than one in a billion is not told apart by its value, only by its place.
_LEAST = 2.0**-30
# The distance of two float32 just below 1.
_STEP_BELOW_1 = 2.0**-24
# More than the bits of two float32 in [0, 1] differ by, with room for a step per doc.
_APART = 1 << 33


def in_order_of(ranked: Run, probabilities: np.ndarray) -> Run:
    """The ranking under these probabilities, each doc in the place that it has in `ranked`.

    probabilities: float64 in [0, 1], shape (n,), of the run's results, non-decreasing in their
    score. Where scores differ and probabilities are the same (a level stretch of an isotonic map; a
    sigmoid near its ends), the doc with the higher score gets the next larger float32 and so on,
    one part in eight million a doc. Raised, never lowered: what reaches a threshold still does.
    Scores that are tied stay tied.
    """
    if len(ranked) == 0:
        return ranked
    highest = 1.0 - float(ranked.sizes.max()) * _STEP_BELOW_1
    values = np.clip(probabilities, _LEAST, highest).astype(np.float32)
    # From the last doc to the first; the bits of positive floats are ordered as the floats are.
    bits = values[::-1].view(np.int32).astype(np.int64)
    raw, rows = ranked.scores[::-1], ranked.rows[::-1]
    rises = np.concatenate([[False], (raw[1:] != raw[:-1]) | (rows[1:] != rows[:-1])])
    level = np.cumsum(rises)
    # Queries are set apart, so that one running maximum serves all of them.
    apart = (rows[0] - rows) * _APART
    raised = np.maximum.accumulate(bits - level + apart) + level - apart
    return ranked.with_scores(raised.astype(np.int32)[::-1].view(np.float32))
