"""nDCG's parts (Järvelin and Kekäläinen, TOIS 2002), as trec_eval has them.

A doc at rank r, counted from 1, adds its gain / log2(r + 1). The gain of a doc is its grade, or
what `gains` says for its grade; docs that are unjudged or gain less than 0 add nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evalkit.measures.judged import Judgements, ordinals

Gains = Mapping[int, int]


def discounted(grades: np.ndarray, ranks: np.ndarray, gains: Gains) -> np.ndarray:
    """What docs of these grades add to DCG at these ranks, from 0: float64, same shape."""
    return _gained(grades, gains) / np.log2(ranks + 2.0)


def ideal_dcg(judgements: Judgements, gains: Gains, cutoff: int) -> np.ndarray:
    """The DCG that no ranking can exceed at this cutoff: float64, shape (Q,)."""
    order = np.lexsort((-_gained(judgements.grades, gains), judgements.queries))
    queries, grades = judgements.queries[order], judgements.grades[order]
    ranks = ordinals(queries)
    seen = ranks < cutoff
    added = discounted(grades[seen], ranks[seen], gains)
    return np.bincount(queries[seen], added, minlength=len(judgements.query_ids))


def _gained(grades: np.ndarray, gains: Gains) -> np.ndarray:
    gained = grades.astype(np.float64)
    for grade, gain in gains.items():
        gained[grades == grade] = gain
    return np.maximum(gained, 0.0)
