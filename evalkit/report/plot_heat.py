"""A measure by K and N at once, as cells of colour with their figures."""

from __future__ import annotations

import numpy as np

from evalkit.report.compare import reranked
from evalkit.report.drawing import SMALL_PT, WIDTH_IN, Picture, Pipeline, picture, titled, wrapped
from evalkit.report.names import display_name, is_lower_better, label
from evalkit.report.plot_quality import require_measure
from evalkit.results import Results

MOST_PANELS = 6
_MOST_IN_HALF = 4  # columns of figures that fit into half the width
_CELL_IN = 0.19


def heat_map(results: Results, measure: str) -> Picture:
    """A panel per reranked pipeline: rows are K, columns N and uncut, one scale for all panels.

    The best six pipelines where there are more. Black figures on light cells, white on dark ones.
    """
    require_measure(results, measure)
    ks = sorted({s.k for s in reranked(results) if s.k is not None})
    ns = [*sorted({s.n for s in results.systems if s.n is not None}), None]
    cells = {(s.retriever, s.reranker, s.k, s.n): s.measures[measure] for s in results.systems}
    every = list(dict.fromkeys((s.retriever, s.reranker) for s in reranked(results)))
    grids = {p: np.array([[cells.get((*p, k, n), np.nan) for n in ns] for k in ks]) for p in every}
    sign = -1.0 if is_lower_better(measure) else 1.0

    def best(pipeline: Pipeline) -> float:
        values = sign * grids[pipeline]
        return float(np.nanmax(values)) if not np.isnan(values).all() else -np.inf

    top = sorted(every, key=best, reverse=True)[:MOST_PANELS]
    shown = [pipeline for pipeline in every if pipeline in top]
    columns = 2 if len(ns) <= _MOST_IN_HALF and len(shown) > 1 else 1
    rows = -(-len(shown) // columns)
    low = min(float(np.nanmin(grids[p], initial=np.inf)) for p in shown)
    high = max(float(np.nanmax(grids[p], initial=-np.inf)) for p in shown)
    line = display_name(measure) + (
        f", the {len(shown)} best of {len(every)} pipelines" if len(shown) < len(every) else ""
    )
    with titled(results, line, 0.9 + rows * (0.45 + _CELL_IN * len(ks))) as figure:
        figure.set_figwidth(WIDTH_IN)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, pipeline in zip(panels, shown, strict=False):
            grid = grids[pipeline]
            image = axes.imshow(grid, cmap="cividis", vmin=low, vmax=high, aspect="auto")
            axes.grid(False)
            peak = np.nanmax(sign * grid) if not np.isnan(grid).all() else np.nan
            for (row, column), value in np.ndenumerate(grid):
                if np.isnan(value):
                    continue
                share = (value - low) / (high - low) if high > low else 1.0
                strong = sign * value == peak
                axes.text(
                    column, row, f"{value:.3f}", ha="center", va="center", fontsize=SMALL_PT,
                    color="black" if share > 0.5 else "white",
                    fontweight="bold" if strong else "normal",
                )  # fmt: skip
            axes.set_xticks(range(len(ns)), ["uncut" if n is None else str(n) for n in ns])
            axes.set_yticks(range(len(ks)), [str(k) for k in ks])
            axes.tick_params(labelsize=SMALL_PT, length=0)
            name = wrapped(label(*pipeline), 21 if columns == 2 else 52)
            axes.set_title(name, fontsize=SMALL_PT + 0.5, parse_math=False)
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        figure.colorbar(image, ax=list(panels), aspect=30, pad=0.02).ax.tick_params(
            labelsize=SMALL_PT
        )
        figure.supxlabel("N: documents kept", fontsize="medium")
        figure.supylabel("K: candidates reranked", fontsize="medium")
        return picture(figure)
