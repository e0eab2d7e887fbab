"""Fitting a calibration without an evaluated query, and telling what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.calibration.maps import Calibration, fit, sigmoid
from evalkit.calibration.reliability import brier_score, calibration_error, reliability_curve
from evalkit.calibration.thresholds import coverage, least_threshold, threshold_interval
from evalkit.errors import ConfigError
from evalkit.first_stage import first_stage
from evalkit.rerankers.lessons import Lesson
from evalkit.run import Run
from evalkit.types import Dataset, grades_of

if TYPE_CHECKING:
    from evalkit.rerankers.calibrated import CalibratedReranker

# Where the trade of precision and coverage is told: every 0.05.
_GRID = np.arange(1, 20) / 20


@dataclass(frozen=True)
class Labels:
    """judged: the results of a run that count, bool, shape (n,); relevant: which are relevant."""

    judged: np.ndarray
    relevant: np.ndarray


@dataclass(frozen=True)
class Maps:
    """A fitted map per fold, and for each the least threshold of the wanted precision, if any.

    fold_of: query_id → the fold whose map has not seen it; empty where one map serves every query.
    """

    maps: Sequence[Calibration]
    fold_of: dict[str, int]
    fitted_on: str
    thresholds: Sequence[float]
    intervals: Sequence[tuple[float, float]]

    def folds(self, run: Run) -> np.ndarray:
        """Each result's fold: int64, shape (n,)."""
        each = [self.fold_of.get(query_id, 0) for query_id in run.query_ids]
        return np.array(each, dtype=np.int64)[run.rows]

    def probability(self, run: Run) -> np.ndarray:
        """Of each result, by the map that has not seen its query: float64, shape (n,)."""
        fold, found = self.folds(run), np.empty(len(run))
        for number, each in enumerate(self.maps):
            mine = fold == number
            found[mine] = each.probability(run.scores[mine])
        return found


def labelled(run: Run, dataset: Dataset, unjudged: str) -> Labels:
    """What the dataset says of each result; unjudged: "non_relevant", or "skip"."""
    grades = grades_of(dataset.qrels)
    given = {query_id: grades.get(query_id, {}) for query_id in run.query_ids}
    grade = run.scores_in(Run.from_dict(given, run.query_ids))
    known = ~np.isnan(grade)
    judged = known if unjudged == "skip" else np.ones(len(run), dtype=bool)
    return Labels(judged, known & (grade >= dataset.relevance_level))


def fitted_maps(own: CalibratedReranker, lesson: Lesson, candidates: Run, found: Run) -> Maps:
    """The maps that the lesson gives, from as many candidates a query as there are in `candidates`.

    found: those under the reranker's scores, which are used where the lesson is about the same
    queries. ConfigError where the lesson's queries have no candidates, or none of one kind.
    """
    if own.neighbours is None or own.retriever not in own.neighbours.retrievers:
        raise ConfigError(
            f"reranker.{own.name}: a calibration needs the first stage it is fitted to"
        )
    retriever = own.neighbours.retrievers[own.retriever]
    retriever.index(lesson.dataset)
    size = int(candidates.sizes.max())
    learned = first_stage(retriever, lesson.dataset, size, lesson.queries)
    if not len(learned):
        raise ConfigError(
            f"reranker.{own.name}.split={own.split}: {own.retriever} finds nothing for the "
            f"{len(lesson.queries)} queries of {lesson.dataset.dataset_id} (a run file holds one "
            f"split); use reranker.{own.name}.split=null, which is cross-fitting"
        )
    scored = (
        found
        if _same(learned, candidates)
        else own.call(own.of, lesson.queries, lesson.dataset, learned)
    )
    return _fit_folds(own, lesson, scored)


def _same(one: Run, other: Run) -> bool:
    return (
        one.query_ids == other.query_ids
        and np.array_equal(one.offsets, other.offsets)
        and np.array_equal(one.doc_ids, other.doc_ids)
    )


def _fit_folds(own: CalibratedReranker, lesson: Lesson, scored: Run) -> Maps:
    labels = labelled(scored, lesson.dataset, own.unjudged)
    fold_of = lesson.fold_of(seed=0) if lesson.folds > 1 else {}
    fold = np.array([fold_of.get(query_id, -1) for query_id in scored.query_ids])[scored.rows]
    maps: list[Calibration] = []
    thresholds: list[float] = []
    intervals: list[tuple[float, float]] = []
    for number in range(lesson.folds):
        used = labels.judged & (fold != number)
        try:
            each = fit(own.method, scored.scores[used], labels.relevant[used], own.smoothing)
        except ConfigError as error:
            raise ConfigError(
                f"reranker.{own.name} over {own.retriever}, {lesson.title}: {error}"
            ) from error
        maps.append(each)
        if own.precision is not None:
            given = each.probability(scored.scores[used]), labels.relevant[used]
            thresholds.append(least_threshold(*given, own.precision))
            intervals.append(threshold_interval(*given, scored.rows[used], own.precision))
    pairs, relevant = int(labels.judged.sum()), int(labels.relevant.sum())
    fitted_on = (
        f"{lesson.title}, {len(lesson.queries):,} queries, {pairs:,} pairs, {relevant:,} relevant"
    )
    return Maps(maps, fold_of, fitted_on, thresholds, intervals)


def told(
    own: CalibratedReranker, maps: Maps, found: Run, probabilities: np.ndarray, labels: Labels
) -> dict[str, Any]:
    """Method and parameters; calibration error, Brier score and reliability of the evaluated docs,
    before and after; what thresholds keep."""
    parameters = [each.parameters for each in maps.maps]
    facts: dict[str, Any] = {
        "method": own.method,
        "fitted on": maps.fitted_on,
        "parameters": _rounded(parameters[0])
        if len(parameters) == 1
        else {f"fold {i + 1}": _rounded(each) for i, each in enumerate(parameters)},
    }
    used = labels.judged
    if not used.any():
        return facts
    raw = found.scores.astype(np.float64)
    before = sigmoid(raw) if own.raw == "sigmoid" else np.clip(raw, 0.0, 1.0)
    read = {"before": before[used], "after": probabilities[used]}
    relevant = labels.relevant[used]
    facts["relevant_share"] = round(float(relevant.mean()), 6)
    facts["before read as"] = "σ(score)" if own.raw == "sigmoid" else "score"
    for name, values in read.items():
        facts[name] = {
            "ECE": round(calibration_error(values, relevant, own.bins), 6),
            "ECE in bins of equal mass": round(
                calibration_error(values, relevant, own.bins, by="mass"), 6
            ),
            "Brier score": round(brier_score(values, relevant), 6),
        }
    facts["reliability"] = {
        name: reliability_curve(values, relevant, own.bins).as_json()
        for name, values in read.items()
    }
    rows, queries = found.rows[used], len(found.query_ids)
    facts["coverage"] = coverage(read["after"], relevant, rows, queries, _GRID).as_json()
    if own.precision is not None:
        facts["threshold"] = _threshold(own.precision, maps, found, probabilities, labels)
    return facts


def _threshold(
    precision: float, maps: Maps, found: Run, probabilities: np.ndarray, labels: Labels
) -> dict[str, Any]:
    """The least thresholds where they were learned, and what they keep of the evaluated docs."""
    # A doc against the threshold of its own fold: the surplus is compared with 0.
    surplus = (probabilities - np.array(maps.thresholds)[maps.folds(found)])[labels.judged]
    kept = coverage(
        surplus, labels.relevant[labels.judged], found.rows[labels.judged], len(found.query_ids),
        np.zeros(1),
    )  # fmt: skip
    facts: dict[str, Any] = {
        f"least for precision {precision:g}": [_finite(each) for each in maps.thresholds],
        "interval": [[_finite(end) for end in ends] for ends in maps.intervals],
    }
    if len(kept.threshold):
        facts |= {
            "precision here": round(float(kept.precision[0]), 4),
            "docs_kept_share": round(float(kept.docs[0]), 6),
            "queries_kept_share": round(float(kept.queries[0]), 6),
            "relevant_kept_share": round(float(kept.relevant[0]), 6),
        }
    else:
        facts["here"] = "nothing reaches it"
    return facts


def _finite(threshold: float) -> float | str:
    return round(threshold, 6) if np.isfinite(threshold) else "none"


def _rounded(parameters: dict[str, Any]) -> dict[str, Any]:
    """Six digits that count, so that a slope of 0.00012 keeps them."""
    return {
        key: [[float(f"{x:.6g}") for x in pair] for pair in value]
        if isinstance(value, list)
        else float(f"{value:.6g}")
        for key, value in parameters.items()
    }
