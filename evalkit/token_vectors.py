"""Rows of different lengths on disk by text: a text's token vectors, or its weighted terms.

A cache is a folder of parts. A part is several flat arrays: the rows of its texts end to end (one
array a column, memory-mapped), the rows' lengths, which texts were cut, and the digests of the
texts. A part is complete when its digests are there; they are written last. Two processes may add
to one cache.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evalkit.io import write_array
from evalkit.scoring.keys import KeyIndex

log = logging.getLogger(__name__)

# What is held of a text: its entries, where they start in its part, whether it was cut.
_TEXT = np.dtype([("length", np.int64), ("start", np.int64), ("cut", np.bool_)])


class Rows(NamedTuple):
    """The rows of n texts, T entries in all.

    lengths: int64, shape (n,), entries of each text. cut: bool, shape (n,), which texts the model's
    longest input cuts. columns: arrays of shape (T, ...), the texts' entries end to end.
    """

    lengths: np.ndarray
    cut: np.ndarray
    columns: tuple[np.ndarray, ...]

    @property
    def offsets(self) -> np.ndarray:
        """int64, shape (n + 1,): the entries of text i are offsets[i]:offsets[i+1]."""
        return np.concatenate([[0], np.cumsum(self.lengths)])


class FreshRows(threading.local):
    """As `RaggedCache`, in memory: what an encoder makes of texts that must not be kept.

    Each thread has its own, so that several may be served at a time.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget this thread's texts; places given before mean nothing any more."""
        self._places: dict[bytes, int] = {}
        self._rows: list[Rows] = []

    def find(self, digests: np.ndarray) -> np.ndarray:
        places = [self._places.get(digest.tobytes(), -1) for digest in digests]
        return np.array(places, dtype=np.int64)

    def lengths(self, places: np.ndarray) -> np.ndarray:
        return np.array([self._rows[place].lengths[0] for place in places], dtype=np.int64)

    def cut(self, places: np.ndarray) -> np.ndarray:
        return np.array([self._rows[place].cut[0] for place in places], dtype=bool)

    def gather(self, places: np.ndarray) -> Rows:
        found = [self._rows[place] for place in places]
        columns = zip(*(row.columns for row in found), strict=True)
        return Rows(
            self.lengths(places), self.cut(places), tuple(np.concatenate(each) for each in columns)
        )

    def add(self, digests: np.ndarray, values: Rows) -> None:
        offsets = values.offsets
        for i, digest in enumerate(digests):
            own = slice(offsets[i], offsets[i + 1])
            self._places[digest.tobytes()] = len(self._rows)
            parts = tuple(column[own] for column in values.columns)
            self._rows.append(Rows(values.lengths[i : i + 1], values.cut[i : i + 1], parts))


class RaggedCache:
    """What one encoder made of one kind of text (queries or docs).

    columns: names of the arrays that make up a row, such as ("vectors",).
    """

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self.folder, self.columns = folder, tuple(columns)
        self._read: set[str] = set()
        self._index = KeyIndex(2)
        # Rows are read from their files when they are gathered; where they are is held.
        self._names: list[str] = []
        self._firsts = [0]
        self._tables: list[np.ndarray] = []

    def find(self, digests: np.ndarray) -> np.ndarray:
        """Places of n texts: int64, shape (n,), -1 where there is no row; for the others below."""
        for path in sorted(self.folder.glob("*.digests.npy")):
            name = path.name.removesuffix(".digests.npy")
            if name not in self._read:
                self._include(name)
        return self._index.find(digests)

    @property
    def _table(self) -> np.ndarray:
        """What is held of every text: shape (texts,), fields as in `_TEXT`."""
        if len(self._tables) != 1:
            self._tables = [np.concatenate([np.empty(0, _TEXT), *self._tables])]
        return self._tables[0]

    def lengths(self, places: np.ndarray) -> np.ndarray:
        """Entries of the rows at n places: int64, shape (n,)."""
        return self._table["length"][places]

    def cut(self, places: np.ndarray) -> np.ndarray:
        """Which texts at n places the model's longest input cuts: bool, shape (n,)."""
        return self._table["cut"][places]

    def gather(self, places: np.ndarray) -> Rows:
        """The rows at n places, none of them -1, in their order and stored precision."""
        if len(places) == 0:
            raise ValueError("no places: without a row, its shape is not known")
        lengths, starts = self.lengths(places), self._table["start"][places]
        ends = np.cumsum(lengths)
        owner = np.searchsorted(self._firsts, places, side="right") - 1
        columns: list[np.ndarray] = []
        for column in self.columns:
            first = self._load(self._names[owner[0]], column)
            whole = np.empty((ends[-1], *first.shape[1:]), dtype=first.dtype)
            for part in np.unique(owner):
                mine = owner == part
                here = _ranges((ends - lengths)[mine], lengths[mine])
                there = _ranges(starts[mine], lengths[mine])
                whole[here] = self._load(self._names[part], column)[there]
            columns.append(whole)
        return Rows(lengths, self.cut(places), tuple(columns))

    def add(self, digests: np.ndarray, values: Rows) -> None:
        """Append a part of n texts: uint64 digests, shape (n, 2), and their rows."""
        name = uuid.uuid4().hex
        for column, array in zip(self.columns, values.columns, strict=True):
            write_array(self._path(name, column), array)
        write_array(self._path(name, "lengths"), np.asarray(values.lengths, dtype=np.int64))
        write_array(self._path(name, "cut"), np.asarray(values.cut, dtype=bool))
        write_array(self._path(name, "digests"), digests)
        self._include(name)

    def _path(self, name: str, kind: str) -> Path:
        return self.folder / f"{name}.{kind}.npy"

    def _load(self, name: str, column: str) -> np.ndarray:
        return np.load(self._path(name, column), mmap_mode="r")

    def _include(self, name: str) -> None:
        try:
            digests, lengths, cut = (
                np.load(self._path(name, kind)) for kind in ("digests", "lengths", "cut")
            )
            if digests.shape != (len(lengths), 2) or digests.dtype != np.uint64:
                raise ValueError(f"{digests.shape} digests for {len(lengths)} texts")
            if len(cut) != len(lengths):
                raise ValueError(f"{len(cut)} flags for {len(lengths)} texts")
            for column in self.columns:
                entries = len(self._load(name, column))
                if entries != lengths.sum():
                    raise ValueError(f"{entries} {column} for {lengths.sum()} entries")
        except (ValueError, EOFError) as error:
            self._set_aside(name, str(error))
            return
        except FileNotFoundError as error:
            self._set_aside(name, f"{Path(str(error.filename)).name} is missing")
            return
        self._read.add(name)
        self._index.add(digests)
        table = np.empty(len(lengths), _TEXT)
        table["length"], table["start"] = lengths, np.cumsum(lengths) - lengths
        table["cut"] = cut
        self._names.append(name)
        self._firsts.append(self._firsts[-1] + len(lengths))
        self._tables.append(table)

    def _set_aside(self, name: str, reason: str) -> None:
        for path in self.folder.glob(f"{name}.*.npy"):
            with suppress(FileNotFoundError):
                os.replace(path, path.with_suffix(".damaged"))
        log.warning(
            "%s is damaged (%s); set aside, its texts are encoded again",
            self._path(name, "digests"),
            reason,
        )


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each pair, end to end: int64, shape (sum of lengths,)."""
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) + np.repeat(starts - (ends - lengths), lengths)
