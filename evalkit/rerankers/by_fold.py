"""Models trained by folds of the queries: each query is ranked by the one that has not seen it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import ConfigError, DataError
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.rerankers.folds_file import fold_folder, read_folds
from evalkit.rerankers.lessons import normal_text
from evalkit.run import Run
from evalkit.types import DOC_TEMPLATE, Dataset, Query, fingerprint


class ByFoldReranker:
    """The cross-encoders that `task=train training.folds=N` left in the folder `path`.

    A query is known by its text; one that was in no fold is a DataError: which model has not seen
    it cannot be told. Scores of different folds are those of different models. settings: as
    `CrossEncoderReranker` takes them, the same for all folds.
    """

    depends_on_list = False

    def __init__(
        self,
        path: str | None,
        base_model: str | None = None,
        max_length: int | None = None,
        dtype: str = "auto",
        device: str | None = None,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        self._path = path
        self._settings: dict[str, Any] = {
            "base_model": base_model, "max_length": max_length, "dtype": dtype, "device": device,
            "doc_template": doc_template, "cache_dir": cache_dir,
        }  # fmt: skip
        self.work: dict[str, int] = {}

    @property
    def path(self) -> Path:
        if self._path is None:
            raise ConfigError(
                "reranker.by_fold.path is empty; give the output folder of "
                "`python -m evalkit task=train training.folds=5`"
            )
        return Path(self._path).expanduser()

    @cached_property
    def _folds(self) -> dict[str, int]:
        """The fold of each query's text."""
        return read_folds(self.path)[1]

    @cached_property
    def _models(self) -> list[CrossEncoderReranker]:
        """The model of each fold; weights are loaded when they are needed."""
        count, _ = read_folds(self.path)
        folders = [fold_folder(self.path, fold) / "model" for fold in range(count)]
        return [CrossEncoderReranker(str(folder), **self._settings) for folder in folders]

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "ByFold",
            models=[model.fingerprint for model in self._models],
            folds=sorted(self._folds.items()),
        )

    def check(self, depth: int) -> None:
        """Raise what is wrong with the folder or a model in it; loads no weights."""
        for model in self._models:
            model.check(depth)

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """The candidates under the scores of each query's own fold's model."""
        folds = {query.query_id: self._fold(query) for query in queries}
        of_row = np.array([folds[query_id] for query_id in candidates.query_ids], dtype=np.int64)
        of_row = of_row[candidates.rows]
        scores, self.work = candidates.scores.copy(), {}
        for fold, model in enumerate(self._models):
            rows = of_row == fold
            if not rows.any():
                continue
            part = candidates.where(rows)
            scores[rows] = part.scores_in(model.rerank(queries, dataset, part))
            for unit, amount in model.work.items():
                self.work[unit] = self.work.get(unit, 0) + amount
        return candidates.with_scores(scores)

    def _fold(self, query: Query) -> int:
        try:
            return self._folds[normal_text(query.text)]
        except KeyError:
            raise DataError(
                f"{self.path}: query '{query.query_id}' ({query.text[:60]}) is in none of its "
                "folds; evaluate on the queries that were trained by folds"
            ) from None
