"""How times are taken: one query at a time, systems in an order drawn anew for each query.

Warm-up first. Garbage is collected before and between queries and never while a clock runs; a
device has finished its work whenever the clock is read. The order of the systems is drawn for each
query and repeat, so that a machine that grows slower or hotter does so for all alike; a repeat
comes after all queries have been asked, so that no query is asked twice in a row.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import numpy as np

from evalkit.efficiency.machine import quiet_collector, synchronised
from evalkit.efficiency.stages import STAGES, TOTAL, Pipeline, Timed
from evalkit.errors import EvalkitError
from evalkit.measured import Clock
from evalkit.progress import track
from evalkit.settings import LatencySettings
from evalkit.types import Query

log = logging.getLogger(__name__)

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
# The share of the budget after which warming up stops, so that the rest can be measured.
_WARMUP_SHARE = 0.25
_LEAST_QUERIES = 2  # asked whatever the budget is


@dataclass(frozen=True)
class Samples:
    """Every measured time. queries: Q ids, in the order in which they were asked. ms: system →
    stage → float64, shape (Q, R), a column a repeat. candidates: system → float64, shape (Q,), docs
    that the first stage found."""

    queries: tuple[str, ...]
    ms: dict[str, dict[str, np.ndarray]]
    candidates: dict[str, np.ndarray]

    def columns(self) -> dict[str, Any]:
        """The columns of latency.parquet: system, query_id, repeat (from 0), stage, ms."""
        cells = [(system, stage, ms) for system, of in self.ms.items() for stage, ms in of.items()]
        sizes = [ms.size for _, _, ms in cells]
        shapes = [ms.shape for _, _, ms in cells]
        return {
            "system": _repeated([system for system, _, _ in cells], sizes),
            "query_id": [q for _, r in shapes for q in self.queries for _ in range(r)],
            "repeat": [i for n, r in shapes for _ in range(n) for i in range(r)],
            "stage": _repeated([stage for _, stage, _ in cells], sizes),
            "ms": np.concatenate([ms.reshape(-1) for _, _, ms in cells] or [np.empty(0)]),
        }


def _repeated(values: Sequence[str], sizes: Sequence[int]) -> list[str]:
    return [value for value, size in zip(values, sizes, strict=True) for _ in range(size)]


@dataclass
class Taking:
    """What taking the samples was like; it becomes the protocol in results.json."""

    warmup_queries: int = 0
    seconds: float = 0.0
    skipped: list[dict[str, str]] = field(default_factory=list)


def take(
    pipelines: Sequence[Pipeline],
    queries: Sequence[Query],
    settings: LatencySettings,
    clock: Clock = perf_counter_ns,
) -> tuple[Samples, Taking]:
    """The samples of all pipelines that can be measured, and how they were taken.

    As many queries, at most `settings.queries` of those drawn, as fit the budget with all their
    repeats; every system is asked the same.
    """
    generator = np.random.default_rng(settings.seed)
    taking = Taking()
    drawn = [queries[i] for i in generator.permutation(len(queries))[: settings.queries]]
    ready = synchronised(clock)
    with quiet_collector():
        start = ready()
        usable = _warmed_up(pipelines, drawn, settings, ready, taking)
        left = int(settings.budget_s * _NS_PER_S) - (ready() - start)
        rounds = _Rounds(usable, ready, generator)
        asked = rounds.first(drawn, left // settings.repeats) if usable else []
        rounds.repeated(asked, settings.repeats)
        taking.seconds = (ready() - start) / _NS_PER_S
    return _samples(usable, asked, rounds.taken, settings.repeats), taking


def _warmed_up(
    pipelines: Sequence[Pipeline],
    queries: Sequence[Query],
    settings: LatencySettings,
    clock: Clock,
    taking: Taking,
) -> list[Pipeline]:
    """The pipelines that answer; the warm-up's queries were asked of all of them.

    A pipeline that cannot answer a single query, such as one that asks a service which is down, is
    left out with its reason; the others are measured.
    """
    usable: list[Pipeline] = []
    for pipeline in pipelines:
        reason = why_not(pipeline)
        if not reason:
            try:
                pipeline.timed(queries[0], clock)
            except EvalkitError as error:
                reason = str(error)
        if reason:
            log.warning("latency of %s is not measured: %s", pipeline.system, reason)
            taking.skipped.append({"system": pipeline.system, "reason": reason})
        else:
            usable.append(pipeline)
    begin = clock()
    for query in track(queries[: settings.warmup], "Warming up", settings.warmup):
        for pipeline in usable:
            pipeline.timed(query, clock)
        gc.collect()
        taking.warmup_queries += 1
        if clock() - begin > _WARMUP_SHARE * settings.budget_s * _NS_PER_S:
            break
    return usable


def why_not(pipeline: Pipeline) -> str:
    """Why a pipeline cannot be asked a single query; "" where it can."""
    if getattr(pipeline.scorer, "fits_to_queries", False):
        return (
            f"'{pipeline.reranker}' learns from all evaluated queries together, which a service "
            "does beforehand and not for each query"
        )
    return ""


class _Rounds:
    """Asks queries of all pipelines. taken: (pipeline, query, repeat), by position → its times."""

    def __init__(
        self, pipelines: Sequence[Pipeline], clock: Clock, generator: np.random.Generator
    ) -> None:
        self.taken: dict[tuple[int, int, int], Timed] = {}
        self._pipelines, self._clock, self._generator = pipelines, clock, generator

    def first(self, queries: Sequence[Query], budget_ns: int) -> Sequence[Query]:
        """The first repeat of as many queries as the budget holds; those that were asked.

        Whether one more fits is told by the mean of those asked already. What the warm-up took
        would not do: a reranker that leaves queries out is quick on some and slow on others. A rule
        that looks at the times stops sooner where they are long: of n queries whose times vary by
        cv the mean is too high by about cv² / n, of a standard error of cv / √n.
        """
        start = self._clock()
        for i in track(range(len(queries)), "Measuring latency (queries)", len(queries)):
            if i >= _LEAST_QUERIES and (self._clock() - start) * (i + 1) > budget_ns * i:
                return queries[:i]
            self._ask(queries, i, 0)
        return queries

    def repeated(self, queries: Sequence[Query], repeats: int) -> None:
        """All further repeats."""
        rounds = [(repeat, i) for repeat in range(1, repeats) for i in range(len(queries))]
        for repeat, i in track(rounds, "Measuring latency (repeats)", len(rounds)):
            self._ask(queries, i, repeat)

    def _ask(self, queries: Sequence[Query], i: int, repeat: int) -> None:
        for at in self._generator.permutation(len(self._pipelines)).tolist():
            self.taken[at, i, repeat] = self._pipelines[at].timed(queries[i], self._clock)
        gc.collect()  # what the queries left behind, while no clock runs


def _samples(
    pipelines: Sequence[Pipeline],
    queries: Sequence[Query],
    taken: dict[tuple[int, int, int], Timed],
    repeats: int,
) -> Samples:
    ms: dict[str, dict[str, np.ndarray]] = {}
    candidates: dict[str, np.ndarray] = {}
    for at, pipeline in enumerate(pipelines):
        cells = [[taken[at, i, repeat] for repeat in range(repeats)] for i in range(len(queries))]
        met = {stage for row in cells for cell in row for stage in cell.ns}
        ms[pipeline.system] = {
            stage: np.array([[c.ns.get(stage, 0) / _NS_PER_MS for c in row] for row in cells])
            for stage in (*STAGES, TOTAL)
            if stage in met
        }
        found = [[cell.candidates for cell in row] for row in cells]
        candidates[pipeline.system] = np.array(found, dtype=np.float64).mean(axis=1)
    return Samples(tuple(query.query_id for query in queries), ms, candidates)
