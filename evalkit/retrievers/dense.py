"""Dense retrieval: every doc as one vector, exact search in torch, chunked so memory is bounded.

Doc vectors are kept on disk by text (see `embeddings`); for the index, see `encoded`; for the
search, see `scoring.search`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from evalkit.encoders import Side, TextEncoder
from evalkit.measured import is_cold
from evalkit.models import resolve_device
from evalkit.progress import track
from evalkit.queries.transform import Part
from evalkit.retrievers.encoded import EncodedRetriever
from evalkit.run import Run
from evalkit.scoring.search import Chunk, ExactSearch, Nearest, ahead, resident
from evalkit.types import DOC_TEMPLATE, Query, fingerprint

_SIDES: tuple[Side, ...] = ("query", "doc")


class DenseRetriever(EncodedRetriever):
    """Exact nearest neighbours of query vectors among doc vectors.

    The encoder's settings are those of `TextEncoder`; storage, in what precision doc vectors are
    kept, halves disk and copies and rounds scores. chunk_size: docs scored at a time. It bounds
    memory at about chunk_size × (3 vectors as stored + 1 vector + 300 floats), on the device as in
    main memory, and changes no score.
    """

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
        chunk_size: int = 65_536,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        self.encoder = TextEncoder(
            model, revision, max_length, query_prompt, doc_prompt, similarity, dtype, batch_size,
            device, cache_dir, storage,
        )  # fmt: skip
        super().__init__("dense", self.encoder, chunk_size, doc_template, cache_dir)

    @cached_property
    def fingerprint(self) -> str:
        return self.docs_fingerprint

    @cached_property
    def docs_fingerprint(self) -> str:
        return fingerprint(
            "Dense", encoder=self.encoder.fingerprint, doc_template=self.doc_template
        )

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        vectors = self.encoder.encode([query.text for query in queries], "query")
        return self.search([query.query_id for query in queries], vectors, k)

    def retrieve_parts(
        self, query_ids: Sequence[str], parts: Sequence[Sequence[Part]], k: int
    ) -> Run:
        """The ranking by Σ weight × score(text), which is that of Σ weight × vector(text)."""
        return self.search(query_ids, self._weighted_vectors(parts), k)

    def _weighted_vectors(self, parts: Sequence[Sequence[Part]]) -> np.ndarray:
        """Σ weight × vector(text) of each query, each text encoded as its side: shape (Q, h)."""
        totals: list[np.ndarray] = []
        for side in _SIDES:
            flat = [(i, p) for i, each in enumerate(parts) for p in each if p.side == side]
            if flat:
                vectors = self.encoder.encode([part.query.text for _, part in flat], side)
                weights = np.array([part.weight for _, part in flat])
                total = np.zeros((len(parts), vectors.shape[1]))
                np.add.at(total, [row for row, _ in flat], vectors * weights[:, None])
                totals.append(total)
        return np.sum(totals, axis=0).astype(np.float32)

    def search(self, query_ids: Sequence[str], vectors: np.ndarray, k: int) -> Run:
        """The ranking by dot product with each query's vector: float32, shape (Q, h)."""
        return self.ranking_of(query_ids, self.nearest(vectors, k, "Retrieving (dense)"))

    def nearest(self, vectors: np.ndarray, k: int, what: str) -> Nearest:
        """The exact k best docs of each query vector; what: the progress bar's label."""
        search = ExactSearch(vectors, k, self.order)
        for chunk in self._chunks(what):
            search.add(chunk)
        return search.best

    def _chunks(self, what: str) -> Iterable[Chunk]:
        if is_cold() and self._held is not None:
            held: list[Chunk] = self._held
            return held
        chunks = ahead(self.chunks(self.chunk_size), resolve_device(self.encoder.device))
        return track(chunks, what, len(self.places), self.chunk_size)

    def _all_docs(self) -> list[Chunk]:
        return resident(self.chunks(self.chunk_size), resolve_device(self.encoder.device))

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """The docs' vectors as stored, `size` at a time, in the dataset's order."""
        cache = self.encoder.cache("doc")
        for start in range(0, len(self.places), size):
            yield cache.gather_stored(self.places[start : start + size])
