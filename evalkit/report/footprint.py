"""What indexes and vectors take, and the energy of a query, for people.

Made of `Results.efficiency`: "index", "vectors" and "energy"; see `evalkit.efficiency`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.report.layout import MISSING, Cell, Column, Row, Table, printable
from evalkit.results import Results

_MEBI = 1 << 20


def footprint_tables(results: Results) -> list[Table]:
    """The tables that the results have numbers for."""
    efficiency = results.efficiency
    energy = efficiency.get("energy")
    return [
        *([index_table(efficiency["index"])] if efficiency.get("index") else []),
        *([vector_table(efficiency["vectors"])] if efficiency.get("vectors") else []),
        *([energy_table(energy)] if energy and energy["available"] else []),
    ]


def index_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row a retriever: what its index cost to build and takes on disk."""
    columns = (
        Column("Retriever", "left"), Column("Built", "left"), Column("Time (s)"),
        Column("Peak memory (MiB)"), Column("Of it before"), Column("Tokens"), Column("Docs"),
        Column("On disk (MiB)"), Column("Bytes / doc"),
    )  # fmt: skip
    shown = tuple(
        (
            Cell(printable(row["retriever"])),
            Cell("now" if row["built"] else row.get("built_at", MISSING)),
            _number(row["seconds"], ".2f"),
            _number(row["peak_rss_bytes"], ",.0f", _MEBI),
            _number(row.get("rss_before_bytes"), ",.0f", _MEBI),
            _number(row["tokens"], ",d"),
            _number(row["num_docs"], ",d"),
            _number(row["bytes"], ",.2f", _MEBI),
            _number(row["bytes_per_doc"], ",.0f"),
        )
        for row in rows
    )
    notes = (
        "Time, memory and tokens are those of when the index was built; memory is resident in the "
        "whole process, models and libraries with it. Tokens: what the model reads of all docs, "
        "counted by its own tokenizer; of BM25, index terms.",
        *(f"{printable(row['retriever'])}: {printable(row['note'])}." for row in rows),
    )
    return Table("Building the indexes, and what they take.", columns, (shown,), notes, "indexes")


def vector_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row a component that keeps a vector a token."""
    columns = (
        Column("Component", "left"), Column("Docs"), Column("Tokens / doc"),
        Column("A vector a token (bytes / doc)"), Column("One vector (bytes / doc)"),
        Column("Times"),
    )  # fmt: skip
    shown = tuple(
        (
            Cell(printable(row["component"])),
            _number(row["docs"], ",d"),
            _number(row["doc_tokens"] / row["docs"], ".1f"),
            _number(row["token_bytes_per_doc"], ",d"),
            _number(row["single_bytes_per_doc"], ",d"),
            _number(row["times"], ".1f"),
        )
        for row in rows
    )
    caption = "Vectors on disk: one a token, against one a doc of the same numbers."
    return Table(caption, columns, (shown,), name="vectors")


def energy_table(energy: Mapping[str, Any]) -> Table:
    """A row a system: joules a query, by counter and in all."""
    names = list(energy["counters"])
    columns = (
        Column("System", "left"), Column("Queries"),
        *(Column(f"{name} (J)") for name in names), Column("J / query", lower_is_better=True),
    )  # fmt: skip
    shown: tuple[Row, ...] = tuple(
        (
            Cell(printable(row["system"])),
            _number(row["queries"], ",d"),
            *(_number(row["joules"].get(name), ",.0f") for name in names),
            _number(row["joules_per_query"], ".3f"),
        )
        for row in energy["systems"]
    )
    idle = ", ".join(f"{name} {watts:.1f} W" for name, watts in energy["idle_watts"].items())
    notes = (
        f"Counted by {energy['tool']}: "
        + "; ".join(f"{name}, {what}" for name, what in energy["counters"].items())
        + f". Of the whole machine, whose rest takes {idle}; nothing is estimated.",
    )
    caption = f"Energy: queries one at a time for {energy['seconds']:g} s a system."
    return Table(caption, columns, (shown,), notes, "energy")


def _number(value: float | None, form: str, unit: int | None = None) -> Cell:
    if value is None:
        return Cell(MISSING)
    return Cell(format(value if unit is None else value / unit, form))
