"""Systems whose times are known, served one query at a time; a clock that they move on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from evalkit.experiment import Experiment
from evalkit.measured import stage
from evalkit.rerankers.none import NoReranker
from evalkit.run import Run
from evalkit.settings import MeasureSettings, SweepSettings

NS_PER_MS = 1_000_000


class FakeClock:
    """Stands still but while something sleeps on it."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def sleep_ms(self, ms: float) -> None:
        self.now += round(ms * NS_PER_MS)


class RealClock:
    """The machine's."""

    def __call__(self) -> int:
        return time.perf_counter_ns()

    def sleep_ms(self, ms: float) -> None:
        time.sleep(ms / 1000)


@dataclass
class SleepingRetriever:
    """The first k docs for every query; its stages take times of their own."""

    clock: FakeClock | RealClock
    ids: list[str]
    processing_ms: float = 0.0
    encoding_ms: float = 0.0
    search_ms: float = 0.0
    fingerprint = "sleeping-retriever"

    def is_cached(self, dataset):
        return True

    def index(self, dataset):
        pass

    def retrieve(self, queries, k):
        for _ in queries:
            with stage("query_processing"):
                self.clock.sleep_ms(self.processing_ms)
            with stage("query_encoding"):
                self.clock.sleep_ms(self.encoding_ms)
            self.clock.sleep_ms(self.search_ms)
        scores = {d: float(-i) for i, d in enumerate(self.ids[:k])}
        return Run.from_dict({query.query_id: scores for query in queries})


@dataclass
class SleepingReranker:
    """Takes fixed_ms and per_pair_ms a candidate. outliers: query id → extra milliseconds. asked:
    query and candidates of each call; took: the milliseconds that it slept, which on a busy machine
    is longer than it meant to."""

    clock: FakeClock | RealClock
    fixed_ms: float
    per_pair_ms: float
    asked: list[tuple[str, int]] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    outliers: dict[str, float] = field(default_factory=dict)
    depends_on_list = False
    fingerprint = "sleeping-reranker"

    def rerank(self, queries, dataset, candidates):
        for query, size in zip(queries, candidates.sizes.tolist(), strict=True):
            self.asked.append((query.query_id, size))
            start = self.clock()
            extra = self.outliers.get(query.query_id, 0.0)
            self.clock.sleep_ms(self.fixed_ms + self.per_pair_ms * size + extra)
            self.took.append((self.clock() - start) / NS_PER_MS)
        return candidates.with_scores(np.arange(len(candidates), dtype=np.float32))


def experiment(dataset, retrievers, rerankers, ks, n=()):
    return Experiment(
        dataset,
        retrievers,
        {"none": NoReranker(), **rerankers},
        SweepSettings(k=list(ks), n=list(n)),
        MeasureSettings(["nDCG@10"]),
    )
