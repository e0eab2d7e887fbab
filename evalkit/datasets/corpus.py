"""A BEIR corpus.jsonl, gzipped or not, that stays on disk.

One pass notes where each doc starts, and `lookup` reads the lines it needs. A gzipped corpus is
streamed once per lookup. A mistake in the file is a DataError with file and line.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO

from evalkit.datasets.collection import DocsSummary, checked_id, checked_text, unknown_docs
from evalkit.errors import DataError
from evalkit.progress import track
from evalkit.types import Doc

LAYOUT = "expected BEIR layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv"


class CorpusFile:
    """The docs of the file at `path`, which is read when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _content(self) -> tuple[dict[str, int], DocsSummary]:
        """doc_id → where its line starts, in bytes of the (decompressed) file; and the summary."""
        offsets: dict[str, int] = {}
        summary = DocsSummary()
        for number, offset, doc in track(self._lines(), f"reading {self.path.name}"):
            if doc.doc_id in offsets:
                raise DataError(
                    f"{self.path}, line {number}: doc id '{doc.doc_id}' a second time; "
                    "keep one line a doc"
                )
            offsets[doc.doc_id] = offset
            summary.add(doc)
        if not offsets:
            raise DataError(f"{self.path}: no docs; {LAYOUT}")
        return offsets, summary

    @property
    def offsets(self) -> dict[str, int]:
        return self._content[0]

    @property
    def doc_ids(self) -> Collection[str]:
        return self.offsets.keys()

    @property
    def summary(self) -> DocsSummary:
        return self._content[1]

    @property
    def notes(self) -> Sequence[str]:
        """Nothing: every line that is not blank is a doc."""
        return ()

    def docs_iter(self) -> Iterator[Doc]:
        """Every document in file order; the whole corpus is checked before the first."""
        if self.offsets:
            for _, _, doc in self._lines():
                yield doc

    def lookup(self, doc_ids: Iterable[str]) -> dict[str, Doc]:
        """The documents of these ids, in the order given; an unknown id is a DataError."""
        offsets = self.offsets
        wanted = list(dict.fromkeys(doc_ids))
        if unknown := [d for d in wanted if d not in offsets]:
            raise unknown_docs(self.path, unknown, len(wanted))
        found: dict[str, Doc] = {}
        # In file order, so that a gzipped corpus is decompressed once and a disk reads forward.
        with _open_bytes(self.path) as file:
            for doc_id in sorted(wanted, key=offsets.__getitem__):
                file.seek(offsets[doc_id])
                found[doc_id] = _doc(file.readline(), f"{self.path}, doc '{doc_id}'")
                if found[doc_id].doc_id != doc_id:
                    raise DataError(f"{self.path}: changed while in use; start again")
        return {doc_id: found[doc_id] for doc_id in wanted}

    def _lines(self) -> Iterator[tuple[int, int, Doc]]:
        """(line number from 1, byte offset, doc) of every line that is not blank."""
        offset = 0
        with _open_bytes(self.path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, offset, _doc(line, f"{self.path}, line {number}")
                offset += len(line)


@contextmanager
def _open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The corpus as bytes, decompressed, so that offsets are bytes; trouble is a DataError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            yield file  # type: ignore[misc]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); download it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _doc(line: bytes, where: str) -> Doc:
    try:
        value = json.loads(line.decode("utf-8-sig").rstrip())
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: not UTF-8 ({error.reason}); save the file as UTF-8, for instance with "
            "iconv -f GB18030 -t UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON (column {error.colno}: {error.msg}); every line must be one object "
            'such as {"_id": "1", "title": "", "text": "..."}'
            + ("; for a file that is one array: jq -c '.[]'" if line.strip() == b"[" else "")
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: a {type(value).__name__}, expected an object")
    title = checked_text(value, where, "title")
    return Doc(checked_id(value, where), title, checked_text(value, where))
