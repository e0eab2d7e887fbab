"""BM25 through bm25s (Lù 2024), which scores eagerly at indexing time.

The default is Lucene's variant (Kamphuis et al., ECIR 2020). bm25s pads short result lists with
docs of score 0; they match nothing and are dropped here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.cache import resolve_cache_dir
from evalkit.errors import ConfigError
from evalkit.io import atomic, write_array
from evalkit.progress import track
from evalkit.retrievers.analysis import Analyzer
from evalkit.retrievers.selection import order_of, top_k
from evalkit.run import Run
from evalkit.types import DOC_TEMPLATE, Dataset, Query, checked_template, fingerprint

if TYPE_CHECKING:
    from bm25s import BM25

# Not robertson: bm25s floors its idf at 0, so that a match can no longer be told from padding.
METHODS = ("lucene", "atire")


class BM25Retriever:
    """BM25 over the rendered docs of a dataset.

    k1, b: term saturation and length normalisation. method: which published formula. language,
    stemmer, stopwords: see `Analyzer`. The index is cached by fingerprint and dataset digest.
    """

    def __init__(
        self,
        k1: float = 1.2,
        b: float = 0.75,
        method: str = "lucene",
        language: str = "auto",
        stemmer: bool = True,
        stopwords: bool = True,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        if k1 < 0 or not 0 <= b <= 1:
            raise ConfigError(f"bm25: k1={k1}, b={b}; expected k1 ≥ 0 and 0 ≤ b ≤ 1")
        if method not in METHODS:
            raise ConfigError(f"bm25: method={method}; expected one of {', '.join(METHODS)}")
        self.k1, self.b, self.method = float(k1), float(b), method
        self.doc_template = checked_template(doc_template)
        self.analyzer = Analyzer(language, stemmer, stopwords)
        self.cache_dir = resolve_cache_dir(cache_dir)

    @cached_property
    def fingerprint(self) -> str:
        import bm25s

        return fingerprint(
            "BM25",
            k1=self.k1,
            b=self.b,
            method=self.method,
            analyzer=self.analyzer.fingerprint,
            doc_template=self.doc_template,
            bm25s=bm25s.__version__,
        )

    def cache_path(self, dataset: Dataset) -> Path:
        return self.cache_dir / "bm25" / f"{self.fingerprint}-{dataset.docs_digest}"

    def is_cached(self, dataset: Dataset) -> bool:
        return (self.cache_path(dataset) / "complete.json").exists()

    def index(self, dataset: Dataset) -> None:
        path = self.cache_path(dataset)
        if not self.is_cached(dataset):
            self._build(dataset, path)
        self._load(path)

    def _build(self, dataset: Dataset, path: Path) -> None:
        import bm25s

        # Importing bm25s turns its debug log on.
        logging.getLogger("bm25s").setLevel(logging.WARNING)
        ids: list[str] = []
        vocabulary: dict[str, int] = {}
        corpus: list[np.ndarray] = []
        for doc in track(dataset.docs_iter(), "Indexing (BM25)", dataset.num_docs):
            terms = self.analyzer.terms(doc.render(self.doc_template))
            ids.append(doc.doc_id)
            numbers = [vocabulary.setdefault(term, len(vocabulary)) for term in terms]
            corpus.append(np.asarray(numbers, dtype=np.int32))
        if not vocabulary:
            raise ConfigError(
                "bm25: no document has an index term; check doc_template and language"
            )
        model = bm25s.BM25(k1=self.k1, b=self.b, method=self.method)
        model.index((corpus, vocabulary), show_progress=False, create_empty_token=False)
        for part, array in model.scores.items():
            if part != "num_docs":
                write_array(path / f"{part}.npy", np.asarray(array))
        write_array(path / "ids.npy", np.asarray(ids, dtype=np.str_))
        # Written last: an index without it was cut short and is built again.
        with atomic(path / "complete.json") as file:
            file.write_text(json.dumps({"vocabulary": vocabulary}), encoding="utf-8")

    def _load(self, path: Path) -> None:
        import bm25s

        meta: dict[str, Any] = json.loads((path / "complete.json").read_text(encoding="utf-8"))
        model = bm25s.BM25(k1=self.k1, b=self.b, method=self.method)
        parts = ("data", "indices", "indptr")
        model.scores = {part: np.load(path / f"{part}.npy", mmap_mode="r") for part in parts}
        self._ids = np.load(path / "ids.npy")
        model.scores["num_docs"] = len(self._ids)
        model.vocab_dict = meta["vocabulary"]
        model.nonoccurrence_array = None
        self._model: BM25 = model
        self._order = order_of(self._ids)

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        rows, docs, scores = [], [], []
        for row, query in enumerate(track(queries, "Retrieving (BM25)", len(queries))):
            terms = self._model.get_tokens_ids(self.analyzer.terms(query.text))
            if not terms:
                continue
            all_scores = self._model.get_scores_from_ids(terms)
            best = top_k(all_scores, k, self._order)
            best = best[all_scores[best] > 0]
            rows.append(np.full(len(best), row))
            docs.append(self._ids[best])
            scores.append(all_scores[best])
        query_ids = [query.query_id for query in queries]
        if not rows:
            return Run.from_dict({}, query_ids)
        return Run.from_columns(query_ids, *map(np.concatenate, (rows, docs, scores)))
