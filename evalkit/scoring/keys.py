"""Digests of texts, and finding many of them at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DIGEST_BYTES = 16
_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5)


def text_digests(texts: Sequence[str]) -> np.ndarray:
    """BLAKE2b digests of texts: uint64, shape (len(texts), 2). Equal texts are hashed once."""
    known: dict[str, bytes] = {}
    for text in texts:
        if text not in known:
            known[text] = hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()
    joined = b"".join(known[text] for text in texts)
    return np.frombuffer(joined, dtype=np.uint64).reshape(-1, 2)


class _Level(NamedTuple):
    """Keys sorted by their mix: mixed (n,), keys (n, width), positions (n,)."""

    mixed: np.ndarray
    keys: np.ndarray
    positions: np.ndarray


class KeyIndex:
    """Finds the position at which a key was added; a key is a row of `width` uint64 (at most 4).

    Sorting and searching go by one mixed uint64 a key; equality is always checked on the whole.
    Keys are kept in sorted levels that double in size, so that adding n keys in any number of
    calls costs n log n.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._count = 0
        self._levels: list[_Level] = []

    def add(self, keys: np.ndarray) -> None:
        """Append n keys, uint64, shape (n, width); they take the next n positions."""
        keys = np.asarray(keys, dtype=np.uint64).reshape(-1, self.width)
        positions = np.arange(self._count, self._count + len(keys))
        self._count += len(keys)
        level = _Level(_mix(keys), keys, positions)
        while self._levels and len(self._levels[-1].mixed) <= len(level.mixed):
            level = _Level(*map(np.concatenate, zip(self._levels.pop(), level, strict=True)))
        order = np.argsort(level.mixed, kind="stable")
        self._levels.append(_Level(*(column[order] for column in level)))

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Positions of n keys: int64, shape (n,), -1 where a key was never added."""
        found = np.full(len(keys), -1, dtype=np.int64)
        wanted = _mix(keys) if len(keys) else found
        for level in self._levels:
            if len(level.mixed):
                at = np.minimum(np.searchsorted(level.mixed, wanted), len(level.mixed) - 1)
                same = (level.keys[at] == keys).all(axis=1)
                found[same] = level.positions[at[same]]
        return found


def _mix(keys: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        mixed = keys[:, 0] * np.uint64(_ODD[0])
        for column in range(1, keys.shape[1]):
            mixed = mixed ^ keys[:, column] * np.uint64(_ODD[column])
    return mixed
