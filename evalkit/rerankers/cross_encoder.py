"""Cross-encoder: query and doc read together by one transformer (Nogueira and Cho 2019).

Two implementations of one thing: evalkit's own engine, the faster one, for classifiers of
transformers and LoRA adapters over encoders; and sentence-transformers' CrossEncoder, for every
model that it reads. Raw logits are kept (a sigmoid changes no order and loses differences near 0
and 1) unless an activation is asked for, which is then computed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Literal

import numpy as np

from evalkit.analysis import LANGUAGES, detect_language
from evalkit.errors import ConfigError
from evalkit.rerankers.classifier import ClassifierScorer
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.rerankers.reference import ReferenceScorer
from evalkit.run import Run
from evalkit.types import DOC_TEMPLATE, Dataset, Query, fingerprint


class CrossEncoderReranker(PointwiseReranker):
    """A cross-encoder behind the score store.

    engine: "fast" (settings as in `ClassifierScorer`) or "reference" (as in `ReferenceScorer`, with
    a batch_size instead of a token budget, on one device, and without adapters). languages: those
    that the model was trained on, of "en" and "zh" (see `analysis.detect_language`); queries in
    others keep the first stage's order, and so the reranker depends on the list. None: all.
    """

    def __init__(
        self,
        model: str,
        base_model: str | None = None,
        revision: str | None = None,
        max_length: int | None = None,
        activation: str = "identity",
        engine: Literal["fast", "reference"] = "fast",
        dtype: str = "auto",
        token_budget: int | None = None,
        cuda_graphs: bool = False,
        batch_size: int = 32,
        device: str | None = None,
        devices: list[str] | None = None,
        chunk_size: int = 256,
        languages: list[str] | None = None,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        known = [language for language in LANGUAGES if language != "auto"]
        if languages is not None and (not languages or set(languages) - set(known)):
            raise ConfigError(
                f"languages={languages}: expected some of {', '.join(known)}, or null for all"
            )
        self.languages = languages
        self.depends_on_list = languages is not None
        if engine == "reference":
            others = {"base_model": base_model, "devices": devices, "cuda_graphs": cuda_graphs}
            for name, value in others.items():
                if value not in (None, False):
                    raise ConfigError(f"{name}={value}: engine=reference has none; use engine=fast")
        scorer: ClassifierScorer | ReferenceScorer
        if engine == "fast":
            scorer = ClassifierScorer(
                model, base_model, revision, max_length, activation, dtype=dtype,
                token_budget=token_budget, device=device, devices=devices, cache_dir=cache_dir,
                cuda_graphs=cuda_graphs,
            )  # fmt: skip
        else:
            scorer = ReferenceScorer(
                model, revision, max_length, activation, dtype, batch_size, device
            )
        super().__init__(scorer, doc_template, cache_dir, chunk_size)

    @property
    def fingerprint(self) -> str:
        scored = super().fingerprint
        if self.languages is None:
            return scored
        return fingerprint("InLanguages", of=scored, languages=sorted(self.languages))

    def for_retriever(self, retriever: str) -> CrossEncoderReranker:
        """The reranker itself; with `languages` a copy that reports by retriever, as lists do."""
        if self.languages is None:
            return self
        own = copy(self)
        own.details = self.details.setdefault(retriever, {})
        return own

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """As every pointwise reranker's; queries in other languages keep the scores they have.

        `details` then has their share, and stays that of the first call, the largest K.
        """
        if self.languages is None:
            return super().rerank(queries, dataset, candidates)
        told = dict(self.details)
        spoken = {q.query_id: detect_language(q.text) in self.languages for q in queries}
        reranked = np.array([spoken[query_id] for query_id in candidates.query_ids], dtype=bool)
        rows = reranked[candidates.rows]
        part = candidates.where(rows)
        scores = candidates.scores.copy()
        scores[rows] = part.scores_in(super().rerank(queries, dataset, part))
        left_out = (~reranked).sum() / max(len(reranked), 1)
        self.details |= {"queries_left_out_share": round(float(left_out), 6)} | told
        return candidates.with_scores(scores)
