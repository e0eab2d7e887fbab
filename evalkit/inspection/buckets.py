"""Queries sorted into buckets by what may make them hard, and how two systems do in each.

Buckets show where to look; with dozens of them some interval leaves 0 out by chance alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evalkit.analysis import Analyzer, detect_language
from evalkit.measures.bootstrap import bootstrap_intervals
from evalkit.report.names import display_name, is_lower_better
from evalkit.results import Results, SystemResult
from evalkit.statistics.effects import counts, mean_interval
from evalkit.statistics.paired import paired_differences
from evalkit.types import Dataset, grades_of

Interval = tuple[float, float]
LANGUAGE_NAMES = {"zh": "Chinese", "en": "English or other"}
NO_TAG = "(no tag)"


@dataclass(frozen=True)
class Grouping:
    """A way to sort queries. note: how it is made. buckets: label → positions of its queries in
    `Results.query_ids`; a query may be in several, as with tags."""

    name: str
    note: str
    buckets: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class BucketResult:
    """One bucket. means: system name → mean, of every system that is not cut to N. interval: of the
    chosen system's mean, by bootstrap; difference: of its mean over the baseline's, with wins and
    losses, its interval Student's t; None where there is no baseline. Intervals are None for a
    single query."""

    label: str
    num_queries: int
    means: Mapping[str, float]
    interval: Interval | None
    difference: float | None = None
    difference_interval: Interval | None = None
    wins: int = 0
    losses: int = 0


def bucket_results(
    results: Results,
    grouping: Grouping,
    measure: str,
    system: SystemResult,
    baseline: SystemResult | None,
) -> list[BucketResult]:
    """How the systems do in each bucket; intervals as those of the output's own tables."""
    found = []
    for label, positions in grouping.buckets.items():
        at = np.asarray(positions, dtype=np.int64)
        values = system.values[measure][at]
        settings = (results.resamples, results.level, results.seed, results.interval_method)
        own = _known(bootstrap_intervals(values[:, None], *settings))
        means = {s.system: float(s.values[measure][at].mean()) for s in results.uncut}
        bucket = BucketResult(label, len(at), means, own)
        if baseline is not None:
            differences = paired_differences(values, baseline.values[measure][at])
            number = counts(-differences if is_lower_better(measure) else differences)
            bucket = replace(
                bucket,
                difference=float(differences.mean()),
                difference_interval=_known(mean_interval(differences[:, None], results.level)),
                wins=int(number.above),
                losses=int(number.below),
            )
        found.append(bucket)
    return found


def _known(bounds: np.ndarray) -> Interval | None:
    """The first of some intervals, None where it is not defined."""
    low, high = bounds[0].tolist()
    return None if np.isnan(low) else (low, high)


def groupings(
    results: Results,
    dataset: Dataset,
    measure: str,
    difficulty: SystemResult,
    bins: int = 4,
) -> list[Grouping]:
    """Every grouping that sorts these queries into more than one bucket.

    difficulty: the first stage whose values and scores say how hard a query is. bins: of what is
    sorted by a number, each with about the same number of queries.
    """
    texts = {query.query_id: query.text for query in dataset.queries}
    queries = [texts[query_id] for query_id in results.query_ids]
    words = Analyzer(stemmer=False, stopwords=False)
    grades = grades_of(dataset.qrels)
    relevant = [
        sum(grade >= dataset.relevance_level for grade in grades[q].values())
        for q in results.query_ids
    ]
    name = difficulty.system
    run = results.runs[difficulty.run_name].select(results.query_ids)
    best = np.zeros(len(queries))
    filled = run.sizes > 0
    best[filled] = run.scores[run.offsets[:-1][filled]]
    found = [
        Grouping(
            "Query length",
            "In words, stop words too; Chinese as jieba cuts it, compounds and their parts.",
            number_buckets([len(words.terms(text)) for text in queries], bins),
        ),
        Grouping("Language", "By the share of Han characters.", _by_language(queries)),
        Grouping("Tag", "A query may have several.", _by_tag(results)),
        Grouping(
            "Relevant documents",
            f"Judged with grade {dataset.relevance_level} or higher.",
            number_buckets(relevant, bins),
        ),
        Grouping(
            f"Difficulty for {name}",
            f"By the query's own {display_name(measure)} under {name}, lowest first. A bucket of "
            f"{name}'s low values favours every other system and one of its high values {name} "
            "itself, by how it was picked.",
            number_buckets(difficulty.values[measure], bins),
        ),
        Grouping(
            f"Best score of {name}",
            f"By {name}'s score of its first document, which no judgement enters.",
            number_buckets(best, bins),
        ),
    ]
    return [grouping for grouping in found if len(grouping.buckets) > 1]


def number_buckets(values: Sequence[float] | np.ndarray, bins: int) -> dict[str, list[int]]:
    """Range, such as "3–7" → positions, lowest first: at most `bins` of about one size.

    Equal values are never parted, so that there may be fewer.
    """
    values = np.asarray(values, dtype=np.float64)
    inner = np.arange(1, bins) / bins
    # Values that occur, so that no edge lies between two equal ones.
    edges = np.unique(np.quantile(values, inner, method="inverted_cdf"))
    places = np.searchsorted(edges, values, side="left")
    buckets: dict[str, list[int]] = {}
    for place in np.unique(places):
        at = np.flatnonzero(places == place)
        low, high = (f"{edge:.4g}" for edge in (values[at].min(), values[at].max()))
        label = low if low == high else f"{low}–{high}"
        buckets.setdefault(label, []).extend(at.tolist())
    return buckets


def _by_language(queries: Sequence[str]) -> dict[str, list[int]]:
    buckets: dict[str, list[int]] = {}
    for at, text in enumerate(queries):
        buckets.setdefault(LANGUAGE_NAMES[detect_language(text)], []).append(at)
    return dict(sorted(buckets.items()))


def _by_tag(results: Results) -> dict[str, list[int]]:
    buckets: dict[str, list[int]] = {}
    for at, query_id in enumerate(results.query_ids):
        for tag in results.tags.get(query_id, ()) or (NO_TAG,):
            buckets.setdefault(tag, []).append(at)
    return dict(sorted(buckets.items()))
