"""Query by query: where a reranked system gains on its own first stage, and where it loses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evalkit.report.compare import Comparison, best_of, compare, own_first_stage, reranked
from evalkit.report.drawing import (
    PALETTE,
    SMALL_PT,
    WIDTH_IN,
    Picture,
    picture,
    titled,
    wrapped,
)
from evalkit.report.names import display_name, is_lower_better, label
from evalkit.report.plot_quality import require_measure
from evalkit.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS = 4
_PANEL_IN = 1.15
_GAIN, _LOSS = PALETTE[0], PALETTE[1]


def best_comparisons(results: Results, measure: str) -> list[Comparison]:
    """The best system of each retriever and reranker against its first stage, the best four.

    In the order of the results; one whose first stage was not measured is left out.
    """
    found = []
    for pipeline in dict.fromkeys(s.pipeline for s in reranked(results)):
        best = best_of([s for s in reranked(results) if s.pipeline == pipeline], measure)
        base = own_first_stage(results, best[0]) if best else None
        if base is not None:
            found.append(compare(results, best[0], base, measure))
    sign = -1 if is_lower_better(measure) else 1
    best_ones = sorted(found, key=lambda c: -sign * c.system.measures[measure])[:MOST_PANELS]
    return [c for c in found if any(c is one for one in best_ones)]


def difference_bars(results: Results, measure: str) -> Picture:
    """A bar per query, from the largest gain to the largest loss; the mean with its interval."""
    require_measure(results, measure)
    shown = best_comparisons(results, measure)
    every = len({s.pipeline for s in reranked(results)})
    line = f"the {len(shown)} best of {every} pipelines" if len(shown) < every else ""
    with titled(results, line, 0.6 + _PANEL_IN * len(shown)) as figure:
        figure.set_figwidth(WIDTH_IN)
        panels = figure.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, comparison in zip(panels, shown, strict=True):
            _panel(axes, comparison)
        panels[-1].set_xlabel("queries, sorted by difference")
        figure.supylabel(f"Δ {display_name(measure)}", fontsize="medium")
        return picture(figure)


def _panel(axes: Axes, comparison: Comparison) -> None:
    values = np.sort(comparison.differences)[::-1]
    worse = values > 0 if is_lower_better(comparison.measure) else values < 0
    places = np.arange(len(values))
    # As one filled outline, not a patch a query: 7,000 of them would be megabytes of SVG.
    for color, mask in ((_GAIN, ~worse), (_LOSS, worse)):
        axes.fill_between(
            np.repeat(np.arange(len(values) + 1) - 0.5, 2)[1:-1],
            np.repeat(np.where(mask, values, 0.0), 2),
            color=color, lw=0,
        )  # fmt: skip
    axes.grid(False, axis="x")
    axes.axhline(0, color="black", lw=0.6)
    axes.axhline(comparison.mean, color="black", lw=0.9, ls="--")
    if comparison.interval is not None:
        axes.axhspan(*comparison.interval, color="black", alpha=0.15, lw=0)
    axes.set_xlim(-0.5, max(len(places) - 0.5, 0.5))
    higher, lower, equal = comparison.counts
    system, base = comparison.system, comparison.base
    minuend = label(system.retriever, system.reranker, system.k)
    name = f"{minuend} − {label(base.retriever, base.reranker)}"
    axes.set_title(wrapped(name, 46), fontsize=SMALL_PT + 0.5, parse_math=False)
    mean = f"{comparison.mean:+.4f}".replace("-", "−")
    axes.annotate(
        f"higher {higher:,} · equal {equal:,} · lower {lower:,}\nmean {mean}",
        (0.98, 0.95), xycoords="axes fraction", ha="right", va="top", fontsize=SMALL_PT,
    )  # fmt: skip
    axes.tick_params(labelsize=SMALL_PT)
