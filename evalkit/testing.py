"""What every reranker must satisfy, for the tests of this package and of any other.

    from evalkit.testing import check_reranker

    def test_my_reranker(tmp_path):
        check_reranker(lambda: MyReranker(cache_dir=tmp_path))

All problems are reported together, as PyTerrier's contract tests do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evalkit.errors import ScoreError
from evalkit.run import Run
from evalkit.types import Dataset, Doc, PairScorer, Qrel, Query, Reranker

LONG = "the index is merged when a shard is full, and not before. " * 180

DOCS = (
    Doc("d-plain", "Merging shards", "An index is merged when a shard is full."),
    Doc("d-twin", "Merging shards", "An index is merged when a shard is full."),
    Doc("d-other", "", "Recall falls when the query is rewritten."),
    Doc("d-chinese", "缓存", "缓存命中时不再计算分词结果，索引合并在后台进行。"),
    Doc("d-emoji", "", "🚀 deploy 🙂 rollback 👩‍💻 👍🏽"),
    Doc("d-empty", "", ""),
    Doc("d-title", "Only a title", ""),
    Doc("d-long", "Long", LONG[:10_000]),
    Doc("d-braces", "{text}", "a {title} and a {query} in braces [SEP] </s> <|im_end|>"),
)
QUERIES = (
    Query("q-english", "when is an index merged"),
    Query("q-chinese", "缓存命中时还要分词吗"),
    Query("q-emoji", "🚀?"),
)


@dataclass
class TextDataset:
    """A collection in memory; by default a few docs and queries that are easy to trip over."""

    docs: Sequence[Doc] = DOCS
    queries: Sequence[Query] = QUERIES
    qrels: Sequence[Qrel] = (
        Qrel("q-english", "d-plain", 1),
        Qrel("q-chinese", "d-chinese", 2),
        Qrel("q-emoji", "d-emoji", 1),
    )
    dataset_id: str = "conformance"
    relevance_level: int = 1
    exclude_self: bool = False
    has_texts: bool = True
    split: str = "test"
    digest: str = "conformance"
    docs_digest: str = "conformance"
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    @property
    def num_docs(self) -> int:
        return len(self.docs)

    def docs_iter(self) -> Iterator[Doc]:
        return iter(self.docs)

    def lookup(self, doc_ids: Iterable[str]) -> dict[str, Doc]:
        known = {doc.doc_id: doc for doc in self.docs}
        return {doc_id: known[doc_id] for doc_id in doc_ids}

    def has_split(self, name: str) -> bool:
        return name == self.split

    def with_split(self, name: str) -> TextDataset:
        return self


class NonConforming(AssertionError):
    """A component breaks its contract; the message lists how."""


def check_scorer(make: Callable[[], PairScorer], tolerance: float = 1e-4) -> None:
    """NonConforming unless the PairScorer scores pairs one by one, in order, repeatably.

    make: a new scorer each time. tolerance: of scores that differ only in their batch.
    """
    problems: list[str] = []
    texts = [doc.render() for doc in DOCS]
    pairs = [(query.text, text) for query in QUERIES for text in texts]
    scorer = make()
    scores = np.asarray(scorer.score(pairs))
    if scores.shape != (len(pairs),) or scores.dtype != np.float32:
        problems.append(
            f"score() gave {scores.dtype} of shape {scores.shape}, expected float32 ({len(pairs)},)"
        )
    elif not np.isfinite(scores).all():
        problems.append(f"{int((~np.isfinite(scores)).sum())} scores are not finite")
    else:
        order = np.random.default_rng(0).permutation(len(pairs))
        shuffled = scorer.score([pairs[i] for i in order])
        _compare(problems, "pairs in another order", shuffled, scores[order], tolerance)
        alone = np.concatenate([scorer.score([pair]) for pair in pairs])
        _compare(problems, "pairs one at a time", alone, scores, tolerance)
        _compare(problems, "a second scorer", make().score(pairs), scores, tolerance)
    if np.asarray(scorer.score([])).shape != (0,):
        problems.append("no pairs: expected no scores")
    if make().fingerprint != scorer.fingerprint or not scorer.fingerprint:
        problems.append("two scorers of the same settings have different fingerprints, or none")
    _report(problems, scorer)


def check_reranker(
    make: Callable[[], Reranker],
    dataset: Dataset | None = None,
    candidates: Run | None = None,
    tolerance: float = 1e-4,
) -> None:
    """NonConforming unless the Reranker keeps its contract on a collection full of odd texts.

    make: a new reranker each time, connected already where it is made of others; its caches should
    be new each time too, or determinism is not tested. dataset, candidates: others than the built
    ones, for a reranker that needs to know its dataset. tolerance: of scores of the same pair in
    different lists; a reranker that depends on the list is compared by its order.
    """
    dataset = TextDataset() if dataset is None else dataset
    candidates = _all_docs(dataset) if candidates is None else candidates
    problems: list[str] = []
    reranker, queries = make(), list(dataset.queries)
    before = candidates.scores.copy()
    found = reranker.rerank(queries, dataset, candidates)
    filters = getattr(reranker, "filters", False)
    _same_candidates(problems, found, candidates, filters)
    if not np.array_equal(before, candidates.scores):
        problems.append("the candidates given were changed")
    second = make()
    if second.fingerprint != reranker.fingerprint or not reranker.fingerprint:
        problems.append("two rerankers of the same settings have different fingerprints, or none")
    _same_ranking(problems, "a second time", second.rerank(queries, dataset, candidates), found)
    turned = queries[::-1]
    again = make().rerank(turned, dataset, candidates.select([q.query_id for q in turned]))
    again = again.select(found.query_ids)
    _same_ranking(problems, "queries in another order", again, found, reranker, tolerance)
    if not reranker.depends_on_list:
        shuffled = candidates.with_scores(np.random.default_rng(0).normal(size=len(candidates)))
        other = make().rerank(queries, dataset, shuffled)
        _same_ranking(problems, "candidates in another order", other, found, reranker, tolerance)
        few = candidates.top(3)
        part = make().rerank(queries, dataset, few)
        _compare(problems, "fewer candidates", part.scores, part.scores_in(found), tolerance)
    for size in (0, 1):
        short = candidates.top(size)
        _same_candidates(problems, make().rerank(queries, dataset, short), short, filters)
    mixed = candidates.top(np.arange(len(candidates.query_ids)))
    _same_candidates(problems, make().rerank(queries, dataset, mixed), mixed, filters)
    _check_nan(problems, make(), dataset, candidates)
    _report(problems, reranker)


def _all_docs(dataset: Dataset) -> Run:
    """Every doc a candidate of every query, in an order of no meaning."""
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    scores = np.random.default_rng(1).normal(size=(len(dataset.queries), len(docs)))
    return Run.from_columns(
        [query.query_id for query in dataset.queries],
        np.repeat(np.arange(len(dataset.queries)), len(docs)),
        docs * len(dataset.queries),
        scores.ravel(),
    )


def _check_nan(problems: list[str], reranker: Reranker, dataset: Dataset, given: Run) -> None:
    """A pointwise reranker whose model gives NaN must refuse it."""
    if not hasattr(reranker, "scorer"):
        return
    with tempfile.TemporaryDirectory() as folder:
        reranker.scorer, reranker.cache_dir = _Nan(), Path(folder)  # type: ignore[attr-defined]
        reranker.__dict__.pop("_store", None)
        try:
            reranker.rerank(list(dataset.queries), dataset, given)
        except ScoreError:
            return
    problems.append("scores of NaN are not refused with a ScoreError")


class _Nan:
    fingerprint = "nan"

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        return np.full(len(pairs), np.nan, dtype=np.float32)


def _same_candidates(problems: list[str], found: Run, given: Run, filters: bool) -> None:
    what = f"of {len(given)} candidates"
    if set(found.query_ids) != set(given.query_ids):
        problems.append(f"{what}: other queries came back than were given")
        return
    ours = {(q, d) for q, docs in given for d in docs}
    theirs = {(q, d) for q, docs in found for d in docs}
    if theirs - ours:
        problems.append(f"{what}: {len(theirs - ours)} docs were added")
    if ours - theirs and not filters:
        problems.append(f"{what}: {len(ours - theirs)} docs were dropped")


def _same_ranking(
    problems: list[str],
    what: str,
    found: Run,
    expected: Run,
    reranker: Reranker | None = None,
    tolerance: float = 0.0,
) -> None:
    if reranker is not None and not reranker.depends_on_list:
        _compare(problems, what, expected.scores_in(found), expected.scores, tolerance)
    elif dict(found) != dict(expected):
        problems.append(f"{what}: the ranking is another one")


def _compare(
    problems: list[str], what: str, found: np.ndarray, expected: np.ndarray, tolerance: float
) -> None:
    if found.shape != expected.shape:
        problems.append(f"{what}: {found.shape} scores instead of {expected.shape}")
    elif len(found) and not np.allclose(found, expected, rtol=0, atol=tolerance):
        worst = float(np.nanmax(np.abs(found - expected)))
        problems.append(f"{what}: scores differ by up to {worst:.3g} (allowed: {tolerance:g})")


def _report(problems: Sequence[str], component: object) -> None:
    if problems:
        raise NonConforming(f"{type(component).__name__}: {'; '.join(problems)}")
