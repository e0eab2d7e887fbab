"""Maximal marginal relevance: relevant, and unlike what already stands above.

Carbonell and Goldstein, SIGIR 1998: the next doc is the one with the highest
λ · relevance − (1 − λ) · (highest similarity to a doc already chosen).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evalkit.errors import ConfigError
from evalkit.fusion import normalised
from evalkit.models import MINILM
from evalkit.rerankers.composed import ComposedReranker
from evalkit.run import Run
from evalkit.similarities import SHINGLE_SIZE, Similar, compared_lists, text_similarity
from evalkit.types import DOC_TEMPLATE, Dataset, Query, checked_template, fingerprint


class MMRReranker(ComposedReranker):
    """Diversifies the order of another reranker, or of the first stage.

    of: the reranker's name; None for the candidates' own scores. weight: λ; 1 keeps its order, 0
    looks at novelty alone. Relevance is its score, min-max normalised per query. similarity:
    "embedding" (cosine) or "minhash", with the settings of `text_similarity`. depth: ranks that are
    chosen among all candidates in this way (None: all); the docs left over follow in their order.
    Equal values go by the order that was given.
    """

    def __init__(
        self,
        of: str | None = None,
        weight: float = 0.7,
        depth: int | None = None,
        similarity: str = "embedding",
        model: str = MINILM,
        revision: str | None = None,
        max_length: int | None = None,
        doc_prompt: str | None = None,
        dtype: str = "float32",
        batch_size: int = 32,
        shingles: str = "word",
        shingle_size: int = SHINGLE_SIZE,
        num_perm: int = 128,
        seed: int = 1,
        device: str | None = None,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        if not 0 <= weight <= 1:
            raise ConfigError(f"mmr: weight={weight}; expected 0 (novelty) to 1 (relevance)")
        if depth is not None and depth < 1:
            raise ConfigError(f"mmr: depth={depth}; expected at least 1, or null for all")
        self.of, self.weight, self.depth = of, float(weight), depth
        self.doc_template = checked_template(doc_template)
        self.similarity = text_similarity(
            similarity, model, revision, max_length, doc_prompt, dtype, batch_size, shingles,
            shingle_size, num_perm, seed, device, cache_dir,
        )  # fmt: skip
        super().__init__([] if of is None else [of])

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "MMR",
            parts=self.part_fingerprints(),
            weight=self.weight,
            depth=self.depth,
            similarity=self.similarity.fingerprint,
            doc_template=self.doc_template,
        )

    def check(self, depth: int) -> None:
        """Raise what is wrong with the part, the model or the installation; loads no weights."""
        super().check(depth)
        self.similarity.check()

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """The diversified order; scores are n - rank. `details`: the share of docs moved."""
        self.work = {}
        ranked = candidates if self.of is None else self.call(self.of, queries, dataset, candidates)
        relevance = normalised(ranked, "min_max")
        scores = np.empty(len(ranked), dtype=np.float32)
        moved = 0
        for rows, _, similar in compared_lists(self.similarity, ranked, dataset, self.doc_template):
            order = mmr_order(relevance[rows], similar, self.weight, self.depth)
            scores[rows][order] = np.arange(len(order), 0, -1)
            moved += int((order != np.arange(len(order))).sum())
        size = int(candidates.sizes.max(initial=0))
        self.details[f"K={size}"] = {"moved_share": round(moved / max(len(ranked), 1), 4)}
        return ranked.with_scores(scores)


def mmr_order(
    relevance: np.ndarray, similar: Similar, weight: float, depth: int | None = None
) -> np.ndarray:
    """Positions in the order of MMR: int64, shape (n,); relevance: float64, descending.

    The first is always the most relevant one, as nothing stands above it.
    """
    count = len(relevance)
    free = np.arange(count) > 0
    order = [0]
    closest = similar(0).astype(np.float64)
    while len(order) < min(count, depth or count):
        value = np.where(free, weight * relevance - (1 - weight) * closest, -np.inf)
        best = int(value.argmax())  # of equal values the first
        order.append(best)
        free[best] = False
        closest = np.maximum(closest, similar(best))
    return np.concatenate([order, np.flatnonzero(free)]).astype(np.int64)
