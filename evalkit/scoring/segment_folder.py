"""A scorer's folder in the score store, which any number of processes read and write at once.

It holds segments, `scorer.json` (which scorer this is, for people), segments set aside as damaged,
and, for the moment of a write, temporary files whose names begin with a dot.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from evalkit.errors import DataError, OutputError
from evalkit.io import read_json, write_json
from evalkit.scoring.segments import (
    SUFFIX,
    Damaged,
    Scored,
    full_disk_explained,
    read_segment,
    unreadable,
)

log = logging.getLogger(__name__)
DESCRIPTION, ASIDE = "scorer.json", ".damaged"
# A write takes seconds; a temporary file that is older was left by a process that was killed.
_STALE_S = 3600


class SegmentReader:
    """Reads the segments of a scorer, each once, while other processes add and merge some.

    seen: names of those read, to which one may add. damaged: those set aside, where they are now.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: set[str] = set()
        self.damaged: list[Path] = []

    def unread(self) -> Iterator[Scored]:
        """The pairs of the segments that were not seen yet, the oldest first, part by part.

        Damaged ones are set aside, with a warning. DataError if one cannot be opened.
        """
        gone: set[str] = set()
        while new := sorted(segment_names(self.folder) - self.seen - gone):
            for name in new:
                try:
                    yield from read_segment(self.folder / name)
                    self.seen.add(name)
                except FileNotFoundError:
                    gone.add(name)  # merged since it was listed: the next listing has the whole
                except Damaged as reason:
                    gone.add(name)
                    self.damaged.append(set_aside(self.folder / name, reason))


def segment_names(folder: Path) -> set[str]:
    """The segments of a scorer; DataError where the folder cannot be read.

    A single listing that runs while another process merges segments may miss the merged one and,
    further on, those that it took the place of. A second listing has seen it.
    """
    return {
        name
        for _ in range(2)
        for name in file_names(folder)
        if name.endswith(SUFFIX) and not name.startswith(".")
    }


def file_names(folder: Path) -> list[str]:
    """All files of a folder, none where there is no folder yet."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(folder, error) from error


def write_description(folder: Path, about: Mapping[str, Any]) -> None:
    """Say to people which scorer's folder this is, unless that was said."""
    if about and not (folder / DESCRIPTION).exists():
        with full_disk_explained(folder):
            write_json(folder / DESCRIPTION, about)


def set_aside(path: Path, reason: Damaged) -> Path:
    """Rename a damaged segment, with a warning; where it is now."""
    aside = path.with_suffix(ASIDE)
    try:
        # Another process may have set it aside in the meantime.
        with suppress(FileNotFoundError):
            os.replace(path, aside)
    except OSError as error:
        raise cannot_set_aside(path, reason, error) from error
    log.warning("%s is damaged (%s); set aside, its pairs are scored again", aside, reason)
    return aside


def cannot_set_aside(path: Path, reason: object, error: OSError) -> OutputError:
    """The one line on a damaged file that cannot be renamed."""
    return OutputError(
        f"{path}: damaged ({reason}), and cannot be set aside ({error.strerror or error}); "
        "make its folder writable, or choose another with cache_dir=DIR"
    )


def read_description(folder: Path) -> dict[str, Any]:
    """What people should know of the scorer, empty where nobody said; DataError if damaged."""
    path = folder / DESCRIPTION
    if not path.exists():
        return {}
    try:
        about = read_json(path)
    except (DataError, UnicodeDecodeError):
        about = None
    if not isinstance(about, dict):
        raise DataError(f"{path}: holds no JSON object; delete it, it is written again")
    return about


def remove_stale(folder: Path, ends: tuple[str, ...] = (SUFFIX, DESCRIPTION)) -> int:
    """Take away what killed processes left half written of files with these ends; how many."""
    removed = 0
    for name in file_names(folder):
        if not name.startswith(".") or not any(f"{end}." in name for end in ends):
            continue
        # Gone already, or another user's of a shared store.
        with suppress(FileNotFoundError, PermissionError):
            if time.time() - (folder / name).stat().st_mtime > _STALE_S:
                (folder / name).unlink()
                removed += 1
    return removed
