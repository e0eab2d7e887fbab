"""A teacher's scores for the training data: of any reranker that scores a pair on its own.

They come by way of the reranker's score store, so that a pair that was ever scored, by an LLM, an
API or a large model, costs nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import ConfigError, nearest
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.types import Reranker

if TYPE_CHECKING:
    from evalkit.training.data import TrainingData


def find_teacher(name: str, rerankers: Mapping[str, Reranker]) -> PointwiseReranker:
    """The selected reranker of this name; ConfigError unless it scores pairs of texts."""
    if name not in rerankers:
        raise ConfigError(
            f"training.teacher={name}: not among the selected rerankers "
            f"({', '.join(rerankers) or 'none'}).{nearest(name, rerankers)} Add it: "
            f"reranker=[{','.join([*rerankers, name])}]"
        )
    teacher = rerankers[name]
    if not isinstance(teacher, PointwiseReranker):
        raise ConfigError(
            f"training.teacher={name}: it does not score pairs of texts on their own; choose one "
            "that does, such as a cross_encoder or llm_pointwise"
        )
    return teacher


def taught(data: TrainingData, teacher: PointwiseReranker) -> TrainingData:
    """The data with the teacher's score for every row that is learned from; the validation queries'
    lists are longer, are measured by judgements, and would cost a paid teacher for nothing."""
    rows = np.flatnonzero(data.split == "train")
    pairs = list(zip(data.query[rows].tolist(), data.doc[rows].tolist(), strict=True))
    scores = np.full(len(data), np.nan, dtype=np.float32)
    scores[rows] = teacher.score_texts(pairs).scores
    return data.with_teacher(scores)
