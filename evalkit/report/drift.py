"""Drift of scores for people: a table of stability indices, one of quantiles, a plot of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.drift import ALARM, NOTABLE, PERCENTILES, ScoreDrift
from evalkit.report.drawing import PALETTE, canvas, png, wrapped
from evalkit.report.layout import Cell, Column, Row, Table, number, printable

SHOWN_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
# More panels than these are too small to read, or too tall for a page.
_MOST_PANELS = 12
_PANELS_A_ROW = 2


def drift_table(drifts: Sequence[ScoreDrift], notes: Sequence[str] = ()) -> Table:
    """A row a system: the index, what it means by convention, the index to expect by chance."""
    rows: list[Row] = [
        (
            Cell(printable(drift.system)),
            Cell(number(drift.psi)),
            Cell(_verdict(drift.psi)),
            Cell(number(drift.chance)),
            Cell(f"{drift.num_base:,}"),
            Cell(f"{drift.num_new:,}"),
        )
        for drift in drifts
    ]
    columns = (
        Column("System", "left"), Column("PSI"), Column("Change", "left"), Column("By chance"),
        Column("Base scores"), Column("New scores"),
    )  # fmt: skip
    convention = (
        f"PSI: population stability index. By convention (Siddiqi 2006) up to {NOTABLE:g} is "
        f"stable, above {ALARM:g} a shift. By chance: what scores that did not drift give, at the "
        "least."
    )
    return Table("Drift of scores, base to new.", columns, (tuple(rows),), (convention, *notes))


def _verdict(index: float) -> str:
    if index > ALARM:
        return "shift"
    return "some" if index > NOTABLE else "stable"


def quantile_table(drifts: Sequence[ScoreDrift]) -> Table:
    """Two rows a system, base and new; a column a percentile."""
    groups = tuple(
        tuple(
            (
                Cell(printable(drift.system)),
                Cell(output),
                *(Cell(f"{values[p]:.4g}") for p in SHOWN_PERCENTILES),
            )
            for output, values in (("base", drift.base), ("new", drift.new))
        )
        for drift in drifts
    )
    names = [Column(f"{p} %") for p in SHOWN_PERCENTILES]
    columns = (Column("System", "left"), Column("Output", "left"), *names)
    return Table("Quantiles of the scores.", columns, groups)


def quantile_plot(drifts: Sequence[ScoreDrift]) -> bytes:
    """PNG: scores over their quantiles, a panel a system, those with the most drift first."""
    from matplotlib.lines import Line2D

    shown = sorted(drifts, key=lambda drift: -drift.psi)[:_MOST_PANELS]
    rest = len(drifts) - len(shown)
    title = "Quantiles of the scores" + (f"; {rest} systems with less drift left out" * (rest > 0))
    columns = min(len(shown), _PANELS_A_ROW)
    rows = -(-len(shown) // columns)
    # Both can be seen where one lies on the other.
    styles: dict[str, dict[str, Any]] = {
        "base": {"color": PALETTE[5], "lw": 3.0},
        "new": {"color": PALETTE[0], "lw": 1.0},
    }
    with canvas(wrapped(title, 52), 0.8 + 2.0 * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, drift in zip(panels, shown, strict=False):
            for output, values in (("base", drift.base), ("new", drift.new)):
                panel.plot(PERCENTILES / 100, values, **styles[output])
            # With spaces a line can be broken at the parts of the name.
            name = wrapped(printable(drift.system).replace("+", " + "), 18 if columns > 1 else 52)
            panel.set_title(f"{name}\nPSI {number(drift.psi)}", parse_math=False)
            panel.set_xticks([0, 0.5, 1])
            panel.set_xlabel("share of scores below")
        for panel in panels[len(shown) :]:
            panel.set_axis_off()
        figure.supylabel("score", fontsize="medium")
        handles = [Line2D([], [], **style) for style in styles.values()]
        figure.legend(handles, list(styles), loc="outside lower center", ncols=2, frameon=False)
        return png(figure)
