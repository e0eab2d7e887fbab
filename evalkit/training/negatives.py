"""Hard negatives: what retrievers rank high for a query and nobody judged relevant.

    retrieve a range of ranks with each retriever  →  leave out what is relevant or may be
    →  deal the draws out over the retrievers in turn  →  add docs drawn from the corpus

Negatives of the best ranks and random ones: Xiong et al. (ANCE, ICLR 2021), Qu et al. (RocketQA,
NAACL 2021).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.analysis import Analyzer
from evalkit.cache import resolve_cache_dir
from evalkit.errors import ConfigError
from evalkit.first_stage import first_stage
from evalkit.progress import track
from evalkit.rerankers.ltr_terms import TermFeatures, TermStatistics
from evalkit.training.candidates import (
    Candidates,
    Guard,
    Judged,
    candidates,
    find_guard,
    wordings_of_queries,
)
from evalkit.training.corpus import Corpus
from evalkit.training.data import TrainingData
from evalkit.training.drawing import Drawn, Pool, drawn
from evalkit.training.negative_settings import NegativeSettings
from evalkit.training.passages import BestPassages
from evalkit.training.queries import TrainingQueries
from evalkit.types import Dataset, Query, Reranker, Retriever

__all__ = ["NegativeSettings", "mine"]

log = logging.getLogger(__name__)
# Queries whose candidates and docs are in memory together.
_CHUNK = 2048


def mine(
    dataset: Dataset,
    retrievers: Mapping[str, Retriever],
    settings: NegativeSettings,
    split: str | None = "train",
    rerankers: Mapping[str, Reranker] | None = None,
    cache_dir: str | Path | None = None,
) -> TrainingData:
    """Positives and negatives of the split's queries; None for the dataset as it is.

    retrievers, rerankers: connected to each other as for an experiment; rerankers only for
    `settings.guard`. cache_dir: where term statistics are kept. Queries without a relevant doc in
    the corpus are left out. The same dataset, settings and scores give the same rows.
    """
    if not retrievers:
        raise ConfigError("no retriever to mine negatives with; select one: retriever=[bm25]")
    if not dataset.has_texts:
        raise ConfigError(
            f"{dataset.dataset_id} has no texts to train on; use dataset=folder or "
            "dataset=ir_datasets"
        )
    source = dataset if split in (None, dataset.split) else dataset.with_split(str(split))
    guard = None if settings.guard is None else find_guard(settings.guard, rerankers or {})
    return _Mining(source, retrievers, settings, guard, resolve_cache_dir(cache_dir)).run()


class _Mining:
    """One mining: what it needs, and what it counts on the way."""

    def __init__(
        self,
        dataset: Dataset,
        retrievers: Mapping[str, Retriever],
        settings: NegativeSettings,
        guard: Reranker | None,
        cache_dir: Path,
    ) -> None:
        self.dataset, self.retrievers, self.settings = dataset, retrievers, settings
        self.guard = guard
        self.corpus = Corpus.read(dataset, settings.doc_template)
        self.queries = TrainingQueries(dataset, self.corpus, settings)
        analyzer, template = Analyzer(), settings.doc_template
        self._terms = TermFeatures(analyzer, template, cache_dir / "training")
        self.passages = BestPassages(
            settings.window, template, analyzer, lambda term: self._statistics.idf(term)
        )
        self.seen = self.suspected = self.filled = self.short = 0

    def run(self) -> TrainingData:
        columns: dict[str, list[Any]] = {}
        for retriever in self.retrievers.values():
            retriever.index(self.dataset)
        queries = self.queries.all
        starts = range(0, len(queries), _CHUNK)
        for start in track(starts, "Mining negatives", len(queries), _CHUNK):
            for row in self._rows(queries[start : start + _CHUNK]):
                for name, value in row.items():
                    columns.setdefault(name, []).append(value)
            self.passages.forget()
        if self.short:
            log.warning(
                "%d of %d queries have fewer than %d negatives: the corpus holds no more docs that "
                "may be one", self.short, len(queries), self.settings.num,
            )  # fmt: skip
        data = TrainingData.from_columns(columns, {})
        return replace(data, origin=self._origin(data))

    def _rows(self, queries: Sequence[Query]) -> Iterator[dict[str, Any]]:
        """The rows of these queries: a query's positives, the highest grade first, then negatives
        in the order of their draws."""
        judged = self.queries.judged(queries)
        positives = [self._positives(judged, row) for row in range(len(queries))]
        negatives = self._negatives(queries, judged)
        docs = self.dataset.lookup(
            dict.fromkeys(
                [doc_id for each in positives for doc_id, _ in each]
                + [negative.doc_id for each in negatives for negative in each.negatives]
            )
        )
        for query, good, bad in zip(queries, positives, negatives, strict=True):
            cloze = self.queries.cloze.get(query.query_id)
            origin = "qrels" if cloze is None else "cloze"
            chosen = [(doc_id, grade, "positive", origin, 0) for doc_id, grade in good]
            chosen += [(each.doc_id, 0.0, *each[1:]) for each in bad.negatives]
            for doc_id, label, role, source, rank in chosen:
                own = cloze is not None and cloze.doc_id == doc_id
                doc = cloze.shown(docs[doc_id]) if cloze and own else docs[doc_id]
                yield {
                    "query_id": query.query_id,
                    "query": query.text,
                    "doc_id": doc_id,
                    "doc": self.passages.best(query.text, doc),
                    "label": label,
                    "role": role,
                    "source": source,
                    "rank": rank,
                    "split": "validation" if query.query_id in self.queries.validation else "train",
                }

    def _positives(self, judged: Judged, row: int) -> list[tuple[str, float]]:
        """(doc id, grade) of the best judged docs of a query, each with words of its own."""
        part = slice(judged.relevant.offsets[row], judged.relevant.offsets[row + 1])
        doc_ids = judged.relevant.vocabulary[judged.relevant.docs[part]]
        wordings = self.corpus.wordings_of(doc_ids)
        first = np.sort(np.unique(wordings, return_index=True)[1])[: self.settings.max_positives]
        grades = judged.relevant.scores[part][first]
        return list(zip(doc_ids[first].tolist(), grades.tolist(), strict=True))

    def _negatives(self, queries: Sequence[Query], judged: Judged) -> list[Drawn]:
        settings = self.settings
        guard = None if self.guard is None else Guard(self.guard, queries, self.dataset)
        pools: list[dict[str, Pool]] = [{} for _ in queries]
        suspects: list[set[int]] = [set() for _ in queries]
        for name, retriever in self.retrievers.items():
            found = first_stage(retriever, self.dataset, settings.max_rank, queries)
            kept = candidates(
                found, judged, self.corpus, settings.min_rank, settings.max_score_ratio, guard
            )
            self.seen += len(kept.run) + len(kept.suspects)
            self.suspected += len(kept.suspects)
            for row, pool in enumerate(_pools(kept, self.corpus)):
                pools[row][name] = pool
            for row, wordings in enumerate(wordings_of_queries(kept.suspects, self.corpus)):
                suspects[row] |= wordings
        blocked = wordings_of_queries(judged.blocked, self.corpus)
        longer = replace(settings, num=settings.validation_num or settings.num)
        held = [query.query_id in self.queries.validation for query in queries]
        each = [
            drawn(
                query.query_id, pools[row], blocked[row], suspects[row], self.corpus,
                longer if held[row] else settings,
            )
            for row, query in enumerate(queries)
        ]  # fmt: skip
        self.filled += sum(one.filled for one, out in zip(each, held, strict=True) if not out)
        self.short += sum(len(one.negatives) < settings.num for one in each)
        return each

    @cached_property
    def _statistics(self) -> TermStatistics:
        # When first asked for: docs of one passage never ask, and it costs a pass over all docs.
        return self._terms.statistics(self.dataset, self.queries.all)

    def _origin(self, data: TrainingData) -> dict[str, Any]:
        """What data.json says."""
        sources, rows = np.unique(data.source.astype(np.str_), return_counts=True)
        dataset, guard = self.dataset, self.guard
        return {
            "settings": asdict(self.settings),
            "dataset": {
                "dataset_id": dataset.dataset_id,
                "digest": dataset.digest,
                "docs_digest": dataset.docs_digest,
                "split": dataset.split,
            },
            "retrievers": {name: each.fingerprint for name, each in self.retrievers.items()},
            "guard": None if guard is None else {self.settings.guard: guard.fingerprint},
            "counts": {
                "queries_judged": len(dataset.queries),
                "queries": len(self.queries.all),
                "validation_queries": len(self.queries.validation),
                "cloze_queries": len(self.queries.cloze),
                "rows_by_source": dict(zip(sources.tolist(), rows.tolist(), strict=True)),
                "candidates": self.seen,
                "likely_false_negatives": self.suspected,
                "likely_false_negative_share": round(self.suspected / max(self.seen, 1), 4),
                "filled_at_random": self.filled,
                "queries_short_of_negatives": self.short,
            },
        }


def _pools(kept: Candidates, corpus: Corpus) -> Iterator[Pool]:
    """The candidates of each query."""
    doc_ids, ranks = kept.run.doc_ids.tolist(), kept.ranks.tolist()
    wordings = corpus.wordings_of(kept.run.vocabulary)[kept.run.docs].tolist()
    for low, high in pairwise(kept.run.offsets.tolist()):
        yield Pool(doc_ids[low:high], ranks[low:high], wordings[low:high])
