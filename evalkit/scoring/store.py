"""Scores on disk, so that no pair is ever scored twice.

A store is a folder; each scorer fingerprint has a subfolder of append-only Parquet segments with
columns query, doc (16-byte text digests) and score (float32). Keys are digests of the texts, never
ids: a changed text misses. A segment is written whole (temporary file, sync, rename) and carries a
checksum of its contents; one that fails it is set aside with a warning and its pairs are scored
again. Names are unique, so that two processes may append to one store.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np

from evalkit.io import atomic
from evalkit.scoring.keys import DIGEST_BYTES, KeyIndex

log = logging.getLogger(__name__)


def _checksum(query: np.ndarray, doc: np.ndarray, score: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for column in (query, doc, score):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


class ScoreStore:
    """The scores of one scorer: what `folder/fingerprint` holds, plus what is added."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder / fingerprint
        self._read: set[str] = set()
        self._index = KeyIndex(4)
        self._scores = np.empty(0, dtype=np.float32)

    def lookup(self, query: np.ndarray, doc: np.ndarray) -> np.ndarray:
        """Stored scores of n pairs: float32, shape (n,), NaN where there is none.

        query, doc: uint64, shape (n, 2), from `text_digests`. Segments that other processes added
        since the last call are read first.
        """
        for path in sorted(self.folder.glob("*.parquet")):
            if path.name not in self._read:
                self._read.add(path.name)
                segment = _read_segment(path)
                if segment is not None:
                    self._remember(*segment)
        at = self._index.find(np.concatenate([query, doc], axis=1))
        scores = np.full(len(at), np.nan, dtype=np.float32)
        scores[at >= 0] = self._scores[at[at >= 0]]
        return scores

    def add(self, query: np.ndarray, doc: np.ndarray, score: np.ndarray) -> None:
        """Append one segment with n scored pairs; durable when this returns."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        score = np.asarray(score, dtype=np.float32)
        digest = pa.binary(DIGEST_BYTES)
        table = pa.table(
            {
                "query": pa.array([row.tobytes() for row in query], type=digest),
                "doc": pa.array([row.tobytes() for row in doc], type=digest),
                "score": pa.array(score),
            }
        ).replace_schema_metadata({"checksum": _checksum(query, doc, score)})
        name = f"{uuid.uuid4().hex}.parquet"
        with atomic(self.folder / name) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        self._read.add(name)
        self._remember(query, doc, score)

    def _remember(self, query: np.ndarray, doc: np.ndarray, score: np.ndarray) -> None:
        self._index.add(np.concatenate([query, doc], axis=1))
        self._scores = np.concatenate([self._scores, score])


def _read_segment(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """A segment's columns, or None when it is damaged (then it is renamed, with a warning)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Read apart from parsing: a file that cannot be opened is no damaged file, its error goes on.
    content = path.read_bytes()
    try:
        table = pq.read_table(pa.BufferReader(content)).combine_chunks()
        query, doc = (_digest_column(table[name]) for name in ("query", "doc"))
        score = table["score"].to_numpy().astype(np.float32)
        stored = (table.schema.metadata or {}).get(b"checksum", b"").decode()
        if stored == _checksum(query, doc, score):
            return query, doc, score
        reason = "checksum differs"
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
    aside = path.with_suffix(".damaged")
    # Another process may have set it aside in the meantime.
    with suppress(FileNotFoundError):
        os.replace(path, aside)
    log.warning("%s is damaged (%s); set aside, its pairs are scored again", aside, reason)
    return None


def _digest_column(column) -> np.ndarray:  # type: ignore[no-untyped-def]
    chunks = [np.frombuffer(c.buffers()[1], np.uint8) for c in column.chunks if len(c)]
    data = np.concatenate(chunks) if chunks else np.empty(0, np.uint8)
    return data[: len(column) * DIGEST_BYTES].view(np.uint64).reshape(-1, 2)
