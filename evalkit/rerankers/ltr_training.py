"""Training LambdaMART: the grades of candidates, sampling of negatives, models of the folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evalkit.errors import ConfigError, DataError
from evalkit.rerankers.lessons import Lesson, dealt
from evalkit.rerankers.ltr_backends import Backend, Examples, Hyperparameters, Trees
from evalkit.run import Run
from evalkit.types import Qrel, grades_of

# Early stopping watches this share of the train queries: one part of five.
_VALIDATION_PARTS = 5


def grades(pairs: Run, qrels: Sequence[Qrel]) -> np.ndarray:
    """The pairs' grades: int64, shape (n,); 0 for what is not judged or judged below 0."""
    judged = {
        query_id: {doc_id: float(max(grade, 0)) for doc_id, grade in docs.items()}
        for query_id, docs in grades_of(qrels).items()
    }
    found = pairs.scores_in(Run.from_dict(judged, pairs.query_ids))
    return np.nan_to_num(found).astype(np.int64)


def with_negatives(examples: Examples, negatives: int | None, seed: int) -> Examples:
    """All pairs of a grade above 0, and of the others at most `negatives` a query (None: all),
    drawn by `seed`."""
    if negatives is None:
        return examples
    rows = np.repeat(np.arange(len(examples.sizes)), examples.sizes)
    graded = examples.labels > 0
    # Drawn for every pair: which negatives a query keeps does not depend on other queries' grades.
    draw = np.random.default_rng(seed).random(len(rows))
    order = np.lexsort((draw, graded, rows))
    starts = np.concatenate([[0], np.cumsum(examples.sizes)[:-1]])
    place = np.empty(len(rows), dtype=np.int64)
    place[order] = np.arange(len(rows)) - np.repeat(starts, examples.sizes)
    keep = graded | (place < negatives)
    sizes = np.bincount(rows[keep], minlength=len(examples.sizes))
    return Examples(examples.features[keep], examples.labels[keep], sizes)


def train_models(
    backend: Backend,
    settings: Hyperparameters,
    signs: Sequence[int],
    lesson: Lesson,
    examples: Examples,
) -> list[str]:
    """One model, or one for each fold, trained on the other folds; as text.

    `examples` are those of the lesson's queries, in their order.
    """
    fold_of = lesson.fold_of(settings.seed)
    folds = np.array([fold_of[query.query_id] for query in lesson.queries])
    watched = dealt(lesson.queries, _VALIDATION_PARTS, settings.seed, "validation") == 0
    if settings.early_stopping is None:
        watched[:] = False
    models = []
    for fold in range(lesson.folds):
        seen = (folds != fold) | (lesson.folds == 1)
        taught = _checked(examples.of_queries(seen & ~watched), lesson, "train on")
        validation = None
        if settings.early_stopping is not None:
            validation = _checked(examples.of_queries(seen & watched), lesson, "stop early by")
        model = backend.train(settings, signs, taught, validation)
        if not backend.load(model).gains().any():
            raise ConfigError(
                f"no tree found a split in {len(taught.labels):,} pairs of "
                f"{lesson.dataset.dataset_id}; lower min_docs_in_leaf, or train on more queries"
            )
        models.append(model)
    return models


def described(models: Sequence[Trees], names: Sequence[str]) -> dict[str, Any]:
    """The number of trees, and each feature's share of the gain, the mean over models."""
    gains = np.array([model.gains() for model in models], dtype=np.float64)
    shares = (gains / gains.sum(axis=1, keepdims=True)).mean(axis=0)
    best = sorted(zip(names, shares.tolist(), strict=True), key=lambda each: -each[1])
    counts = [model.count for model in models]
    return {
        "trees": counts[0] if len(counts) == 1 else counts,
        "importance": {name: round(share, 4) for name, share in best},
    }


def _checked(examples: Examples, lesson: Lesson, purpose: str) -> Examples:
    if not examples.labels.any():
        raise DataError(
            f"{lesson.dataset.dataset_id}: no relevant doc to {purpose} among the first stages' "
            f"candidates of {len(examples.sizes)} queries; raise depth, judge more queries, or "
            "leave early_stopping out"
        )
    return examples
