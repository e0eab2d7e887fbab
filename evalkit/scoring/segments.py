"""The files of the score store: one segment is one Parquet file, written once, never changed.

Columns query and doc (16-byte text digests) and score (float32). A segment is named
`TIME-CHECKSUM.parquet`: nanoseconds since 1970, so that names sort by age, and the BLAKE2b digest
of the whole file. Whatever byte of it changes, it is known before the Parquet reader sees it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.errors import DataError, OutputError
from evalkit.io import FULL_DISK, write_bytes
from evalkit.scoring.keys import DIGEST_BYTES

SUFFIX = ".parquet"
_NAME = re.compile(r"(?P<time>\d{20})-(?P<checksum>[0-9a-f]{32})\.parquet")
# Bytes of distinct digests up to which a column is written as a dictionary and places in it. Few
# queries and docs make many pairs, so that it pays; above it Parquet falls back to plain values.
_DICTIONARY_BYTES = 2**26
# Pairs decoded at a time: 9 MB.
_PART = 2**18


class Scored(NamedTuple):
    """Scores of n pairs. query, doc: uint64, shape (n, 2), text digests; score: float32, (n,)."""

    query: np.ndarray
    doc: np.ndarray
    score: np.ndarray


class Damaged(Exception):
    """A segment does not hold what was written; the message says in what way."""


def write_segment(folder: Path, scored: Scored, stamp: int | None = None) -> str:
    """Write n pairs as one segment; its name. It is on the disk, whole, when this returns.

    stamp: the time in its name, now unless given. OutputError where it cannot be written: then it
    is not there at all.
    """
    content = _encoded(scored)
    stamp = time.time_ns() if stamp is None else stamp
    name = f"{stamp:020d}-{_checksum(content)}{SUFFIX}"
    with full_disk_explained(folder):
        write_bytes(folder / name, content)
    return name


def read_segment(path: Path) -> Iterator[Scored]:
    """A segment's pairs, a part at a time: decoded, a merged one is large.

    Damaged if it is not what was written; FileNotFoundError if it was merged into another;
    DataError if it cannot be opened, which says nothing about what it holds.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    expected = _NAME.fullmatch(path.name)
    if expected is None:
        raise Damaged("its name holds no checksum")
    if _checksum(content) != expected["checksum"]:
        raise Damaged("its checksum differs")
    yield from _decoded(content)


def segment_stamp(name: str) -> int:
    """The time in a segment's name, nanoseconds since 1970."""
    return int(name.partition("-")[0])


def segment_pairs(path: Path) -> int:
    """Pairs in a segment, by its footer alone; Damaged if that cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open(path, "rb") as file:
            return pq.read_metadata(file).num_rows
    except FileNotFoundError:
        raise
    except pa.ArrowException as error:
        raise Damaged(str(error).splitlines()[0]) from error
    except OSError as error:
        if error.filename is None:  # Arrow's way to say that a footer makes no sense
            raise Damaged(str(error).splitlines()[0]) from error
        raise unreadable(path, error) from error


@contextmanager
def full_disk_explained(folder: Path) -> Iterator[None]:
    """An OutputError inside the block that comes of a full disk says what to do about it."""
    try:
        yield
    except OutputError as error:
        if getattr(error.__cause__, "errno", None) not in FULL_DISK:
            raise
        raise OutputError(
            f"{folder}: the disk is full, new scores cannot be stored (those stored before are "
            "safe); free some space, or choose another disk with cache_dir=DIR, then run the same "
            "command again"
        ) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """The one line on a file or folder that cannot be opened."""
    return DataError(
        f"{path}: cannot be read ({error.strerror or error}); make it readable, or choose another "
        "folder with cache_dir=DIR"
    )


def _encoded(scored: Scored) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    score = np.ascontiguousarray(scored.score, dtype=np.float32)
    table = pa.table(
        {
            "query": _digest_array(scored.query),
            "doc": _digest_array(scored.doc),
            "score": pa.array(score),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=["query", "doc"],
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
        use_byte_stream_split=["score"],
        write_statistics=False,
        store_schema=False,
    )
    return sink.getvalue().to_pybytes()


def _decoded(content: bytes) -> Iterator[Scored]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(pa.BufferReader(content)).iter_batches(_PART):
            query, doc = (_digests(batch[name]) for name in ("query", "doc"))
            yield Scored(query, doc, batch["score"].to_numpy().astype(np.float32, copy=False))
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise Damaged(str(error).splitlines()[0]) from error


def _digest_array(digests: np.ndarray) -> Any:
    """An Arrow array of 16-byte values over uint64 of shape (n, 2); nothing is copied twice."""
    import pyarrow as pa

    data = pa.py_buffer(np.ascontiguousarray(digests, dtype=np.uint64))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(DIGEST_BYTES), len(digests), [None, data])


def _digests(column: Any) -> np.ndarray:
    """uint64, shape (n, 2), of a column of 16-byte values; a view of it."""
    if column.type.byte_width != DIGEST_BYTES or column.null_count:
        raise ValueError(f"a column of {column.type}, expected {DIGEST_BYTES} bytes a value")
    values = np.frombuffer(column.buffers()[1], dtype=np.uint64).reshape(-1, 2)
    return values[column.offset : column.offset + len(column)]


def _checksum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
