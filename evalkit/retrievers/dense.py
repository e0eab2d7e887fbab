"""Dense retrieval: every doc as one vector, exact search in torch, chunked so memory is bounded.

Doc vectors are kept on disk by text (see `embeddings`); an index is the list of a dataset's docs.
Search is a matrix product per chunk of docs with a running top k; ties at the border are resolved
in canonical order, which a plain top-k leaves to chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from evalkit.cache import resolve_cache_dir
from evalkit.encoders import TextEncoder, similarity
from evalkit.errors import ConfigError, ScoreError
from evalkit.io import write_array
from evalkit.models import resolve_device
from evalkit.progress import track
from evalkit.retrievers.selection import order_of, top_k
from evalkit.run import Run
from evalkit.scoring.keys import text_digests
from evalkit.types import DOC_TEMPLATE, Dataset, Query, checked_template, fingerprint

_QUERY_CHUNK = 256
_ENCODE_CHUNK = 4096
# Far above what float32 loses in a dot product of unit vectors, far below what matters.
_ROUNDING = 1e-5

# One query's docs, by position in the dataset, and their scores, best first.
_Found = tuple[np.ndarray, np.ndarray]


class DenseRetriever:
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
        if chunk_size < 1:
            raise ConfigError(f"dense: chunk_size={chunk_size}; expected at least 1")
        self.encoder = TextEncoder(
            model, revision, max_length, query_prompt, doc_prompt, similarity, dtype, batch_size,
            device, cache_dir,
        )  # fmt: skip
        self.doc_template, self.chunk_size = checked_template(doc_template), chunk_size
        self.cache_dir = resolve_cache_dir(cache_dir)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "Dense", encoder=self.encoder.fingerprint, doc_template=self.doc_template
        )

    def check(self, depth: int) -> None:
        """Raise what is wrong with the model before anything is indexed; loads no weights."""
        self.encoder.check()

    def cache_path(self, dataset: Dataset) -> Path:
        return self.cache_dir / "dense" / f"{self.fingerprint}-{dataset.docs_digest}"

    def is_cached(self, dataset: Dataset) -> bool:
        path = self.cache_path(dataset)
        if not (path / "ids.npy").exists():
            return False
        return bool((self.encoder.cache("doc").find(np.load(path / "digests.npy")) >= 0).all())

    def index(self, dataset: Dataset) -> None:
        path = self.cache_path(dataset)
        if not self.is_cached(dataset):
            self._encode_docs(dataset, path)
        self._ids = np.load(path / "ids.npy")
        self._places = self.encoder.cache("doc").find(np.load(path / "digests.npy"))
        if (self._places < 0).any():
            raise ScoreError(f"{path}: vectors went missing while in use; run again")
        self._order = order_of(self._ids)

    def _encode_docs(self, dataset: Dataset, path: Path) -> None:
        ids: list[str] = []
        digests: list[np.ndarray] = []
        docs = dataset.docs_iter()
        while block := list(islice(docs, _ENCODE_CHUNK)):
            texts = [doc.render(self.doc_template) for doc in block]
            ids.extend(doc.doc_id for doc in block)
            digests.append(text_digests(texts))
            what = f"Encoding docs up to {len(ids):,} of {dataset.num_docs:,}"
            self.encoder.encode_missing(texts, digests[-1], "doc", what)
        write_array(path / "digests.npy", np.concatenate(digests))
        write_array(path / "ids.npy", np.asarray(ids, dtype=np.str_))

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        vectors = self.encoder.encode([query.text for query in queries], "query")
        best = [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        starts = range(0, len(self._places), self.chunk_size)
        for start in track(starts, "Retrieving (dense)", len(self._places), self.chunk_size):
            chunk = self.encoder.cache("doc").gather(self._places[start : start + self.chunk_size])
            self._search(chunk, start, vectors, k, best)
        rows = np.repeat(np.arange(len(best)), [len(docs) for docs, _ in best])
        docs = np.concatenate([docs for docs, _ in best] or [np.empty(0, np.int64)])
        scores = np.concatenate([found for _, found in best] or [np.empty(0, np.float32)])
        return Run.from_columns([q.query_id for q in queries], rows, self._ids[docs], scores)

    def _search(
        self, chunk: np.ndarray, start: int, queries: np.ndarray, k: int, best: list[_Found]
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
                chosen = top_k(values, k, self._order[docs])
                best[first + i] = docs[chosen], values[chosen]
