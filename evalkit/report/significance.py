"""The tests between systems for people: a row a comparison, those of a baseline together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.report.layout import MISSING, Cell, Column, Row, Table, number, percent, printable
from evalkit.report.names import display_name, synthetic_note
from evalkit.report.wording import deepest
from evalkit.results import Results
from evalkit.statistics.markers import how_tested

_SMALLEST_P = 0.0001


def significance_table(results: Results, measure: str | None = None) -> Table | None:
    """Every comparison on a measure, the primary one by default; None where none was tested."""
    section = results.significance
    measure = measure or results.measure_names[0]
    found = [row for row in section.get("comparisons", ()) if row["measure"] == measure]
    if not found:
        return None
    groups = [[_row(row) for row in found if row["base"] == base] for base in section["baselines"]]
    columns = (
        Column("System", "left"), Column("Against", "left"), Column("Difference"),
        Column("p"), Column("p corrected"), Column("d_z"), Column("Wins / ties / losses"),
        Column("Detectable"), Column("Queries needed"),
    )  # fmt: skip
    info = results.dataset
    caption = (
        f"Differences in {display_name(measure)} on {printable(info.dataset_id)}, "
        f"{len(results.query_ids):,} queries."
    )
    sizes = sorted({s.k for s in results.uncut if s.k is not None})
    about_k = f"K (+k{', +k'.join(map(str, sizes))}): candidates reranked." if sizes else ""
    uncut = f"N: rankings are measured uncut, {deepest(results)}."
    return Table(
        " ".join(filter(None, [caption, synthetic_note(info), about_k, uncut])),
        columns,
        tuple(tuple(group) for group in groups if group),
        (how_tested(section), *_meanings(section)),
        name="significance",
    )


def _meanings(section: Mapping[str, Any]) -> tuple[str, ...]:
    power, planned = percent(section["power"]), section["planned_difference"]
    return (
        f"*: p corrected is below {section['level']:g}. Difference: mean, with the "
        f"{percent(section['ci_level'])} interval of Student's t. d_z: mean over the standard "
        "deviation of the differences (Cohen). Wins: queries on which the system is better.",
        f"Detectable: smallest difference that so many queries show with a power of {power}. "
        f"Queries needed: for a difference of {planned:g}. Both for a single t-test at level "
        f"{section['level']:g}, uncorrected.",
    )


def _row(row: Mapping[str, Any]) -> Row:
    return (
        Cell(printable(row["system"])),
        Cell(printable(row["base"])),
        Cell(signed(row["difference"]), interval=tuple(row["ci"])),
        Cell(p_value(row["p"])),
        Cell(p_value(row["p_corrected"]), sign="*" if row["significant"] else ""),
        Cell(MISSING if row["d_z"] is None else f"{row['d_z']:+.2f}"),
        Cell(f"{row['wins']} / {row['ties']} / {row['losses']}"),
        Cell(MISSING if row["detectable"] is None else number(row["detectable"])),
        Cell(MISSING if row["queries_needed"] is None else f"{row['queries_needed']:,}"),
    )


def signed(difference: float) -> str:
    """A difference with its sign, to four digits; none before a zero."""
    return f"{difference:+.4f}" if round(difference, 4) else number(0.0)


def p_value(p: float | None) -> str:
    """To four digits; "< 0.0001" below, since smaller ones depend on the test's assumptions."""
    if p is None:
        return MISSING
    return f"< {_SMALLEST_P:.4f}" if p < _SMALLEST_P else f"{p:.4f}"
