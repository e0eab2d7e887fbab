"""Mined data, kept in the cache: a second training on it, or one that was killed, mines nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from evalkit.training.data import ORIGIN_FILE, TrainingData
from evalkit.training.negative_settings import NegativeSettings
from evalkit.training.negatives import mine
from evalkit.types import Dataset, Reranker, Retriever, fingerprint


def remembered(
    dataset: Dataset,
    retrievers: Mapping[str, Retriever],
    settings: NegativeSettings,
    split: str,
    rerankers: Mapping[str, Reranker],
    cache_dir: Path,
) -> TrainingData:
    """What `mine` gives, now or earlier for the same dataset, retrievers and settings."""
    guard = rerankers.get(settings.guard) if settings.guard else None
    key = fingerprint(
        "mined",
        dataset=dataset.with_split(split).digest,
        settings=asdict(settings),
        guard=None if guard is None else guard.fingerprint,
        retrievers={name: each.fingerprint for name, each in retrievers.items()},
    )
    folder = cache_dir / "training" / "data" / key
    if not (folder / ORIGIN_FILE).is_file():
        mine(dataset, retrievers, settings, split, rerankers, cache_dir).save(folder)
    return TrainingData.load(folder)
