"""From groups of docs to examples in the order of training: fixed by the seed, before it begins.

An example is one query with some of its positives and negatives, drawn anew for each epoch. The
order is a plain list, so that a training that was killed goes on with the next example.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import DataError
from evalkit.training.objectives import Group
from evalkit.training.settings import FitSettings

if TYPE_CHECKING:
    from evalkit.training.data import Split, TrainingData


def usable_groups(data: TrainingData, split: Split) -> list[np.ndarray]:
    """Row indices of each query that has a relevant doc and one that is not, int64."""
    groups = [np.asarray(rows, dtype=np.int64) for rows in data.groups(split)]
    labels = np.asarray(data.label)
    return [rows for rows in groups if (labels[rows] > 0).any() and (labels[rows] <= 0).any()]


def ordered_examples(data: TrainingData, settings: FitSettings, batch: int) -> list[Group]:
    """The examples of the whole training, in order.

    batch: queries an optimiser step, over all devices and accumulated batches; with
    `settings.steps` there are exactly steps × batch examples.
    """
    groups = usable_groups(data, "train")
    if not groups:
        raise DataError(
            "the training data has no query with both a relevant and an irrelevant doc in its part "
            "'train'; mine negatives (training.negatives), or lower its share for validation"
        )
    total = settings.steps * batch if settings.steps else math.ceil(settings.epochs * len(groups))
    examples: list[Group] = []
    epoch = 0
    while len(examples) < total:
        random = np.random.default_rng([settings.seed, epoch])
        for at in random.permutation(len(groups)):
            examples.append(_drawn(data, groups[at], settings, random))
        epoch += 1
    return examples[:total]


def _drawn(
    data: TrainingData, rows: np.ndarray, settings: FitSettings, random: np.random.Generator
) -> Group:
    """Some positives, and negatives for the remaining places; relevant docs come first."""
    relevant = np.asarray(data.label)[rows] > 0
    positives = _some(rows[relevant], settings.positives_per_query, random)
    negatives = _some(rows[~relevant], settings.docs_per_query - len(positives), random)
    chosen = np.concatenate([positives, negatives])
    return Group(
        chosen,
        np.asarray(data.label, dtype=np.float32)[chosen],
        np.asarray(data.teacher, dtype=np.float32)[chosen],
    )


def _some(rows: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(random.choice(rows, size=most, replace=False))


def steps_of(examples: Sequence[Group], batch: int, whole: bool) -> int:
    """Optimiser steps that the examples make; whole: a last step with fewer queries is left out,
    as it is where several processes must keep in step."""
    return len(examples) // batch if whole else math.ceil(len(examples) / batch)
