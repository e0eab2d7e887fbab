"""Near-duplicates put at the end or dropped: a list says everything once.

Broder, SEQUENCES 1997 (resemblance of documents); Bernstein and Zobel, CIKM 2005 (how many of the
relevant docs of a collection repeat others).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from evalkit.errors import ConfigError
from evalkit.models import MINILM
from evalkit.rerankers.composed import ComposedReranker
from evalkit.run import Run
from evalkit.similarities import SHINGLE_SIZE, Similar, compared_lists, text_similarity, wording
from evalkit.types import DOC_TEMPLATE, Dataset, Query, checked_template, fingerprint

ACTIONS = ("demote", "drop")


class DeduplicateReranker(ComposedReranker):
    """Another reranker's order, or the first stage's, without repetition.

    A doc is a near-duplicate if its words are those of a doc that is kept above it, in the same
    order, or if its similarity to one reaches `threshold`; so the first of its kind stays.
    of: the reranker's name; None for the first stage. action: "demote" puts near-duplicates under
    all others, in their order; "drop" leaves them out. similarity: "minhash" or "embedding", with
    the settings of `text_similarity`.
    """

    def __init__(
        self,
        of: str | None = None,
        action: Literal["demote", "drop"] = "demote",
        threshold: float = 0.8,
        similarity: str = "minhash",
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
        if action not in ACTIONS:
            raise ConfigError(f"deduplicate: action={action}; expected {' or '.join(ACTIONS)}")
        if not 0 < threshold <= 1:
            raise ConfigError(f"deduplicate: threshold={threshold}; expected above 0, at most 1")
        self.of, self.action, self.threshold = of, action, float(threshold)
        self.doc_template = checked_template(doc_template)
        self.similarity = text_similarity(
            similarity, model, revision, max_length, doc_prompt, dtype, batch_size, shingles,
            shingle_size, num_perm, seed, device, cache_dir,
        )  # fmt: skip
        super().__init__([] if of is None else [of])
        self.drops = action == "drop"

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "Deduplicate",
            parts=self.part_fingerprints(),
            action=self.action,
            threshold=self.threshold,
            similarity=self.similarity.fingerprint,
            doc_template=self.doc_template,
        )

    def check(self, depth: int) -> None:
        """Raise what is wrong with the part, the model or the installation; loads no weights."""
        super().check(depth)
        self.similarity.check()

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """The kept docs, and under them the others unless dropped; scores are n - rank.

        `details`: the share of docs that repeat another, and how many that is a query.
        """
        self.work = {}
        ranked = candidates if self.of is None else self.call(self.of, queries, dataset, candidates)
        repeated = np.zeros(len(ranked), dtype=bool)
        for rows, texts, similar in compared_lists(
            self.similarity, ranked, dataset, self.doc_template
        ):
            repeated[rows] = near_duplicates(texts, similar, self.threshold)
        size, found = int(candidates.sizes.max(initial=0)), int(repeated.sum())
        self.details[f"K={size}"] = {
            "near_duplicate_share": round(found / max(len(ranked), 1), 4),
            "near_duplicates_a_query": round(found / max(len(ranked.query_ids), 1), 2),
        }
        if self.action == "drop":
            ranked, repeated = ranked.where(~repeated), repeated[~repeated]
        sizes = ranked.sizes[ranked.rows]
        ordered = ranked.with_scores((-ranked.ranks - sizes * repeated).astype(np.float32))
        return ordered.with_scores((sizes - ordered.ranks).astype(np.float32))


def near_duplicates(texts: Sequence[str], similar: Similar, threshold: float) -> np.ndarray:
    """Which docs of a ranked list repeat one that is kept above them: bool, shape (n,)."""
    wordings: dict[bytes, int] = {}
    same = np.array([wordings.setdefault(wording(text), len(wordings)) for text in texts])
    repeated = np.zeros(len(texts), dtype=bool)
    for i in range(len(texts)):
        if not repeated[i]:
            alike = (same == same[i]) | (similar(i) >= threshold)
            repeated[i + 1 :] |= alike[i + 1 :]
    return repeated
