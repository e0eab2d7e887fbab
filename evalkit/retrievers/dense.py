"""Dense retrieval: every doc as one vector, exact search in torch, chunked so memory is bounded.

Doc vectors are kept on disk by text (see `embeddings`); for the index, see `encoded`. Search is a
matrix product per chunk of docs with a running top k; ties at the border are resolved in canonical
order, which a plain top-k leaves to chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from evalkit.encoders import Side, TextEncoder, similarity
from evalkit.models import resolve_device
from evalkit.progress import track
from evalkit.queries.transform import Part
from evalkit.retrievers.encoded import EncodedRetriever, Found, nothing
from evalkit.retrievers.selection import top_k
from evalkit.run import Run
from evalkit.types import DOC_TEMPLATE, Query, fingerprint

_QUERY_CHUNK = 256
_SIDES: tuple[Side, ...] = ("query", "doc")
# Far above what float32 loses in a dot product of unit vectors, far below what matters.
_ROUNDING = 1e-5


class DenseRetriever(EncodedRetriever):
    """Exact nearest neighbours of query vectors among doc vectors.

    The encoder's settings are those of `TextEncoder`. chunk_size: docs scored at a time; it bounds
    memory at about chunk_size × (2 h + 512) floats and changes no score.
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
        batch_size: int = 32,
        device: str | None = None,
        chunk_size: int = 65_536,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        self.encoder = TextEncoder(
            model, revision, max_length, query_prompt, doc_prompt, similarity, dtype, batch_size,
            device, cache_dir,
        )  # fmt: skip
        super().__init__("dense", self.encoder, chunk_size, doc_template, cache_dir)

    @cached_property
    def fingerprint(self) -> str:
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
        best = [nothing() for _ in query_ids]
        starts = range(0, len(self.places), self.chunk_size)
        for start in track(starts, "Retrieving (dense)", len(self.places), self.chunk_size):
            chunk = self.encoder.cache("doc").gather(self.places[start : start + self.chunk_size])
            self._search(chunk, start, vectors, k, best)
        return self.ranking(query_ids, best)

    def _search(
        self, chunk: np.ndarray, start: int, queries: np.ndarray, k: int, best: list[Found]
    ) -> None:
        """Merge a chunk of docs, those from `start` on, into each query's `best`, its top k so far.

        The matrix product only chooses; what comes near the border is scored again by `similarity`,
        so that neither the chunk size nor a doc's place in it can change a score or break a tie.
        """
        import torch

        device = resolve_device(self.encoder.device)
        docs_on_device = torch.from_numpy(chunk).to(device)
        longest = np.sqrt(np.square(chunk).sum(1).max())
        for first in range(0, len(queries), _QUERY_CHUNK):
            block = queries[first : first + _QUERY_CHUNK]
            running = [
                found[-1] if len(found) == k else -np.inf
                for _, found in best[first : first + _QUERY_CHUNK]
            ]
            margin = _ROUNDING * longest * np.linalg.norm(block, axis=1)
            with torch.inference_mode():
                scores = torch.from_numpy(block).to(device) @ docs_on_device.T
                border = scores.topk(min(k, len(chunk)), dim=1).values[:, -1].cpu().numpy()
                least = np.maximum(border, np.asarray(running)) - margin
                near = scores >= torch.from_numpy(least.astype(np.float32)).to(device)[:, None]
                at_query, at_doc = (x.cpu().numpy() for x in near.nonzero(as_tuple=True))
            ends = np.searchsorted(at_query, np.arange(1, len(block)))
            for i, new in enumerate(np.split(at_doc, ends)):
                again = similarity(
                    np.broadcast_to(block[i], (len(new), block.shape[1])), chunk[new]
                )
                docs, values = best[first + i]
                docs, values = np.append(docs, new + start), np.append(values, again)
                chosen = top_k(values, k, self.order[docs])
                best[first + i] = docs[chosen], values[chosen]
