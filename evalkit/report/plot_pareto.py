"""Quality against what a query spends: time, money, energy. Which systems does no other beat?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evalkit.efficiency.fronts import axes_of
from evalkit.report.cells import interval
from evalkit.report.drawing import (
    LOG_FROM,
    PALETTE,
    SMALL_PT,
    Picture,
    interval_words,
    log_scale,
    picture,
    place_legend,
    titled,
)
from evalkit.report.names import display_name, is_lower_better, label
from evalkit.report.plot_quality import require_measure
from evalkit.results import NO_RERANKER, Results, SystemResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMALL_FROM = 8  # systems on the frontier whose names take a third of a page's column
_STEPS = 3
_DOMINATED = "#A0A0A0"
_LEADER: dict[str, Any] = {
    "arrowstyle": "-", "lw": 0.3, "color": _DOMINATED, "relpos": (1, 0), "shrinkA": 0, "shrinkB": 2,
}  # fmt: skip
_AXES = {
    "latency": "mean latency of a query (ms)",
    "cost": "cost of 1,000 queries (USD)",
    "energy": "energy of a query (J)",
}


class Spent(NamedTuple):
    """What a system spends: its value and its interval, (nan, nan) where it is exact."""

    system: SystemResult
    value: float
    ends: tuple[float, float] = (np.nan, np.nan)


def pareto_plots(results: Results, measure: str) -> dict[str, Picture]:
    """What is spent, such as "latency" → the plot; of that which two systems or more spend."""
    out = {}
    for axis in axes_of(results.efficiency):
        found = [(s, axis.of(s.run_name)) for s in results.uncut]
        spent = [Spent(s, at[0], at[1] or (np.nan, np.nan)) for s, at in found if at is not None]
        if len(spent) > 1:
            out[axis.name] = pareto(results, measure, spent, _AXES[axis.name])
    return out


def frontier(results: Results, measure: str, spent: Sequence[Spent]) -> list[int]:
    """Positions of the systems that no other beats, the cheapest first.

    Beaten: another is as good and as cheap, and better in one of the two.
    """
    sign = -1.0 if is_lower_better(measure) else 1.0
    quality = [sign * each.system.measures[measure] for each in spent]
    order = sorted(range(len(spent)), key=lambda i: (spent[i].value, -quality[i]))
    kept: list[int] = []
    best = -np.inf
    for i in order:
        equal = bool(kept) and quality[i] == best and spent[i].value == spent[kept[-1]].value
        if quality[i] > best or equal:
            kept.append(i)
            best = quality[i]
    return kept


def pareto(results: Results, measure: str, spent: Sequence[Spent], xlabel: str) -> Picture:
    """A point per system with both intervals; those that no other beats are joined and numbered.

    The numbers are named below the plot. First stages are hollow, dominated systems grey.
    """
    require_measure(results, measure)
    front = frontier(results, measure, spent)
    hollow = any(each.system.reranker == NO_RERANKER for each in spent)
    note = "hollow: first stages; grey: dominated" if hollow else "grey: dominated"
    words = interval_words(results, measure, "whiskers")
    with titled(results, "\n".join(filter(None, [words, note])), 2.6) as figure:
        axes = figure.add_subplot()
        if len(front) > 1:
            xs = [spent[i].value for i in front]
            ys = [spent[i].system.measures[measure] for i in front]
            axes.plot(xs, ys, drawstyle="steps-post", color=PALETTE[0], lw=0.9, zorder=1.5)
        for i, each in enumerate(spent):
            _point(axes, each, measure, i in front)
        values = [each.value for each in spent]
        if min(values) > 0 and max(values) / min(values) > LOG_FROM:
            log_scale(axes.xaxis)
        else:
            axes.set_xlim(left=0)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.12 * (high - low))
        _number(axes, [(spent[i].value, spent[i].system.measures[measure]) for i in front])
        axes.set_xlabel(xlabel)
        axes.set_ylabel(display_name(measure))
        systems = [spent[i].system for i in front]
        style: dict[str, Any] = {"color": PALETTE[0], "marker": "o", "ls": "none", "ms": 4}
        place_legend(
            figure,
            [{**style, **_hollow(system)} for system in systems],
            [
                f"{place}  {label(s.retriever, s.reranker, s.k)}"
                for place, s in enumerate(systems, 1)
            ],
            small=len(systems) > _SMALL_FROM,
        )
        return picture(figure)


def _number(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """1, 2, … beside the points of the frontier, above which nothing is; where points are close,
    the numbers climb in steps so that each can be read."""
    from matplotlib.patheffects import Normal, Stroke

    places = axes.transAxes.inverted().transform(axes.transData.transform(points))
    step, last = 0, -np.inf
    for number, (point, (across, _)) in enumerate(zip(points, places, strict=True), 1):
        # A number of two digits takes about a twentieth of the axis.
        step = (step + 1) % _STEPS if across - last < 0.055 else 0
        last = across
        axes.annotate(
            str(number), point, (-3, 3 + (SMALL_PT + 2) * step), textcoords="offset points",
            ha="right", fontsize=SMALL_PT, fontweight="bold",
            arrowprops=_LEADER if step else None,
            # Whiskers and steps run behind the numbers.
            path_effects=[Stroke(linewidth=1.5, foreground="white"), Normal()],
        )  # fmt: skip


def _hollow(system: SystemResult) -> dict[str, Any]:
    return {"markerfacecolor": "white"} if system.reranker == NO_RERANKER else {}


def _point(axes: Axes, each: Spent, measure: str, on_front: bool) -> None:
    color = PALETTE[0] if on_front else _DOMINATED
    y = each.system.measures[measure]
    whisker: dict[str, Any] = {
        "color": color,
        "lw": 0.7,
        "alpha": 0.8 if on_front else 0.5,
        "zorder": 1.8,
    }
    ends = interval(each.system, measure)
    if ends is not None:
        axes.plot([each.value, each.value], ends, **whisker)
    if not np.isnan(each.ends).any():
        axes.plot(each.ends, [y, y], **whisker)
    axes.plot(
        [each.value], [y], color=color, marker="o", ls="none", ms=4 if on_front else 3,
        zorder=3 if on_front else 2, **_hollow(each.system),
    )  # fmt: skip
