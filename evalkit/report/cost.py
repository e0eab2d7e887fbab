"""Tables of cost: what a system costs beside what it is worth, break-even loads, fronts and knees.

Made of `Results.efficiency["cost"]` and `["pareto"]`, see `evalkit.efficiency.priced`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evalkit.efficiency.fronts import judged_by
from evalkit.report.cells import interval, number_cells, value_cells
from evalkit.report.efficiency_notes import notes_beside
from evalkit.report.layout import MISSING, Cell, Column, Row, Table, number, percent, printable
from evalkit.report.names import display_name
from evalkit.report.prices import about_machine, of_dataset, three_figures
from evalkit.report.wording import about_intervals
from evalkit.results import Results, SystemResult

_FRONTIER, _DOMINATED, _BEYOND = "frontier", "dominated", "dominated*"
# Loads that a table has a column for; more are in results.json.
_MOST_LOADS = 3


def cost_quality_table(results: Results) -> Table:
    """A row a system: what it is worth, what it spends, and whether another one dominates it."""
    measure = judged_by(results) or results.measure_names[0]
    cost = results.efficiency.get("cost") or {"systems": []}
    priced = {system["system"]: system for system in cost["systems"]}
    systems = list(results.uncut)
    columns: list[tuple[Column, list[Cell]]] = [
        (Column("Retriever", "left"), [Cell(printable(s.retriever)) for s in systems]),
        (Column("Reranker", "left"), [Cell(printable(s.reranker)) for s in systems]),
        (Column("K"), [Cell(MISSING if s.k is None else str(s.k)) for s in systems]),
        (Column(display_name(measure)), value_cells(systems, measure)),
        *_spent_columns(results, systems),
        *_monthly_columns(priced, systems),
        *_front_columns(results, systems),
    ]
    return Table(
        f"{of_dataset(results)} Quality and what it costs.{about_machine(cost)}",
        tuple(column for column, _ in columns),
        _by_retriever(systems, list(zip(*(cells for _, cells in columns), strict=True))),
        tuple(_notes(results, cost)),
        name="cost_quality",
    )


def _spent_columns(
    results: Results, systems: Sequence[SystemResult]
) -> list[tuple[Column, list[Cell]]]:
    """A column for each thing that is spent."""
    titles = {"latency": "Mean (ms)", "cost": "USD / 1,000 queries", "energy": "J / query"}
    found = []
    for front in (results.efficiency.get("pareto") or {"axes": []})["axes"]:
        known = {system["system"]: system["spent"] for system in front["systems"]}
        values = [known.get(system.run_name, np.nan) for system in systems]
        column = Column(titles[front["axis"]], lower_is_better=True)
        found.append((column, number_cells(values, rank=False, text=three_figures)))
    return found


def _monthly_columns(
    priced: Mapping[str, Mapping[str, Any]], systems: Sequence[SystemResult]
) -> list[tuple[Column, list[Cell]]]:
    """Dollars a month at each load, the machines that it needs behind."""
    months = [system["monthly"] for system in priced.values() if system["monthly"]]
    loads = [month["qps"] for month in months[0]][:_MOST_LOADS] if months else []
    found = []
    for place, load in enumerate(loads):
        cells = []
        for system in systems:
            known = priced.get(system.run_name, {}).get("monthly") or []
            cells.append(Cell(_month(known[place]) if known else MISSING))
        found.append((Column(f"USD / month at {load:g} QPS", lower_is_better=True), cells))
    return found


def _month(month: Mapping[str, Any]) -> str:
    machines = f" ({month['machines']})" if month["machines"] else ""
    return f"{month['usd']:,.2f}{machines}"


def _front_columns(
    results: Results, systems: Sequence[SystemResult]
) -> list[tuple[Column, list[Cell]]]:
    found = []
    for front in (results.efficiency.get("pareto") or {"axes": []})["axes"]:
        places = {system["system"]: system for system in front["systems"]}
        cells = [Cell(_standing(places.get(system.run_name))) for system in systems]
        found.append((Column(f"By {front['axis']}", "left"), cells))
    return found


def _standing(place: Mapping[str, Any] | None) -> str:
    if place is None:
        return MISSING
    if not place["dominated"]:
        return _FRONTIER
    return _BEYOND if place["beyond_interval"] else _DOMINATED


def _notes(results: Results, cost: Mapping[str, Any]) -> list[str]:
    notes = [about_intervals(results)]
    if (results.efficiency.get("pareto") or {}).get("axes"):
        notes.append(
            "Dominated: another system is at least as good and spends no more, and is better in "
            "one; by means. A simpler system (no reranker, or a smaller K) is not, where neither "
            "quality nor what is spent is told apart: intervals overlap, or there are none and the "
            f"other adds to what it does. {_BEYOND}: also beyond the "
            f"{percent(results.level)} intervals, of the paired difference in quality and of what "
            "is spent; prices and joules are taken as they are."
        )
    if any(month["machines"] for system in cost["systems"] for month in system["monthly"]):
        notes.append(
            "In parentheses: machines that the load needs. By the month: QPS × seconds × what is "
            "paid by the query + machines × hours × their price."
        )
    waiting = {s["system"]: s["waits_for"] for s in cost["systems"] if s.get("waits_for")}
    if waiting:
        services = ", ".join(dict.fromkeys(name for names in waiting.values() for name in names))
        notes.append(
            f"{printable(', '.join(waiting))}: the machine is priced as busy while it waits for "
            f"{printable(services)}, a part that is a service; it costs so much at most."
        )
    reasons: dict[str, list[str]] = {}
    for system in cost["systems"]:
        for note in system["notes"]:
            reasons.setdefault(note, []).append(system["system"])
    for note, names in reasons.items():
        of = "all systems" if len(names) == len(cost["systems"]) else ", ".join(names)
        notes.append(f"No cost of {printable(of)}: {printable(note)}.")
    return [*notes, *notes_beside(results)]


def knee_table(results: Results) -> Table:
    """A row a pipeline: the K beyond which no larger one gains anything that shows."""
    pareto = results.efficiency["pareto"]
    rows: list[Row] = []
    for curve in pareto["knees"]:
        gain = next((g for g in curve["gains"] if g["k"] == curve["k"]), None)
        rows.append(
            (
                Cell(printable(curve["retriever"])),
                Cell(printable(curve["reranker"])),
                Cell(", ".join(str(k) for k in curve["ks"])),
                Cell(MISSING if curve["k"] is None else str(curve["k"])),
                Cell(MISSING if gain is None else str(gain["larger_k"])),
                Cell(MISSING) if gain is None else Cell(f"{gain['gain']:+.4f}", _pair(gain["ci"])),
            )
        )
    columns = (
        Column("Retriever", "left"), Column("Reranker", "left"), Column("K measured"),
        Column("Knee"), Column("Best larger K"), Column("Its gain"),
    )  # fmt: skip
    measure = display_name(pareto["measure"])
    notes = (
        "K=0: the first stage. Knee: the smallest K that no larger one beats: for each larger one "
        f"the {percent(pareto['level'])} bootstrap interval of the paired gain, in brackets, "
        "includes zero or lies below it. The intervals are not corrected for how many are looked "
        "at.",
        f"{MISSING}: the largest K still gains over all others, or there are too few queries.",
    )
    caption = f"{of_dataset(results)} Where {measure} over K levels off."
    return Table(caption, columns, (tuple(rows),), notes, name="knees")


def _pair(bounds: Sequence[float | None]) -> tuple[float, float] | None:
    low, high = bounds
    return None if low is None or high is None else (low, high)


def _by_retriever(
    systems: Sequence[SystemResult], rows: Sequence[Row]
) -> tuple[tuple[Row, ...], ...]:
    groups: dict[str, list[Row]] = {}
    for system, row in zip(systems, rows, strict=True):
        groups.setdefault(system.retriever, []).append(row)
    return tuple(map(tuple, groups.values()))


def quality_text(system: SystemResult, measure: str) -> str:
    """A value with its interval, such as "0.7012 [0.6821, 0.7203]"."""
    bounds = interval(system, measure)
    text = number(system.measures[measure])
    return text if bounds is None else f"{text} [{number(bounds[0])}, {number(bounds[1])}]"
