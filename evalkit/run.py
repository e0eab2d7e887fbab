"""Run: a ranking of documents per query, columnar, in canonical order.

Canonical order is made once, here: score descending, then doc_id descending, as trec_eval does.
Scores are float32, also as trec_eval reads them. Candidates are a Run; so is reranked output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.errors import ScoreError

Tail = Literal["keep", "drop"]


@dataclass(frozen=True, eq=False)
class Run:
    """Rankings of Q queries with n results in all.

    query_ids: the Q queries, unique, in the dataset's order; a query may have no results.
    offsets: int64, shape (Q+1,); results of query i are rows offsets[i]:offsets[i+1].
    vocabulary: the doc ids that occur, sorted ascending, so that index order is id order.
    docs: int32, shape (n,), positions in `vocabulary`.
    scores: float32, shape (n,), descending within a query.
    """

    query_ids: tuple[str, ...]
    offsets: np.ndarray
    vocabulary: np.ndarray
    docs: np.ndarray
    scores: np.ndarray

    @classmethod
    def from_columns(
        cls,
        query_ids: Sequence[str],
        rows: np.ndarray,
        doc_ids: np.ndarray | Sequence[str],
        scores: np.ndarray | Sequence[float],
    ) -> Run:
        """Canonical run of n unordered results.

        rows: int, shape (n,), each result's position in `query_ids`. doc_ids, scores: shape (n,).
        Raises ScoreError for a score that is not finite and for a doc that a query has twice.
        """
        vocabulary, docs = np.unique(np.asarray(doc_ids, dtype=np.str_), return_inverse=True)
        return cls._build(query_ids, rows, vocabulary, docs, scores)

    @classmethod
    def _build(cls, query_ids, rows, vocabulary, docs, scores) -> Run:  # type: ignore[no-untyped-def]
        query_ids = tuple(query_ids)
        rows = np.asarray(rows, dtype=np.int64)
        docs = np.asarray(docs, dtype=np.int32).reshape(-1)
        scores = np.asarray(scores, dtype=np.float32).reshape(-1)
        if not len(rows) == len(docs) == len(scores):
            raise ScoreError(f"{len(docs)} docs for {len(scores)} scores; expected one score a doc")
        finite = np.isfinite(scores)
        if not finite.all():
            at = int(np.flatnonzero(~finite)[0])
            kind = "NaN" if np.isnan(scores[at]) else "infinite"
            raise ScoreError(
                f"{kind} score for query '{query_ids[rows[at]]}', doc '{vocabulary[docs[at]]}' "
                f"({int((~finite).sum())} of {len(scores)} scores); "
                "look for an overflow in half precision or an empty text"
            )
        order = np.lexsort((-docs, -scores, rows))
        rows, docs, scores = rows[order], docs[order], scores[order]
        pair = rows * max(len(vocabulary), 1) + docs
        unique, counts = np.unique(pair, return_counts=True)
        if len(unique) != len(pair):
            twice = divmod(int(unique[counts > 1][0]), max(len(vocabulary), 1))
            raise ScoreError(
                f"doc '{vocabulary[twice[1]]}' occurs twice for query '{query_ids[twice[0]]}'; "
                "a ranking holds each doc once"
            )
        offsets = np.searchsorted(rows, np.arange(len(query_ids) + 1)).astype(np.int64)
        return cls(query_ids, offsets, vocabulary, docs, scores)

    @classmethod
    def from_dict(
        cls, results: Mapping[str, Mapping[str, float]], query_ids: Sequence[str] | None = None
    ) -> Run:
        """Run of {query_id: {doc_id: score}}; `query_ids` sets the order (default: as given)."""
        query_ids = tuple(results if query_ids is None else query_ids)
        sizes = [len(results.get(q, ())) for q in query_ids]
        rows = np.repeat(np.arange(len(query_ids)), sizes)
        doc_ids = [d for q in query_ids for d in results.get(q, ())]
        scores = [s for q in query_ids for s in results.get(q, {}).values()]
        return cls.from_columns(query_ids, rows, doc_ids, scores)

    def __len__(self) -> int:
        """The number of results over all queries."""
        return len(self.docs)

    def __getitem__(self, query_id: str) -> list[tuple[str, float]]:
        """The ranking of one query, best first, as (doc_id, score)."""
        if query_id not in self.query_ids:
            raise KeyError(query_id)
        i = self.query_ids.index(query_id)
        part = slice(self.offsets[i], self.offsets[i + 1])
        ids = self.vocabulary[self.docs[part]].tolist()
        return list(zip(ids, self.scores[part].tolist(), strict=True))

    def __iter__(self) -> Iterator[tuple[str, list[str]]]:
        """(query_id, doc ids best first) for every query, those without results included."""
        for i, query_id in enumerate(self.query_ids):
            part = self.docs[self.offsets[i] : self.offsets[i + 1]]
            yield query_id, self.vocabulary[part].tolist()

    @property
    def sizes(self) -> np.ndarray:
        """Results per query: int64, shape (Q,)."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> np.ndarray:
        """Each result's query position: int64, shape (n,)."""
        return np.repeat(np.arange(len(self.query_ids)), self.sizes)

    @property
    def ranks(self) -> np.ndarray:
        """Each result's rank within its query, from 0: int64, shape (n,)."""
        return np.arange(len(self.docs)) - np.repeat(self.offsets[:-1], self.sizes)

    @property
    def doc_ids(self) -> np.ndarray:
        """Each result's doc id: str, shape (n,)."""
        return self.vocabulary[self.docs]

    def where(self, keep: np.ndarray) -> Run:
        """The results where the boolean mask `keep`, shape (n,), holds."""
        offsets = np.concatenate([[0], np.cumsum(keep)])[self.offsets]
        return Run(self.query_ids, offsets, self.vocabulary, self.docs[keep], self.scores[keep])

    def top(self, k: int | np.ndarray) -> Run:
        """The best `k` results of every query; k: one for all, or int of shape (Q,)."""
        if len(self) == 0 or (self.sizes <= k).all():
            return self
        limits = np.broadcast_to(k, (len(self.query_ids),))
        return self.where(self.ranks < np.repeat(limits, self.sizes))

    def without_self(self) -> Run:
        """Without results whose doc_id is the query_id (ArguAna, Quora)."""
        own = np.asarray(self.query_ids, dtype=np.str_)[self.rows] if len(self) else self.doc_ids
        return self.where(self.doc_ids != own)

    def select(self, query_ids: Sequence[str]) -> Run:
        """The same rankings for exactly these queries, in this order; those not here are empty."""
        if self.query_ids == tuple(query_ids):
            return self
        position = {q: i for i, q in enumerate(query_ids)}
        new_row = np.array([position.get(q, -1) for q in self.query_ids], dtype=np.int64)
        rows = new_row[self.rows] if len(self) else self.rows
        keep = rows >= 0
        return self._build(
            query_ids, rows[keep], self.vocabulary, self.docs[keep], self.scores[keep]
        )

    def with_scores(self, scores: np.ndarray) -> Run:
        """The same results with these scores (float32, shape (n,)), in their new order."""
        return self._build(self.query_ids, self.rows, self.vocabulary, self.docs, scores)

    def scores_in(self, other: Run) -> np.ndarray:
        """What `other` scores for this run's results: float32, shape (n,), NaN where it has none.

        Both runs must be over the same queries in the same order.
        """
        if self.query_ids != other.query_ids:
            raise ScoreError("two runs over different queries cannot be joined; use select()")
        if len(self) == 0 or len(other) == 0:
            return np.full(len(self), np.nan, dtype=np.float32)
        place, known = self._places_in(other)
        width = len(other.vocabulary)
        theirs = other.rows * width + other.docs
        order = np.argsort(theirs)
        mine = self.rows * width + place[self.docs]
        at = np.minimum(np.searchsorted(theirs[order], mine), len(other) - 1)
        hit = (theirs[order][at] == mine) & known[self.docs]
        return np.where(hit, other.scores[order][at], np.float32(np.nan))

    def _places_in(self, other: Run) -> tuple[np.ndarray, np.ndarray]:
        """Where this run's vocabulary is in another's, and whether it is there at all."""
        if self.vocabulary is other.vocabulary:
            size = len(self.vocabulary)
            return np.arange(size), np.ones(size, dtype=bool)
        place = np.searchsorted(other.vocabulary, self.vocabulary)
        place = np.minimum(place, len(other.vocabulary) - 1)
        return place, other.vocabulary[place] == self.vocabulary

    def reranked(self, head: Run, tail: Tail = "keep") -> Run:
        """This run with its best candidates replaced by `head`, their reranked order.

        `head` holds the first K of every query under a reranker's scores. With tail="keep" what
        is below K follows in its old order, scored below the head; with "drop" it goes.
        """
        if tail == "drop":
            return head.select(self.query_ids)
        head = head.select(self.query_ids)
        below = self.where(np.isnan(self.scores_in(head)))
        if len(below) == 0:
            return head
        lowest = np.zeros(len(self.query_ids), dtype=np.float64)
        filled = head.sizes > 0
        lowest[filled] = head.scores[head.offsets[1:][filled] - 1]
        # A step that float32 can still tell apart next to a score of this size.
        step = np.maximum(1.0, 4.0 * np.spacing((np.abs(lowest) + 1e4).astype(np.float32)))
        rows = below.rows
        under = lowest[rows] - step[rows] * (below.ranks + 1)
        all_rows, all_scores = (
            np.concatenate(parts) for parts in ([head.rows, rows], [head.scores, under])
        )
        place, known = head._places_in(self)
        if known[head.docs].all():  # as it is where a head reorders this run's own docs
            docs = np.concatenate([place[head.docs], below.docs])
            return self._build(self.query_ids, all_rows, self.vocabulary, docs, all_scores)
        doc_ids = np.concatenate([head.doc_ids, below.doc_ids])
        return Run.from_columns(self.query_ids, all_rows, doc_ids, all_scores)

    def tied_share(self) -> float:
        """The share of results whose score equals their predecessor's in the same query."""
        if len(self) == 0:
            return 0.0
        same = (self.scores[1:] == self.scores[:-1]) & (self.ranks[1:] > 0)
        return float(same.sum() / len(self))


def union(runs: Sequence[Run]) -> Run:
    """Every (query, doc) that occurs in any of the runs, once; all scores 0.

    The runs are over the same queries in the same order.
    """
    if any(run.query_ids != runs[0].query_ids for run in runs):
        raise ScoreError("runs over different queries have no union; use select() first")
    vocabulary = np.unique(np.concatenate([run.vocabulary[np.unique(run.docs)] for run in runs]))
    pairs = np.unique(
        np.concatenate(
            [
                run.rows * len(vocabulary) + np.searchsorted(vocabulary, run.vocabulary)[run.docs]
                for run in runs
                if len(run)
            ]
            or [np.empty(0, dtype=np.int64)]
        )
    )
    rows, docs = np.divmod(pairs, max(len(vocabulary), 1))
    return Run._build(runs[0].query_ids, rows, vocabulary, docs, np.zeros(len(docs), np.float32))
