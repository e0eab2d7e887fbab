"""Looking after a score store: what it holds, whether it is sound, few segments instead of many.

Everything here may run while other processes read the store and add to it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.errors import OutputError
from evalkit.scoring.keys import KeyIndex, pair_digests
from evalkit.scoring.segment_folder import (
    ASIDE,
    SegmentReader,
    file_names,
    read_description,
    remove_stale,
    segment_names,
)
from evalkit.scoring.segments import (
    Damaged,
    Scored,
    segment_pairs,
    segment_stamp,
    write_segment,
)


class ScorerStats(NamedTuple):
    """What a store holds of one scorer.

    about: its description, empty where nobody gave one. size: bytes of its segments. written:
    seconds since 1970 when the last was written, None where there is none. damaged: files set aside
    and segments whose footer cannot be read.
    """

    fingerprint: str
    about: dict[str, Any]
    pairs: int
    segments: int
    size: int
    written: float | None
    damaged: int


class Verified(NamedTuple):
    """pairs and segments that are sound; damaged: the files set aside; stale: temporary files of
    killed processes, taken away."""

    pairs: int
    segments: int
    damaged: list[Path]
    stale: int


class Compacted(NamedTuple):
    """Segments merged into one (below two: nothing to do), the pairs that they held together, how
    often a pair was in them once more than needed, and their bytes before and after."""

    segments: int
    pairs: int
    repeated: int
    size_before: int
    size_after: int


def scorers(folder: Path) -> list[str]:
    """The fingerprints that a store holds something of."""
    return [name for name in sorted(file_names(folder)) if (folder / name).is_dir()]


def stats(folder: Path, fingerprint: str) -> ScorerStats:
    """What the store at `folder` holds of a scorer, by the segments' footers: quick, and no proof
    that they are sound."""
    home = folder / fingerprint
    about = read_description(home)
    pairs, size, segments, written = 0, 0, 0, None
    damaged = sum(name.endswith(ASIDE) for name in file_names(home))
    for name in segment_names(home):
        with suppress(FileNotFoundError):  # merged or set aside since it was listed
            status = (home / name).stat()
            try:
                pairs += segment_pairs(home / name)
            except Damaged:
                damaged += 1
                continue
            segments, size = segments + 1, size + status.st_size
            written = max(written or 0, status.st_mtime)
    return ScorerStats(fingerprint, about, pairs, segments, size, written, damaged)


def verify(folder: Path, fingerprint: str) -> Verified:
    """Read every segment of a scorer; damaged ones are set aside, with a warning each."""
    home = folder / fingerprint
    reader = SegmentReader(home)
    pairs = sum(len(segment.score) for segment in reader.unread())
    return Verified(pairs, len(reader.seen), reader.damaged, remove_stale(home))


def compact(folder: Path, fingerprint: str) -> Compacted:
    """Merge a scorer's segments into one; the score of no pair changes.

    The merged segment is on the disk before the others go, and what is added in the meantime stays.
    Damaged segments are set aside, with a warning each. OutputError where the merged one cannot be
    written: then all is as it was.
    """
    home = folder / fingerprint
    remove_stale(home)
    reader = SegmentReader(home)
    segments = list(reader.unread())
    merged_from = sorted(reader.seen)
    before = _size(home, merged_from)
    count = sum(len(segment.score) for segment in segments)
    if len(merged_from) < 2:
        return Compacted(len(merged_from), count, 0, before, before)
    whole = _merged(segments)
    # With the newest's time it stays older than what is added from now on.
    name = write_segment(home, whole, segment_stamp(merged_from[-1]))
    for old in merged_from:
        if old != name:  # another process came to the very same segment
            _remove(home / old)
    pairs = len(whole.score)
    return Compacted(len(merged_from), pairs, count - pairs, before, _size(home, [name]))


def _merged(segments: list[Scored]) -> Scored:
    """All pairs once, with the score of the oldest segment that has it, sorted by query and doc.

    Sorted, a query's pairs stand together and its digest takes no room.
    """
    query, doc, score = map(np.concatenate, zip(*segments, strict=True))
    keys = pair_digests(query, doc)
    index = KeyIndex(2)
    index.add(keys)
    first = np.flatnonzero(index.find(keys) == np.arange(len(keys)))
    order = first[np.lexsort((doc[first, 0], query[first, 0]))]
    return Scored(query[order], doc[order], score[order])


def _size(home: Path, names: list[str]) -> int:
    """Bytes of these segments; none for one that another process has merged by now."""
    total = 0
    for name in names:
        with suppress(FileNotFoundError):
            total += (home / name).stat().st_size
    return total


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path}: merged into another segment, and cannot be removed "
            f"({error.strerror or error}); it does no harm: make its folder writable and compact "
            "again"
        ) from error
