"""Every plot of an output, as files: PNG and SVG. One column of a paper wide (3.4 inches).

Which plots there are depends on what was measured; what each shows is in `captions`.
"""

from __future__ import annotations

from evalkit.report.captions import caption, slug
from evalkit.report.compare import reranked
from evalkit.report.drawing import Picture
from evalkit.report.grid import primary_and_recall
from evalkit.report.layout import DIGITS
from evalkit.report.plot_ceiling import ceiling_plot, has_ceiling
from evalkit.report.plot_heat import heat_map
from evalkit.report.plot_latency import has_latency_over_k, latency_over_k
from evalkit.report.plot_pareto import pareto_plots
from evalkit.report.plot_quality import quality_over_k, quality_over_n, system_bars
from evalkit.report.plot_queries import best_comparisons, difference_bars
from evalkit.report.reliability import calibration_plots
from evalkit.results import Results

__all__ = ["caption", "pictures", "plots", "slug"]


def plots(results: Results) -> dict[str, bytes]:
    """File name → image: each of `pictures` as PNG and as SVG."""
    found = pictures(results)
    return {f"{stem}.{format}": data for stem, p in found.items() for format, data in _files(p)}


def _moves(results: Results, measure: str) -> bool:
    """Whether the measure of any reranked system differs from that of its first stage, or of
    another K: recall at a cutoff beyond all K is the same by construction."""
    found: dict[str, set[float]] = {}
    for s in results.uncut:
        found.setdefault(s.retriever, set()).add(round(s.measures[measure], DIGITS))
    return any(len(values) > 1 for values in found.values())


def _files(picture: Picture) -> list[tuple[str, bytes]]:
    return list(picture._asdict().items())


def pictures(results: Results) -> dict[str, Picture]:
    """Stem of a file name → plot.

    The primary measure, and recall where it is measured, over K (where a reranker changes it) and
    over N; with fewer than two K there is nothing to draw over K: bars of all uncut systems
    instead, and without any reranker those of the primary measure alone. Of the primary measure
    further: K by N, the ceiling of reranking, differences query by query, and quality against what
    is spent. Calibrations: see `reliability`.
    """
    measures = primary_and_recall(results)
    primary = measures[0]
    ks = {s.k for s in reranked(results)}
    cut = any(s.n is not None for s in results.systems)
    out: dict[str, Picture] = {}
    for measure in measures if ks else measures[:1]:
        if len(ks) > 1 and measure != primary and not _moves(results, measure):
            continue
        if len(ks) > 1:
            out[f"{slug(measure)}_over_k"] = quality_over_k(results, measure)
        else:
            out[f"{slug(measure)}_systems"] = system_bars(results, measure)
    if cut:
        for measure in measures:
            out[f"{slug(measure)}_over_n"] = quality_over_n(results, measure)
    if cut and len(ks) > 1:
        out[f"{slug(primary)}_k_by_n"] = heat_map(results, primary)
    if has_ceiling(results, primary):
        out[f"{slug(primary)}_ceiling"] = ceiling_plot(results, primary)
    if best_comparisons(results, primary):
        out[f"{slug(primary)}_differences"] = difference_bars(results, primary)
    if has_latency_over_k(results):
        out["latency_over_k"] = latency_over_k(results)
    for spent, plot in pareto_plots(results, primary).items():
        out[f"{slug(primary)}_by_{spent}"] = plot
    return out | calibration_plots(results)
