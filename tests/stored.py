"""Pairs and stores for tests of the score store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evalkit.scoring.keys import text_digests
from evalkit.scoring.store import ScoreStore

SCORER = "scorer"


def pairs(count: int, name: str = "doc", start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Digests of one query with docs number `start` and on."""
    numbers = range(start, start + count)
    return text_digests(["a query"] * count), text_digests([f"{name} {i}" for i in numbers])


def filled(folder: Path, segments: int = 1, size: int = 10) -> ScoreStore:
    """A store with `segments` × `size` pairs, scored 0, 1, 2, ..."""
    store = ScoreStore(folder, SCORER)
    for first in range(0, segments * size, size):
        store.add(*pairs(size, start=first), np.arange(first, first + size))
    return store


def segments_in(folder: Path) -> list[Path]:
    return sorted((folder / SCORER).glob("*.parquet"))


def everything(folder: Path) -> dict[str, bytes]:
    """The files of the scorer and what is in them."""
    return {path.name: path.read_bytes() for path in (folder / SCORER).iterdir()}
