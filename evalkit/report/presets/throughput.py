"""Throughput by device, from the latencies that a run with latency=on measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evalkit.report.cells import Interval, digits_for, number_cells
from evalkit.report.efficiency_notes import has_intervals, notes_beside
from evalkit.report.grid import named
from evalkit.report.layout import Cell, Column, Row, Table, percent, printable
from evalkit.report.names import synthetic_note
from evalkit.report.presets.needs import latencies, timed
from evalkit.report.wording import about_models, measured_on
from evalkit.results import Results, SystemResult


def throughput(outputs: Sequence[Results]) -> Table:
    """A row a device and system, queries and pairs a second of one worker; outputs side by side."""
    measured = [(results, s) for results in outputs for s in timed(results)]
    datasets = {results.dataset.digest: results.dataset for results in outputs}
    names = ", ".join(printable(info.dataset_id) for info in datasets.values())
    words = [
        f"Throughput by device on {names}, {_queries(outputs)}.",
        *dict.fromkeys(filter(None, map(synthetic_note, datasets.values()))),
        "Queries/s: what one worker answers one query after another, 1,000 over the mean latency "
        "in ms. Pairs/s: candidates over the mean time of the reranking stage.",
        f"In brackets: {percent(_level(outputs))} bootstrap intervals over queries."
        if any(map(has_intervals, outputs))
        else "No intervals: too few queries were timed.",
        about_models(outputs),
        measured_on(outputs),
    ]
    said = [
        "The outputs are of different datasets, whose texts differ in length: compare devices on "
        "one dataset only."
    ] * (len(datasets) > 1)
    for results in outputs:
        of = f"{_device(results)}: " if len(outputs) > 1 else ""
        said += [f"{of}{note}" for note in notes_beside(results)]
    columns = ("Device", "Retriever", "Reranker")
    speeds = _speeds(measured)
    rows: list[tuple[Results, Row]] = [
        (results, (Cell(_device(results)), *named(s.retriever, s.reranker, s.k), *cells))
        for (results, s), cells in zip(measured, speeds, strict=True)
    ]
    return Table(
        " ".join(filter(None, words)),
        (
            *(Column(title, "left") for title in columns), Column("K"), Column("Queries/s"),
            Column("Pairs/s"),
        ),
        tuple(tuple(row for of, row in rows if of is results) for results in outputs),
        tuple(said),
        "throughput",
    )  # fmt: skip


def _speeds(measured: Sequence[tuple[Results, SystemResult]]) -> list[Row]:
    """Cells of queries and pairs a second, of one number of digits over all outputs."""
    stages = [latencies(results)[s.run_name] for results, s in measured]
    queries = [1000 / figure(each, "total") for each in stages]
    candidates = [candidates_of(results, s) for results, s in measured]
    pairs = [
        1000 * count / figure(each, "rerank")
        for each, count in zip(stages, candidates, strict=True)
    ]
    ends = [_inverse(each) for each in stages]
    columns = [
        number_cells(queries, digits_for(queries, 2, 2), ends, rank=False),
        number_cells(pairs, 0, rank=False),
    ]
    return list(zip(*columns, strict=True))


def figure(stages: Mapping[str, Any], stage: str, name: str = "mean_ms") -> float:
    """A stage's figure in ms; NaN where the system has no such stage."""
    value = stages.get(stage, {}).get(name)
    return np.nan if value is None else float(value)


def _inverse(stages: Mapping[str, Any]) -> Interval:
    """The interval of queries a second."""
    low, high = stages["total"]["ci"]["mean_ms"]
    return None if low is None or high is None else (1000 / high, 1000 / low)


def candidates_of(results: Results, system: SystemResult) -> float:
    """Candidates that the reranker saw a query, as measured, else K; NaN without a reranker."""
    if system.k is None:
        return np.nan
    records = results.efficiency["latency"]["systems"]
    (record,) = (each for each in records if each["system"] == system.run_name)
    return float(record.get("candidates", system.k))


def _device(results: Results) -> str:
    return printable(str(results.manifest.get("device", "not recorded")))


def _queries(outputs: Sequence[Results]) -> str:
    """How many queries were timed, of each output where they differ."""
    counts = [r.efficiency["latency"].get("protocol", {}).get("queries") for r in outputs]
    known = dict.fromkeys(f"{count:,}" for count in counts if count is not None)
    return f"{' and '.join(known) or 'an unknown number of'} queries timed"


def _level(outputs: Sequence[Results]) -> float:
    first = outputs[0]
    return first.efficiency["latency"].get("protocol", {}).get("ci_level", first.level)
