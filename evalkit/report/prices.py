"""Tables of prices: what a service would cost in place of a component, and where each came from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from evalkit.report.layout import MISSING, Cell, Column, Row, Table, percent, printable
from evalkit.report.names import synthetic_note
from evalkit.results import Results

_STAGE_NAMES = {
    "rerank": "reranking",
    "query_encoding": "encoding the query",
    "total": "a first stage as a whole, which does not tell its encoding apart",
}


def about_machine(cost: Mapping[str, Any]) -> str:
    machine = cost.get("machine")
    if not machine:
        return ""
    return (
        f" Own hardware: {printable(machine['model'])} at {machine['price']:g} "
        f"{machine['currency']} an hour ({machine['date']}), a query at a time, busy "
        f"{percent(cost['utilisation'])} of the time, taken to be as fast as the machine of this "
        "run."
    )


def of_dataset(results: Results) -> str:
    info = results.dataset
    counted = f"{printable(info.dataset_id)}: {len(results.query_ids):,} queries."
    return " ".join(filter(None, [counted, synthetic_note(info)]))


def break_even_table(results: Results) -> Table:
    """A row for each service that could do a local component's work."""
    cost = results.efficiency["cost"]
    rows: list[Row] = [
        (
            Cell(printable(one["component"])),
            Cell(printable(one["system"])),
            Cell(printable(one["model"])),
            Cell(_amount(one)),
            Cell(small(one["usd_per_1k"])),
            Cell(small(one["build_usd"] if one["build"] else None)),
            Cell(small(one.get("machine_usd_per_1k"))),
            Cell(small(one["break_even_qps"])),
            Cell(small(one["always_qps"])),
        )
        for one in cost["alternatives"]
    ]
    columns = (
        Column("Component", "left"), Column("System", "left"), Column("Service", "left"),
        Column("A query takes"), Column("Service, USD / 1,000"), Column("Index, USD once"),
        Column("Own machine, USD / 1,000"), Column("Break-even QPS"), Column("From QPS"),
    )  # fmt: skip
    stages = sorted({_STAGE_NAMES[s] for one in cost["alternatives"] if (s := one.get("stage"))})
    counted = sorted({f"{one['model']}: {one['counted']}" for one in cost["alternatives"]})
    notes = [
        "Break-even QPS: the load at which the first machine costs what the service does; From "
        "QPS: from this load on own machines are never dearer, each further one counted.",
        *([_of_stages(stages)] if stages else []),
        f"Units: {printable('; '.join(counted))}. Special tokens are not counted.",
    ]
    for note in dict.fromkeys(one["note"] for one in cost["alternatives"] if one["note"]):
        notes.append(f"{MISSING}: {note}.")
    caption = f"{of_dataset(results)} A service in place of a component.{about_machine(cost)}"
    return Table(caption, columns, (tuple(rows),), tuple(notes), name="break_even")


def _of_stages(stages: Sequence[str]) -> str:
    return (
        f"Own machine: the stage that the service replaces ({', '.join(stages)}); what else a "
        "query takes is the same with both."
    )


def _amount(part: Mapping[str, Any]) -> str:
    """Such as "1 search" or "17.4 input tokens"."""
    one = {"search": "search", "pair": "pair"}.get(part["unit"], part["unit"].replace("_", " "))
    plural = {"search": "es"}.get(one, "s")
    amount = part["per_query"]
    return f"{small(amount)} {one}{'' if amount == 1 else plural}"


def small(value: float | None) -> str:
    """An amount to three significant figures, never as a power of ten; a dash for None."""
    if value is None or math.isnan(value):
        return MISSING
    if value >= 100:
        return f"{value:,.0f}"
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def three_figures(value: float) -> str:
    """As `small`, its last zeros kept: the numbers of one column are equally exact."""
    if value >= 100:
        return small(value)
    return f"{Decimal(f'{value:.2e}'):f}"


def price_table(results: Results) -> Table:
    """A row for each price that was used, and what a system spends of it."""
    rows: list[Row] = [
        (
            Cell(printable(system["system"])),
            Cell(printable(part["component"])),
            Cell(printable(part["model"])),
            Cell(_amount(part)),
            Cell(f"{part['price']:g} / {part['per']:,}"),
            Cell(small(1000 * part["usd_per_query"])),
            Cell(printable(part["counted"])),
            Cell(f"{part['date']}, {printable(part['source'])}"),
        )
        for system in results.efficiency["cost"]["systems"]
        for part in system["parts"]
    ]
    columns = (
        Column("System", "left"), Column("Component", "left"), Column("Model", "left"),
        Column("A query takes"), Column("USD"), Column("USD / 1,000 queries"),
        Column("Counted", "left"), Column("Price of", "left"),
    )  # fmt: skip
    caption = f"{of_dataset(results)} What is paid by the query."
    return Table(caption, columns, (tuple(rows),), name="prices")
