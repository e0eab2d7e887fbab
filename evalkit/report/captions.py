"""What each plot shows, in words: the caption below it and its text for those who do not see it."""

from __future__ import annotations

import re
from collections.abc import Callable

from evalkit.report.layout import percent
from evalkit.report.names import display_name, synthetic_note
from evalkit.report.reliability import calibration_caption
from evalkit.results import Results


def slug(measure: str) -> str:
    """A measure's name fit for a file name: "nDCG@10" → "ndcg_10"."""
    return re.sub(r"[^a-z0-9]+", "_", measure.lower()).strip("_")


def caption(results: Results, file_name: str) -> str:
    """The caption of a file that `plots` made, such as "ndcg_10_over_k.png"."""
    stem = file_name.removesuffix(".png").removesuffix(".svg")
    text = calibration_caption(stem) or _of_measure(results, stem)
    return " ".join(filter(None, [text, synthetic_note(results.dataset)]))


def _of_measure(results: Results, stem: str) -> str:
    names = {slug(m): display_name(m) for m in results.measure_names}
    for ending, words in _CAPTIONS.items():
        if stem.endswith(ending):
            of = stem.removesuffix(ending).rstrip("_")
            return words(names.get(of, of), percent(results.level))
    return names.get(stem, stem)


_SPENT = {
    "latency": "the mean latency of a query",
    "cost": "the cost of 1,000 queries",
    "energy": "the energy of a query",
}


def _pareto(spent: str) -> Callable[[str, str], str]:
    return lambda m, level: (
        f"{m} against {spent}. The line joins the systems that no other beats in both, numbered as "
        f"below; dominated ones are grey. Whiskers: {level} bootstrap intervals."
    )


# Ending of a file's stem → caption, of the measure's name and the intervals' level.
_CAPTIONS: dict[str, Callable[[str, str], str]] = {
    "latency_over_k": lambda m, level: (
        "Latency of a query over the number K of candidates reranked: the median, a band from it "
        f"to the 95th percentile, dotted the 99th; whiskers: {level} bootstrap intervals of the "
        "median. In a legend with figures: T(K) = a + b·K, fitted to the means. First stages "
        "dashed."
    ),
    "over_k": lambda m, level: (
        f"{m} over the number K of candidates reranked. Dashed: first stages, their intervals not "
        f"drawn. Bands: {level} bootstrap intervals over queries. In panels, faint lines are the "
        "pipelines of the other panels."
    ),
    "over_n": lambda m, level: (
        f"{m} when rankings are cut to N documents; first stages dashed, rerankers at their "
        f"largest K. Bands: {level} bootstrap intervals over queries."
    ),
    "systems": lambda m, level: (
        f"{m} of every system with {level} bootstrap intervals; bars without a fill are first "
        "stages."
    ),
    "k_by_n": lambda m, level: (
        f"{m} by K, the candidates reranked, and N, the documents kept; a panel a pipeline, one "
        "scale of colours for all. Bold: the best value of each panel."
    ),
    "ceiling": lambda m, level: (
        f"Above: {m} that an oracle would reach by reranking the first K candidates by their "
        "grades, and what the rerankers reach. Below: their share of that ceiling. What is missing "
        "up to the ceiling is the reranker's to find; what is above it, the retriever's."
    ),
    "differences": lambda m, level: (
        f"Difference in {m} per query, sorted: the best system of a pipeline minus its own first "
        f"stage. Dashed: the mean, with its {level} interval (Student's t, paired)."
    ),
    **{f"by_{spent}": _pareto(words) for spent, words in _SPENT.items()},
}
