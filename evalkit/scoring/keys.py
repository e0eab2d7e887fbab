"""Digests of texts and of pairs of texts, and finding many of them at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DIGEST_BYTES = 16
# Odd, so that multiplying by them loses nothing; the first four are the primes of xxHash64.
_ODD = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
)


def text_digests(texts: Sequence[str]) -> np.ndarray:
    """BLAKE2b digests of texts: uint64, shape (len(texts), 2). Equal texts are hashed once."""
    known: dict[str, bytes] = {}
    for text in texts:
        if text not in known:
            known[text] = hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()
    joined = b"".join(known[text] for text in texts)
    return np.frombuffer(joined, dtype=np.uint64).reshape(-1, 2)


def pair_digests(query: np.ndarray, doc: np.ndarray) -> np.ndarray:
    """Digests of n pairs of texts, from the texts' own: uint64, shape (n, 2) in and out.

    Digests are random numbers of 128 bits, and so are these: two different pairs share one as
    rarely as two different texts do (once in 10²⁶ stores of two million pairs).
    """
    digests = np.empty((len(query), 2), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for word in range(2):
            mine, other = (np.uint64(odd) for odd in _ODD[2 * word : 2 * word + 2])
            digests[:, word] = query[:, word] * mine ^ doc[:, word] * other
    return digests


class _Level(NamedTuple):
    """Keys sorted by their mix: words (width, n), the first is the mix; positions (n,)."""

    words: np.ndarray
    positions: np.ndarray


class KeyIndex:
    """Finds the position at which a key was first added; a key is a row of 1 to 4 uint64.

    Sorting and searching go by one mixed word a key, which is held in place of the first: together
    with the others it determines it, so that equality is checked on the whole. A key costs 8 bytes
    a word and 8 for its position. Of two keys with one mix the second is not found; among digests
    that does not happen. Keys are kept in sorted levels that double in size, so that
    adding n keys in any number of calls costs n log n.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._count = 0
        self._levels: list[_Level] = []

    def __len__(self) -> int:
        return self._count

    def add(self, keys: np.ndarray) -> None:
        """Append n keys, uint64, shape (n, width); they take the next n positions."""
        keys = np.asarray(keys, dtype=np.uint64).reshape(-1, self.width)
        if not len(keys):
            return
        words, positions = _mixed(keys), np.arange(self._count, self._count + len(keys))
        self._count += len(keys)
        while self._levels and len(self._levels[-1].positions) <= len(positions):
            older = self._levels.pop()
            words = np.concatenate([older.words, words], axis=1)
            positions = np.concatenate([older.positions, positions])
        # Stable, and older levels first: of equal keys the one added first is found.
        order = np.argsort(words[0], kind="stable")
        self._levels.append(_Level(words[:, order], positions[order]))

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Positions of n keys: int64, shape (n,), -1 where a key was never added."""
        found = np.full(len(keys), -1, dtype=np.int64)
        if not len(keys) or not self._levels:
            return found
        words = _mixed(np.asarray(keys, dtype=np.uint64).reshape(-1, self.width))
        # In sorted order the search walks through memory instead of jumping: several times as fast.
        order = np.argsort(words[0])
        words = words[:, order]
        for level in reversed(self._levels):
            at = np.searchsorted(level.words[0], words[0])
            np.minimum(at, len(level.positions) - 1, out=at)
            same = np.ones(len(at), dtype=bool)
            for mine, wanted in zip(level.words, words, strict=True):
                same &= mine[at] == wanted
            found[order[same]] = level.positions[at[same]]
        return found


def _mixed(keys: np.ndarray) -> np.ndarray:
    """The words of n keys, the first replaced by a mix of all: uint64, shape (width, n)."""
    words = np.array(keys.T, order="C")
    with np.errstate(over="ignore"):
        words[0] *= np.uint64(_ODD[0])
        for column in range(1, len(words)):
            words[0] ^= words[column] * np.uint64(_ODD[column])
    return words
