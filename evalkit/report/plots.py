"""Plots as PNG bytes: quality over K, over N, and bars. One column of a paper wide (3.4 inches)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import ConfigError, nearest
from evalkit.report.compare import first_stages, reranked
from evalkit.report.drawing import (
    LINE_IN,
    Pipeline,
    Styles,
    add_legend,
    drawing,
    png,
    styles_of,
    wrapped,
)
from evalkit.report.layout import number
from evalkit.report.names import display_name, label
from evalkit.report.reliability import calibration_plots
from evalkit.report.table import interval, primary_and_recall
from evalkit.results import NO_RERANKER, Results, SystemResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plots(results: Results) -> dict[str, bytes]:
    """File name → PNG: the primary measure, and recall where it is measured, over K and over N.

    With fewer than two K there is nothing to draw over K: bars of all uncut systems instead, and
    without any reranker those of the primary measure alone. Where scores are calibrated, see
    `reliability`.
    """
    measures = primary_and_recall(results)
    ks = {s.k for s in reranked(results)}
    out: dict[str, bytes] = {}
    for measure in measures if ks else measures[:1]:
        if len(ks) > 1:
            out[f"{slug(measure)}_over_k.png"] = quality_over_k(results, measure)
        else:
            out[f"{slug(measure)}_systems.png"] = system_bars(results, measure)
    if any(s.n is not None for s in results.systems):
        for measure in measures:
            out[f"{slug(measure)}_over_n.png"] = quality_over_n(results, measure)
    return out | calibration_plots(results)


def slug(measure: str) -> str:
    """A measure's name fit for a file name: "nDCG@10" → "ndcg_10"."""
    return re.sub(r"[^a-z0-9]+", "_", measure.lower()).strip("_")


def quality_over_k(results: Results, measure: str) -> bytes:
    """A line per retriever and reranker over K with a band for its interval; first stages dashed.

    A measure that the results do not hold is a ConfigError, here and in the other plots.
    """
    _check(results, measure)
    styles = styles_of(results)
    ks = sorted({s.k for s in reranked(results) if s.k is not None})
    pipelines = list(dict.fromkeys((s.retriever, s.reranker) for s in reranked(results)))
    bases: list[Pipeline] = [(s.retriever, NO_RERANKER) for s in first_stages(results)]
    with drawing(results, measure, "bands") as (figure, axes):
        for base, pipeline in zip(first_stages(results), bases, strict=True):
            axes.axhline(base.measures[measure], **{**styles[pipeline], "lw": 1.0, "zorder": 1.5})
        for pipeline in pipelines:
            points = [s for s in reranked(results) if (s.retriever, s.reranker) == pipeline]
            points.sort(key=lambda s: s.k or 0)
            _line(axes, [float(s.k or 0) for s in points], points, measure, styles)
        if ks and ks[-1] / ks[0] > 10:
            axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(_apart(ks, log=axes.get_xscale() == "log"))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.set_xlabel("K: candidates reranked")
        shown = [*bases, *pipelines]
        add_legend(figure, shown, [label(*pipeline) for pipeline in shown], styles)
        return png(figure)


def quality_over_n(results: Results, measure: str) -> bytes:
    """A line per first stage and per reranked pipeline at its largest K, over N and uncut.

    Bands for intervals; where there are rerankers, theirs only, so that they can be told apart.
    """
    _check(results, measure)
    styles = styles_of(results)
    ns = [*sorted({s.n for s in results.systems if s.n is not None}), None]
    largest: dict[Pipeline, int | None] = {}
    for s in sorted(results.systems, key=lambda s: s.reranker != NO_RERANKER):
        at = (s.retriever, s.reranker)
        largest[at] = max(largest.get(at) or 0, s.k or 0) or None
    ks = {k for k in largest.values() if k is not None}
    with drawing(results, measure, "bands") as (figure, axes):
        for (retriever, reranker), k in largest.items():
            points = [
                s
                for n in ns
                for s in results.systems
                if (s.retriever, s.reranker, s.k, s.n) == (retriever, reranker, k, n)
            ]
            band = not ks or reranker != NO_RERANKER
            _line(axes, [float(ns.index(s.n)) for s in points], points, measure, styles, band)
        axes.set_xticks(range(len(ns)), ["uncut" if n is None else str(n) for n in ns])
        shared = f" (reranked at K={min(ks)})" if len(ks) == 1 else ""
        axes.set_xlabel(f"N: documents kept{shared}")
        labels = [label(*at, None if shared else k) for at, k in largest.items()]
        add_legend(figure, list(largest), labels, styles)
        return png(figure)


def system_bars(results: Results, measure: str) -> bytes:
    """A horizontal bar from 0 per uncut system, with its interval; first stages are not filled."""
    _check(results, measure)
    styles, systems = styles_of(results), results.uncut
    labels = [wrapped(label(s.retriever, s.reranker, s.k), 24) for s in systems]
    lines = max(2, *(text.count("\n") + 1 for text in labels))
    height = 0.8 + LINE_IN * lines * len(systems)
    with drawing(results, measure, "lines", height) as (figure, axes):
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
        return png(figure)


def _check(results: Results, measure: str) -> None:
    if measure not in results.measure_names:
        raise ConfigError(
            f"measure '{measure}' was not measured.{nearest(measure, results.measure_names)} "
            f"Measured: {', '.join(results.measure_names)}"
        )


def _line(
    axes: Axes,
    xs: Sequence[float],
    systems: Sequence[SystemResult],
    measure: str,
    styles: Styles,
    band: bool = True,
) -> None:
    """One pipeline's line through its systems, which are of one retriever and reranker."""
    style = styles[systems[0].retriever, systems[0].reranker]
    axes.plot(xs, [s.measures[measure] for s in systems], **style)
    if band:
        ends = [interval(s, measure) or (np.nan, np.nan) for s in systems]
        low, high = zip(*ends, strict=True)
        axes.fill_between(xs, low, high, color=style["color"], alpha=0.1, lw=0)
        for edge in (low, high):
            axes.plot(xs, edge, color=style["color"], alpha=0.45, lw=0.5)


def _apart(ks: Sequence[int], log: bool) -> list[int]:
    """The K to label, largest first, leaving out those whose labels would touch the last one."""
    if len(ks) < 2:
        return list(ks)
    places = np.log(ks) if log else np.asarray(ks, dtype=float)
    places = (places - places[0]) / (places[-1] - places[0])
    kept = [len(ks) - 1]
    for i in range(len(ks) - 2, -1, -1):
        if places[kept[-1]] - places[i] >= 0.1:
            kept.append(i)
    return [ks[i] for i in kept]
