"""Measured latency over K: the median, the 95th and the 99th percentile of every pipeline.

Reads `Results.efficiency["latency"]`, see `evalkit.efficiency.latency`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.report.compare import reranked
from evalkit.report.drawing import LOG_FROM, Picture, Pipeline, log_scale
from evalkit.report.plot_lines import Lines, Series, draw
from evalkit.report.plot_quality import scale_of_k
from evalkit.results import NO_RERANKER, Results, SystemResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def latencies(results: Results) -> dict[str, Mapping[str, Any]]:
    """Run name → statistics of its total latency (ms); empty where none was measured."""
    measured = results.efficiency.get("latency", {}).get("systems", ())
    return {each["system"]: each["stages"]["total"] for each in measured}


def latency_over_k(results: Results) -> Picture:
    """A line per pipeline: the median with its interval, a band to the 95th percentile, dots at
    the 99th; the fitted T(K) = a + b·K in words. First stages dashed, their median."""
    ms = latencies(results)
    known = [s for s in results.uncut if s.run_name in ms]
    ks = sorted({s.k for s in known if s.k is not None})
    pipelines = list(dict.fromkeys((s.retriever, s.reranker) for s in known if s.k is not None))
    series = {
        (retriever, reranker): _over_k(
            sorted(
                (s for s in known if (s.retriever, s.reranker) == (retriever, reranker)),
                key=lambda s: s.k or 0,
            ),
            ms,
        )
        for retriever, reranker in pipelines
    }
    ends = [float(ks[0]), float(ks[-1])]
    bases = {
        s.retriever: Series(ends, [ms[s.run_name]["p50_ms"]] * 2)
        for s in known
        if s.reranker == NO_RERANKER
    }
    values = [y for s in (*series.values(), *bases.values()) for y in (*s.ys, *s.high)]

    def scales(axes: Axes, narrow: bool) -> None:
        scale_of_k(axes, ks, narrow)
        if min(values) > 0 and max(values) / min(values) > LOG_FROM:
            log_scale(axes.yaxis)
        else:
            axes.set_ylim(bottom=0)

    return draw(
        results,
        Lines(
            series,
            bases,
            "K: candidates reranked",
            "latency of a query (ms)",
            "line: median; band: to the 95th percentile; dots: 99th",
            scales,
            _fits(results),
        ),
    )


def _over_k(systems: Sequence[SystemResult], ms: Mapping[str, Mapping[str, Any]]) -> Series:
    found = [ms[s.run_name] for s in systems]
    median = [each["p50_ms"] for each in found]
    high = _supported(found, "p95_ms", median)
    far = _supported(found, "p99_ms", [np.nan] * len(found))
    spans = [_ends(each, "p50_ms") for each in found]
    return Series([float(s.k or 0) for s in systems], median, median, high, far, spans)


def _supported(
    found: Sequence[Mapping[str, Any]], figure: str, instead: Sequence[float]
) -> list[float]:
    """A percentile at each K; where not one time is expected beyond it, it is about the largest
    time, and `instead` is drawn."""
    return [
        other if figure in each.get("unsupported", ()) else float(each[figure])
        for each, other in zip(found, instead, strict=True)
    ]


def _ends(statistics: Mapping[str, Any], figure: str) -> tuple[float, float]:
    low, high = statistics.get("ci", {}).get(figure, (None, None))
    return (np.nan, np.nan) if low is None or high is None else (float(low), float(high))


def _fits(results: Results) -> dict[Pipeline, str]:
    """Pipeline → its timing model in words."""
    models = results.efficiency.get("latency", {}).get("models", ())
    return {
        (m["retriever"], m["reranker"]): f"{m['a_ms']:.3g} {'−' if m['b_ms'] < 0 else '+'} "
        f"{abs(m['b_ms']):.3g}·K ms"
        for m in models
    }


def has_latency_over_k(results: Results) -> bool:
    """Whether latency was measured for two K or more."""
    ms = latencies(results)
    return len({s.k for s in reranked(results) if s.run_name in ms}) > 1
