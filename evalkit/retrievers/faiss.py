"""Dense retrieval through FAISS: approximate, with its recall against exact search reported.

What FAISS finds is scored again exactly as `dense` does, so that a doc which both find has one
score. For the indexes, see `faiss_index`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from evalkit.errors import OutputError
from evalkit.io import atomic
from evalkit.progress import track
from evalkit.retrievers.dense import DenseRetriever
from evalkit.retrievers.faiss_index import (
    Counted,
    FaissSettings,
    build_index,
    faiss_library,
    prepare,
)
from evalkit.run import Run
from evalkit.scoring.search import Nearest, similarity
from evalkit.types import DOC_TEMPLATE, Dataset, fingerprint

log = logging.getLogger(__name__)

# Docs that are added at a time: no setting, as a graph depends on it.
_ADDED = 65_536
# Docs found whose vectors are in memory at a time.
_FOUND_BLOCK = 65_536


class FaissRetriever(DenseRetriever):
    """Nearest neighbours by an index of FAISS; the encoder's settings as in `DenseRetriever`.

    kind: "flat" (exact), "hnsw" or "ivf". For hnsw: m, links a doc has; ef_construction and
    ef_search, docs held while its links are chosen and while a query is searched, fixed so that k
    does not move the ranking. For ivf: nlist, cells (None: 4 √docs, at least 39 docs each); nprobe,
    cells searched (None: 4 √nlist). build_threads: with more than 1, a graph differs from build to
    build. report_recall: also search exactly for the evaluated queries, and report in `details`
    which share of the exact top k is found. `work`: milliseconds of both searches.
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
        kind: str = "hnsw",
        m: int = 32,
        ef_construction: int = 40,
        ef_search: int = 128,
        nlist: int | None = None,
        nprobe: int | None = None,
        build_threads: int = 1,
        report_recall: bool = True,
        batch_size: int = 32,
        device: str | None = None,
        chunk_size: int = 65_536,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__(
            model, revision, max_length, query_prompt, doc_prompt, similarity, dtype, storage,
            batch_size, device, chunk_size, doc_template, cache_dir,
        )  # fmt: skip
        self.settings = FaissSettings(
            kind, m, ef_construction, ef_search, nlist, nprobe, build_threads
        )
        self.report_recall = report_recall
        self.details: dict[str, Any] = {}
        self.work: dict[str, int] = {}
        self._evaluated: list[str] = []

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint("Faiss", index=self._index_fingerprint, **self.settings.of_search)

    @cached_property
    def _index_fingerprint(self) -> str:
        version = str(faiss_library().__version__)
        return fingerprint(
            "FaissIndex", docs=self.docs_fingerprint, faiss=version, **self.settings.of_build
        )

    def check(self, depth: int) -> None:
        """Raise what is wrong with model or depth, or that FAISS is missing; loads no weights."""
        faiss_library()
        self.settings.check_depth(depth)
        super().check(depth)

    def index_path(self, dataset: Dataset) -> Path:
        return self.cache_dir / "faiss" / f"{self._index_fingerprint}-{dataset.docs_digest}.faiss"

    def is_cached(self, dataset: Dataset) -> bool:
        return self.index_path(dataset).exists() and super().is_cached(dataset)

    def index(self, dataset: Dataset) -> None:
        # Before all docs are encoded.
        self.settings.check_docs(dataset.num_docs)
        super().index(dataset)
        path = self.index_path(dataset)
        if not path.exists() or not self._load(path):
            self._build(path)
            self._load(path)
        self._evaluated = [query.query_id for query in dataset.queries]
        recipe, size = self.settings.recipe(len(self.ids)), path.stat().st_size
        self.details = {"index": recipe, "index_bytes": size}

    def hold(self) -> None:
        """Nothing: FAISS searches what it has in memory."""

    @property
    def holds(self) -> bool:
        return True

    def _build(self, path: Path) -> None:
        cache = self.encoder.cache("doc")
        width = cache.gather_stored(self.places[:1]).shape[1]
        added = self.chunks(_ADDED)
        chunks = track(added, "Indexing (FAISS)", len(self.places), _ADDED)
        index = build_index(
            self.settings, len(self.places), width, chunks, lambda at: cache.gather(self.places[at])
        )
        with atomic(path) as temporary:
            try:
                faiss_library().write_index(index, str(temporary))
            except RuntimeError as error:  # FAISS's own, a full disk for instance
                raise OutputError(
                    f"{path}: cannot be written ({str(error).splitlines()[0]}); choose another "
                    "folder with cache_dir=DIR"
                ) from error

    def _load(self, path: Path) -> bool:
        """Read the index; False when it is damaged (then it is renamed, with a warning)."""
        library = faiss_library()
        try:
            index = library.read_index(str(path))
            reason = f"{index.ntotal} docs, expected {len(self.ids)}"
        except RuntimeError as error:
            index, reason = None, str(error).splitlines()[0]
        if index is not None and index.ntotal == len(self.ids):
            self._index = index
            return True
        with suppress(FileNotFoundError):
            os.replace(path, path.with_suffix(".damaged"))
        log.warning("%s is damaged (%s); set aside, it is built again", path, reason)
        return False

    def search(self, query_ids: Sequence[str], vectors: np.ndarray, k: int) -> Run:
        """The ranking by dot product, of the docs that the index finds."""
        k = min(k, len(self.ids))
        prepare(self._index, self.settings, k)
        start = perf_counter()
        with Counted(self._index, self.settings, len(vectors)) as counted:
            found = self._found(np.ascontiguousarray(vectors), k)
        self._spend("search_ms", start)
        if self.report_recall and len(vectors) and list(query_ids) == self._evaluated:
            self._report(found, vectors, k, counted.compared)
        return self.ranking_of(query_ids, found)

    def _found(self, vectors: np.ndarray, k: int) -> Nearest:
        """What the index finds, -1 where that is less than k docs, scored as `dense` does."""
        shape = len(vectors), k
        found = Nearest(np.full(shape, -1), np.full(shape, -np.inf, dtype=np.float32))
        step = max(1, _FOUND_BLOCK // k)
        starts = range(0, len(vectors), step)
        for start in track(starts, "Retrieving (FAISS)", len(vectors), step):
            block = vectors[start : start + step]
            _, docs, docs_vectors = self._index.search_and_reconstruct(block, k)
            rows, ranks = np.nonzero(docs >= 0)
            found.docs[start : start + step] = docs
            found.scores[start + rows, ranks] = similarity(block[rows], docs_vectors[rows, ranks])
        return found

    def _report(self, found: Nearest, vectors: np.ndarray, k: int, compared: int) -> None:
        """Recall: the share of the exact top k; of equal docs at its border, any will do."""
        recall = f"recall@{k}_share"
        if recall in self.details:
            return
        start = perf_counter()
        exact = self.nearest(vectors, k, "Searching exactly, for the recall of FAISS")
        self._spend("exact_search_ms", start)
        self.details[recall] = float((found.scores >= exact.scores[:, -1:]).mean())
        self.details[f"docs_compared@{k}_share"] = compared / (len(vectors) * len(self.ids))

    def _spend(self, what: str, start: float) -> None:
        self.work[what] = self.work.get(what, 0) + round(1000 * (perf_counter() - start))
