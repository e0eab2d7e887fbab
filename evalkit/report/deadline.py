"""Tables of deadlines: what a system is worth with one, and the largest K that meets it."""

from __future__ import annotations

from collections.abc import Mapping

from evalkit.efficiency.deadline import LargestK, UnderDeadline
from evalkit.report.layout import MISSING, Cell, Column, Row, Table, number, percent, printable
from evalkit.report.names import display_name
from evalkit.results import Results


def deadline_table(
    results: Results, measure: str, rows: Mapping[str, tuple[UnderDeadline, str]]
) -> Table:
    """A row a system under a deadline. rows: run name → what comes out, and the fallback's name."""
    cells: list[Row] = [
        (
            Cell(printable(name)),
            Cell(printable(fallback)),
            Cell(number(found.without_deadline)),
            Cell(number(found.quality), _known(found.quality_interval)),
            Cell(f"{100 * found.degraded:.1f}", _known(_hundredfold(found)), digits=1),
            Cell(f"{100 * found.unanswered:.1f}"),
            Cell(number(found.fallback)),
        )
        for name, (found, fallback) in rows.items()
    ]
    shown = display_name(measure)
    columns = (
        Column("System", "left"), Column("Late queries get", "left"), Column(f"{shown}, no limit"),
        Column(f"{shown}, expected"), Column("Late (%)", lower_is_better=True),
        Column("Fallback late too (%)", lower_is_better=True),
        Column(f"{shown}, fallback"),
    )  # fmt: skip
    first = next(iter(rows.values()))[0]
    caption = (
        f"{printable(results.dataset.dataset_id)}: quality with a deadline of "
        f"{first.deadline_ms:g} ms, over the {first.num_queries:,} queries whose latency was "
        f"measured ({first.num_samples:,} times); in brackets {percent(results.level)} intervals."
    )
    notes = (
        "Late: queries that take longer than the deadline; they get the fallback, which is taken "
        "to run beside the system. Fallback late too: they get nothing in time, which counts 0.",
        "Latency and quality are joined query by query; no independence is assumed.",
        *_of_intervals(rows),
    )
    return Table(caption, columns, (tuple(cells),), notes, "deadline")


def _of_intervals(rows: Mapping[str, tuple[UnderDeadline, str]]) -> list[str]:
    """Notes on what is no bootstrap, and on what has no interval."""
    found = [one for one, _ in rows.values() if one.num_queries > 1]
    said = []
    if any(one.degraded in (0.0, 1.0) for one in found):
        said.append("Late, none or all: the exact interval (Clopper and Pearson).")
    if any(_known(one.quality_interval) is None for one in found):
        said.append("No brackets: all queries have the same value, which nothing can be drawn of.")
    return said


def _hundredfold(found: UnderDeadline) -> tuple[float, float]:
    low, high = found.degraded_interval
    return 100 * low, 100 * high


def _known(bounds: tuple[float, float]) -> tuple[float, float] | None:
    return None if bounds[0] != bounds[0] else bounds


def largest_k_table(found: Mapping[tuple[str, str], LargestK]) -> Table:
    """A row a pipeline: the largest K that meets the p95 target."""
    rows: list[Row] = [
        (
            Cell(printable(retriever)),
            Cell(printable(reranker)),
            _size(one.measured),
            _size(one.surely) if one.has_intervals else Cell(MISSING),
            _size(one.between),
        )
        for (retriever, reranker), one in found.items()
    ]
    columns = (
        Column("Retriever", "left"), Column("Reranker", "left"), Column("Largest K"),
        Column("Surely"), Column("Interpolated"),
    )  # fmt: skip
    target = next(iter(found.values())).target_ms
    notes = (
        "Largest K: of those measured. Surely: its interval's upper end meets the target, too. "
        "Interpolated: on straight lines between the K that were measured; not a measurement.",
        *(
            []
            if all(one.has_intervals for one in found.values())
            else [f"{MISSING}: p95 has no interval; measure more queries (latency.queries)."]
        ),
    )
    caption = f"The largest K whose p95 latency is within {target:g} ms."
    return Table(caption, columns, (tuple(rows),), notes, "largest_k")


def _size(k: int | None) -> Cell:
    return Cell("none" if k is None else str(k))
