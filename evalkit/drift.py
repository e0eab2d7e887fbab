"""Drift of scores: whether a system's scores are still distributed as they were.

Population stability index: Σ_bins (new - base) · ln(new / base), over bins that hold equal shares
of the base. Conventions, not tests, of credit scoring (Siddiqi 2006): below 0.1 no change worth
a look, above 0.25 a shift. Without any drift its mean is about (bins - 1)(1/n + 1/m) for n and m
independent scores (Yurdakul and Naranjo, Journal of Risk Model Validation 2020); scores of one
query are not independent, so that is the least to expect by chance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evalkit.errors import ConfigError, DataError

BINS = 10
NOTABLE = 0.1
ALARM = 0.25
PERCENTILES = np.arange(101)
# Added to each bin's count, so that an empty bin has a logarithm.
_HALF = 0.5


class ScoreDrift(NamedTuple):
    """How one system's scores changed; base, new: their percentiles 0 to 100, float64, (101,).

    psi: the stability index. chance: what to expect of it without drift, at the least. num_base,
    num_new: how many scores.
    """

    system: str
    psi: float
    chance: float
    num_base: int
    num_new: int
    base: np.ndarray
    new: np.ndarray


def score_drift(system: str, base: np.ndarray, new: np.ndarray, bins: int = BINS) -> ScoreDrift:
    """The drift from base to new scores: float, shapes (n,) and (m,), neither empty."""
    psi, chance = stability_index(base, new, bins), expected_by_chance(len(base), len(new), bins)
    before, after = (
        np.percentile(np.asarray(s, dtype=np.float64), PERCENTILES) for s in (base, new)
    )
    return ScoreDrift(system, psi, chance, len(base), len(new), before, after)


def stability_index(base: np.ndarray, new: np.ndarray, bins: int = BINS) -> float:
    """Population stability index of new scores against base ones; 0 is the same distribution.

    base, new: float, shapes (n,) and (m,). A score that a bin's share of the base has alone is a
    bin of its own, so that levels of a discrete score are told apart.
    """
    edges = _edges(base, new, bins)
    shares = []
    for scores in (base, new):
        counts = np.bincount(np.searchsorted(edges, scores, side="right"), minlength=len(edges) + 1)
        shares.append((counts + _HALF) / (len(scores) + _HALF * len(counts)))
    before, after = shares
    return float(np.sum((after - before) * np.log(after / before)))


def expected_by_chance(n: int, m: int, bins: int = BINS) -> float:
    """The index's mean for n and m independent scores of one distribution."""
    return (bins - 1) * (1 / n + 1 / m)


def _edges(base: np.ndarray, new: np.ndarray, bins: int) -> np.ndarray:
    """Ascending lower ends of the bins after the first: float64."""
    if bins < 2:
        raise ConfigError(f"bins={bins}; expected at least 2")
    if not len(base) or not len(new):
        raise DataError(f"{len(base)} base and {len(new)} new scores; expected at least one each")
    inner = np.quantile(np.asarray(base, dtype=np.float64), np.arange(1, bins) / bins)
    values, counts = np.unique(np.asarray(base, dtype=np.float64), return_counts=True)
    alone = values[(counts > 1) & (counts * bins >= len(base))]
    return np.unique(np.concatenate([inner, alone, np.nextafter(alone, np.inf)]))
