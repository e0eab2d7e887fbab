"""Choosing a fusion weight where it may be chosen: on another split, or on other folds' queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.errors import ConfigError
from evalkit.first_stage import first_stage
from evalkit.measures import MeasureSet, parse_measures
from evalkit.rerankers.lessons import Lesson, lesson_for
from evalkit.run import Run
from evalkit.types import Dataset

if TYPE_CHECKING:
    from evalkit.rerankers.fused import FusedReranker


def check_measure(fused: FusedReranker) -> None:
    """ConfigError where the measure that the weight is to maximise is none, or the lower the
    better."""
    from evalkit.measures.redundancy import REDUNDANCY

    try:
        (measure,) = parse_measures([fused.measure], [], [], 1)
    except ConfigError as error:
        raise ConfigError(f"reranker.{fused.name}.measure: {error}") from error
    if measure.NAME == REDUNDANCY.NAME:
        raise ConfigError(
            f"reranker.{fused.name}.measure={fused.measure}: lower is better, and the weight is "
            "chosen where the measure is highest; take one such as nDCG@10"
        )


def best_weights(fused: FusedReranker, dataset: Dataset, candidates: Run, found: Run) -> np.ndarray:
    """The chosen weight of each query of `candidates`: float64, shape (Q,).

    found: the candidates under the reranker's scores. What was chosen, and the measure at every
    weight, goes into `fused.details`.
    """
    size = int(candidates.sizes.max(initial=0))
    weights = np.array(fused.weights)
    if fused.tune == "cross_validation":
        lesson = lesson_for(dataset, None, fused.folds)
        curve, query_ids = _curve(fused, lesson, candidates, found)
        chosen = _by_fold(weights, curve, query_ids, lesson)
        each = np.array([chosen[query_id] for query_id in candidates.query_ids])
        told: dict[str, Any] = {"weights of the folds": sorted(set(chosen.values()))}
    else:
        lesson, curve = _on_split(fused, size)
        best = float(weights[curve.mean(axis=1).argmax()])
        each, told = np.full(len(candidates.query_ids), best), {"weight": best}
    means = [round(mean, 4) for mean in curve.mean(axis=1).tolist()]
    fused.details[f"K={size if fused.cell is None else fused.cell}"] = {
        **told,
        "chosen on": f"{lesson.title}, {len(lesson.queries):,} queries",
        f"{fused.measure} there": max(means),
        "curve": {f"{weight:g}": mean for weight, mean in zip(weights, means, strict=True)},
    }
    return each


def _on_split(fused: FusedReranker, size: int) -> tuple[Lesson, np.ndarray]:
    neighbours = fused.neighbours
    if neighbours is None or fused.retriever not in neighbours.retrievers:
        raise ConfigError(f"reranker.{fused.name}: tune needs the first stage it is fused with")
    lesson = lesson_for(neighbours.dataset, fused.tune, fused.folds)
    split, retriever = lesson.dataset, neighbours.retrievers[fused.retriever]
    retriever.index(split)
    candidates = first_stage(retriever, split, size, lesson.queries)
    if not len(candidates):
        raise ConfigError(
            f"reranker.{fused.name}.tune={fused.tune}: {fused.retriever} finds nothing for its "
            f"{len(lesson.queries)} queries (a run file holds one split); "
            f"use reranker.{fused.name}.tune=cross_validation"
        )
    found = fused.call(fused.of, lesson.queries, split, candidates)
    return lesson, _curve(fused, lesson, candidates, found)[0]


def _curve(
    fused: FusedReranker, lesson: Lesson, candidates: Run, found: Run
) -> tuple[np.ndarray, Sequence[str]]:
    """The measure per weight and query: float64, shape (weights, Q); and the query ids."""
    measures = parse_measures([fused.measure], [], [], lesson.dataset.relevance_level)
    measure_set = MeasureSet(measures, lesson.qrels)
    rows = []
    for weight in fused.weights:
        constant = np.full(len(candidates.query_ids), weight)
        values = measure_set.per_query(fused.fuse(candidates, found, constant))
        rows.append(next(iter(values.values())))
    return np.stack(rows), measure_set.query_ids


def _by_fold(
    weights: np.ndarray, curve: np.ndarray, query_ids: Sequence[str], lesson: Lesson
) -> dict[str, float]:
    """Each query's weight, the best one on the queries of the other folds."""
    fold_of = lesson.fold_of(seed=0)
    fold = np.array([fold_of[query_id] for query_id in query_ids])
    chosen: dict[str, float] = {}
    for each in range(lesson.folds):
        others = fold != each
        best = weights[curve[:, others].mean(axis=1).argmax()] if others.any() else weights[0]
        chosen |= {query_ids[i]: float(best) for i in np.flatnonzero(~others).tolist()}
    return chosen
