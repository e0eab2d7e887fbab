"""How far probabilities of relevance can be trusted: calibration error, Brier score, reliability.

Expected calibration error: Naeini et al., AAAI 2015; Guo et al., ICML 2017. In bins of equal mass:
Nguyen and O'Connor, EMNLP 2015; where nearly all probabilities are small, as among candidates, bins
of equal width put nearly all of them into the first one. Brier score: Brier 1950.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from evalkit.errors import DataError

Bins = Literal["width", "mass"]
BINS = 15  # as Guo et al.
LEVEL = 0.95


class ReliabilityCurve(NamedTuple):
    """Bins that hold anything, in ascending order of probability; each of shape (m,).

    docs: how many, int64. probability: their mean. relevant: the share of relevant docs. low, high:
    the interval of that share at LEVEL, as if the docs were drawn independently (Wilson 1927).
    """

    docs: np.ndarray
    probability: np.ndarray
    relevant: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def as_json(self) -> dict[str, Any]:
        return {name: np.round(c, 6).tolist() for name, c in self._asdict().items()}


def reliability_curve(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS, by: Bins = "width"
) -> ReliabilityCurve:
    """Share of relevant docs per bin of probability, to be compared with the bin's mean.

    probabilities: float in [0, 1], shape (n,). labels: bool, shape (n,). by: bins of equal "width",
    or of equal "mass"; docs of one probability are in one bin. DataError for no docs.
    """
    probabilities, labels = _checked(probabilities, labels)
    place = _places(probabilities, bins, by)
    count = np.bincount(place)
    filled = np.flatnonzero(count)
    count = count[filled]
    relevant = np.bincount(place, labels)[filled]
    ends = [_wilson(int(k), int(n)) for k, n in zip(relevant, count, strict=True)]
    low, high = np.array(ends).T
    mean = np.bincount(place, probabilities)[filled] / count
    return ReliabilityCurve(count, mean, relevant / count, low, high)


def calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS, by: Bins = "width"
) -> float:
    """Expected calibration error: mean over docs of |share of relevant - probability| of their bin.

    Arguments as of `reliability_curve`.
    """
    curve = reliability_curve(probabilities, labels, bins, by)
    return float(np.average(np.abs(curve.relevant - curve.probability), weights=curve.docs))


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared difference of probability and label: 0 is best, 0.25 is always saying 0.5."""
    probabilities, labels = _checked(probabilities, labels)
    return float(np.mean((probabilities - labels) ** 2))


def _checked(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if not len(probabilities):
        raise DataError("no docs with a probability and a label; reliability needs at least one")
    low, high = float(probabilities.min()), float(probabilities.max())
    if not (low >= 0 and high <= 1):
        raise DataError(f"probabilities from {low:.4g} to {high:.4g}; expected 0 to 1")
    return probabilities, np.asarray(labels, dtype=np.float64)


def _places(probabilities: np.ndarray, bins: int, by: Bins) -> np.ndarray:
    """Each probability's bin: int64, shape (n,)."""
    if by == "width":
        return np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    inner = np.quantile(probabilities, np.arange(1, bins) / bins)
    return np.searchsorted(np.unique(inner), probabilities, side="left")


def _wilson(relevant: int, count: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    found = binomtest(relevant, count).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)
