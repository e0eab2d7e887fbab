"""RM3 over BM25: the query is expanded by terms of the docs that it finds, and asked again.

Abdul-Jaleel et al., TREC 2004, on the relevance model RM1 of Lavrenko and Croft, SIGIR 2001:

    P(t|R)  ∝  Σ_d score(q, d) · P(t|d)       over the fb_docs best docs
    P'(t)   =  λ · P(t|q) + (1 − λ) · P(t|R)  over the query's terms and the fb_terms likeliest

and score(d) = Σ_t P'(t) · BM25(t, d). As in Anserini (Yang et al., JDIQ 2018): P(t|d) is a doc's
term frequency over those of its own fb_terms most frequent terms, and no feedback term is in more
than a tenth of the docs, has fewer than two or more than twenty characters or another than a
letter or digit. Unlike there: letters are those of any script and a single Han character is a
term; of equally frequent terms the alphabetically first are taken, where Anserini leaves it to a
hash table; and P' is multiplied by the query's length, so that λ=1 is BM25 itself, score by score.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from evalkit.errors import ConfigError
from evalkit.retrievers.bm25 import BM25Retriever, WeightedTerm
from evalkit.retrievers.composed import ComposedRetriever, described
from evalkit.retrievers.transformed import query_parts, root_of
from evalkit.run import Run
from evalkit.types import Dataset, Doc, Query, fingerprint

# Queries whose feedback docs are in memory together.
_BLOCK = 1000
_LONGEST = 20

TermWeights = Mapping[str, float]


class Rm3Retriever(ComposedRetriever):
    """BM25 with pseudo-relevance feedback, on top of the BM25 retriever named `of`.

    Where `of` names a transformed retriever over BM25, such as one that rewrites queries, its
    queries are the ones that are expanded. original_query_weight: λ. max_doc_share: terms in a
    larger share of the docs are no feedback terms.
    """

    def __init__(
        self,
        of: str = "bm25",
        fb_docs: int = 10,
        fb_terms: int = 10,
        original_query_weight: float = 0.5,
        max_doc_share: float = 0.1,
    ) -> None:
        super().__init__(of)
        if fb_docs < 1 or fb_terms < 1:
            raise ConfigError(f"rm3: fb_docs={fb_docs}, fb_terms={fb_terms}; expected at least 1")
        if not 0 <= original_query_weight <= 1 or not 0 < max_doc_share <= 1:
            raise ConfigError(
                f"rm3: original_query_weight={original_query_weight}, max_doc_share="
                f"{max_doc_share}; expected shares between 0 and 1"
            )
        self.fb_docs, self.fb_terms = fb_docs, fb_terms
        self.original_query_weight = float(original_query_weight)
        self.max_doc_share = float(max_doc_share)
        self._unfed: set[str] = set()

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "RM3",
            of=self.base.fingerprint,
            fb_docs=self.fb_docs,
            fb_terms=self.fb_terms,
            original_query_weight=self.original_query_weight,
            max_doc_share=self.max_doc_share,
        )

    @property
    def details(self) -> Mapping[str, Any]:
        """How many queries found no feedback term and were asked as they are."""
        return {"queries_without_feedback": len(self._unfed)} if self._unfed else {}

    @property
    def _bm25(self) -> BM25Retriever:
        root = root_of(self.base)
        if not isinstance(root, BM25Retriever):
            raise ConfigError(
                f"retriever.{self.name}.of: {described(self.of, root)} is no BM25 retriever, whose "
                f"terms RM3 weighs; set retriever.{self.name}.of=bm25"
            )
        return root

    def check(self, depth: int) -> None:
        """ConfigError unless BM25 is below, by way of transforms or not."""
        super().check(max(depth, self.fb_docs + 1))
        _ = self._bm25

    def index(self, dataset: Dataset) -> None:
        super().index(dataset)
        self._dataset = dataset

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        own = 1 if self._dataset.exclude_self else 0
        # As deep as the base is asked for itself: then it searches once.
        found = self.base.retrieve(queries, max(k, self.fb_docs + own))
        feedback = (found.without_self() if own else found).top(self.fb_docs)
        expanded = self.expanded_queries(queries, feedback)
        return self._bm25.retrieve_weighted(found.query_ids, expanded, k)

    def expanded_queries(self, queries: Sequence[Query], feedback: Run) -> list[list[WeightedTerm]]:
        """Each query's terms and those of its feedback docs, weighted: P' × the query's length."""
        expanded: list[list[WeightedTerm]] = []
        originals = map(self._bm25.weighted_terms, query_parts(self.base, queries))
        ids, scores = feedback.doc_ids.tolist(), feedback.scores.tolist()
        rankings = [
            list(zip(ids[start:end], scores[start:end], strict=True))
            for start, end in pairwise(feedback.offsets.tolist())
        ]
        for start in range(0, len(queries), _BLOCK):
            block = rankings[start : start + _BLOCK]
            docs = self._dataset.lookup(doc_id for ranking in block for doc_id, _ in ranking)
            term_shares = {doc_id: self._term_shares(doc) for doc_id, doc in docs.items()}
            for query, ranking in zip(queries[start : start + _BLOCK], block, strict=True):
                scored = [(term_shares[doc_id], score) for doc_id, score in ranking]
                model = relevance_model(scored, self.fb_terms)
                if not model:
                    self._unfed.add(query.query_id)
                expanded.append(interpolated(next(originals), model, self.original_query_weight))
        return expanded

    def _term_shares(self, doc: Doc) -> TermWeights:
        """P(t|d) of a doc's fb_terms most frequent terms that may be feedback terms."""
        bm25 = self._bm25
        counts = Counter(bm25.analyzer.terms(doc.render(bm25.doc_template)))
        usable = {term: float(n) for term, n in counts.items() if self._is_usable(term, bm25)}
        return _shares(usable, self.fb_terms)

    def _is_usable(self, term: str, bm25: BM25Retriever) -> bool:
        # One Han character is a word; the analysis gives no other term of one character.
        return (
            len(term) <= _LONGEST
            and term.isalnum()
            and 0 < bm25.doc_share(term) <= self.max_doc_share
        )


def relevance_model(
    feedback: Sequence[tuple[TermWeights, float]], fb_terms: int
) -> dict[str, float]:
    """P(t|R) of the fb_terms likeliest terms, likeliest first; they sum to 1.

    feedback: P(t|d) and retrieval score of each feedback doc. Empty without a term.
    """
    weights: dict[str, float] = {}
    for shares, score in feedback:
        for term, share in shares.items():
            weights[term] = weights.get(term, 0.0) + score * share
    return _shares(weights, fb_terms)


def interpolated(
    original: Sequence[WeightedTerm], model: TermWeights, original_weight: float
) -> list[WeightedTerm]:
    """λ · query + (1 − λ) · |query| · model; |query| is the sum of the query's term weights."""
    length = sum(weight for _, weight in original)
    terms = [(term, original_weight * weight) for term, weight in original]
    terms += [(term, (1 - original_weight) * length * share) for term, share in model.items()]
    return [(term, weight) for term, weight in terms if weight > 0]


def _shares(weights: TermWeights, most: int) -> dict[str, float]:
    """The `most` largest weights over their sum, largest first, equal ones by term."""
    chosen = heapq.nsmallest(most, weights.items(), key=lambda item: (-item[1], item[0]))
    total = sum(weight for _, weight in chosen)
    return {term: weight / total for term, weight in chosen}
