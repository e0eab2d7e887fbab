"""How well the model reranks the validation queries' docs: the measure that decides when to stop.

These lists hold the mined docs alone, so the figures say which checkpoint is better, not what a
search over the collection would get.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.errors import ConfigError
from evalkit.measures import MeasureSet, parse_measures
from evalkit.run import Run
from evalkit.training.examples import usable_groups
from evalkit.training.student import MIN_WIDTH
from evalkit.types import Qrel

if TYPE_CHECKING:
    from evalkit.training.data import TrainingData

ALWAYS = ("RR@10", "nDCG@10")
# Rows a call, in each of which batches are made by length.
_CALL = 16 * MIN_WIDTH


class Validation:
    """The validation queries of the training data; `measures` of a model on them.

    measure: the one that decides, an ir_measures name; RR@10 and nDCG@10 are measured, too.
    """

    def __init__(self, data: TrainingData, measure: str, gains: str = "linear") -> None:
        groups = usable_groups(data, "validation")
        self.rows = np.concatenate(groups) if groups else np.empty(0, dtype=np.int64)
        labels = np.asarray(data.label)[self.rows]
        highest = int(labels.max(initial=1))
        parsed = parse_measures([measure, *ALWAYS], gains=gains, max_grade=highest)
        self.measure = str(parsed[0])
        self._query_ids = [str(data.query_id[rows[0]]) for rows in groups]
        self._of_query = np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
        self._doc_ids = [str(doc_id) for doc_id in data.doc_id[self.rows]]
        self._set: MeasureSet | None = None
        if groups:
            names = zip(self._of_query, self._doc_ids, labels, strict=True)
            qrels = [Qrel(self._query_ids[q], d, round(float(grade))) for q, d, grade in names]
            self._set = MeasureSet(parsed, qrels)

    def __len__(self) -> int:
        """Queries."""
        return len(self._query_ids)

    def measures(self, encoder: Any) -> dict[str, float]:
        """Measure name → mean over the validation queries, of a `student`'s encoder."""
        if self._set is None:
            raise ConfigError(
                "the training data has no query for validation; give it some with "
                "training.negatives.validation_share, or set training.patience=null"
            )
        run = Run.from_columns(
            self._query_ids, self._of_query, self._doc_ids, row_scores(encoder, self.rows)
        )
        return {name: float(v.mean()) for name, v in self._set.per_query(run).items()}


def row_scores(encoder: Any, rows: np.ndarray) -> np.ndarray:
    """Scores of rows of the training data: float32, shape (len(rows),); dropout is off."""
    import torch

    training = encoder.training
    encoder.eval()
    try:
        with torch.inference_mode():
            parts = [
                encoder({"row": torch.from_numpy(rows[start : start + _CALL])})["scores"]
                for start in range(0, len(rows), _CALL)
            ]
    finally:
        encoder.train(training)
    return torch.cat(parts).reshape(-1).float().cpu().numpy()
