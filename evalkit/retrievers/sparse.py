"""Learned sparse retrieval (SPLADE): docs and queries as weighted terms, exact search.

Formal, Piwowarski and Clinchant, SIGIR 2021; Formal et al., SIGIR 2022. Search turns a chunk of
docs into an inverted index and adds up the postings of a query's terms, as a product of sparse
matrices: term by term in float64, so that neither the chunk size nor a doc's place in it can change
a score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from evalkit.encoders import Side
from evalkit.measured import is_cold
from evalkit.progress import track
from evalkit.queries.transform import Part
from evalkit.retrievers.encoded import EncodedRetriever, Found, nothing
from evalkit.retrievers.selection import top_k
from evalkit.run import Run
from evalkit.sparse_encoders import SparseTextEncoder, align, storage
from evalkit.types import DOC_TEMPLATE, Dataset, Query, fingerprint

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# The place of a chunk's first doc, and the chunk as an inverted index: shape (terms, docs).
Postings: TypeAlias = "tuple[int, csr_matrix]"

_QUERY_CHUNK = 256
_SIDES: tuple[Side, ...] = ("query", "doc")


class SparseRetriever(EncodedRetriever):
    """The docs with the highest dot product with a query's weighted terms; those that share no term
    with it score 0 and are not found.

    The encoder's settings are those of `SparseTextEncoder`. chunk_size: docs scored at a time; it
    bounds memory at about chunk_size × (256 + terms a doc) × 16 bytes and changes no score.
    `details`: to how many terms docs are expanded, and the bytes of terms and weights.
    """

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
        super().__init__("sparse", self.encoder, chunk_size, doc_template, cache_dir)
        self.details: dict[str, Any] = {}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "Sparse", encoder=self.encoder.fingerprint, doc_template=self.doc_template
        )

    def index(self, dataset: Dataset) -> None:
        super().index(dataset)
        self.details = {**storage(self.encoder.cache("doc").lengths(self.places))}

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        places = self.encoder.places([query.text for query in queries], "query")
        return self.search(
            [query.query_id for query in queries], self.encoder.matrix(places, "query"), k
        )

    def retrieve_parts(
        self, query_ids: Sequence[str], parts: Sequence[Sequence[Part]], k: int
    ) -> Run:
        """The ranking by Σ weight × score(text), which is that of Σ weight × vector(text)."""
        from scipy.sparse import csr_matrix

        total = csr_matrix((len(parts), 1))
        for side in _SIDES:
            flat = [(i, p) for i, each in enumerate(parts) for p in each if p.side == side]
            places = self.encoder.places([part.query.text for _, part in flat], side)
            vectors = self.encoder.matrix(places, side)
            weights = [part.weight for _, part in flat], ([i for i, _ in flat], range(len(flat)))
            new = csr_matrix(weights, shape=(len(parts), len(flat))) @ vectors
            align(total, new)
            total += new
        return self.search(query_ids, total, k)

    def search(self, query_ids: Sequence[str], queries: csr_matrix, k: int) -> Run:
        """The ranking by dot product with each query's weighted terms: shape (Q, terms)."""
        best = [nothing() for _ in query_ids]
        chunks: Iterable[Postings] = self._postings()
        if is_cold() and self._held is not None:
            chunks = self._held
        else:
            chunks = track(chunks, "Retrieving (sparse)", len(self.places), self.chunk_size)
        for start, postings in chunks:
            asked = queries.copy()
            # Terms that no doc of the chunk has weigh nothing.
            asked.resize(len(best), postings.shape[0])
            self._search(postings, start, asked, k, best)
        return self.ranking(query_ids, best)

    def _postings(self) -> Iterator[Postings]:
        for start in range(0, len(self.places), self.chunk_size):
            docs = self.encoder.matrix(self.places[start : start + self.chunk_size], "doc")
            yield start, docs.T.tocsr()

    def _all_docs(self) -> list[Postings]:
        return list(self._postings())

    def _search(
        self, postings: csr_matrix, start: int, queries: csr_matrix, k: int, best: list[Found]
    ) -> None:
        """Merge a chunk of docs, those from `start` on, into each query's `best`, its top k so far.

        postings: the chunk as an inverted index, shape (terms, docs).
        """
        for first in range(0, len(best), _QUERY_CHUNK):
            scores = queries[first : first + _QUERY_CHUNK] @ postings
            for i, (a, b) in enumerate(zip(scores.indptr[:-1], scores.indptr[1:], strict=True)):
                new = scores.data[a:b].astype(np.float32)
                shared = new > 0
                positions, values = best[first + i]
                positions = np.append(positions, scores.indices[a:b][shared] + start)
                values = np.append(values, new[shared])
                chosen = top_k(values, k, self.order[positions])
                best[first + i] = positions[chosen], values[chosen]
