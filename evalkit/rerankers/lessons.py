"""What a reranker may learn from, so that no query is ever scored by what has seen it.

Where the collection has a train split, that; its queries that are evaluated too, under whatever id,
are left out. Elsewhere the evaluated queries themselves, by cross-validation: they are dealt into
folds, and the queries of a fold are scored by what was learned on the others.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evalkit.errors import DataError
from evalkit.similarities import wording
from evalkit.types import Dataset, Qrel, Query, fingerprint


class Lesson(NamedTuple):
    """The queries to learn from, those of `dataset` without `dropped`; in how many folds, 1 where
    one model serves every query."""

    dataset: Dataset
    queries: tuple[Query, ...]
    dropped: tuple[str, ...]
    folds: int

    @property
    def digest(self) -> str:
        """Of the queries, their judgements and the folds; the docs are those of the index."""
        return fingerprint(
            "Lesson",
            folds=self.folds,
            exclude_self=self.dataset.exclude_self,
            queries=[[query.query_id, query.text, *query.history] for query in self.queries],
            qrels=[list(qrel) for qrel in self.qrels],
        )

    @property
    def qrels(self) -> list[Qrel]:
        """The judgements of the queries to learn from."""
        kept = {query.query_id for query in self.queries}
        return [qrel for qrel in self.dataset.qrels if qrel.query_id in kept]

    @property
    def title(self) -> str:
        """Such as "scifact/train" or "5-fold cross-validation by query on scifact/test"."""
        name = self.dataset.dataset_id
        how = f"{self.folds}-fold cross-validation by query on "
        return name if self.folds == 1 else how + name

    def fold_of(self, seed: int) -> dict[str, int]:
        """query_id → its fold, from 0; those of one text share it."""
        folds = dealt(self.queries, self.folds, seed, "fold").tolist()
        return {q.query_id: fold for q, fold in zip(self.queries, folds, strict=True)}


def lesson_for(dataset: Dataset, split: str | None, folds: int) -> Lesson:
    """What to learn from where `dataset` is evaluated; DataError where nothing is left."""
    if split is None or split == dataset.split or not dataset.has_split(split):
        return Lesson(dataset, tuple(dataset.queries), (), folds)
    train = dataset.with_split(split)
    evaluated = {wording(query.text) for query in dataset.queries}
    kept = tuple(query for query in train.queries if wording(query.text) not in evaluated)
    if not kept:
        raise DataError(
            f"{train.dataset_id}: each of its {len(train.queries)} queries is evaluated too; "
            "choose another split to learn from, or cross-validation"
        )
    known = {query.query_id for query in kept}
    dropped = tuple(q.query_id for q in train.queries if q.query_id not in known)
    return Lesson(train, kept, dropped, 1)


def normal_text(text: str) -> str:
    """The same for texts that differ in case, white space or Unicode form (NFKC) only."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def dealt(queries: Sequence[Query], parts: int, seed: int, purpose: str) -> np.ndarray:
    """Each query's part, from 0: int64, shape (Q,). Parts are of one size as near as can be, and
    queries of one text, whatever its signs, are in one part. Only texts and seed decide."""
    texts = [normal_text(query.text) for query in queries]
    # Of texts with the same words the first in the alphabet stands for all.
    same = {wording(text): text for text in sorted(texts, reverse=True)}
    keys = [
        hashlib.sha256(f"{purpose}\0{seed}\0{same[wording(text)]}".encode()).hexdigest()
        for text in texts
    ]
    place = {key: i for i, key in enumerate(sorted(set(keys)))}
    return np.array([place[key] % parts for key in keys], dtype=np.int64)
