"""Maps from a reranker's score to the probability that the doc is relevant, and how to fit them.

Platt scaling: Platt 1999, with his smoothed targets. Temperature: Guo et al., ICML 2017. Isotonic
regression: Zadrozny and Elkan, KDD 2002. Each is monotone: a higher score is never less likely.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from evalkit.errors import ConfigError

METHODS = ("platt", "temperature", "isotonic")
log = logging.getLogger(__name__)


class Calibration(Protocol):
    """A fitted map; `parameters` is plain JSON data."""

    @property
    def parameters(self) -> dict[str, Any]: ...

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """float64 in [0, 1], shape (n,), for scores of shape (n,)."""
        ...


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), float64; through tanh, which does not overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))


@dataclass(frozen=True)
class Platt:
    """σ(a · score + b), a ≥ 0."""

    a: float
    b: float

    @property
    def parameters(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b}

    def probability(self, scores: np.ndarray) -> np.ndarray:
        return sigmoid(self.a * np.asarray(scores, dtype=np.float64) + self.b)


@dataclass(frozen=True)
class Temperature:
    """σ(score / temperature), temperature > 0: for scores that are logits already."""

    temperature: float

    @property
    def parameters(self) -> dict[str, Any]:
        return {"temperature": self.temperature}

    def probability(self, scores: np.ndarray) -> np.ndarray:
        return sigmoid(np.asarray(scores, dtype=np.float64) / self.temperature)


@dataclass(frozen=True, eq=False)
class Isotonic:
    """A non-decreasing broken line through (scores, probabilities), level beyond its ends.

    Both float64, shape (m,), scores ascending.
    """

    scores: np.ndarray
    probabilities: np.ndarray

    @property
    def parameters(self) -> dict[str, Any]:
        pairs = zip(self.scores.tolist(), self.probabilities.tolist(), strict=True)
        return {"knots": len(self.scores), "curve": [list(pair) for pair in pairs]}

    def probability(self, scores: np.ndarray) -> np.ndarray:
        return np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.probabilities)


def fit(method: str, scores: np.ndarray, labels: np.ndarray, smoothing: bool = True) -> Calibration:
    """The map of this method that makes the labels likeliest.

    scores: float, shape (n,). labels: bool, shape (n,), True for relevant. smoothing (platt): the
    targets are (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2) in place of 1 and 0, so that few labels do not
    make the map certain. ConfigError for labels of one kind, and where no finite map is best.
    """
    scores = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(labels, dtype=bool)
    if method not in METHODS:
        raise ConfigError(f"method={method}; expected one of {', '.join(METHODS)}")
    if labels.all() or not labels.any():
        raise ConfigError(
            f"{int(labels.sum())} relevant of {len(labels)} docs, and both kinds are needed; "
            "count unjudged docs as not relevant, take a larger K or another split"
        )
    if method == "platt":
        return _platt(scores, labels, smoothing)
    return _temperature(scores, labels) if method == "temperature" else _isotonic(scores, labels)


def _platt(scores: np.ndarray, labels: np.ndarray, smoothing: bool) -> Platt:
    positive = int(labels.sum())
    high, low = (positive + 1) / (positive + 2), 1 / (len(labels) - positive + 2)
    targets = np.where(labels, high, low) if smoothing else labels.astype(np.float64)
    # Lin, Lin and Weng 2007 show how the fit goes wrong on badly scaled scores: cosines differ by
    # hundredths, logits by tens.
    centre, spread = float(scores.mean()), float(scores.std())
    if spread > 0 and not smoothing and scores[~labels].max() <= scores[labels].min():
        raise ConfigError(
            "every relevant doc scores above every other one, which fits any slope, however "
            "steep; set smoothing=true"
        )
    slope, offset = 0.0, 0.0
    if spread > 0:
        slope, offset = _logistic((scores - centre) / spread, targets, intercept=True)
    if slope <= 0:
        log.warning(
            "scores do not rise with relevance where they are calibrated; each doc is given the "
            "share of relevant ones, and the order stays"
        )
        mean = float(targets.mean())
        return Platt(0.0, float(np.log(mean / (1 - mean))))
    return Platt(slope / spread, offset - slope * centre / spread)


def _temperature(scores: np.ndarray, labels: np.ndarray) -> Temperature:
    if labels[scores > 0].all() and not labels[scores < 0].any():
        raise ConfigError(
            "every doc above 0 is relevant and none below, which fits any temperature, however "
            "low; take method=platt"
        )
    spread = float(np.sqrt((scores**2).mean()))
    slope = _logistic(scores / spread, labels.astype(np.float64), intercept=False)[0]
    if slope <= 0:
        raise ConfigError(
            f"no temperature fits scores from {scores.min():.4g} to {scores.max():.4g} of which "
            f"{100 * labels.mean():.2g} % are relevant: σ(score / T) is 0.5 at score 0, so they "
            "are no logits; take method=platt"
        )
    return Temperature(spread / slope)


def _logistic(scores: np.ndarray, targets: np.ndarray, intercept: bool) -> tuple[float, float]:
    """Slope and offset of the unpenalised logistic regression of targets in [0, 1]."""
    from sklearn.linear_model import LogisticRegression

    # scikit-learn takes labels, not shares: each score stands once for either label.
    twice = np.concatenate([scores, scores])[:, None]
    labels = np.repeat([True, False], len(scores))
    weights = np.concatenate([targets, 1.0 - targets])
    used = weights > 0
    # Newton's method: with one feature a step costs nothing, and it ends at the optimum itself.
    model = LogisticRegression(
        C=np.inf, solver="newton-cholesky", fit_intercept=intercept, tol=1e-10
    ).fit(twice[used], labels[used], weights[used])
    return float(model.coef_[0, 0]), float(np.atleast_1d(model.intercept_)[0])


def _isotonic(scores: np.ndarray, labels: np.ndarray) -> Isotonic:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0.0, y_max=1.0).fit(scores, labels.astype(np.float64))
    return Isotonic(
        np.asarray(model.X_thresholds_, dtype=np.float64),
        np.asarray(model.y_thresholds_, dtype=np.float64),
    )
