"""Per-query values of measures, the same for every provider on ties.

The common measures are computed for whole grids at once (see grid.py), by ir_measures' definitions
and held to its values; the others by ir_measures itself, ranking by ranking. It hands a run to
several providers that break ties in different ways. A canonical Run's scores are therefore replaced
by n - rank first, so that all of them see one ranking. Measures of diversity see every subtopic's
judgement, others a doc's highest grade, redundancy the docs' texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from evalkit.errors import DataError
from evalkit.measures.diversity import DiversityEvaluator, is_diversity
from evalkit.measures.grid import Grid, in_grid
from evalkit.run import Run
from evalkit.types import Dataset, Qrel, grades_of

if TYPE_CHECKING:
    from ir_measures import Measure, Metric


class _Evaluator(Protocol):
    """Measures bound to what they need; `ranked`: query_id → doc_id → n - rank, best first."""

    def iter_calc(self, ranked: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]: ...


class MeasureSet:
    """Measures bound to qrels, and to the dataset's texts; evaluates any number of runs.

    query_ids: the judged queries, all of which count: one without results has the value 0, one
    whose judgements are all ≤ 0 follows trec_eval (0 for nDCG, RR, AP and recall). dataset: for
    redundancy alone. Raises ConfigError for a measure that needs subtopics or texts and has none.
    """

    def __init__(
        self, measures: Sequence[Measure], qrels: Sequence[Qrel], dataset: Dataset | None = None
    ) -> None:
        if not qrels:
            raise DataError("no qrels; nothing can be measured without relevance judgements")
        self.measures = list(measures)
        self.names = [str(measure) for measure in self.measures]
        grades = grades_of(qrels)
        for judged in grades.values():
            # Where all grades are negative, trec_eval's own code sizes a table by the highest one,
            # reads freed memory and may not return. No measure there depends on how negative.
            if max(judged.values()) < 0:
                judged.update(dict.fromkeys(judged, 0))
        self.query_ids = tuple(grades)
        self._position = {query_id: i for i, query_id in enumerate(grades)}
        gridded = [measure for measure in self.measures if in_grid(measure)]
        self._gridded = [str(measure) for measure in gridded]
        self._grid = Grid(gridded, grades)
        others = [measure for measure in self.measures if measure not in gridded]
        self._others = [str(measure) for measure in others]
        self._evaluators = _evaluators(others, grades, qrels, dataset)

    def per_query(self, run: Run, drop_unjudged_queries: bool = False) -> dict[str, np.ndarray]:
        """Measure name → values, float64, shape (len(query_ids),), in `query_ids` order.

        A run with queries that have no qrels is a DataError unless they are dropped on purpose.
        """
        return self.at_depths(run, [None], drop_unjudged_queries)[0]

    def at_depths(
        self, run: Run, depths: Sequence[int | None], drop_unjudged_queries: bool = False
    ) -> list[dict[str, np.ndarray]]:
        """What `per_query` says of the run cut to each depth (None: uncut), for little more."""
        extra = [query_id for query_id in run.query_ids if query_id not in self._position]
        if extra and not drop_unjudged_queries:
            raise DataError(
                f"the run has {len(extra)} queries without qrels (e.g. '{extra[0]}'); "
                "drop them on purpose or use the qrels that belong to this run"
            )
        found = []
        for depth, rows in zip(depths, self._grid.values(run, depths), strict=True):
            values = dict(zip(self._gridded, rows, strict=True))
            if self._others:
                values |= self._evaluated(run if depth is None else run.top(depth))
            found.append({name: values[name] for name in self.names})
        return found

    def _evaluated(self, run: Run) -> dict[str, np.ndarray]:
        """The measures that the grid does not have."""
        ranked = {
            query_id: {doc_id: len(docs) - rank for rank, doc_id in enumerate(docs)}
            for query_id, docs in run
            if docs and query_id in self._position
        }
        values = {name: np.zeros(len(self.query_ids)) for name in self._others}
        for evaluator in self._evaluators:
            for metric in evaluator.iter_calc(ranked):
                values[str(metric.measure)][self._position[metric.query_id]] = metric.value
        return values


def _evaluators(
    measures: Sequence[Measure],
    grades: Mapping[str, Mapping[str, int]],
    qrels: Sequence[Qrel],
    dataset: Dataset | None,
) -> list[_Evaluator]:
    """One for all measures of a kind: by grades, by subtopics, by texts."""
    import ir_measures

    from evalkit.measures.redundancy import REDUNDANCY, RedundancyEvaluator

    diversity = [m for m in measures if is_diversity(m)]
    redundancy = [m for m in measures if m.NAME == REDUNDANCY.NAME]
    graded = [m for m in measures if m not in diversity and m not in redundancy]
    evaluators: list[_Evaluator] = []
    if graded:
        evaluators.append(ir_measures.evaluator(graded, grades))
    if diversity:
        evaluators.append(DiversityEvaluator(diversity, qrels))
    if redundancy:
        evaluators.append(RedundancyEvaluator(redundancy, dataset))
    return evaluators
