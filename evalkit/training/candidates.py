"""Which retrieved docs may serve as negatives: none that is relevant, or looks as if it were.

A collection judges few of its docs, and the best candidates of a good retriever are often relevant
and not judged. A doc is left out as a likely false negative when its score comes close to that of a
doc that is known to be relevant: TopK-PercPos of NV-Retriever (Moreira et al., 2024), which scores
by a model that is stronger than the retriever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from evalkit.errors import ConfigError, nearest
from evalkit.run import Run, union
from evalkit.training.corpus import Corpus
from evalkit.types import Dataset, Query, Reranker


class Judged(NamedTuple):
    """What is known of some queries, as runs over them that hold docs of the corpus only.

    relevant: docs that reach the dataset's relevance level, the score is the grade. blocked: docs
    that cannot be negatives: those of any grade above 0, and the query's own in collections where
    it is one. refused: docs judged not relevant.
    """

    relevant: Run
    blocked: Run
    refused: Run

    @classmethod
    def of(
        cls,
        queries: Sequence[Query],
        grades: Mapping[str, Mapping[str, int]],
        dataset: Dataset,
        corpus: Corpus,
    ) -> Judged:
        """grades: query_id → doc_id → grade."""
        docs = sorted({d for query in queries for d in grades.get(query.query_id, ())})
        here = dict(zip(docs, (corpus.wordings_of(np.array(docs, np.str_)) >= 0), strict=True))
        relevant: dict[str, dict[str, float]] = {}
        blocked: dict[str, dict[str, float]] = {}
        refused: dict[str, dict[str, float]] = {}
        for query_id in (query.query_id for query in queries):
            judged = {d: float(g) for d, g in grades.get(query_id, {}).items() if here[d]}
            own = {query_id} if dataset.exclude_self else set()
            level = dataset.relevance_level
            relevant[query_id] = {d: g for d, g in judged.items() if g >= level and d not in own}
            blocked[query_id] = {d: g for d, g in judged.items() if g > 0}
            blocked[query_id] |= {d: 1.0 for d in own if corpus.positions(np.array([d]))[0] >= 0}
            refused[query_id] = {d: g for d, g in judged.items() if g <= 0}
        return cls(*map(Run.from_dict, (relevant, blocked, refused)))


class Candidates(NamedTuple):
    """Docs that may be negatives, and their ranks from 1 in the retriever's list: int64, (n,).

    suspects: docs that were left out as likely false negatives.
    """

    run: Run
    ranks: np.ndarray
    suspects: Run


def candidates(
    found: Run,
    judged: Judged,
    corpus: Corpus,
    min_rank: int,
    max_score_ratio: float | None,
    guard: Guard | None,
) -> Candidates:
    """What of a retriever's results may be a negative.

    Left out are results above `min_rank`, docs without words, docs whose words are those of a
    relevant one, and, unless they are judged not relevant, those that `suspected` names.
    """
    wordings = _wordings(found, corpus)
    blocked = np.isin(
        _keys(found.rows, wordings, corpus),
        _keys(judged.blocked.rows, _wordings(judged.blocked, corpus), corpus),
    )
    keep = (found.ranks + 1 >= min_rank) & (wordings >= 0) & ~blocked
    ranks, kept = (found.ranks + 1)[keep], found.where(keep)
    if max_score_ratio is None:
        return Candidates(kept, ranks, kept.where(np.zeros(len(kept), dtype=bool)))
    if guard is None:
        limits = _lowest(judged.relevant.scores_in(found), judged.relevant, _last_scores(found))
        scores = kept.scores
    else:
        scored = guard.score(union([kept, judged.relevant]))
        nothing = np.full(len(found.query_ids), np.nan, dtype=np.float32)
        limits = _lowest(judged.relevant.scores_in(scored), judged.relevant, nothing)
        scores = kept.scores_in(scored)
    out = suspected(scores, limits[kept.rows], max_score_ratio)
    out &= np.isnan(kept.scores_in(judged.refused))
    return Candidates(kept.where(~out), ranks[~out], kept.where(out))


def wordings_of_queries(docs: Run, corpus: Corpus) -> list[set[int]]:
    """The wordings of each query's docs."""
    found: list[set[int]] = [set() for _ in docs.query_ids]
    for row, wording in zip(docs.rows.tolist(), _wordings(docs, corpus).tolist(), strict=True):
        found[row].add(wording)
    return found


def suspected(scores: np.ndarray, positive: np.ndarray, ratio: float) -> np.ndarray:
    """Which candidates score above `ratio` × their query's relevant doc: bool, shape (n,).

    scores, positive: shape (n,). Where the relevant doc's score is negative the margin is as wide,
    and below it too: the limit is positive - (1 - ratio) × |positive|, as sentence-transformers
    has it.
    """
    wide = positive.astype(np.float64)
    return scores > wide - (1 - ratio) * np.abs(wide)


class Guard(NamedTuple):
    """A pointwise reranker whose scores decide in place of the retriever's."""

    reranker: Reranker
    queries: Sequence[Query]
    dataset: Dataset

    def score(self, pairs: Run) -> Run:
        return self.reranker.rerank(self.queries, self.dataset, pairs)


def find_guard(name: str, rerankers: Mapping[str, Reranker]) -> Reranker:
    """The selected reranker of this name; ConfigError unless it scores each doc on its own."""
    if name not in rerankers:
        raise ConfigError(
            f"training.negatives.guard={name}: not among the selected rerankers "
            f"({', '.join(rerankers) or 'none'}).{nearest(name, rerankers)} Add it: "
            f"reranker=[{','.join([*rerankers, name])}]"
        )
    guard = rerankers[name]
    if guard.depends_on_list or getattr(guard, "filters", False):
        raise ConfigError(
            f"training.negatives.guard={name}: it does not score each doc on its own; choose one "
            "that does, such as a cross_encoder"
        )
    return guard


def _lowest(scores: np.ndarray, relevant: Run, otherwise: np.ndarray) -> np.ndarray:
    """The lowest score of each query's relevant docs, `otherwise` where none has one: float32.

    scores: of `relevant`, NaN for none. otherwise: shape (Q,).
    """
    lowest = np.full(len(relevant.query_ids), np.nan, dtype=np.float32)
    np.fmin.at(lowest, relevant.rows, scores)
    return np.where(np.isnan(lowest), otherwise, lowest)


def _last_scores(found: Run) -> np.ndarray:
    """The score of each query's last result, NaN without results: float32, shape (Q,).

    A relevant doc that is not among the results has at most that score.
    """
    last = np.full(len(found.query_ids), np.nan, dtype=np.float32)
    filled = found.sizes > 0
    last[filled] = found.scores[found.offsets[1:][filled] - 1]
    return last


def _wordings(run: Run, corpus: Corpus) -> np.ndarray:
    return corpus.wordings_of(run.vocabulary)[run.docs]


def _keys(rows: np.ndarray, wordings: np.ndarray, corpus: Corpus) -> np.ndarray:
    """One number for each (query, wording)."""
    return rows * (len(corpus.ids) + 1) + wordings
