"""A learned sparse model as reranker: the dot product of a query's and a doc's weighted terms.

SPLADE: Formal, Piwowarski and Clinchant, SIGIR 2021; Formal et al., SIGIR 2022. The same model as
first stage is `retriever=[splade]`; both share what is on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from evalkit.measured import is_cold
from evalkit.rerankers.candidate_docs import doc_places
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.run import Run
from evalkit.sparse_encoders import SparseTextEncoder, align, storage
from evalkit.types import DOC_TEMPLATE, Dataset, Query, fingerprint

_PAIRS = 4096  # whose terms are in memory at a time


class SparseScorer:
    """PairScorer over a `SparseTextEncoder`; texts that are on disk are not encoded again."""

    def __init__(self, encoder: SparseTextEncoder) -> None:
        self.encoder = encoder

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint("Sparse", encoder=self.encoder.fingerprint)

    def check(self) -> None:
        """ModelNotFound or ConfigError for a model that cannot be used; loads no weights."""
        self.encoder.check()

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Row by row products of sparse vectors, summed in float64, so that equal texts tie."""
        queries, docs = self._places(pairs)
        scores = np.empty(len(pairs), dtype=np.float32)
        for start in range(0, len(pairs), _PAIRS):
            part = slice(start, start + _PAIRS)
            query = self.encoder.matrix(queries[part], "query")
            doc = self.encoder.matrix(docs[part], "doc")
            align(query, doc)
            scores[part] = np.asarray(query.multiply(doc).sum(axis=1)).reshape(-1)
        return scores

    def truncated(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Which pairs have a query or doc that the model's longest input cuts."""
        queries, docs = self._places(pairs)
        return self.encoder.cache("query").cut(queries) | self.encoder.cache("doc").cut(docs)

    def _places(self, pairs: Sequence[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        queries = self.encoder.places([query for query, _ in pairs], "query")
        return queries, self.encoder.places([doc for _, doc in pairs], "doc")


class SparseReranker(PointwiseReranker):
    """The sparse model behind the score store; settings as in `SparseTextEncoder`."""

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        max_length: int | None = None,
        dtype: str = "float32",
        batch_size: int = 32,
        device: str | None = None,
        chunk_size: int = 16_384,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        self.encoder = SparseTextEncoder(
            model, revision, max_length, dtype, batch_size, device, cache_dir
        )
        super().__init__(SparseScorer(self.encoder), doc_template, cache_dir, chunk_size)

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """As every pointwise reranker; `details` also says to how many terms docs are expanded."""
        scored = super().rerank(queries, dataset, candidates)
        if is_cold():
            return scored
        places = doc_places(self.encoder, dataset, candidates, self.doc_template)
        if len(places):
            self.details |= storage(self.encoder.cache("doc").lengths(places))
        return scored
