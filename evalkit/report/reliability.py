"""What calibrated scores are worth, as plots: reliability before and after; precision against
coverage. DeGroot and Fienberg 1983; for neural models Guo et al., ICML 2017."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evalkit.report.drawing import PALETTE, Picture, picture, titled, wrapped
from evalkit.report.layout import number, printable
from evalkit.report.names import label
from evalkit.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RELIABILITY, _COVERAGE = "reliability_", "coverage_"
_STATES = {"before": (PALETTE[1], "s", "--"), "after": (PALETTE[0], "o", "-")}
_KEPT = {
    "precision": ("precision of the docs kept", PALETTE[0], "-"),
    "relevant": ("share of relevant docs kept", PALETTE[2], "--"),
    "queries": ("share of queries with a doc left", PALETTE[1], "-."),
    "docs": ("share of docs kept", PALETTE[6], ":"),
}


class Calibrated(NamedTuple):
    """One calibration that results tell of; facts: as the calibrated reranker gives them."""

    retriever: str
    reranker: str
    k: int
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As that of a run file."""
        return f"{self.retriever}+{self.reranker}+k{self.k}"


def calibrations(results: Results) -> list[Calibrated]:
    """Every calibration at its largest K, those of hidden parts too, each once."""
    largest: dict[tuple[str, str], Calibrated] = {}
    for component, details in results.details.items():
        kind, _, reranker = component.partition(".")
        if kind != "reranker":
            continue
        for retriever, told in details.items():
            for found in _told(retriever, reranker, told) if isinstance(told, Mapping) else ():
                known = largest.setdefault((retriever, found.reranker), found)
                if found.k > known.k:
                    largest[retriever, found.reranker] = found
    return list(largest.values())


def _told(retriever: str, reranker: str, told: Mapping[str, Any]) -> Iterator[Calibrated]:
    for key, value in told.items():
        if not isinstance(value, Mapping):
            continue
        if "reliability" in value and key.startswith("K="):
            yield Calibrated(retriever, reranker, int(key.removeprefix("K=")), value)
        else:
            yield from _told(retriever, key, value)


def calibration_plots(results: Results) -> dict[str, Picture]:
    """Stem of a file name → plot, two for each calibration; none where nothing is calibrated."""
    out: dict[str, Picture] = {}
    for found in calibrations(results):
        out[f"{_RELIABILITY}{found.name}"] = reliability_diagram(results, found)
        if found.facts["coverage"]["threshold"]:
            out[f"{_COVERAGE}{found.name}"] = coverage_plot(results, found)
    return out


def calibration_caption(stem: str) -> str:
    """What the plot of this stem shows, "" for another."""
    if stem.startswith(_RELIABILITY):
        return (
            "Share of relevant docs where a probability was told, before and after calibration: "
            "on the diagonal it can be trusted; bars: 95 % intervals. Below: docs in each bin. "
            f"{stem.removeprefix(_RELIABILITY)}"
        )
    if stem.startswith(_COVERAGE):
        return (
            "What a threshold on the calibrated score keeps, and how often that is relevant. "
            f"{stem.removeprefix(_COVERAGE)}"
        )
    return ""


def reliability_diagram(results: Results, found: Calibrated) -> Picture:
    """Share of relevant docs over probability with intervals; below it the docs of each bin."""
    with titled(results, _title(found), 4.0) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], color="#999999", lw=1.0, zorder=1)
        labels = []
        for state, (color, marker, line) in _STATES.items():
            curve = {k: np.array(v) for k, v in found.facts["reliability"][state].items()}
            # A share that is rounded may lie outside its interval by the last digit.
            errors = np.maximum(
                [curve["relevant"] - curve["low"], curve["high"] - curve["relevant"]], 0
            )
            upper.errorbar(
                curve["probability"], curve["relevant"], errors, color=color, marker=marker,
                ls=line, elinewidth=0.8,
            )  # fmt: skip
            lower.plot(curve["probability"], curve["docs"], color=color, marker=marker, ls=line)
            labels.append(f"{state}: ECE {number(found.facts[state]['ECE'])}")
        lower.set_yscale("log")
        upper.set_xlim(-0.02, 1.02)
        upper.set_ylim(-0.02, 1.02)
        upper.set_ylabel("share of relevant docs")
        lower.set_ylabel("docs")
        lower.set_xlabel("probability of relevance")
        _legend(figure, labels, list(_STATES.values()))
        return picture(figure)


def coverage_plot(results: Results, found: Calibrated) -> Picture:
    """Precision, and the shares that are kept, over the threshold."""
    with titled(results, _title(found), 3.0) as figure:
        axes = figure.add_subplot()
        kept = found.facts["coverage"]
        styles = []
        for key, (_, color, line) in _KEPT.items():
            axes.plot(kept["threshold"], kept[key], color=color, ls=line)
            styles.append((color, "", line))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("threshold on the calibrated score")
        axes.set_ylabel("share")
        _legend(figure, [words for words, _, _ in _KEPT.values()], styles)
        return picture(figure)


def _title(found: Calibrated) -> str:
    system = label(found.retriever, found.reranker, found.k)
    return wrapped(f"{system}, {printable(found.facts['method'])}", 52)


def _legend(figure: Figure, labels: Sequence[str], styles: Sequence[tuple[str, str, str]]) -> None:
    """Below the plot, a line each."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=c, marker=marker, ls=line) for c, marker, line in styles]
    figure.legend(handles, labels, loc="outside lower center", frameon=False)
