"""Where the judged docs stand in a ranking: one join of a Run with the qrels, all queries at once.

Every measure of the grid depends on a ranking by nothing else: the ranks and grades of its judged
results, and how many results there are. Unjudged results, nearly all of them as a rule, are left
behind here, so that what follows is small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from evalkit.run import Run


@dataclass(frozen=True, eq=False)
class JudgedResults:
    """The h judged results of a ranking, sorted by query, then rank.

    queries: int64, shape (h,), positions in `Judgements.query_ids`. ranks: int64, shape (h,),
    from 0. grades: int64, shape (h,). sizes: int64, shape (Q,), all results of each query, 0 for
    one that the ranking does not have.
    """

    queries: np.ndarray
    ranks: np.ndarray
    grades: np.ndarray
    sizes: np.ndarray

    def where(self, keep: np.ndarray) -> JudgedResults:
        """The results where the boolean mask `keep`, shape (h,), holds; sizes stay."""
        return JudgedResults(self.queries[keep], self.ranks[keep], self.grades[keep], self.sizes)

    def counts(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Results a query, or the sums of their weights, added from the first rank on: shape (Q,).

        float64 with weights, else int64.
        """
        return np.bincount(self.queries, weights, minlength=len(self.sizes))

    def top(self, k: int) -> JudgedResults:
        """What is judged of the first k results of every query."""
        kept = self.where(self.ranks < k)
        return replace(kept, sizes=np.minimum(self.sizes, k))


class Judgements:
    """Qrels in columns.

    query_ids: the Q judged queries. doc_ids: the judged docs', sorted, each once. queries, docs,
    grades: int64, shape (J,), a judgement each, sorted by query, then doc; the first two are
    positions in those.
    """

    def __init__(self, grades: Mapping[str, Mapping[str, int]]) -> None:
        self.query_ids = tuple(grades)
        self._position = {query_id: i for i, query_id in enumerate(grades)}
        queries = np.repeat(np.arange(len(grades)), [len(judged) for judged in grades.values()])
        ids = [doc_id for judged in grades.values() for doc_id in judged]
        values = np.array([g for judged in grades.values() for g in judged.values()], np.int64)
        self.doc_ids, docs = np.unique(np.asarray(ids, dtype=np.str_), return_inverse=True)
        order = np.lexsort((docs, queries))
        self.queries, self.docs, self.grades = queries[order], docs[order], values[order]
        self._lengths = np.char.str_len(self.doc_ids)
        self._looked_up = np.empty(0, dtype=np.str_), np.full(len(self.doc_ids), -1)

    def in_run(self, run: Run) -> JudgedResults:
        """The judged results of a run; its queries that have no judgement are left out."""
        position = np.array([self._position.get(q, -1) for q in run.query_ids], dtype=np.int64)
        keys, grades = self._keys(run, position)
        at, place = _joined(keys, run)
        rows = run.rows[at]
        queries, ranks = position[rows], at - run.offsets[rows]
        # Rows of a run are in its own order of queries.
        order = np.argsort(queries, kind="stable")
        known = position >= 0
        sizes = np.zeros(len(self.query_ids), dtype=np.int64)
        sizes[position[known]] = run.sizes[known]
        return JudgedResults(queries[order], ranks[order], grades[place][order], sizes)

    def _keys(self, run: Run, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Judgements of pairs that the run may hold, as row × V + doc in ascending order; grades.

        Both int64. V: the size of the run's vocabulary; only there do two runs compare.
        """
        row_of = np.full(len(self.query_ids), -1, dtype=np.int64)
        row_of[position[position >= 0]] = np.flatnonzero(position >= 0)
        if not np.array_equal(run.vocabulary, self._looked_up[0]):
            # Cells of one retriever hold the same docs, and a search among strings is slow.
            self._looked_up = run.vocabulary, self._places(run.vocabulary)
        rows, docs = row_of[self.queries], self._looked_up[1][self.docs]
        known = (rows >= 0) & (docs >= 0)
        keys = rows[known] * len(run.vocabulary) + docs[known]
        # In order already where the run has its queries as the qrels do: nothing to do for Timsort.
        order = np.argsort(keys, kind="stable")
        return keys[order], self.grades[known][order]

    def _places(self, vocabulary: np.ndarray) -> np.ndarray:
        """Each judged doc's position in a sorted vocabulary, -1 where absent: int64.

        Judged docs are looked up in the vocabulary, not its ids among the judged: these are fewer.
        """
        places = np.full(len(self.doc_ids), -1, dtype=np.int64)
        # Ids that are longer than any there would make numpy copy the vocabulary to widen it.
        fitting = self._lengths <= vocabulary.dtype.itemsize // np.dtype("U1").itemsize
        ids = self.doc_ids[fitting].astype(vocabulary.dtype)
        if len(vocabulary) and len(ids):
            at = np.minimum(np.searchsorted(vocabulary, ids), len(vocabulary) - 1)
            places[fitting] = np.where(vocabulary[at] == ids, at, -1)
        return places


def ordinals(queries: np.ndarray) -> np.ndarray:
    """Each row's place among the rows of its query, from 0; `queries` ascending: int64, (n,)."""
    counts = np.bincount(queries)
    return np.arange(len(queries)) - (np.cumsum(counts) - counts)[queries]


def _joined(keys: np.ndarray, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Where the run's results and the keys (row × V + doc, ascending) are the same pairs.

    Positions in the run, ascending, and in `keys`: int64, of one length. Most results are judged
    for no query, and most of the others not for their own. Both are told by a look into a table,
    so that few are left to search for.
    """
    width = max(len(run.vocabulary), 1)
    judged = np.zeros(width, dtype=bool)
    judged[keys % width] = True
    at = np.flatnonzero(judged[run.docs])
    pairs = run.rows[at] * width + run.docs[at]
    likely = _likely(keys, pairs)
    at, pairs = at[likely], pairs[likely]
    # A pair above all keys has no place; it is unequal to the last one.
    place = np.minimum(np.searchsorted(keys, pairs), max(len(keys) - 1, 0))
    same = keys[place] == pairs
    return at[same], place[same]


def _likely(keys: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """False for pairs that are surely no key: bool, shape of `pairs`.

    A Bloom filter (CACM 1970) with one hash, that of Knuth, TAOCP 3, 6.4: the high bits of a
    product with 2**64 / golden ratio. 16 places a key or more let at most one in 16 pairs pass.
    """
    bits = max((16 * len(keys)).bit_length(), 1)

    def hashed(numbers: np.ndarray) -> np.ndarray:
        high = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return (high >> np.uint64(64 - bits)).astype(np.int64)

    table = np.zeros(1 << bits, dtype=bool)
    table[hashed(keys)] = True
    return table[hashed(pairs)]
