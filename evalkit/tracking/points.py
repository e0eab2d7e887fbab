"""The metrics of a pipeline, with K as their step, so that MLflow draws each of them over K.

A pipeline without a reranker does not depend on K and becomes a flat line. MLflow draws a section
of charts for what stands before a '/', and sorts sections by name; its tables show the value at the
largest K.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.results import SystemResult
from evalkit.tracking.limits import metric_names

# What of an index is a number; see `evalkit.efficiency.index_side`.
_OF_INDEX = ("seconds", "bytes", "peak_rss_bytes", "tokens")


class Point(NamedTuple):
    """A metric's value at a step; the step is K."""

    name: str
    value: float
    step: int


def points_of(
    results: Mapping[str, Any], retriever: str, reranker: str, cells: Iterable[Mapping[str, Any]]
) -> Iterator[Point]:
    """All points of one pipeline.

    results: the content of results.json. cells: its systems that are of this pipeline.
    """
    names = metric_names(results["measures"])
    sweep = sorted({s["k"] for s in results["systems"] if s["k"] is not None})
    yield from _quality(cells, names, sweep)
    yield from _ceiling(results.get("ceiling", {}).get(retriever, {}), names)
    efficiency = results.get("efficiency", {})
    pipeline = retriever, reranker
    yield from _latency(_of(efficiency.get("latency"), pipeline), sweep)
    yield from _cost(_of(efficiency.get("cost"), pipeline), sweep)
    yield from _energy(efficiency.get("energy"), cells, sweep)
    yield from _index(efficiency.get("index"), retriever, sweep)


def _steps(k: int | None, sweep: Sequence[int]) -> Sequence[int]:
    """Where a system's values stand: at its K, or at all of them where it has none."""
    return [k] if k is not None else sweep or [0]


def _quality(
    cells: Iterable[Mapping[str, Any]], names: Mapping[str, str], sweep: Sequence[int]
) -> Iterator[Point]:
    """ "quality/NDCG_10", "quality_N5/NDCG_10" for rankings cut to N, and the interval's bounds in
    "quality_interval/NDCG_10_low"; a value that is not defined (null) gives no point."""
    for cell in cells:
        cut = "" if cell["n"] is None else f"_N{cell['n']}"
        values: dict[str, float | None] = {}
        for measure, value in cell["measures"].items():
            low, high = cell["ci"].get(measure, (None, None))
            bound = f"quality_interval{cut}/{names[measure]}"
            values |= {f"{bound}_low": low, f"{bound}_high": high}
            values[f"quality{cut}/{names[measure]}"] = value
        for step in _steps(cell["k"], sweep):
            yield from (Point(k, v, step) for k, v in values.items() if v is not None)


def _ceiling(
    by_k: Mapping[str, Mapping[str, float | None]], names: Mapping[str, str]
) -> Iterator[Point]:
    """ "quality_ceiling/NDCG_10": what a perfect reranker of the retriever's first K reaches."""
    for k, means in by_k.items():
        for measure, value in means.items():
            if measure in names and value is not None:
                yield Point(f"quality_ceiling/{names[measure]}", value, int(k))


def _of(
    section: Mapping[str, Any] | None, pipeline: tuple[str, str]
) -> Iterator[Mapping[str, Any]]:
    """The records of one pipeline in a section of `Results.efficiency`; none if there is none."""
    for system in (section or {}).get("systems", ()):
        if (system["retriever"], system["reranker"]) == pipeline:
            yield system


def _latency(systems: Iterable[Mapping[str, Any]], sweep: Sequence[int]) -> Iterator[Point]:
    """Measured: "latency/total_p95_ms", "latency/rerank_mean_ms".

    A percentile that too few times support gives none.
    """
    for system in systems:
        for stage, figures in system["stages"].items():
            values = {key: value for key, value in figures.items() if key.endswith("_ms")}
            for key in figures["unsupported"]:
                del values[key]
            for step in _steps(system["k"], sweep):
                yield from (Point(f"latency/{stage}_{k}", v, step) for k, v in values.items())


def _energy(
    section: Mapping[str, Any] | None, cells: Iterable[Mapping[str, Any]], sweep: Sequence[int]
) -> Iterator[Point]:
    """ "energy/joules_per_query", where counters could be read and enough was counted."""
    known = {s["system"]: s.get("joules_per_query") for s in (section or {}).get("systems", ())}
    for cell in cells:
        system = SystemResult(cell["retriever"], cell["reranker"], cell["k"], None, {}, {}, {})
        joules = known.get(system.run_name)
        if cell["n"] is None and joules is not None:
            yield from (
                Point("energy/joules_per_query", joules, k) for k in _steps(cell["k"], sweep)
            )


def _index(
    rows: Iterable[Mapping[str, Any]] | None, retriever: str, sweep: Sequence[int]
) -> Iterator[Point]:
    """ "index/seconds", "index/bytes" and so on of the pipeline's first stage; one without an index
    of its own has none."""
    for row in rows or ():
        values = {key: v for key in _OF_INDEX if (v := row.get(key)) is not None}
        if row["retriever"] == retriever:
            for step in _steps(None, sweep):
                yield from (Point(f"index/{key}", float(v), step) for key, v in values.items())


def _cost(systems: Iterable[Mapping[str, Any]], sweep: Sequence[int]) -> Iterator[Point]:
    """ "serving_cost/usd_per_1k": US dollars for a thousand queries, where they can be told."""
    for system in systems:
        if system["usd_per_1k"] is not None:
            for step in _steps(system["k"], sweep):
                yield Point("serving_cost/usd_per_1k", system["usd_per_1k"], step)
