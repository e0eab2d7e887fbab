"""Confirmed: half precision for all candidates, float32 for those that may reach the top.

A half-precision score is off by rounding, which changes places among docs of near-equal scores.
Only those whose scores are near the best need the other digits.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from evalkit.errors import ConfigError
from evalkit.rerankers.classifier import ClassifierScorer
from evalkit.rerankers.composed import ComposedReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.run import Run
from evalkit.types import Dataset, Neighbours, Query, fingerprint

log = logging.getLogger(__name__)

EXACT = "float32"


class ConfirmedReranker(ComposedReranker):
    """A reranker in half precision, whose best docs float32 has confirmed.

    of: the reranker, one on evalkit's engine. top: docs a query that are to be float32's, in its
    order and with its scores. slack: how far half precision may be off, in units of the score.
    A doc is scored again in float32 if its score is within 2 · slack of that at rank `top`, or
    better: no other can be among float32's best, as long as no score is off by more than `slack`.
    How far those that were scored twice were off is in `details`; more than `slack` is warned of.
    Below the top, scores and order are half precision's. Where `of` is in float32 it is this one.
    """

    def __init__(self, of: str, top: int = 10, slack: float = 0.25) -> None:
        if top < 1 or slack < 0:
            raise ConfigError(f"confirmed: top={top}, slack={slack}; expected top ≥ 1, slack ≥ 0")
        self.of, self.top, self.slack = of, top, slack
        self._again = f"{of}.{EXACT}"
        super().__init__([of])

    def connect(self, name: str, neighbours: Neighbours) -> None:
        """Find the reranker, and make the one in float32 beside it."""
        super().connect(name, neighbours)
        part = self.parts[self.of]
        if not isinstance(part, PointwiseReranker) or not isinstance(part.scorer, ClassifierScorer):
            raise ConfigError(
                f"reranker.{name}.of: '{self.of}' is not on evalkit's engine; expected a "
                "cross-encoder or a BGE encoder with engine=fast"
            )
        if part.scorer.dtype != EXACT:
            self.parts[self._again] = part.with_scorer(part.scorer.with_dtype(EXACT))

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "Confirmed", parts=self.part_fingerprints(), top=self.top, slack=self.slack
        )

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        self.work = {}
        half = self.call(self.of, queries, dataset, candidates)
        if self._again not in self.parts:
            return half
        near = half.where(self._near(half))
        exact = half.scores_in(self.call(self._again, queries, dataset, near))
        off = float(np.nan_to_num(np.abs(exact - half.scores)).max(initial=0.0))
        if off > self.slack:
            log.warning(
                "reranker.%s: half precision is off by up to %.3g, more than slack=%g, so that a "
                "doc may be missing from the best %d; set reranker.%s.slack=%.2g",
                self.name, off, self.slack, self.top, self.name, 2 * off,
            )  # fmt: skip
        size = int(candidates.sizes.max(initial=0))
        self.details[f"K={size}"] = {
            # Not len(near): of queries in a language that is left alone nothing is scored.
            "scored again a query": round(
                self.work[f"{self._again} asked"] / max(len(half.query_ids), 1), 2
            ),
            "off by at most": round(off, 4),
        }
        return half.with_scores(np.where(np.isnan(exact), half.scores, exact))

    def _near(self, run: Run) -> np.ndarray:
        """Which docs may be among the best `top` once all are in float32: bool, shape (n,)."""
        if len(run) == 0:
            return np.zeros(0, dtype=bool)
        at = run.offsets[:-1] + np.minimum(run.sizes, self.top) - 1
        return np.asarray(run.scores >= run.scores[at][run.rows] - 2 * self.slack)
