"""A system as a service would run it: one query in, its answer out, each stage told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from evalkit.efficiency.resident import hold_vectors
from evalkit.first_stage import first_stage
from evalkit.measured import Clock, Spans, cold, listening
from evalkit.results import NO_RERANKER, SystemResult
from evalkit.retrievers.remembering import inner
from evalkit.run import Run, Tail
from evalkit.types import Dataset, Query, Reranker, Retriever, for_retriever

if TYPE_CHECKING:
    from evalkit.experiment import Experiment

RETRIEVAL, RERANK, POST_PROCESSING, TOTAL = "retrieval", "rerank", "post_processing", "total"
# In the order in which a query meets them.
STAGES = ("query_processing", "query_encoding", RETRIEVAL, RERANK, POST_PROCESSING)


class Timed(NamedTuple):
    """What one query took. ns: stage → nanoseconds, TOTAL among them, a stage that the components
    do not tell apart left out. candidates: docs that the first stage found."""

    ns: dict[str, int]
    candidates: int


@dataclass(frozen=True)
class Pipeline:
    """A retriever and, but for a first stage alone, a reranker of its `k` best candidates.

    retriever, reranker: their names. depth: docs that are retrieved: k, or what a first stage
    alone is asked for. n: docs that go downstream, None for all. tail: see `Run.reranked`.
    """

    retriever: str
    reranker: str
    k: int | None
    depth: int
    n: int | None
    tail: Tail
    dataset: Dataset
    searcher: Retriever
    scorer: Reranker | None

    @property
    def system(self) -> str:
        """The name of its row in the results, and of its run file."""
        return SystemResult(self.retriever, self.reranker, self.k, None, {}, {}, {}).run_name

    def serve(self, *queries: Query) -> list[str]:
        """The answers to queries that nothing is known of, end to end; several are one call."""
        with cold():
            candidates = self._candidates(*queries)
            return self._answer(candidates, self._head(queries, candidates))

    def timed(self, query: Query, clock: Clock) -> Timed:
        """As `serve`, with the time of each stage.

        clock: reads the time when all work that was given to a device is done.
        """
        spans = Spans(clock)
        with cold(), listening(spans):
            start = clock()
            candidates = self._candidates(query)
            found = clock()
            first_stage_parts = dict(spans.spent)
            head = self._head([query], candidates)
            reranked = clock()
            self._answer(candidates, head)
            end = clock()
        ns = {
            **first_stage_parts,
            RETRIEVAL: found - start - sum(first_stage_parts.values()),
            POST_PROCESSING: end - reranked,
            TOTAL: end - start,
        }
        if self.scorer is not None:
            ns[RERANK] = reranked - found
        return Timed(ns, len(candidates))

    def _candidates(self, *queries: Query) -> Run:
        return first_stage(self.searcher, self.dataset, self.depth, queries)

    def _head(self, queries: Sequence[Query], candidates: Run) -> Run:
        if self.scorer is None:
            return candidates
        return self.scorer.rerank(queries, self.dataset, candidates)

    def _answer(self, candidates: Run, head: Run) -> list[str]:
        """The doc ids that go downstream, best first."""
        ranking = head if self.scorer is None else candidates.reranked(head, self.tail)
        if self.n is not None:
            ranking = ranking.top(self.n)
        return [doc_id for _, ids in ranking for doc_id in ids]


def pipelines(experiment: Experiment) -> list[Pipeline]:
    """Every retriever × reranker × K of an experiment that has run, in the grid's order; indexes
    are loaded, and doc vectors in memory."""
    for retriever in experiment.retrievers.values():
        retriever.index(experiment.dataset)  # loaded already, unless it is new to this process
    hold_vectors({**experiment.retrievers, **experiment.hidden})
    sweep = experiment.sweep
    ks: Sequence[int] = sorted(set(sweep.k))
    n = max(sweep.n, default=None)
    found = []
    for reranker_name, reranker in experiment.rerankers.items():
        bare = reranker_name == NO_RERANKER
        for retriever_name, retriever in experiment.retrievers.items():
            scorer = None if bare else for_retriever(reranker, retriever_name)
            # What a filter dropped must not come back below it.
            tail: Tail = "drop" if getattr(scorer, "filters", False) else sweep.tail
            for k in [None] if bare else ks:
                # The same search as before a reranker, so that the two can be compared.
                depth = k or max(ks, default=n or 0) or experiment.depth(experiment.measure_set())
                found.append(
                    Pipeline(
                        retriever_name, reranker_name, k, depth, n, tail, experiment.dataset,
                        inner(retriever), scorer,
                    )
                )  # fmt: skip
    return found
