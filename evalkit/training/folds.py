"""Training and testing on one small collection: by folds of its queries, a model each.

The model of a fold has learned from the other folds' queries, so that every query of the collection
is ranked by a model that has not seen it, and a trained reranker is compared with untrained ones on
all of them. The folds are those of `rerankers.lessons`: queries of one text share one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import ConfigError, DataError
from evalkit.io import write_json
from evalkit.rerankers.folds_file import FOLDS_FILE, SCHEMA
from evalkit.rerankers.lessons import Lesson
from evalkit.training.data import TrainingData
from evalkit.types import Dataset, Qrel, Query


def deal(dataset: Dataset, folds: int, seed: int) -> dict[str, int]:
    """query_id → its fold, from 0; ConfigError for a number that leaves a fold empty."""
    if not 2 <= folds <= len(dataset.queries):
        raise ConfigError(
            f"training.folds={folds}; expected 2 to {len(dataset.queries)}, the number of queries "
            f"of {dataset.dataset_id}"
        )
    return Lesson(dataset, tuple(dataset.queries), (), folds).fold_of(seed)


def without_fold(data: TrainingData, fold_of: Mapping[str, int], fold: int) -> TrainingData:
    """The rows of the other folds' queries; DataError where none is left to learn from."""
    folds = np.array([fold_of[query_id] for query_id in data.query_id.tolist()])
    kept = data.where(folds != fold)
    if not len(kept.groups("train")):
        raise DataError(f"fold {fold}: no query is left to learn from; use fewer folds")
    return kept


class FoldOfDataset:
    """A dataset whose queries are those of one fold, for the leak check; the rest is as it was."""

    def __init__(self, dataset: Dataset, fold_of: Mapping[str, int], fold: int) -> None:
        self._dataset = dataset
        self.dataset_id = f"{dataset.dataset_id}, fold {fold}"
        self.queries: Sequence[Query] = [
            query for query in dataset.queries if fold_of[query.query_id] == fold
        ]
        kept = {query.query_id for query in self.queries}
        self.qrels: Sequence[Qrel] = [qrel for qrel in dataset.qrels if qrel.query_id in kept]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)


def write_folds(folder: Path, dataset: Dataset, fold_of: Mapping[str, int], seed: int) -> None:
    """Say which fold each query is in; written last, when all folds are there."""
    rows = [[q.query_id, q.text, fold_of[q.query_id]] for q in dataset.queries]
    write_json(
        folder / FOLDS_FILE,
        {
            "schema": SCHEMA,
            "dataset": {"dataset_id": dataset.dataset_id, "digest": dataset.digest},
            "folds": max(fold_of.values()) + 1,
            "seed": seed,
            "queries": rows,
        },
    )
