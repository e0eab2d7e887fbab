"""Corrections of p-values for the number of comparisons made.

Bonferroni and Holm (1979) bound the chance of any false positive, Holm with more power; Benjamini
and Hochberg (1995) bound the expected share of false ones among the positives. Equal to
statsmodels' `multipletests`, which takes half a second to load and collects garbage at each call.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from evalkit.errors import ConfigError
from evalkit.settings import Correction

IN_WORDS = {
    "holm": "Holm",
    "bonferroni": "Bonferroni",
    "bh": "Benjamini–Hochberg",
    "none": "no correction",
}


def corrected(p: np.ndarray, correction: Correction = "holm") -> np.ndarray:
    """p-values of one family, corrected: float64, shape (C,). NaN stays NaN and does not count."""
    if correction not in IN_WORDS:
        raise ConfigError(f"correction={correction}: expected one of {', '.join(IN_WORDS)}")
    known = ~np.isnan(p)
    adjusted = np.full(len(p), np.nan)
    adjusted[known] = _ADJUST[correction](p[known])
    return adjusted


def _holm(p: np.ndarray) -> np.ndarray:
    order = np.argsort(p)
    factors = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def _benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    from scipy.stats import false_discovery_control

    return false_discovery_control(p, method="bh") if len(p) else p


_ADJUST: dict[Correction, Callable[[np.ndarray], np.ndarray]] = {
    "holm": _holm,
    "bonferroni": lambda p: np.minimum(p * len(p), 1.0),
    "bh": _benjamini_hochberg,
    "none": np.copy,
}
