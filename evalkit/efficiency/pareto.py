"""Which systems are dominated: another one is as good and as cheap, and better in one of the two.

Cheap is whatever is spent: milliseconds, money, joules. Point estimates alone call systems
dominated that are no different, so a second mark says where the intervals agree too: `beyond`
holds where a system of the frontier is better by a paired difference whose interval lies above
zero, and its spending's interval lies below this one's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.measures.bootstrap import LEVEL, RESAMPLES, bootstrap_intervals
from evalkit.types import IntervalMethod


@dataclass(frozen=True)
class Standing:
    """A system's place. by: the position of the frontier's system that dominates it, the best one
    there is for the same spending or less; None on the frontier. beyond: see the module."""

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
) -> list[Standing]:
    """Each system's place, in input order.

    quality: the measure by query, float64, shape (Q, S), higher is better. spent: float64, shape
    (S,). spent_intervals: shape (S, 2), low and high; None for figures that are exact, as prices.
    """
    means = quality.mean(axis=0)
    exact = np.stack([spent, spent], axis=1)
    bounds = exact if spent_intervals is None else spent_intervals
    better = _dominates(means, spent)
    frontier = np.flatnonzero(~better.any(axis=0))
    found = []
    for i in range(len(spent)):
        over = [j for j in frontier if better[j, i]]
        if not over:
            found.append(Standing(False, None, False))
            continue
        best = max(over, key=lambda j: (means[j], -spent[j]))
        differences = quality[:, over] - quality[:, [i]]
        lows = bootstrap_intervals(differences, resamples, level, seed, method)[:, 0]
        cheaper = bounds[over, 1] < bounds[i, 0]
        found.append(Standing(True, int(best), bool(np.any((lows > 0) & cheaper))))
    return found


def _dominates(means: np.ndarray, spent: np.ndarray) -> np.ndarray:
    """[j, i]: j is at least as good and as cheap as i, and better in one: bool, shape (S, S)."""
    as_good, as_cheap = means[:, None] >= means[None], spent[:, None] <= spent[None]
    strictly = (means[:, None] > means[None]) | (spent[:, None] < spent[None])
    return as_good & as_cheap & strictly
