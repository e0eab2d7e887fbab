"""What first stages share that encode every doc: an index is the list of a dataset's docs.

What the model made of a doc is kept on disk by its text (see `encoders`), so that no two indexes,
and no reranker, encode a text twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.cache import resolve_cache_dir
from evalkit.encoders import Encoder
from evalkit.errors import ConfigError, ScoreError
from evalkit.io import write_array
from evalkit.retrievers.selection import order_of
from evalkit.run import Run
from evalkit.scoring.keys import text_digests
from evalkit.scoring.search import Nearest
from evalkit.types import Dataset, checked_template

_ENCODE_CHUNK = 4096

# One query's docs, by position in the dataset, and their scores, best first.
Found = tuple[np.ndarray, np.ndarray]


class EncodedRetriever(ABC):
    """An index over an encoder. kind: names the folder of its indexes. chunk_size: docs scored at a
    time; it bounds memory and changes no score.

    After `index`: `ids` are the dataset's doc ids, `places` those of their texts in the encoder's
    cache, `order` each id's place when ids are sorted; shape (docs,) each.
    """

    def __init__(
        self,
        kind: str,
        encoder: Encoder,
        chunk_size: int,
        doc_template: str,
        cache_dir: str | Path | None,
    ) -> None:
        if chunk_size < 1:
            raise ConfigError(f"{kind}: chunk_size={chunk_size}; expected at least 1")
        self.kind, self._encoder = kind, encoder
        self.doc_template, self.chunk_size = checked_template(doc_template), chunk_size
        self.cache_dir = resolve_cache_dir(cache_dir)
        self._held: Any = None

    @property
    @abstractmethod
    def fingerprint(self) -> str: ...

    @property
    def docs_fingerprint(self) -> str:
        """What the list of docs depends on: retrievers of one kind in which it agrees share it."""
        return self.fingerprint

    def check(self, depth: int) -> None:
        """Raise what is wrong with the model before anything is indexed; loads no weights."""
        self._encoder.check()

    def cache_path(self, dataset: Dataset) -> Path:
        return self.cache_dir / self.kind / f"{self.docs_fingerprint}-{dataset.docs_digest}"

    def is_cached(self, dataset: Dataset) -> bool:
        path = self.cache_path(dataset)
        if not (path / "ids.npy").exists():
            return False
        return bool((self._encoder.cache("doc").find(np.load(path / "digests.npy")) >= 0).all())

    def index(self, dataset: Dataset) -> None:
        path = self.cache_path(dataset)
        if not self.is_cached(dataset):
            self._encode_docs(dataset, path)
        self.ids = np.load(path / "ids.npy")
        self.places = self._encoder.cache("doc").find(np.load(path / "digests.npy"))
        if (self.places < 0).any():
            raise ScoreError(f"{path}: vectors went missing while in use; run again")
        self.order = order_of(self.ids)
        self._held = None

    def hold(self) -> None:
        """Keep in memory what a search reads of the docs, for those inside `measured.cold()`: a
        service does not read its index anew for each query. Until the next `index`."""
        self._held = self._all_docs()

    @property
    def holds(self) -> bool:
        """Whether searches inside `measured.cold()` read nothing of the docs from disk."""
        return self._held is not None

    @abstractmethod
    def _all_docs(self) -> Any:
        """What `hold` keeps."""

    def _encode_docs(self, dataset: Dataset, path: Path) -> None:
        ids: list[str] = []
        digests: list[np.ndarray] = []
        docs = dataset.docs_iter()
        while block := list(islice(docs, _ENCODE_CHUNK)):
            texts = [doc.render(self.doc_template) for doc in block]
            ids.extend(doc.doc_id for doc in block)
            digests.append(text_digests(texts))
            what = f"Encoding docs up to {len(ids):,} of {dataset.num_docs:,}"
            self._encoder.encode_missing(texts, digests[-1], "doc", what)
        # The ids are written last: an index without them was cut short and is built again.
        write_array(path / "digests.npy", np.concatenate(digests))
        write_array(path / "ids.npy", np.asarray(ids, dtype=np.str_))

    def ranking(self, query_ids: Sequence[str], best: Sequence[Found]) -> Run:
        """What was found for each query, as a run."""
        rows = np.repeat(np.arange(len(best)), [len(docs) for docs, _ in best])
        docs = np.concatenate([np.empty(0, np.int64), *(docs for docs, _ in best)])
        scores = np.concatenate([np.empty(0, np.float32), *(found for _, found in best)])
        return Run.from_columns(query_ids, rows, self.ids[docs], scores)

    def ranking_of(self, query_ids: Sequence[str], found: Nearest) -> Run:
        """What an exact or an approximate search found, as a run."""
        rows, ranks = np.nonzero(found.docs >= 0)
        ids = self.ids[found.docs[rows, ranks]]
        return Run.from_columns(query_ids, rows, ids, found.scores[rows, ranks])


def nothing() -> Found:
    """No docs and no scores."""
    return np.empty(0, np.int64), np.empty(0, np.float32)
