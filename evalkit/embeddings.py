"""Vectors on disk, so that no text is encoded twice: first stage and rerankers share them.

A cache is a folder of parts, each a matrix (memory-mapped) and the digests of its texts. A part is
complete when its digests are there; they are written last. Two processes may add to one cache.
Vectors are float32 or, for half the space, float16 or bfloat16 (see `scoring.vectors`).
"""

from __future__ import annotations

import logging
import os
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np

from evalkit.io import write_array
from evalkit.scoring.keys import KeyIndex
from evalkit.scoring.vectors import STORAGES, narrowed, widened

log = logging.getLogger(__name__)


class EmbeddingCache:
    """The vectors of one encoder for one kind of text (queries or docs), in one storage."""

    def __init__(self, folder: Path, storage: str = "float32") -> None:
        self.folder, self.storage = folder, storage
        self._read: set[str] = set()
        self._index = KeyIndex(2)
        # Files are opened when vectors are gathered, not held: a large corpus has thousands.
        self._files: list[Path] = []
        self._starts = [0]
        self._width = 0

    def find(self, digests: np.ndarray) -> np.ndarray:
        """Places of n texts: int64, shape (n,), -1 where there is no vector; for `gather`."""
        for path in sorted(self.folder.glob("*.digests.npy")):
            name = path.name.removesuffix(".digests.npy")
            if name not in self._read:
                self._include(name)
        return self._index.find(digests)

    def gather(self, places: np.ndarray) -> np.ndarray:
        """The vectors at n places, none of them -1: float32, shape (n, h)."""
        return widened(self.gather_stored(places))

    def gather_stored(self, places: np.ndarray) -> np.ndarray:
        """The same as they are stored; `scoring.vectors` makes an array or a tensor of them."""
        vectors = np.empty((len(places), self._width), dtype=STORAGES[self.storage])
        owner = np.searchsorted(self._starts, places, side="right") - 1
        for part in np.unique(owner):
            mine = owner == part
            matrix = np.load(self._files[part], mmap_mode="r")
            vectors[mine] = matrix[places[mine] - self._starts[part]]
        return vectors

    def add(self, digests: np.ndarray, vectors: np.ndarray) -> None:
        """Append a part: uint64 digests, shape (n, 2), and float32 vectors, shape (n, h).

        ConfigError for a value that the storage cannot hold.
        """
        stored = narrowed(vectors, self.storage)
        name = uuid.uuid4().hex
        write_array(self.folder / f"{name}.vectors.npy", stored)
        write_array(self.folder / f"{name}.digests.npy", digests)
        self._include(name)

    def take(self, other: EmbeddingCache, digests: np.ndarray) -> None:
        """Add what another cache has of n texts and this one has not."""
        missing = np.unique(digests[self.find(digests) < 0], axis=0)
        places = other.find(missing)
        there = places >= 0
        if there.any():
            self.add(missing[there], other.gather(places[there]))

    def _include(self, name: str) -> None:
        files = [self.folder / f"{name}.{kind}.npy" for kind in ("digests", "vectors")]
        try:
            digests = np.load(files[0])
            matrix = np.load(files[1], mmap_mode="r")
            shape = matrix.shape
            if matrix.dtype != STORAGES[self.storage]:
                raise ValueError(f"{matrix.dtype}, expected {self.storage}")
            if digests.shape != (shape[0], 2) or digests.dtype != np.uint64:
                raise ValueError(f"{digests.shape} digests for {shape} vectors")
        except (ValueError, EOFError) as error:
            self._set_aside(files, str(error))
            return
        except FileNotFoundError:
            self._set_aside(files, "one of its two files is missing")
            return
        self._read.add(name)
        self._index.add(digests)
        self._files.append(files[1])
        self._starts.append(self._starts[-1] + shape[0])
        self._width = shape[1]

    def _set_aside(self, files: list[Path], reason: str) -> None:
        for path in files:
            with suppress(FileNotFoundError):
                os.replace(path, path.with_suffix(".damaged"))
        log.warning("%s is damaged (%s); set aside, its texts are encoded again", files[1], reason)
