"""The recall ceiling: what an oracle would reach with each K, and how much rerankers reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.report.compare import first_stages, reranked
from evalkit.report.drawing import (
    FAINT,
    GREY,
    MARKERS,
    PALETTE,
    SMALL_PT,
    Picture,
    picture,
    place_legend,
    titled,
    wrapped,
)
from evalkit.report.layout import printable
from evalkit.report.names import display_name
from evalkit.report.plot_quality import require_measure, scale_of_k
from evalkit.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS = 3
MOST_NAMED = 5
_CEILING: dict[str, Any] = {"color": "#000000", "marker": "_", "ms": 6, "lw": 1.2}
# On top: a reranker that changes nothing must not hide it.
_FIRST: dict[str, Any] = {"color": GREY, "ls": "--", "lw": 1.0, "zorder": 3}

# Reranker → K → value.
Reached = dict[str, dict[int, float]]


def reached(results: Results, retriever: str, measure: str) -> Reached:
    """What the rerankers over one retriever reach."""
    found: Reached = {}
    for s in reranked(results):
        if s.retriever == retriever and s.k is not None:
            found.setdefault(s.reranker, {})[s.k] = s.measures[measure]
    return found


def shares(results: Results, retriever: str, measure: str) -> Reached:
    """Shares of the ceiling at the same K, 1 for all of it; K without a ceiling are left out."""
    ceiling = _ceiling(results, retriever, measure)
    return {
        reranker: {k: value / ceiling[k] for k, value in by_k.items() if ceiling.get(k)}
        for reranker, by_k in reached(results, retriever, measure).items()
    }


def has_ceiling(results: Results, measure: str) -> bool:
    """Whether the results know an oracle's value of the measure for two K or more."""
    return any(len(_ceiling(results, retriever, measure)) > 1 for retriever in results.ceiling)


def ceiling_plot(results: Results, measure: str) -> Picture:
    """A column per retriever: above, the oracle, the rerankers and the first stage over K; below,
    the share of the oracle's value that each of them reaches.

    The three retrievers with the highest ceiling and the five best rerankers by name.
    """
    require_measure(results, measure)
    every = [r for r in results.ceiling if _ceiling(results, r, measure)]
    tops = sorted(every, key=lambda r: -max(_ceiling(results, r, measure).values()))[:MOST_PANELS]
    retrievers = [r for r in every if r in tops]
    styles = _styles(results, measure)
    left = f"the {len(tops)} highest of {len(every)} retrievers" if len(tops) < len(every) else ""
    with titled(results, left, 2.9) as figure:
        grid = figure.subplots(
            2, len(retrievers), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2)
        )
        for column, retriever in zip(grid.T, retrievers, strict=True):
            _column(results, column, retriever, measure, styles)
            name = wrapped(printable(retriever), 51 // len(retrievers))
            column[0].set_title(name, fontsize=SMALL_PT + 0.5, parse_math=False)
        grid[0, 0].set_ylabel(display_name(measure))
        grid[1, 0].set_ylabel("% of ceiling")
        named = {printable(name): style for name, style in styles.items() if "marker" in style}
        legend = {"ceiling: oracle": _CEILING, **named, "first stage": _FIRST}
        if len(named) < len(styles):
            legend["other rerankers"] = {"color": FAINT, "lw": 0.8}
        place_legend(figure, list(legend.values()), list(legend), xlabel="K: candidates reranked")
        return picture(figure)


def _column(
    results: Results,
    column: tuple[Axes, Axes],
    retriever: str,
    measure: str,
    styles: Mapping[str, Mapping[str, Any]],
) -> None:
    upper, lower = column
    ceiling = _ceiling(results, retriever, measure)
    ks = sorted(ceiling)
    tops = [ceiling[k] for k in ks]
    upper.plot(ks, tops, **_CEILING)
    lower.plot(ks, [100.0] * len(ks), **_CEILING)
    for s in first_stages(results):
        if s.retriever == retriever:
            value = s.measures[measure]
            upper.plot(ks, [value] * len(ks), **_FIRST)
            lower.plot(ks, [100 * value / top if top else np.nan for top in tops], **_FIRST)
    for axes, values, unit in (
        (upper, reached(results, retriever, measure), 1),
        (lower, shares(results, retriever, measure), 100),
    ):
        for reranker, by_k in values.items():
            at = sorted(by_k)
            axes.plot(at, [unit * by_k[k] for k in at], **styles[reranker])
        scale_of_k(axes, ks, narrow=True)
        axes.tick_params(labelsize=SMALL_PT)


def _ceiling(results: Results, retriever: str, measure: str) -> dict[int, float]:
    by_k = results.ceiling.get(retriever, {})
    return {k: means[measure] for k, means in by_k.items() if measure in means}


def _styles(results: Results, measure: str) -> dict[str, dict[str, Any]]:
    """The best rerankers in colour with markers; the others faint."""
    best: dict[str, float] = {}
    for s in reranked(results):
        best[s.reranker] = max(best.get(s.reranker, -np.inf), s.measures[measure])
    named = sorted(best, key=lambda name: -best[name])[:MOST_NAMED]
    shown = [name for name in best if name in named]
    colors = {
        name: {"color": PALETTE[i], "marker": MARKERS[i], "ms": 3, "lw": 1.2}
        for i, name in enumerate(shown)
    }
    return {name: colors.get(name, {"color": FAINT, "lw": 0.6, "zorder": 1.2}) for name in best}
