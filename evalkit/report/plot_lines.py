"""Lines of pipelines over K or N: one plot for a few, small multiples for many.

A panel shows one reranker (or one retriever, whichever there are more of) in colour, with its
bands, before the faint lines of all others: 27 pipelines stay legible at the width of a column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evalkit.report.drawing import (
    FAINT,
    GREY,
    MARKERS,
    PALETTE,
    SMALL_PT,
    WIDTH_IN,
    Picture,
    Pipeline,
    picture,
    place_legend,
    styles_of,
    titled,
    wrapped,
)
from evalkit.report.layout import printable
from evalkit.report.names import label
from evalkit.results import NO_RERANKER, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOGETHER = 4  # pipelines whose bands can be told apart in one plot
MOST_PANELS = 12  # four rows of three: a page's column
MOST_NAMED = len(PALETTE)
_PANEL_IN, _LONE_ROW_IN = 0.95, 1.3


class Series(NamedTuple):
    """A pipeline's points: xs, ys; a band from low to high (NaN: none); a dotted line at `far` and
    whiskers over `spans` (low, high), if any."""

    xs: Sequence[float]
    ys: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    far: Sequence[float] = ()
    spans: Sequence[tuple[float, float]] = ()


class Lines(NamedTuple):
    """What is drawn. series: of pipelines; bases: of first stages, dashed and without bands.

    scales: sets limits, scales and ticks of an Axes, given whether it is narrow. notes: pipeline →
    a few words on its line, such as a fit, for the legend of one plot.
    """

    series: Mapping[Pipeline, Series]
    bases: Mapping[str, Series]
    xlabel: str
    ylabel: str
    heading: str
    scales: Callable[[Axes, bool], None]
    notes: Mapping[Pipeline, str] = MappingProxyType({})


def draw(results: Results, lines: Lines, labels: Mapping[Pipeline, str] | None = None) -> Picture:
    """All lines in one plot, or in panels where they are more than can be told apart.

    labels: names of pipelines in the legend of the one plot, where not the usual ones.
    """
    if len(lines.series) <= TOGETHER:
        return _together(results, lines, labels or {})
    return _panels(results, lines)


def _together(results: Results, lines: Lines, labels: Mapping[Pipeline, str]) -> Picture:
    styles = styles_of(results)
    with titled(results, lines.heading, 2.3) as figure:
        axes = figure.add_subplot()
        for retriever, series in lines.bases.items():
            axes.plot(series.xs, series.ys, **styles[retriever, NO_RERANKER], zorder=1.5)
        for pipeline, series in lines.series.items():
            plot_series(axes, series, styles[pipeline])
        lines.scales(axes, False)
        axes.set_xlabel(lines.xlabel)
        axes.set_ylabel(lines.ylabel)
        bases: list[Pipeline] = [(retriever, NO_RERANKER) for retriever in lines.bases]
        shown = [*bases, *lines.series]
        names = [labels.get(p, label(*p)) for p in shown]
        noted = [
            f"{name}: {lines.notes[p]}" if p in lines.notes else name
            for p, name in zip(shown, names, strict=True)
        ]
        place_legend(figure, [styles[p] for p in shown], noted)
        return picture(figure)


def plot_series(axes: Axes, series: Series, style: Mapping[str, Any], band: bool = True) -> None:
    axes.plot(series.xs, series.ys, **style)
    color = style["color"]
    if band and len(series.low):
        axes.fill_between(series.xs, series.low, series.high, color=color, alpha=0.12, lw=0)
        for edge in (series.low, series.high):
            axes.plot(series.xs, edge, color=color, alpha=0.45, lw=0.5)
    for x, span in zip(series.xs, series.spans, strict=False):
        axes.plot([x, x], span, color=color, lw=0.9, marker="_", ms=4)
    if len(series.far):
        axes.plot(series.xs, series.far, color=color, ls=":", lw=1.0)


# --------------------------------------------------------------------------- small multiples


class Split(NamedTuple):
    """Pipelines by panel and by line. by_reranker: panels are rerankers and lines retrievers.

    panels, named: the names that are shown, of `all_panels` and `all_lines` there are.
    """

    by_reranker: bool
    panels: list[str]
    named: list[str]
    all_panels: int
    all_lines: int

    def pipeline(self, panel: str, line: str) -> Pipeline:
        return (line, panel) if self.by_reranker else (panel, line)

    @property
    def words(self) -> str:
        """What is left out, "" for nothing."""
        kinds = ("rerankers", "retrievers") if self.by_reranker else ("retrievers", "rerankers")
        shown = [(len(self.panels), self.all_panels), (len(self.named), self.all_lines)]
        left = [
            f"the {few} highest of {of} {kind}"
            for (few, of), kind in zip(shown, kinds, strict=True)
            if few < of
        ]
        return ", ".join(left)


def split(series: Mapping[Pipeline, Series]) -> Split:
    """Panels are of what there is more of, so that a panel has few lines; the highest where not all
    can be shown."""
    retrievers = list(dict.fromkeys(retriever for retriever, _ in series))
    rerankers = list(dict.fromkeys(reranker for _, reranker in series))
    by_reranker = len(rerankers) >= len(retrievers)
    panels, named = (rerankers, retrievers) if by_reranker else (retrievers, rerankers)

    def top(names: list[str], most: int, place: int) -> list[str]:
        def height(name: str) -> float:
            found = [y for p, s in series.items() if p[place] == name for y in s.ys]
            return max((y for y in found if not np.isnan(y)), default=-np.inf)

        best = sorted(names, key=height, reverse=True)[:most]
        return [name for name in names if name in best]

    return Split(
        by_reranker,
        top(panels, MOST_PANELS, int(by_reranker)),
        top(named, MOST_NAMED, int(not by_reranker)),
        len(panels),
        len(named),
    )


def _panels(results: Results, lines: Lines) -> Picture:
    parts = split(lines.series)
    styles = {
        name: {"color": PALETTE[i], "marker": MARKERS[i], "ms": 2.5, "lw": 1.2}
        for i, name in enumerate(parts.named)
    }
    banded = len(parts.named) <= TOGETHER
    heading = "\n".join(filter(None, [lines.heading if banded else "", parts.words]))
    with titled(results, heading, 1.0) as figure:
        axes = panel_grid(figure, len(parts.panels))
        for panel, name in zip(axes, parts.panels, strict=True):
            _panel(panel, name, parts, lines, styles)
            lines.scales(panel, True)
        figure.supylabel(lines.ylabel, fontsize="medium")
        legend = {printable(name): style for name, style in styles.items()}
        if lines.bases:
            legend["first stage"] = {"color": GREY, "ls": "--", "lw": 1.0}
        legend["other panels"] = {"color": FAINT, "lw": 0.8}
        place_legend(figure, list(legend.values()), list(legend), xlabel=lines.xlabel)
        return picture(figure)


def _panel(
    axes: Axes, name: str, parts: Split, lines: Lines, styles: Mapping[str, Mapping[str, Any]]
) -> None:
    own = {line: parts.pipeline(name, line) for line in parts.named}
    # One broken line: hundreds of their own take seconds to draw.
    others = [s for pipeline, s in lines.series.items() if pipeline not in own.values()]
    xs, ys = ([v for s in others for v in (*s[i], np.nan)] for i in (0, 1))
    axes.plot(xs, ys, color=FAINT, lw=0.4, zorder=1.2)
    for retriever, series in lines.bases.items():
        if parts.by_reranker or retriever == name:
            color = styles[retriever]["color"] if retriever in styles else FAINT
            lone = not parts.by_reranker or len(parts.named) == 1
            axes.plot(series.xs, series.ys, color=GREY if lone else color, ls="--", lw=0.8)
    for line, pipeline in own.items():
        if pipeline in lines.series:
            band = len(parts.named) <= TOGETHER
            plot_series(axes, lines.series[pipeline], styles[line], band)
    columns = 3 if len(parts.panels) > 2 else 2
    axes.set_title(
        wrapped(printable(name), 51 // columns), fontsize=SMALL_PT + 0.5, parse_math=False
    )


def panel_grid(figure: Figure, count: int) -> list[Axes]:
    """`count` panels that share their axes, up to three in a row; the figure grows by them."""
    columns = 3 if count > 2 else max(count, 1)
    rows = -(-count // columns)
    height = _LONE_ROW_IN if rows == 1 else _PANEL_IN * rows
    figure.set_size_inches(WIDTH_IN, figure.get_figheight() + height)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for i, axes in enumerate(grid.ravel()):
        axes.tick_params(labelsize=SMALL_PT)
        if i >= count:
            axes.set_axis_off()
        elif i + columns >= count:
            # The lowest of its column, above a place without a panel too.
            axes.tick_params(labelbottom=True)
    return list(grid.ravel()[:count])
