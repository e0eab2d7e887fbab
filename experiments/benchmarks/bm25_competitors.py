"""Those whom bm25.py compares: each indexes texts and finds the top k of queries."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import bm25s
import numpy as np
import Stemmer

from evalkit.datasets.folder import FolderDataset
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.run import Run
from evalkit.types import Doc, Qrel, Query

OURS = "evalkit"


class Collection:
    """A collection in main memory: what `BM25Retriever` asks of a dataset, and texts for others."""

    def __init__(self, path: str, split: str, queries: int | None) -> None:
        dataset = FolderDataset(path, split)
        self.name, self.docs_digest = dataset.dataset_id, dataset.docs_digest
        self.docs: list[Doc] = list(dataset.docs_iter())
        self.num_docs = len(self.docs)
        self.texts = [doc.render() for doc in self.docs]
        self.ids = np.asarray([doc.doc_id for doc in self.docs])
        self.queries: list[Query] = list(dataset.queries)[:queries]
        self.query_texts = [query.text for query in self.queries]
        chosen = {query.query_id for query in self.queries}
        self.qrels: list[Qrel] = [qrel for qrel in dataset.qrels if qrel.query_id in chosen]

    def docs_iter(self) -> Iterator[Doc]:
        return iter(self.docs)

    def run(self, docs: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> Run:
        """Of each query's best: positions and scores, (k,) each; a score of 0 matches nothing."""
        found = {
            query.query_id: dict(zip(self.ids[at[of > 0]], of[of > 0].tolist(), strict=True))
            for query, at, of in zip(self.queries, docs, scores, strict=True)
        }
        return Run.from_dict(found, [query.query_id for query in self.queries])


class Competitor(Protocol):
    def index(self, collection: Collection) -> None: ...

    def search(self, collection: Collection, k: int) -> Any: ...

    def run(self, collection: Collection, found: Any) -> Run:
        """What `search` found; this is not timed."""
        ...


class Evalkit:
    def __init__(self, k1: float, b: float) -> None:
        # Kept as long as the competitor, for the index is mapped from it.
        self._folder = tempfile.TemporaryDirectory()
        self._retriever = BM25Retriever(k1, b, cache_dir=self._folder.name)

    def index(self, collection: Collection) -> None:
        self._retriever.index(collection)  # type: ignore[arg-type]

    def search(self, collection: Collection, k: int) -> Run:
        return self._retriever.retrieve(collection.queries, k)

    def run(self, collection: Collection, found: Run) -> Run:
        return found


class Bm25s:
    """As its README has it."""

    def __init__(self, k1: float, b: float, backend: str) -> None:
        self._model = bm25s.BM25(k1=k1, b=b, method="lucene", backend=backend)
        self._stemmer = Stemmer.Stemmer("english")

    def _tokens(self, texts: list[str]) -> Any:
        return bm25s.tokenize(texts, stopwords="en", stemmer=self._stemmer, show_progress=False)

    def index(self, collection: Collection) -> None:
        self._model.index(self._tokens(collection.texts), show_progress=False)

    def search(self, collection: Collection, k: int) -> Any:
        tokens = self._tokens(collection.query_texts)
        return self._model.retrieve(tokens, k=min(k, collection.num_docs), show_progress=False)

    def run(self, collection: Collection, found: Any) -> Run:
        return collection.run(found.documents, found.scores)


class RankBM25:
    """As its README has it, with terms of evalkit's analyser."""

    def __init__(self, k1: float, b: float) -> None:
        self._settings, self._terms = {"k1": k1, "b": b}, BM25Retriever().analyzer.terms

    def index(self, collection: Collection) -> None:
        from rank_bm25 import BM25Okapi

        self._model = BM25Okapi(list(map(self._terms, collection.texts)), **self._settings)

    def search(self, collection: Collection, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        found = []
        for text in collection.query_texts:
            scores = self._model.get_scores(self._terms(text))
            best = np.argsort(scores)[::-1][:k]
            found.append((best, scores[best]))
        return found

    def run(self, collection: Collection, found: list[tuple[np.ndarray, np.ndarray]]) -> Run:
        return collection.run(*zip(*found, strict=True))


def competitors(k1: float, b: float) -> dict[str, Callable[[], Competitor]]:
    """Ours last; a peer that is not installed is left out, and a line says so."""
    found: dict[str, Callable[[], Competitor]] = {}
    found["bm25s, numpy"] = lambda: Bm25s(k1, b, "numpy")
    if find_spec("numba"):
        found["bm25s, numba"] = lambda: Bm25s(k1, b, "numba")
    else:
        print("numba is not installed: bm25s' numba back end is left out; pip install numba")
    if find_spec("rank_bm25"):
        found["rank-bm25"] = lambda: RankBM25(k1, b)
    else:
        print("rank-bm25 is not installed and is left out; pip install rank-bm25")
    return {**found, OURS: lambda: Evalkit(k1, b)}
