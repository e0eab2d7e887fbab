"""Calibrated: a reranker whose scores are probabilities of relevance, in the order that it gave.

A map from score to probability is fitted to judged docs among the candidates of another split's
queries, or of the other folds' queries where there is no other split; see `calibration.maps`. What
comes of it is measured on the evaluated queries, none of which the map that serves it has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from evalkit.calibration.maps import METHODS
from evalkit.calibration.order import in_order_of
from evalkit.calibration.reliability import BINS
from evalkit.errors import ConfigError
from evalkit.rerankers.calibration_lesson import Maps, fitted_maps, labelled, told
from evalkit.rerankers.composed import ComposedReranker
from evalkit.rerankers.lessons import Lesson, lesson_for
from evalkit.run import Run
from evalkit.types import Dataset, Query, fingerprint


class CalibratedReranker(ComposedReranker):
    """A reranker's scores as probabilities, fitted for each first stage and K; the order stays.

    of: the reranker. method: "platt", σ(a · score + b); "temperature", σ(score / T), for logits;
    "isotonic", any non-decreasing map. split: where it is fitted, never on queries that are
    evaluated too; None, or one that is not there, for cross-fitting in `folds`. unjudged: a doc
    without a judgement is "non_relevant", or left out ("skip"), which needs judged docs that are
    not relevant. smoothing: Platt's smoothed targets. raw: how the scores are read as probabilities
    before, for comparison: "sigmoid", or the "score" itself, cut to [0, 1]. bins: of the
    calibration error. precision: for which the least threshold is told; None for none.
    """

    def __init__(
        self,
        of: str,
        method: Literal["platt", "temperature", "isotonic"] = "platt",
        split: str | None = "train",
        folds: int = 5,
        unjudged: Literal["non_relevant", "skip"] = "non_relevant",
        smoothing: bool = True,
        raw: Literal["sigmoid", "score"] = "sigmoid",
        bins: int = BINS,
        precision: float | None = None,
    ) -> None:
        if method not in METHODS:
            raise ConfigError(f"calibrated: method={method}; expected one of {', '.join(METHODS)}")
        if folds < 2 or bins < 2 or not (precision is None or 0 < precision <= 1):
            raise ConfigError(
                f"calibrated: folds={folds}, bins={bins}, precision={precision}; expected folds "
                "≥ 2, bins ≥ 2, 0 < precision ≤ 1 or null"
            )
        self.of, self.method, self.split, self.folds = of, method, split, folds
        self.unjudged, self.smoothing, self.raw = unjudged, smoothing, raw
        self.bins, self.precision = bins, precision
        super().__init__([of])
        self.fitted = True
        self._cell: int | None = None
        # For all first stages: those who use this one share what it fits.
        self._maps: dict[tuple[str, str, int], Maps] = {}

    def at_k(self, k: int) -> None:
        self._cell = k

    def check(self, depth: int) -> None:
        """Raise what is wrong with the part, or that there are too few queries to fold."""
        super().check(depth)
        if self.neighbours is None:
            return
        lesson = self._lesson(self.neighbours.dataset)
        if lesson.folds > len(lesson.queries):
            raise ConfigError(
                f"reranker.{self.name}.folds={self.folds} for the {len(lesson.queries)} queries "
                f"of {lesson.dataset.dataset_id}; expected at most one a query"
            )

    def _lesson(self, dataset: Dataset) -> Lesson:
        """What serves the queries of `dataset`, which is the evaluated one, or another split of it
        on which what is made of this reranker is fitted in turn."""
        evaluated = dataset if self.neighbours is None else self.neighbours.dataset
        lesson = lesson_for(evaluated, self.split, self.folds)
        return lesson if lesson.folds == 1 else lesson_for(dataset, None, self.folds)

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "Calibrated",
            parts=self.part_fingerprints(),
            method=self.method,
            split=self.split,
            folds=self.folds,
            unjudged=self.unjudged,
            smoothing=self.smoothing if self.method == "platt" else None,
        )

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        self.work = {}
        found = self.call(self.of, queries, dataset, candidates)
        size = int(candidates.sizes.max(initial=0))
        if not len(found):
            return found
        lesson = self._lesson(dataset)
        key = self.retriever, lesson.title, size
        if key not in self._maps:
            self._maps[key] = fitted_maps(self, lesson, candidates, found)
        maps = self._maps[key]
        probabilities = maps.probability(found)
        labels = labelled(found, dataset, self.unjudged)
        shown = size if self._cell is None else self._cell
        self.details[f"K={shown}"] = told(self, maps, found, probabilities, labels)
        return in_order_of(found, probabilities)

    def estimate(self, sizes: np.ndarray) -> dict[str, int]:
        """The reranker's cost, on the queries that the map is fitted on too."""
        found = super().estimate(sizes)
        if self.neighbours is None:
            return found
        lesson = self._lesson(self.neighbours.dataset)
        if lesson.folds == 1:
            deepest = np.full(len(lesson.queries), sizes.max(initial=0))
            for unit, amount in self.estimate_part(self.of, deepest).items():
                found[f"{unit} on {self.split}"] = amount
        return found
