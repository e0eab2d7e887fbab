"""Late interaction: a vector a token on both sides, compared when the query is known (ColBERT).

The score of a query q and a doc d is MaxSim, Σ_i max_j q_i · d_j over the vectors of their tokens.
Khattab and Zaharia, SIGIR 2020; Santhanam et al., NAACL 2022; through sentence-transformers'
MultiVectorEncoder. Doc vectors can be made beforehand, at the cost of storage: |D| × L × h × bytes
for docs of L tokens, which `details` reports beside the |D| × h × bytes of one vector a doc.

With a model that was not trained for it, such as the default all-MiniLM-L6-v2, this is zero-shot
late interaction; see `token_encoders`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.encoders import Side
from evalkit.measured import is_cold
from evalkit.models import resolve_device
from evalkit.rerankers.candidate_docs import doc_places
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.run import Run
from evalkit.token_encoders import TokenEncoder
from evalkit.types import DOC_TEMPLATE, Dataset, Query, fingerprint

_SIDES: tuple[Side, ...] = ("query", "doc")
# Doc tokens whose vectors are in memory at a time: 128 MiB of 512-dimensional vectors.
_TOKENS = 1 << 16


class LateInteractionScorer:
    """PairScorer over a `TokenEncoder`; token vectors that are on disk are not computed again."""

    def __init__(self, encoder: TokenEncoder) -> None:
        self.encoder = encoder

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint("LateInteraction", encoder=self.encoder.fingerprint)

    def check(self) -> None:
        """ModelNotFound or ConfigError for a model that cannot be used; loads no weights."""
        self.encoder.check()

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        if not pairs:
            return np.empty(0, dtype=np.float32)
        # Equal texts are at one place, and a pair of places is scored once: equal texts tie.
        both = np.stack(self._places(pairs), axis=1)
        distinct, inverse = np.unique(both, axis=0, return_inverse=True)
        lengths = self.encoder.cache("doc").lengths(distinct[:, 1])
        scores = np.concatenate(
            [self._maxsim(distinct[part]) for part in _slices(lengths, _TOKENS)]
        )
        return scores[inverse.reshape(-1)]

    def truncated(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Which pairs have a query or doc that the model's longest input cuts."""
        queries, docs = self._places(pairs)
        return self.encoder.cache("query").cut(queries) | self.encoder.cache("doc").cut(docs)

    def _places(self, pairs: Sequence[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        queries = self.encoder.places([query for query, _ in pairs], "query")
        return queries, self.encoder.places([doc for _, doc in pairs], "doc")

    def _maxsim(self, places: np.ndarray) -> np.ndarray:
        """MaxSim of n pairs of places (query, doc): float32, shape (n,), summed in float32."""
        import torch
        from sentence_transformers.util import maxsim_pairwise

        sides = []
        for column, side in enumerate(_SIDES):
            known, inverse = np.unique(places[:, column], return_inverse=True)
            vectors = [torch.from_numpy(x) for x in self.encoder.vectors(known, side)]
            sides.append([vectors[i] for i in inverse.reshape(-1)])
        device = resolve_device(self.encoder.device)
        with torch.inference_mode():
            scores = maxsim_pairwise(*sides, length_normalize=self.encoder.is_mean, device=device)
        return scores.cpu().numpy()


def _slices(lengths: np.ndarray, most: int) -> Iterator[slice]:
    """Consecutive slices of n rows with at most `most` entries each, or of one row."""
    start, total = 0, 0
    for i, length in enumerate(lengths.tolist()):
        if i > start and total + length > most:
            yield slice(start, i)
            start, total = i, 0
        total += length
    yield slice(start, len(lengths))


class LateInteractionReranker(PointwiseReranker):
    """Late interaction behind the score store; settings as in `TokenEncoder`."""

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        query_length: int | None = None,
        doc_length: int | None = None,
        query_prompt: str | None = None,
        doc_prompt: str | None = None,
        storage: str = "float16",
        trust_remote_code: bool = False,
        dtype: str = "float32",
        batch_size: int = 32,
        device: str | None = None,
        chunk_size: int = 4096,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        self.encoder = TokenEncoder(
            model, revision, query_length, doc_length, query_prompt, doc_prompt, storage,
            trust_remote_code, dtype, batch_size, device, cache_dir,
        )  # fmt: skip
        super().__init__(LateInteractionScorer(self.encoder), doc_template, cache_dir, chunk_size)

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """As every pointwise reranker; `details` also says what the docs' vectors take on disk."""
        scored = super().rerank(queries, dataset, candidates)
        if is_cold():
            return scored
        places = doc_places(self.encoder, dataset, candidates, self.doc_template)
        if len(places):
            self.details |= self._storage(places)
        return scored

    def _storage(self, places: np.ndarray) -> dict[str, Any]:
        tokens = int(self.encoder.cache("doc").lengths(places).sum())
        dimension = self.encoder.vectors(places[:1], "doc")[0].shape[1]
        width = np.dtype(self.encoder.storage).itemsize
        return {
            "trained_for_late_interaction": self.encoder.is_trained,
            "docs": len(places),
            "doc_tokens": tokens,
            "dimension": dimension,
            "vector_bytes": tokens * dimension * width,
            "vector_bytes_a_doc": round(tokens * dimension * width / len(places)),
            "single_vector_bytes_a_doc": dimension * width,
        }
