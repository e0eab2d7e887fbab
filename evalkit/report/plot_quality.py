"""Quality as plots: over K, over N, in bars, and by both K and N."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import ConfigError, nearest
from evalkit.report.cells import interval
from evalkit.report.compare import first_stages, reranked
from evalkit.report.drawing import (
    LINE_IN,
    Picture,
    Pipeline,
    drawing,
    interval_words,
    picture,
    styles_of,
    wrapped,
)
from evalkit.report.layout import number
from evalkit.report.names import display_name, label
from evalkit.report.plot_lines import Lines, Series, draw
from evalkit.results import NO_RERANKER, Results, SystemResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 26  # of two lines each: a page's column


def require_measure(results: Results, measure: str) -> None:
    """ConfigError for a measure that the results do not hold."""
    if measure not in results.measure_names:
        raise ConfigError(
            f"measure '{measure}' was not measured.{nearest(measure, results.measure_names)} "
            f"Measured: {', '.join(results.measure_names)}"
        )


def quality_over_k(results: Results, measure: str) -> Picture:
    """A line per retriever and reranker over K with a band for its interval; first stages dashed.

    A measure that the results do not hold is a ConfigError, here and in the other plots.
    """
    require_measure(results, measure)
    ks = sorted({s.k for s in reranked(results) if s.k is not None})
    pipelines = list(dict.fromkeys((s.retriever, s.reranker) for s in reranked(results)))
    series = {}
    for pipeline in pipelines:
        points = [s for s in reranked(results) if (s.retriever, s.reranker) == pipeline]
        points.sort(key=lambda s: s.k or 0)
        series[pipeline] = _series([float(s.k or 0) for s in points], points, measure)
    ends = [float(k) for k in (ks[0], ks[-1])] if ks else []
    bases = {
        s.retriever: Series(ends, [s.measures[measure]] * len(ends)) for s in first_stages(results)
    }
    return draw(
        results,
        Lines(
            series,
            bases,
            "K: candidates reranked",
            display_name(measure),
            interval_words(results, measure, "bands"),
            lambda axes, narrow: scale_of_k(axes, ks, narrow),
        ),
    )


def quality_over_n(results: Results, measure: str) -> Picture:
    """A line per first stage and per reranked pipeline at its largest K, over N and uncut.

    Bands for intervals; where there are rerankers, theirs only, so that they can be told apart.
    """
    require_measure(results, measure)
    ns = [*sorted({s.n for s in results.systems if s.n is not None}), None]
    largest: dict[Pipeline, int | None] = {}
    for s in results.systems:
        at = (s.retriever, s.reranker)
        largest[at] = max(largest.get(at) or 0, s.k or 0) or None
    found = {at: _over_n(results, measure, (*at, k), ns) for at, k in largest.items()}
    has_rerankers = any(reranker != NO_RERANKER for _, reranker in found)
    series = {p: s for p, s in found.items() if p[1] != NO_RERANKER or not has_rerankers}
    bases = {p[0]: s for p, s in found.items() if p not in series}
    ks = {k for k in largest.values() if k is not None}
    shared = f" (reranked at K={min(ks)})" if len(ks) == 1 else ""

    def scales(axes: Axes, narrow: bool) -> None:
        axes.set_xticks(range(len(ns)), ["uncut" if n is None else str(n) for n in ns])

    return draw(
        results,
        Lines(
            series,
            bases,
            f"N: documents kept{shared}",
            display_name(measure),
            interval_words(results, measure, "bands"),
            scales,
        ),
        {at: label(*at, None if shared else largest[at]) for at in series},
    )


def _over_n(
    results: Results, measure: str, of: tuple[str, str, int | None], ns: Sequence[int | None]
) -> Series:
    points = [
        s for n in ns for s in results.systems if (s.retriever, s.reranker, s.k, s.n) == (*of, n)
    ]
    return _series([float(ns.index(s.n)) for s in points], points, measure)


def _series(xs: Sequence[float], systems: Sequence[SystemResult], measure: str) -> Series:
    ends = [interval(s, measure) or (np.nan, np.nan) for s in systems]
    low, high = zip(*ends, strict=True)
    return Series(xs, [s.measures[measure] for s in systems], low, high)


def system_bars(results: Results, measure: str) -> Picture:
    """A horizontal bar from 0 per uncut system, with its interval; first stages are not filled.

    Of more systems than a page has room for, the highest.
    """
    require_measure(results, measure)
    styles, systems = styles_of(results), results.uncut
    order = np.argsort([-s.measures[measure] for s in systems], kind="stable")  # NaN: last
    left = len(systems) - MOST_BARS
    systems = [systems[i] for i in sorted(order[:MOST_BARS])]
    labels = [wrapped(label(s.retriever, s.reranker, s.k), 24) for s in systems]
    lines = max(2, *(text.count("\n") + 1 for text in labels))
    heading = interval_words(results, measure, "lines")
    heading += f"\n{left} lower systems left out" if left > 0 else ""
    with drawing(results, measure, heading, 0.8 + LINE_IN * lines * len(systems)) as (figure, axes):
        for y, s in enumerate(systems):
            value, ends = s.measures[measure], interval(s, measure)
            color = styles[s.retriever, s.reranker]["color"]
            fill = "white" if s.reranker == NO_RERANKER else color
            axes.barh(y, value, 1.4 / lines, color=fill, edgecolor=color, lw=1.2)
            if ends is not None:
                axes.plot(ends, [y, y], color="black", lw=1.2, marker="|", ms=5)
            at = (value if ends is None else ends[1], y)
            axes.annotate(number(value), at, (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(systems)), labels, parse_math=False)
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlim(left=0, right=axes.get_xlim()[1] * 1.2)
        axes.set_ylabel("")
        axes.set_xlabel(display_name(measure))
        return picture(figure)


def scale_of_k(axes: Axes, ks: Sequence[int], narrow: bool) -> None:
    """Ticks at the K that were measured; a logarithmic axis where they span more than a decade."""
    if ks and ks[-1] / ks[0] > 10:
        axes.set_xscale("log")
    axes.minorticks_off()
    log = axes.get_xscale() == "log"
    # A third of the width has room for three labels of three digits, or four of two.
    gap = 0.05 + 0.085 * len(str(max(ks, default=0))) if narrow else 0.1
    labelled = apart(ks, log, gap)
    axes.set_xticks(ks, [str(k) if k in labelled else "" for k in ks])


def apart(ks: Sequence[int], log: bool, gap: float = 0.1) -> list[int]:
    """The K to label, largest first, leaving out those whose labels would touch the last one.

    gap: share of the axis between two labels.
    """
    if len(ks) < 2:
        return list(ks)
    places = np.log(ks) if log else np.asarray(ks, dtype=float)
    places = (places - places[0]) / (places[-1] - places[0])
    kept = [len(ks) - 1]
    for i in range(len(ks) - 2, -1, -1):
        if places[kept[-1]] - places[i] >= gap:
            kept.append(i)
    return [ks[i] for i in kept]
