"""A recommendation for people: the choice in words, its evidence as a table, deadlines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from evalkit.efficiency.budget import Candidate
from evalkit.efficiency.deadline import LargestK, UnderDeadline
from evalkit.efficiency.recommend import Difference, Recommendation
from evalkit.report.cells import interval
from evalkit.report.cost import quality_text
from evalkit.report.layout import MISSING, Cell, Column, Row, Table, number, percent, printable
from evalkit.report.names import display_name, label
from evalkit.report.prices import small
from evalkit.results import Results

_LIMITS = {
    "mean_ms": "mean latency (ms)",
    "p50_ms": "p50 latency (ms)",
    "p90_ms": "p90 latency (ms)",
    "p95_ms": "p95 latency (ms)",
    "p99_ms": "p99 latency (ms)",
    "usd_per_1k": "USD / 1,000 queries",
    "joules_per_query": "J / query",
    "max_k": "K",
}


def in_words(found: Recommendation, level: float) -> list[str]:
    """The choice, why it was chosen among those that are as good, and the runner-up."""
    choice, measure = found.choice, display_name(found.measure)
    system = choice.system
    lines = [
        f"Choice: {label(system.retriever, system.reranker, system.k)}: {measure} "
        f"{quality_text(system, found.measure)}; "
        + "; ".join(_spending(choice, name) for name in found.budget.limits)
        + "."
    ]
    if found.best is not choice:
        lines.append(
            f"{_name(found.best)} has the highest {measure} within the budget "
            f"({number(found.best.system.measures[found.measure])}), but the two are not "
            f"distinguishable ({_difference(found.to_best, level)}): the cheaper or faster is "
            "taken."
        )
    elif len(found.alike) > 1:
        others = ", ".join(_name(c) for c in found.alike if c is not choice)
        lines.append(f"Not distinguishable from it, and dearer, slower or of a larger K: {others}.")
    if found.runner_up is None or found.difference is None:
        lines.append("Runner-up: none; no other system fits the budget.")
    else:
        shows = "" if found.difference.shows else ", which includes zero"
        lines.append(
            f"Runner-up: {_name(found.runner_up)}, {measure} "
            f"{quality_text(found.runner_up.system, found.measure)}; the choice is "
            f"{_difference(found.difference, level)}{shows}."
        )
    lines += [
        f"budget.{name}: too few times were measured for this percentile; the figure is close to "
        "the largest time (raise latency.queries or latency.repeats)."
        for name in found.unsupported
    ]
    lines += [
        f"budget.{name}: the figure has no interval, as too few queries were measured; by how much "
        "it may be off is not known (raise latency.queries)."
        for name in found.without_interval
    ]
    lines += [
        f"The choice meets budget.{name} by its estimate ({small(choice.spent[name])}), not by the "
        f"upper end of its interval ({small(choice.intervals[name][1])}): measure more queries "
        "(latency.queries) before you promise it."
        for name in found.barely
    ]
    return lines


def _name(candidate: Candidate) -> str:
    system = candidate.system
    return label(system.retriever, system.reranker, system.k)


def _difference(difference: Difference, level: float) -> str:
    low, high = difference.interval
    return f"{difference.mean:+.4f} against it, {percent(level)} interval [{low:+.4f}, {high:+.4f}]"


def _spending(candidate: Candidate, name: str) -> str:
    amount = f"{_LIMITS[name]} {small(candidate.spent[name])}"
    if name not in candidate.intervals:
        return amount
    low, high = candidate.intervals[name]
    return f"{amount} [{small(low)}, {small(high)}]"


def evidence_table(found: Recommendation) -> Table:
    """A row a system: those within the budget by quality, then those ruled out, with the reason."""
    limits = list(found.budget.limits)
    fitting = sorted(found.fitting, key=lambda c: -c.system.measures[found.measure])
    rows: list[Row] = [
        (
            Cell(printable(candidate.system.retriever)),
            Cell(printable(candidate.system.reranker)),
            Cell(MISSING if candidate.system.k is None else str(candidate.system.k)),
            Cell(
                number(candidate.system.measures[found.measure]),
                interval(candidate.system, found.measure),
            ),
            *(_amount(candidate.spent.get(name), candidate.intervals.get(name)) for name in limits),
            Cell(_verdict(found, candidate)),
        )
        for candidate in [*fitting, *found.ruled_out]
    ]
    columns = (
        Column("Retriever", "left"), Column("Reranker", "left"), Column("K"),
        Column(display_name(found.measure)),
        *(Column(_LIMITS[name], lower_is_better=name != "max_k") for name in limits),
        Column("Verdict", "left"),
    )  # fmt: skip
    given = ", ".join(f"{_LIMITS[name]} ≤ {most:g}" for name, most in found.budget.limits.items())
    notes = (
        "Alike: not distinguishable from the best by the paired bootstrap; not corrected for how "
        "many systems are compared.",
    )
    return Table(f"Within the budget: {given}.", columns, (tuple(rows),), notes, "recommendation")


def _amount(value: float | None, interval: tuple[float, float] | None) -> Cell:
    """To three significant figures, and its interval to as many decimals."""
    digits = 0 if not value else max(2 - math.floor(math.log10(value)), 0)
    return Cell(small(value), interval, digits=digits)


def _verdict(found: Recommendation, candidate: Candidate) -> str:
    if candidate.ruled_out:
        return f"ruled out: {candidate.ruled_out}"
    if candidate is found.choice:
        return "choice"
    words = ["runner-up"] if candidate is found.runner_up else []
    words += ["alike"] if candidate in found.alike else []
    return ", ".join(words) or "fits, lower quality"


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
    )
    return Table(caption, columns, (tuple(cells),), notes, "deadline")


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


def markdown_lines(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
