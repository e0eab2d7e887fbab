"""A dense model as a reranker: the similarity of a query's and a doc's vector.

The cheapest second stage over lexical candidates; Reimers and Gurevych, EMNLP 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from evalkit.encoders import TextEncoder
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.scoring.search import similarity
from evalkit.types import DOC_TEMPLATE, fingerprint


class BiEncoderScorer:
    """PairScorer over a `TextEncoder`; vectors that are on disk are not computed again."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint("BiEncoder", encoder=self.encoder.fingerprint)

    def check(self) -> None:
        """ModelNotFound for a model that is not there or not whole; loads no weights."""
        self.encoder.check()

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        if not pairs:
            return np.empty(0, dtype=np.float32)
        queries = self.encoder.encode([query for query, _ in pairs], "query")
        docs = self.encoder.encode([doc for _, doc in pairs], "doc")
        return similarity(queries, docs)

    def truncated(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Which pairs have a query or doc that the model's longest input cuts; loads no weights."""
        queries = self.encoder.truncated([query for query, _ in pairs], "query")
        return queries | self.encoder.truncated([doc for _, doc in pairs], "doc")


class BiEncoderReranker(PointwiseReranker):
    """The bi-encoder behind the score store; settings as in `TextEncoder`."""

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        max_length: int | None = None,
        query_prompt: str | None = None,
        doc_prompt: str | None = None,
        similarity: str | None = None,
        dtype: str = "float32",
        storage: str = "float32",
        batch_size: int = 32,
        device: str | None = None,
        chunk_size: int = 16_384,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        encoder = TextEncoder(
            model, revision, max_length, query_prompt, doc_prompt, similarity, dtype, batch_size,
            device, cache_dir, storage,
        )  # fmt: skip
        super().__init__(BiEncoderScorer(encoder), doc_template, cache_dir, chunk_size)
