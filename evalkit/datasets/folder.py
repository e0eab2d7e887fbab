"""A folder in BEIR layout (Thakur et al., NeurIPS 2021 datasets track).

    corpus.jsonl        {"_id": "d1", "title": "...", "text": "..."}       (title optional)
    queries.jsonl       {"_id": "q1", "text": "...", "tags": ["..."]}      (tags optional)
                        "history": ["...", "..."] holds a conversation's earlier turns (optional)
    qrels/<split>.tsv   query-id<TAB>corpus-id<TAB>score, under that header

Also read: qrels/<split>.trec (TREC, four columns), a single qrels.tsv beside the corpus (it is the
split "test"), and any of the files gzipped. The corpus stays on disk: one pass notes where each
doc starts, and `lookup` reads the lines it needs. A gzipped corpus is streamed once per lookup.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Literal, NamedTuple

from evalkit.datasets.collection import (
    DocsSummary,
    Judgements,
    checked_id,
    checked_text,
    content_digest,
    judged,
    read_queries,
    unknown_docs,
    with_history,
)
from evalkit.errors import ConfigError, DataError
from evalkit.io import read_qrels
from evalkit.progress import track
from evalkit.types import Doc, Qrel, Query

LAYOUT = "expected BEIR layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv"
QRELS_SUFFIXES = (".tsv", ".trec", ".tsv.gz", ".trec.gz")
SINGLE_SPLIT = "test"


class _Corpus(NamedTuple):
    """doc_id → where its line starts, in bytes of the (decompressed) file; and the summary."""

    offsets: dict[str, int]
    summary: DocsSummary


class FolderDataset:
    """The collection in folder `path`, evaluated on `split`; `path` is relative to where you are.

    dataset_id: the name in tables, by default "<folder>/<split>". exclude_self, relevance_level:
    as in `evalkit.types.Dataset`. history_turns: how many earlier turns of a conversation stand in
    front of a query's text for every stage, rerankers too; the rest stays its history. Only the
    presence of the files is checked here; they are read when first asked for, and a mistake in them
    is a DataError with file and line.
    """

    has_texts = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str = "test",
        dataset_id: str | None = None,
        exclude_self: bool = False,
        relevance_level: int = 1,
        history_turns: int | Literal["all"] = 0,
    ) -> None:
        if history_turns != "all" and history_turns < 0:
            raise ConfigError(f"dataset.history_turns={history_turns}; expected 0, 1, ... or all")
        self.history_turns = history_turns
        self.path = Path(path).expanduser()
        self.split = split
        self.exclude_self = exclude_self
        self.relevance_level = relevance_level
        if not self.path.is_dir():
            what = "is a file, not a folder" if self.path.exists() else "no such folder"
            raise DataError(f"{self.path}: {what}; {LAYOUT}")
        self.dataset_id = dataset_id or f"{self.path.resolve().name}/{split}"
        self._corpus_file = _find(self.path, "corpus.jsonl")
        self._queries_file = _find(self.path, "queries.jsonl")
        self._qrels_file = _find_qrels(self.path, split)

    @cached_property
    def _read_queries(self) -> tuple[list[Query], dict[str, tuple[str, ...]]]:
        queries, tags = read_queries(self._queries_file)
        return [with_history(query, self.history_turns) for query in queries], tags

    @cached_property
    def _judgements(self) -> Judgements:
        qrels = read_qrels(self._qrels_file)
        return judged(self._read_queries[0], qrels, self.relevance_level, self._qrels_file)

    @cached_property
    def _corpus(self) -> _Corpus:
        offsets: dict[str, int] = {}
        summary = DocsSummary()
        path = self._corpus_file
        for number, offset, doc in track(_corpus_lines(path), f"reading {path.name}"):
            if doc.doc_id in offsets:
                raise DataError(
                    f"{path}, line {number}: doc id '{doc.doc_id}' a second time; "
                    "keep one line a doc"
                )
            offsets[doc.doc_id] = offset
            summary.add(doc)
        if not offsets:
            raise DataError(f"{path}: no docs; {LAYOUT}")
        return _Corpus(offsets, summary)

    @property
    def queries(self) -> Sequence[Query]:
        return self._judgements.queries

    @property
    def qrels(self) -> Sequence[Qrel]:
        return self._judgements.qrels

    @cached_property
    def tags(self) -> Mapping[str, Sequence[str]]:
        tags = self._read_queries[1]
        return {q.query_id: tags[q.query_id] for q in self.queries if q.query_id in tags}

    @property
    def num_docs(self) -> int:
        return self._corpus.summary.num_docs

    @cached_property
    def digest(self) -> str:
        """Of docs (id, title, text, in order), judged queries and their qrels; of nothing else."""
        return content_digest(self._corpus.summary.digest, self._judgements)

    @property
    def docs_digest(self) -> str:
        """Of the docs alone, in order."""
        return self._corpus.summary.digest

    @cached_property
    def warnings(self) -> Sequence[str]:
        missing = {q.doc_id for q in self.qrels} - self._corpus.offsets.keys()
        return (*self._judgements.warnings, *self._corpus.summary.warnings(missing))

    def has_split(self, name: str) -> bool:
        return _split_file(self.path, name) is not None

    def with_split(self, name: str) -> FolderDataset:
        """The collection with another split's qrels; the corpus is not read again."""
        other = FolderDataset(
            self.path, name, None, self.exclude_self, self.relevance_level, self.history_turns
        )
        other.__dict__["_corpus"] = self._corpus
        return other

    def docs_iter(self) -> Iterator[Doc]:
        """Every document in file order; the whole corpus is checked before the first."""
        if self._corpus.offsets:
            for _, _, doc in _corpus_lines(self._corpus_file):
                yield doc

    def lookup(self, doc_ids: Iterable[str]) -> dict[str, Doc]:
        """The documents of these ids, in the order given; an unknown id is a DataError."""
        offsets = self._corpus.offsets
        wanted = list(dict.fromkeys(doc_ids))
        if unknown := [d for d in wanted if d not in offsets]:
            raise unknown_docs(self._corpus_file, unknown, len(wanted))
        found: dict[str, Doc] = {}
        # In file order, so that a gzipped corpus is decompressed once and a disk reads forward.
        with _open_bytes(self._corpus_file) as file:
            for doc_id in sorted(wanted, key=offsets.__getitem__):
                file.seek(offsets[doc_id])
                found[doc_id] = _doc(file.readline(), f"{self._corpus_file}, doc '{doc_id}'")
                if found[doc_id].doc_id != doc_id:
                    raise DataError(f"{self._corpus_file}: changed while in use; start again")
        return {doc_id: found[doc_id] for doc_id in wanted}


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder}: no {name}; {LAYOUT}")


def _split_file(folder: Path, split: str) -> Path | None:
    paths = [folder / "qrels" / f"{split}{suffix}" for suffix in QRELS_SUFFIXES]
    if split == SINGLE_SPLIT:
        paths += [folder / "qrels.tsv", folder / "qrels.tsv.gz"]
    return next((path for path in paths if path.is_file()), None)


def _find_qrels(folder: Path, split: str) -> Path:
    found = _split_file(folder, split)
    if found is not None:
        return found
    qrels = folder / "qrels"
    single = _split_file(folder, SINGLE_SPLIT)
    splits = {
        path.name.removesuffix(suffix)
        for path in (qrels.iterdir() if qrels.is_dir() else ())
        for suffix in QRELS_SUFFIXES
        if path.name.endswith(suffix)
    } | ({SINGLE_SPLIT} if single else set())
    here = f"splits here: {', '.join(sorted(splits))}" if splits else "no split is here"
    raise DataError(f"{folder}: no qrels/{split}.tsv; {here}; {LAYOUT}")


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


def _corpus_lines(path: Path) -> Iterator[tuple[int, int, Doc]]:
    """(line number from 1, byte offset, doc) of every line that is not blank."""
    offset = 0
    with _open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, offset, _doc(line, f"{path}, line {number}")
            offset += len(line)


def _doc(line: bytes, where: str) -> Doc:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: not UTF-8 ({error.reason}); save the file as UTF-8, for instance with iconv"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON ({error.msg} at column {error.colno}); "
            'every line must be one object such as {"_id": "1", "title": "", "text": "..."}'
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: a {type(value).__name__}, expected an object")
    title = checked_text(value, where, "title")
    return Doc(checked_id(value, where), title, checked_text(value, where))
