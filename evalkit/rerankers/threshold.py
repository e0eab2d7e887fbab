"""Threshold: what scores below it is dropped, or keeps the first stage's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from evalkit.errors import ConfigError
from evalkit.fusion import NORMALISATIONS, normalised
from evalkit.rerankers.composed import ComposedReranker
from evalkit.run import Run
from evalkit.types import Dataset, Query, fingerprint

SCALES = ("score", *NORMALISATIONS)


class ThresholdReranker(ComposedReranker):
    """A reranker whose opinion counts only where its score reaches `threshold`.

    of: the reranker; None for the first stage's own scores. scale: "score" as the reranker gives
    it, or normalised first (see `fusion.normalised`; sigmoid makes a logit a probability). mode:
    "hard" drops docs below the threshold, but never a query's best `keep_least`; "soft" puts them
    under the others in the order of the first stage.
    """

    def __init__(
        self,
        of: str | None,
        threshold: float,
        mode: Literal["hard", "soft"] = "hard",
        scale: str = "score",
        temperature: float = 1.0,
        keep_least: int = 0,
    ) -> None:
        if scale not in SCALES:
            raise ConfigError(f"threshold: scale={scale}; expected one of {', '.join(SCALES)}")
        if keep_least < 0 or temperature <= 0:
            raise ConfigError(
                f"threshold: keep_least={keep_least}, temperature={temperature}; expected "
                "keep_least ≥ 0, temperature > 0"
            )
        self.of, self.threshold, self.mode, self.scale = of, threshold, mode, scale
        self.temperature, self.keep_least = temperature, keep_least
        super().__init__([] if of is None else [of])
        self.drops = mode == "hard"

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "Threshold",
            parts=self.part_fingerprints(),
            threshold=self.threshold,
            mode=self.mode,
            scale=self.scale,
            temperature=self.temperature,
            keep_least=self.keep_least,
        )

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        self.work = {}
        ranked = candidates if self.of is None else self.call(self.of, queries, dataset, candidates)
        values = (
            ranked.scores
            if self.scale == "score"
            else normalised(ranked, self.scale, self.temperature)
        )
        passed = (values >= self.threshold) | (ranked.ranks < self.keep_least)
        size = int(candidates.sizes.max(initial=0))
        self.details[f"K={size}"] = {
            "passed_share": round(float(passed.mean()), 4) if len(passed) else 0.0,
            "docs_a_query": round(float(passed.sum()) / max(len(ranked.query_ids), 1), 2),
        }
        best = ranked.where(passed)
        if self.mode == "hard":
            return best
        # What the reranker itself dropped stays away.
        return _on_top(best, candidates.where(~np.isnan(candidates.scores_in(ranked))))


def _on_top(best: Run, candidates: Run) -> Run:
    """`best` above the other candidates, which keep their order; scores are n - rank."""
    merged = candidates.reranked(best)
    return merged.with_scores((merged.sizes[merged.rows] - merged.ranks).astype(np.float32))
