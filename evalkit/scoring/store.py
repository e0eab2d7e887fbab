"""Scores on disk, so that no pair is ever scored twice.

A store is a folder; each scorer fingerprint has a subfolder of append-only segments (see
`segments` and `segment_folder`) and a `scorer.json` that says to people which scorer it is. Keys
are digests of the texts, never ids: a changed text misses. A damaged segment is set aside with a
warning and its pairs are scored again. Any number of processes may use one store at once, and each
sees what the others add. Should two have scored one pair at the same time, a process goes by the
score that it knew first, and one that starts later by the older.

In memory a stored pair takes 28 bytes, and up to 32 while the store grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import ScoreError
from evalkit.scoring.keys import KeyIndex, pair_digests
from evalkit.scoring.segment_folder import SegmentReader, remove_stale, write_description
from evalkit.scoring.segments import Scored, write_segment

# Pairs read from small segments before they are sorted into the index in one go.
_GATHERED = 2**18


class ScoreStore:
    """The scores of one scorer: what `folder/fingerprint` holds, plus what is added.

    about: what people should read of the scorer, plain JSON data such as its model and settings.
    """

    def __init__(
        self, folder: Path, fingerprint: str, about: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = folder / fingerprint
        self.about = about or {}
        self._segments = SegmentReader(self.folder)
        self._is_new = True  # nothing was added by this process
        self._index = KeyIndex(2)
        self._scores = np.empty(0, dtype=np.float32)

    def __len__(self) -> int:
        """Pairs in memory; twice for one that was merged while it was read."""
        return len(self._index)

    def lookup(self, query: np.ndarray, doc: np.ndarray) -> np.ndarray:
        """Stored scores of n pairs: float32, shape (n,), NaN where there is none.

        query, doc: uint64, shape (n, 2), from `text_digests`. Segments that other processes added
        since the last call are read first. DataError if a segment cannot be opened.
        """
        self._refresh()
        at = self._index.find(pair_digests(query, doc))
        scores = np.full(len(at), np.nan, dtype=np.float32)
        known = at >= 0
        scores[known] = self._scores[at[known]]
        return scores

    def add(self, query: np.ndarray, doc: np.ndarray, score: np.ndarray) -> None:
        """Append one segment with n scored pairs; durable when this returns.

        OutputError where it cannot be written: then nothing of it is stored.
        """
        score = np.asarray(score, dtype=np.float32)
        if np.isnan(score).any():
            raise ScoreError(
                f"{int(np.isnan(score).sum())} of {len(score)} scores to store are NaN, which "
                "stands for pairs without a score; look at what the scorer returns"
            )
        if not len(score):
            return
        if self._is_new:
            write_description(self.folder, self.about)
        self._segments.seen.add(write_segment(self.folder, Scored(query, doc, score)))
        if self._is_new:
            remove_stale(self.folder)
        self._is_new = False
        self._remember(pair_digests(query, doc), score)

    def _refresh(self) -> None:
        """Read the segments that were not read yet, the oldest first."""
        gathered: list[Scored] = []
        pairs = 0
        try:
            for segment in self._segments.unread():
                gathered.append(segment)
                pairs += len(segment.score)
                if pairs >= _GATHERED:
                    self._remember_all(gathered)
                    gathered, pairs = [], 0
        finally:  # what was read counts as seen, even where a later segment cannot be opened
            self._remember_all(gathered)

    def _remember_all(self, segments: list[Scored]) -> None:
        if segments:
            query, doc, score = map(np.concatenate, zip(*segments, strict=True))
            self._remember(pair_digests(query, doc), score)

    def _remember(self, keys: np.ndarray, score: np.ndarray) -> None:
        """Keep what is new; the other scores, such as those of a merged segment, are known."""
        new = self._index.find(keys) < 0
        keys, score = keys[new], score[new]
        count = len(self._index)
        if count + len(score) > len(self._scores):
            grown = np.empty(max(2 * count, count + len(score)), dtype=np.float32)
            grown[:count] = self._scores[:count]
            self._scores = grown
        self._scores[count : count + len(score)] = score
        self._index.add(keys)
