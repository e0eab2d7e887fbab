"""Which systems are dominated: another one is as good and as cheap, and better in one of the two.

Cheap is whatever is spent: milliseconds, money, joules. Point estimates alone call systems
dominated that are no different, so a second mark says where the intervals agree too: `beyond`
holds where a system of the frontier is better by a paired difference whose interval lies above
zero, and its spending's interval lies below this one's. And a system is spared by a more complex
one that is told apart from it in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalkit.measures.bootstrap import LEVEL, RESAMPLES, bootstrap_intervals
from evalkit.types import IntervalMethod


@dataclass(frozen=True)
class Standing:
    """A system's place. by: the position of the system that dominates it, the best one there is
    for the same spending or less, on the frontier where one of those is; None if not dominated.
    beyond: see the module."""

    dominated: bool
    by: int | None
    beyond: bool


def standings(
    quality: np.ndarray,
    spent: np.ndarray,
    spent_intervals: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    method: IntervalMethod = "percentile",
    spared: np.ndarray | None = None,
) -> list[Standing]:
    """Each system's place, in input order.

    quality: the measure by query, float64, shape (Q, S), higher is better. spent: float64, shape
    (S,). spent_intervals: shape (S, 2), low and high, NaN where not known; None for figures that
    are exact, as prices. spared: [j, i], bool, shape (S, S): j dominates i only if it is better by
    an interval; None for no such pair.
    """
    means = quality.mean(axis=0)
    exact = np.stack([spent, spent], axis=1)
    bounds = exact if spent_intervals is None else spent_intervals
    settings = (resamples, level, seed, method)
    better = _dominates(means, spent)
    if spared is not None:
        for i in range(len(spent)):
            more = np.flatnonzero(better[:, i] & spared[:, i])
            better[more, i] = _lows(quality, more, i, *settings) > 0
    frontier = np.flatnonzero(~better.any(axis=0))
    found = []
    for i in range(len(spent)):
        if not better[:, i].any():
            found.append(Standing(False, None, False))
            continue
        # What would dominate it from the frontier may be spared it; then those below are named.
        named = [int(j) for j in frontier if better[j, i]]
        over = named or np.flatnonzero(better[:, i]).tolist()
        best = max(over, key=lambda j: (means[j], -spent[j]))
        lows = _lows(quality, over, i, *settings)
        cheaper = bounds[over, 1] < bounds[i, 0]
        found.append(Standing(True, int(best), bool(np.any((lows > 0) & cheaper))))
    return found


def _lows(
    quality: np.ndarray, over: Sequence[int] | np.ndarray, i: int, *settings: Any
) -> np.ndarray:
    """The lower ends of the paired differences of `over` to i: float64, shape (len(over),)."""
    return bootstrap_intervals(quality[:, over] - quality[:, [i]], *settings)[:, 0]


def _dominates(means: np.ndarray, spent: np.ndarray) -> np.ndarray:
    """[j, i]: j is at least as good and as cheap as i, and better in one: bool, shape (S, S)."""
    as_good, as_cheap = means[:, None] >= means[None], spent[:, None] <= spent[None]
    strictly = (means[:, None] > means[None]) | (spent[:, None] < spent[None])
    return as_good & as_cheap & strictly
