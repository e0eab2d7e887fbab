"""Dynamic candidate size: how many candidates are reranked is decided query by query.

After dynamic cutoff prediction (Culpepper, Clarke and Lin, ADCS 2016) and truncation by score
(Bahri et al., SIGIR 2020); here with rules that a reader can check by hand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from evalkit.errors import ConfigError
from evalkit.first_stage import first_stage
from evalkit.fusion import normalised
from evalkit.rerankers.composed import ComposedReranker
from evalkit.rerankers.lessons import lesson_for
from evalkit.run import Run
from evalkit.types import Dataset, Neighbours, Query, fingerprint

# A word, or one Chinese or Japanese character.
_TERM = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")


class AdaptiveReranker(ComposedReranker):
    """A reranker over the first k(query) ≤ K candidates; the others keep their order below, or go
    where the reranker drops docs: what it dropped must not come back among them.

    of: the reranker. least: candidates reranked at least. by, the rule for k(query):
    "score_gap": up to the largest gap between two neighbours' first-stage scores;
    "query_length": k = least + per_term × (terms of the query), for queries that get harder with
    every term; "probability": while a candidate's probability of relevance, σ(a · score + b) of its
    first-stage score, is at least `probability`; a and b (Platt 1999) are `platt`, or fitted on
    `fit_split`.
    """

    def __init__(
        self,
        of: str,
        by: Literal["score_gap", "query_length", "probability"] = "score_gap",
        least: int = 5,
        per_term: float = 5.0,
        probability: float = 0.05,
        platt: tuple[float, float] | None = None,
        fit_split: str = "train",
    ) -> None:
        if least < 1 or per_term < 0 or not 0 < probability < 1:
            raise ConfigError(
                f"adaptive: least={least}, per_term={per_term}, probability={probability}; "
                "expected least ≥ 1, per_term ≥ 0, 0 < probability < 1"
            )
        self.of, self.by, self.least, self.per_term = of, by, least, per_term
        self.probability, self.platt, self.fit_split = probability, platt, fit_split
        super().__init__([of])
        self.fitted = by == "probability" and platt is None

    def connect(self, name: str, neighbours: Neighbours) -> None:
        super().connect(name, neighbours)
        dataset = neighbours.dataset
        if not self.fitted:
            return
        if self.fit_split == dataset.split or not dataset.has_split(self.fit_split):
            raise ConfigError(
                f"reranker.{name}.fit_split={self.fit_split}: expected another split than the "
                f"evaluated '{dataset.split}' that {dataset.dataset_id} has; or give "
                f"reranker.{name}.platt=[A,B]"
            )

    @property
    def fingerprint(self) -> str:
        likely, lengthy = self.by == "probability", self.by == "query_length"
        return fingerprint(
            "Adaptive",
            parts=self.part_fingerprints(),
            by=self.by,
            least=self.least,
            per_term=self.per_term if lengthy else None,
            probability=self.probability if likely else None,
            platt=self.platt if likely else None,
            fit_split=self.fit_split if likely and self.platt is None else None,
        )

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        self.work = {}
        size = int(candidates.sizes.max(initial=0))
        limits = np.minimum(np.maximum(self._sizes(queries, candidates), self.least), size)
        given = candidates.top(limits)
        self.details.setdefault(f"K={size}", {})["candidates a query"] = round(
            float(given.sizes.mean()) if len(given.query_ids) else 0.0, 2
        )
        head = self.call(self.of, queries, dataset, given)
        merged = head if self.filters else candidates.reranked(head)
        return merged.with_scores((merged.sizes[merged.rows] - merged.ranks).astype(np.float32))

    def _sizes(self, queries: Sequence[Query], candidates: Run) -> np.ndarray:
        """k of each query by the rule, not yet bounded: int64, shape (Q,)."""
        if self.by == "query_length":
            terms = {query.query_id: len(_TERM.findall(query.text)) for query in queries}
            per_query = [self.per_term * terms[q] for q in candidates.query_ids]
            return self.least + np.round(per_query).astype(np.int64)
        if self.by == "score_gap":
            return _largest_gap(candidates, self.least)
        slope, offset = self.platt or self._fitted(candidates)
        scores = candidates.scores.astype(np.float64)
        likely = 0.5 * (1 + np.tanh(0.5 * (slope * scores + offset))) >= self.probability
        # Up to the first that is not: with a < 0 the likely ones stand at the end of the list.
        sizes = candidates.sizes.copy()
        np.minimum.at(sizes, candidates.rows[~likely], candidates.ranks[~likely])
        return sizes

    def _fitted(self, candidates: Run) -> tuple[float, float]:
        """a and b by logistic regression of relevance on the first stage's scores."""
        from sklearn.linear_model import LogisticRegression

        neighbours = self.neighbours
        if neighbours is None or self.retriever not in neighbours.retrievers:
            raise ConfigError(f"reranker.{self.name}: fit_split needs a first stage to fit")
        lesson = lesson_for(neighbours.dataset, self.fit_split, folds=2)
        retriever = neighbours.retrievers[self.retriever]
        retriever.index(lesson.dataset)
        size = int(candidates.sizes.max(initial=0))
        found = first_stage(retriever, lesson.dataset, size, lesson.queries)
        level = lesson.dataset.relevance_level
        good = {(q.query_id, q.doc_id) for q in lesson.qrels if q.relevance >= level}
        labels = np.array([(q, d) in good for q, docs in found for d in docs], dtype=bool)
        if labels.all() or not labels.any():
            raise ConfigError(
                f"reranker.{self.name}.fit_split={self.fit_split}: {self.retriever} finds "
                f"{int(labels.sum())} relevant of {len(labels)} docs there, which fits no "
                "probability; give platt=[A,B]"
            )
        model = LogisticRegression(C=np.inf).fit(found.scores[:, None].astype(np.float64), labels)
        slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
        self.details[f"K={size}"] = {"platt": [round(slope, 6), round(offset, 6)]}
        return slope, offset


def _largest_gap(candidates: Run, least: int) -> np.ndarray:
    """Docs above the largest gap between neighbouring scores at rank ≥ least: int64, (Q,)."""
    scores = normalised(candidates, "min_max")
    sizes = candidates.sizes.copy()
    for i, (start, end) in enumerate(zip(candidates.offsets, candidates.offsets[1:], strict=False)):
        gaps = -np.diff(scores[start:end])[least - 1 :]
        if len(gaps):
            sizes[i] = least + int(gaps.argmax())
    return sizes
