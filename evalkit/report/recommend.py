"""A recommendation for people: the choice in words, its evidence as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evalkit.efficiency.budget import Candidate
from evalkit.efficiency.recommend import Difference, Recommendation
from evalkit.report.cells import interval
from evalkit.report.cost import quality_text
from evalkit.report.layout import MISSING, Cell, Column, Row, Table, number, percent, printable
from evalkit.report.names import display_name, label
from evalkit.report.prices import small

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
        taken = "simpler" if found.best in found.untold else "cheaper or faster"
        lines.append(
            f"{_name(found.best)} has the highest {measure} within the budget "
            f"({number(found.best.system.measures[found.measure])}), but the two are not "
            f"distinguishable ({_difference(found.to_best, level)}): the {taken} is taken."
        )
    else:
        others = [_name(c) for c in found.alike if c is not choice and c not in found.untold]
        if others:
            lines.append(
                "Not distinguishable from it, and dearer, slower or of a larger K: "
                f"{', '.join(others)}."
            )
    lines += [_of_untold(found, measure)] if found.untold else []
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


def _of_untold(found: Recommendation, measure: str) -> str:
    """Why the choice is not one of those that are cheaper or faster by the estimate."""
    choice = found.choice
    of = next(
        (n for n in ("mean_ms", "usd_per_1k") if all(_less(c, choice, n) for c in found.untold)),
        "usd_per_1k" if "usd_per_1k" in choice.spent else "mean_ms",
    )
    amounts = "; ".join(f"{_name(c)} ({small(c.spent[of])})" for c in found.untold)
    known = all(c.ends(of) for c in [choice, *found.untold])
    why = (
        "the intervals overlap"
        if known
        else "too few queries were timed for intervals, see latency.queries, and the choice does a "
        "part of the others' work"
    )
    return (
        f"Not told apart from the choice ({small(choice.spent[of])}), neither in {measure} nor in "
        f"{_LIMITS[of]}: {amounts}; {why}. The simplest is taken: no reranker before any, then the "
        "smaller K."
    )


def _less(one: Candidate, other: Candidate, name: str) -> bool:
    return name in one.spent and name in other.spent and one.spent[name] < other.spent[name]


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


def markdown_lines(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
