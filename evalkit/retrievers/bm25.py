"""BM25 through bm25s (Lù 2024), which scores eagerly at indexing time.

The default is Lucene's variant (Kamphuis et al., ECIR 2020). bm25s pads short result lists with
docs of score 0; they match nothing and are dropped here.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.analysis import Analyzer
from evalkit.cache import resolve_cache_dir
from evalkit.errors import ConfigError
from evalkit.io import atomic, write_array
from evalkit.measured import stage
from evalkit.progress import track
from evalkit.queries.transform import Part
from evalkit.retrievers.selection import order_of, top_k
from evalkit.run import Run
from evalkit.types import DOC_TEMPLATE, Dataset, Query, checked_template, fingerprint

if TYPE_CHECKING:
    from bm25s import BM25

# Not robertson: bm25s floors its idf at 0, so that a match can no longer be told from padding.
METHODS = ("lucene", "atire")
_PARTS = ("data", "indices", "indptr")

# An index term and how much it counts; a term may stand in a query several times.
WeightedTerm = tuple[str, float]


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
        numbers: defaultdict[str, int] = defaultdict()
        numbers.default_factory = numbers.__len__  # a new term has the next number
        corpus: list[np.ndarray] = []
        for doc in track(dataset.docs_iter(), "Indexing (BM25)", dataset.num_docs):
            terms = self.analyzer.terms(doc.render(self.doc_template))
            ids.append(doc.doc_id)
            corpus.append(np.fromiter(map(numbers.__getitem__, terms), np.int32, len(terms)))
        vocabulary = dict(numbers)
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
            about = {"vocabulary": vocabulary, "num_terms": sum(map(len, corpus))}
            file.write_text(json.dumps(about), encoding="utf-8")

    def _load(self, path: Path) -> None:
        import bm25s

        meta: dict[str, Any] = json.loads((path / "complete.json").read_text(encoding="utf-8"))
        model = bm25s.BM25(k1=self.k1, b=self.b, method=self.method)
        model.scores = {part: np.load(path / f"{part}.npy", mmap_mode="r") for part in _PARTS}
        self._ids = np.load(path / "ids.npy")
        model.scores["num_docs"] = len(self._ids)
        model.vocab_dict = meta["vocabulary"]
        # Of all docs, repeats counted; None for an index made before they were.
        self.num_terms: int | None = meta.get("num_terms")
        model.nonoccurrence_array = None
        self._model: BM25 = model
        self._order = order_of(self._ids)

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        found = (self._scores(query.text) for query in queries)
        return self._ranked([query.query_id for query in queries], found, k)

    def _scores(self, text: str) -> np.ndarray:
        """Of all docs: float32, shape (docs,)."""
        with stage("query_processing"):
            numbers = self._model.get_tokens_ids(self.analyzer.terms(text))
        return self._model.get_scores_from_ids(numbers)

    def retrieve_parts(
        self, query_ids: Sequence[str], parts: Sequence[Sequence[Part]], k: int
    ) -> Run:
        """The ranking by Σ weight × score(text) over each query's parts."""
        return self.retrieve_weighted(query_ids, [self.weighted_terms(each) for each in parts], k)

    def weighted_terms(self, parts: Sequence[Part]) -> list[WeightedTerm]:
        """The index terms of all parts, in order, repeats kept, each with its part's weight."""
        return [(t, part.weight) for part in parts for t in self.analyzer.terms(part.query.text)]

    def retrieve_weighted(
        self, query_ids: Sequence[str], queries: Sequence[Sequence[WeightedTerm]], k: int
    ) -> Run:
        """The ranking by Σ weight × BM25(term); one list of (index term, weight) a query."""
        return self._ranked(query_ids, map(self._weighted_scores, queries), k)

    def _weighted_scores(self, terms: Sequence[WeightedTerm]) -> np.ndarray:
        """float32, shape (docs,); with weights of 1 the same to the last bit as bm25s' own."""
        data, indices, indptr = (self._model.scores[part] for part in _PARTS)
        scores = np.zeros(len(self._ids), dtype=np.float32)
        for term, weight in terms:
            if term in self._model.vocab_dict:
                number = self._model.vocab_dict[term]
                postings = slice(indptr[number], indptr[number + 1])
                scores[indices[postings]] += np.float32(weight) * data[postings]
        return scores

    def doc_share(self, term: str) -> float:
        """The share of docs that hold an index term."""
        number = self._model.vocab_dict.get(term)
        if number is None:
            return 0.0
        indptr = self._model.scores["indptr"]
        return float(indptr[number + 1] - indptr[number]) / len(self._ids)

    def contributions(self, text: str, doc_ids: Sequence[str]) -> dict[str, dict[str, float]]:
        """doc_id → index term of the query text → what it adds to the doc's score.

        Terms that a doc lacks are left out; one that the query repeats counts as often. Their sum
        is the score, but for the last bits of float32.
        """
        data, indices, indptr = (self._model.scores[part] for part in _PARTS)
        asked = np.flatnonzero(np.isin(self._ids, np.asarray(doc_ids, dtype=np.str_)))
        found: dict[str, dict[str, float]] = {doc_id: {} for doc_id in doc_ids}
        for term, count in Counter(self.analyzer.terms(text)).items():
            number = self._model.vocab_dict.get(term)
            if number is None:
                continue
            postings = slice(indptr[number], indptr[number + 1])
            for at in np.flatnonzero(np.isin(indices[postings], asked)).tolist():
                doc_id = str(self._ids[indices[postings][at]])
                found[doc_id][term] = count * float(data[postings][at])
        return found

    def _ranked(self, query_ids: Sequence[str], found: Iterable[np.ndarray], k: int) -> Run:
        """The run of each query's scores of all docs: float32, shape (docs,)."""
        rows, docs, scores = [], [], []
        for row, all_scores in enumerate(track(found, "Retrieving (BM25)", len(query_ids))):
            matching = np.flatnonzero(all_scores > 0)  # few, and a partial sort is slow on equals
            best = matching[top_k(all_scores[matching], k, self._order[matching])]
            rows.append(np.full(len(best), row))
            docs.append(self._ids[best])
            scores.append(all_scores[best])
        if not rows:
            return Run.from_dict({}, query_ids)
        return Run.from_columns(query_ids, *map(np.concatenate, (rows, docs, scores)))
