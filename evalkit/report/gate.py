"""The regression gate for people: compare.md, a summary that fits a pull request."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evalkit.report.layout import MISSING, Cell, Column, Table, number, percent, printable
from evalkit.report.names import display_name
from evalkit.report.significance import p_value, signed
from evalkit.report.wording import about_models, measured_on
from evalkit.statistics.gate import Change, Matched
from evalkit.statistics.gate_efficiency import Rise

IN_WORDS = {"worse": "worse", "holds": "holds", "open": "open", "": "not gated"}


def change_table(found: Matched, changes: Sequence[Change], how: str, margin: float) -> Table:
    """A row a measure and system, the gated measures first."""
    ordered = sorted(changes, key=lambda change: not change.verdict)
    level = percent(found.base.level)
    columns = (
        Column("System", "left"), Column("Measure", "left"), Column("Base"), Column("New"),
        Column("Difference"), Column("p corrected"), Column("Better / same / worse"),
        Column("Verdict", "left"),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(_system(change)),
            Cell(printable(display_name(change.measure))),
            Cell(number(change.base)),
            Cell(number(change.new)),
            Cell(signed(change.difference), interval=_known(change.ci)),
            Cell(p_value(change.p_corrected)),
            Cell(f"{change.wins} / {change.ties} / {change.losses}"),
            Cell(IN_WORDS[change.verdict]),
        )
        for change in ordered
    )
    notes = (
        f"Difference: new less base, with its {level} interval (Student's t, paired). {how}",
        f"worse: by more than the margin of {margin:g}. holds: the interval excludes such a "
        "fall. open: these queries cannot tell.",
    )
    dataset = printable(found.new.dataset.dataset_id)
    outputs = [found.base, found.new]
    words = [
        f"Base against new on {dataset}, {len(found.query_ids):,} queries.",
        about_models(outputs),
        measured_on(outputs),
    ]
    caption = " ".join(filter(None, words))
    return Table(caption, columns, (rows,), notes, name="compare")


def rise_table(rises: Sequence[Rise], margins: Sequence[tuple[str, float]]) -> Table:
    """A row a system and figure: latency, cost."""
    columns = (
        Column("System", "left"), Column("Figure", "left"), Column("Base"), Column("New"),
        Column("Change"), Column("Verdict", "left"),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(_system(rise)),
            Cell(f"{rise.what} ({rise.unit})"),
            Cell(f"{rise.base:.4g}", interval=rise.base_ci, digits=1),
            Cell(f"{rise.new:.4g}", interval=rise.new_ci, digits=1),
            Cell(MISSING if math.isinf(rise.share) else f"{100 * rise.share:+.1f} %"),
            Cell("rose" if rise.rose else "no rise shown"),
        )
        for rise in rises
    )
    allowed = ", ".join(f"{what} {percent(margin)}" for what, margin in margins)
    note = f"rose: by more than may be ({allowed}), a latency beyond both intervals as well."
    return Table("Latency and cost of a query.", columns, (rows,), (note,), name="compare_cost")


def worst_queries(changes: Sequence[Change]) -> str:
    """Markdown: the queries that lost most, of each measure that fell; "" for none."""
    lines = []
    for change in changes:
        if change.verdict == "worse":
            queries = ", ".join(f"{printable(q)} ({signed(d)})" for q, d in change.worst)
            lines.append(f"- {_system(change)}, {display_name(change.measure)}: {queries}")
    return "\n".join(["Queries that lost most:", "", *lines]) if lines else ""


def _system(row: Change | Rise) -> str:
    same = row.base_system == row.new_system
    return printable(row.new_system if same else f"{row.base_system} → {row.new_system}")


def _known(ends: tuple[float, float]) -> tuple[float, float] | None:
    return None if math.isnan(ends[0]) else ends
