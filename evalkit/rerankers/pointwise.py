"""The adapter between a PairScorer and the Reranker protocol: each distinct pair is scored once.

Scores live in a store on disk, keyed by the scorer's fingerprint and the digests of the two texts;
they are written chunk by chunk, so that a killed run loses at most the chunk in flight.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from evalkit.cache import resolve_cache_dir
from evalkit.errors import ConfigError, ScoreError
from evalkit.measured import is_cold
from evalkit.progress import track
from evalkit.run import Run
from evalkit.scoring.keys import text_digests
from evalkit.scoring.store import ScoreStore
from evalkit.types import DOC_TEMPLATE, Dataset, PairScorer, Query, checked_template, fingerprint

# Queries, and candidates if a query has no more alone, whose texts are in memory at a time: long
# docs take some hundreds of MB.
_QUERIES, _CANDIDATES = 512, 2**16
# Between two writes to the store: what a kill may cost. A write takes some hundredths of a second.
CHUNK_S = 5.0

Self = TypeVar("Self", bound="PointwiseReranker")
TextPair = tuple[str, str]  # query text, doc text
Keys = tuple[np.ndarray, np.ndarray]  # their digests: uint64, shape (n, 2) each


class PairCounts(NamedTuple):
    """Pairs asked for, those found in the store, and those scored now (distinct texts)."""

    asked: int
    reused: int
    scored: int

    def __add__(self, other: PairCounts) -> PairCounts:  # type: ignore[override]
        """The counts of both, unit by unit."""
        return PairCounts(*(one + two for one, two in zip(self, other, strict=True)))


class ScoredTexts(NamedTuple):
    """Scores of n pairs: float32, shape (n,). truncated: which lose text to the model's longest
    input: bool, shape (n,), all False where the scorer cannot tell."""

    scores: np.ndarray
    truncated: np.ndarray
    counts: PairCounts


class PointwiseReranker:
    """Reranks candidates by the scores of (query text, doc text) pairs.

    doc_template: how title and text become the doc's text. chunk_size: pairs scored before the
    first write to the store; then as many as a fast scorer scores in a few seconds, no fewer.
    """

    depends_on_list = False

    def __init__(
        self,
        scorer: PairScorer,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
        chunk_size: int = 2048,
    ) -> None:
        if chunk_size < 1:
            raise ConfigError(f"chunk_size={chunk_size}; expected at least 1")
        self.scorer, self.chunk_size = scorer, chunk_size
        self.doc_template = checked_template(doc_template)
        self.cache_dir = resolve_cache_dir(cache_dir)
        self.counts = PairCounts(0, 0, 0)
        self.details: dict[str, Any] = {}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "Pointwise", scorer=self.scorer.fingerprint, doc_template=self.doc_template
        )

    @cached_property
    def _store(self) -> ScoreStore:
        about = {"scorer": type(self.scorer).__name__, **getattr(self.scorer, "about", {})}
        return ScoreStore(self.cache_dir / "scores", self.scorer.fingerprint, about)

    def with_scorer(self: Self, scorer: PairScorer) -> Self:
        """The same reranker with another scorer."""
        own = copy(self)
        own.scorer, own.details = scorer, {}
        for name in ("fingerprint", "_store"):  # what the old scorer's is, if it is known already
            vars(own).pop(name, None)
        return own

    @property
    def work(self) -> dict[str, int]:
        """The counts of the last call, by unit."""
        return self.counts._asdict()

    def check(self, depth: int) -> None:
        """Raise what is wrong with the model before anything is indexed; loads no weights."""
        check = getattr(self.scorer, "check", None)
        if check is not None:
            check()

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """The candidates under the scorer's scores. `counts` says what was scored and reused,
        `details` the share of pairs that the model's longest input cuts, where the scorer can tell.

        Texts and pairs of a few hundred queries are in memory at a time.
        """
        scores = np.empty(len(candidates), dtype=np.float32)
        counts, cut = PairCounts(0, 0, 0), 0
        for rows, block in blocks(candidates):
            found = self.score_texts(self._texts(queries, dataset, block))
            scores[rows] = found.scores
            counts, cut = counts + found.counts, cut + int(found.truncated.sum())
        self.counts = counts
        if self.tells_truncation and not is_cold():
            self.details["truncated_share"] = round(cut / max(len(candidates), 1), 6)
        return candidates.with_scores(scores)

    def count(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> PairCounts:
        """What `rerank` would score and reuse; scores nothing."""
        counts = PairCounts(0, 0, 0)
        for _, block in blocks(candidates):
            counts += self.count_texts(self._texts(queries, dataset, block))
        return counts

    @property
    def tells_truncation(self) -> bool:
        """Whether the scorer can tell which pairs its longest input cuts."""
        return hasattr(self.scorer, "truncated")

    def score_texts(self, pairs: Sequence[TextPair]) -> ScoredTexts:
        """Scores of these pairs; none that the store holds, nor one pair twice, is scored again."""
        if is_cold():
            scores, count = self._checked_scores(pairs), len(pairs)
            return ScoredTexts(scores, np.zeros(count, dtype=bool), PairCounts(count, 0, count))
        keys, found = self._known(pairs)
        missing = np.flatnonzero(np.isnan(found))
        first, inverse = _distinct(keys, missing)
        found[missing] = self._score([pairs[i] for i in first], keys, first)[inverse]
        truncated = getattr(self.scorer, "truncated", None)
        cut = np.zeros(len(pairs), dtype=bool) if truncated is None else truncated(pairs)
        counts = PairCounts(len(pairs), len(pairs) - len(missing), len(first))
        return ScoredTexts(found, np.asarray(cut, dtype=bool), counts)

    def count_texts(self, pairs: Sequence[TextPair]) -> PairCounts:
        """What `score_texts` would score and reuse; scores nothing."""
        keys, found = self._known(pairs)
        missing = np.flatnonzero(np.isnan(found))
        return PairCounts(len(pairs), len(pairs) - len(missing), len(_distinct(keys, missing)[0]))

    def _known(self, pairs: Sequence[TextPair]) -> tuple[Keys, np.ndarray]:
        """The pairs' keys, and their scores in the store: float32, shape (n,), NaN for none."""
        keys = text_digests([query for query, _ in pairs]), text_digests([doc for _, doc in pairs])
        return keys, self._store.lookup(*keys)

    def _texts(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> list[TextPair]:
        query_texts = {query.query_id: query.text for query in queries}
        docs = dataset.lookup(candidates.vocabulary[np.unique(candidates.docs)].tolist())
        doc_texts = {doc_id: doc.render(self.doc_template) for doc_id, doc in docs.items()}
        return [(query_texts[q], doc_texts[d]) for q, ds in candidates for d in ds]

    def _score(self, pairs: list[TextPair], keys: Keys, at: np.ndarray) -> np.ndarray:
        """Scores of distinct pairs, stored chunk by chunk; `at` are their rows in `keys`."""
        # Longest first: memory shows at once whether it is enough, and batches pad little.
        order = np.argsort([-len(q) - len(d) for q, d in pairs], kind="stable")
        scores = np.empty(len(pairs), dtype=np.float32)
        for chunk in track(self._chunks(order), "Scoring pairs", len(order), len):
            found = self._checked_scores([pairs[i] for i in chunk])
            scores[chunk] = found
            rows = at[chunk]
            self._store.add(keys[0][rows], keys[1][rows], found)
        return scores

    def _checked_scores(self, pairs: Sequence[TextPair]) -> np.ndarray:
        """What the scorer gives: float32, shape (n,); ScoreError where it is not n numbers."""
        found = np.asarray(self.scorer.score(pairs), dtype=np.float32)
        if found.shape != (len(pairs),):
            raise ScoreError(
                f"{type(self.scorer).__name__} gave scores of shape {found.shape} for "
                f"{len(pairs)} pairs; expected one score a pair"
            )
        finite = np.isfinite(found)
        if not finite.all():
            bad = int(np.flatnonzero(~finite)[0])
            query, doc = pairs[bad]
            kind = "NaN" if np.isnan(found[bad]) else "infinity"
            raise ScoreError(
                f"{type(self.scorer).__name__} scored {kind} for {int((~finite).sum())} of "
                f"{len(pairs)} pairs, e.g. query '{query[:60]}', doc '{doc[:60]}'; look for an "
                "overflow in half precision (dtype=float32) or an empty text"
            )
        return found

    def _chunks(self, order: np.ndarray) -> Iterator[np.ndarray]:
        """Parts of `order`, each as long as lets it be scored, and used, in about CHUNK_S."""
        start, size = 0, self.chunk_size
        while start < len(order):
            began = time.perf_counter()
            yield order[start : start + size]
            start += size
            taken = max(time.perf_counter() - began, CHUNK_S / 4)
            size = max(int(size * CHUNK_S / taken), self.chunk_size)


def blocks(candidates: Run) -> Iterator[tuple[slice, Run]]:
    """A part of the candidates at a time, all of a query together, and where their rows are."""
    start = 0
    while start < len(candidates.query_ids):
        most = candidates.offsets[start] + _CANDIDATES
        fitting = int(np.searchsorted(candidates.offsets, most, side="right")) - 1
        end = min(max(fitting, start + 1), start + _QUERIES, len(candidates.query_ids))
        offsets = candidates.offsets[start : end + 1]
        rows = slice(int(offsets[0]), int(offsets[-1]))
        yield (
            rows,
            Run(
                candidates.query_ids[start:end],
                offsets - offsets[0],
                candidates.vocabulary,
                candidates.docs[rows],
                candidates.scores[rows],
            ),
        )
        start = end


def _distinct(keys: Keys, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each distinct pair of texts among `rows`, and for each row which one it is.

    Two docs with one text are one pair: it is scored once.
    """
    whole = np.concatenate(keys, axis=1)[rows]
    _, first, inverse = np.unique(whole, axis=0, return_index=True, return_inverse=True)
    return rows[first], inverse.reshape(-1)
