"""The features of learning to rank that look at the words: lengths, overlap, rarity.

Terms are those of `evalkit.analysis`, as BM25 sees them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evalkit.analysis import Analyzer
from evalkit.io import read_json, write_json
from evalkit.progress import track
from evalkit.rerankers.pointwise import blocks
from evalkit.run import Run
from evalkit.types import Dataset, Doc, Query, fingerprint

# Raise it when a feature changes its meaning: no model of the old ones is then used with the new.
RULES = 1
NAMES = (
    "doc_terms", "title_terms", "query_terms",
    "overlap_count", "overlap", "overlap_idf", "title_overlap", "title_overlap_idf",
    "idf_sum", "idf_mean", "idf_max", "idf_min",
)  # fmt: skip


class TermStatistics(NamedTuple):
    """docs: how many the collection holds. frequencies: query term → docs that hold it; no other
    terms, so that a large collection's vocabulary is never in memory."""

    docs: int
    frequencies: Mapping[str, int]

    def idf(self, term: str) -> float:
        """ln(1 + (N - df + 0.5) / (df + 0.5)), never negative: the idf of Lucene's BM25."""
        found = self.frequencies[term]
        return math.log1p((self.docs - found + 0.5) / (found + 0.5))


class _DocTerms(NamedTuple):
    """Lengths in terms, repeats counted; and the distinct terms."""

    length: int
    title_length: int
    body: frozenset[str]
    title: frozenset[str]


class TermFeatures:
    """The features that look at the words.

    doc_template: how title and text become the text whose terms count. folder: where term
    statistics are kept, since they cost a pass over all docs.
    """

    def __init__(self, analyzer: Analyzer, doc_template: str, folder: Path) -> None:
        self.analyzer, self.doc_template, self.folder = analyzer, doc_template, folder

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "TermFeatures",
            rules=RULES,
            analyzer=self.analyzer.fingerprint,
            doc_template=self.doc_template,
        )

    def statistics(self, dataset: Dataset, queries: Sequence[Query]) -> TermStatistics:
        """In how many docs each term of these queries is: one pass over the docs, kept on disk."""
        terms = sorted({term for query in queries for term in self.analyzer.terms(query.text)})
        parts = (self.fingerprint, dataset.docs_digest, *terms)
        name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
        path = self.folder / f"terms-{name}.json"
        if not path.exists():
            counts = dict.fromkeys(terms, 0)
            for doc in track(dataset.docs_iter(), "Counting terms", dataset.num_docs):
                for term in counts.keys() & self.analyzer.terms(doc.render(self.doc_template)):
                    counts[term] += 1
            write_json(path, counts)
        return TermStatistics(dataset.num_docs, read_json(path))

    def matrix(
        self, pairs: Run, queries: Sequence[Query], dataset: Dataset, statistics: TermStatistics
    ) -> np.ndarray:
        """float64, shape (n, len(NAMES)), rows in the order of `pairs`.

        overlap_count: the query's distinct terms that are in the doc; overlap: their share of the
        query's; overlap_idf: that share with each term weighing its idf; title_: of the title.
        NaN where a query has no term. The docs of some hundred queries are in memory at a time.
        """
        rows = np.empty((len(pairs), len(NAMES)), dtype=np.float64)
        terms = {query.query_id: self.analyzer.terms(query.text) for query in queries}
        for where, block in blocks(pairs):
            found = dataset.lookup(np.unique(block.doc_ids).tolist())
            docs = {doc_id: self._doc_terms(doc) for doc_id, doc in found.items()}
            at = where.start
            for query_id, doc_ids in block:
                query = _QueryTerms(terms[query_id], statistics)
                for doc_id in doc_ids:
                    rows[at] = query.features(docs[doc_id])
                    at += 1
        return rows

    def _doc_terms(self, doc: Doc) -> _DocTerms:
        body = self.analyzer.terms(doc.render(self.doc_template))
        title = self.analyzer.terms(doc.title)
        return _DocTerms(len(body), len(title), frozenset(body), frozenset(title))


class _QueryTerms:
    """A query's terms and how rare they are."""

    def __init__(self, terms: Sequence[str], statistics: TermStatistics) -> None:
        self.length = len(terms)
        self.idf = {term: statistics.idf(term) for term in terms}
        self.total = sum(self.idf.values())

    def features(self, doc: _DocTerms) -> list[float]:
        """One row, in the order of NAMES."""
        lengths = [doc.length, doc.title_length, self.length]
        if not self.idf:
            return [*lengths, 0, *[math.nan] * (len(NAMES) - 4)]
        shared = self.idf.keys() & doc.body
        titled = self.idf.keys() & doc.title
        rarity = self.idf.values()
        return [
            *lengths,
            len(shared),
            len(shared) / len(self.idf),
            self._weight(shared) / self.total,
            len(titled) / len(self.idf),
            self._weight(titled) / self.total,
            self.total,
            self.total / len(self.idf),
            max(rarity),
            min(rarity),
        ]

    def _weight(self, terms: set[str]) -> float:
        # In the query's order: a set has none, and the order changes the last digits of a sum.
        return sum(idf for term, idf in self.idf.items() if term in terms)
