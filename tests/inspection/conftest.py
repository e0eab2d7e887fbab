"""An output made by hand over a collection of a few docs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from evalkit.measures import MeasureSet, parse_measures
from evalkit.results import Results, SystemResult
from evalkit.run import Run
from evalkit.types import Dataset, DatasetInfo

Rankings = Mapping[tuple[str, str, int | None], Mapping[str, Mapping[str, float]]]


@pytest.fixture
def output() -> Callable[..., Results]:
    """`output(dataset, {(retriever, reranker, k): {query_id: {doc_id: score}}}, measures)`."""

    def build(
        dataset: Dataset, rankings: Rankings, measures: Sequence[str] = ("nDCG@10",), **more: Any
    ) -> Results:
        measured = MeasureSet(parse_measures(measures), dataset.qrels)
        systems, runs = [], {}
        for (retriever, reranker, k), ranking in rankings.items():
            run = Run.from_dict(ranking, measured.query_ids)
            values = measured.per_query(run)
            means = {name: float(v.mean()) for name, v in values.items()}
            ends = dict.fromkeys(means, (np.nan, np.nan))
            system = SystemResult(retriever, reranker, k, None, values, means, ends)
            systems.append(system)
            runs[system.run_name] = run
        count = len(measured.query_ids)
        info = DatasetInfo(dataset.dataset_id, dataset.digest, dataset.num_docs, count, 1, 1, False)
        return Results(
            info, measured.query_ids, measured.names, systems, runs, {}, tags=dataset.tags, **more
        )

    return build
