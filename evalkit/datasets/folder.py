"""A folder in BEIR layout (Thakur et al., NeurIPS 2021 datasets track).

    corpus.jsonl        {"_id": "d1", "title": "...", "text": "..."}       (title optional)
    queries.jsonl       {"_id": "q1", "text": "...", "tags": ["..."]}      (tags optional)
                        "history": ["...", "..."] holds a conversation's earlier turns (optional)
    qrels/<split>.tsv   query-id<TAB>corpus-id<TAB>score, under that header

Also read: qrels/<split>.trec (TREC, four columns), a single qrels.tsv beside the corpus (it is the
split "test"), and any of the files gzipped. The corpus stays on disk: see `CorpusFile`. Without a
corpus.jsonl the folder corpus/ may hold .txt and .md files, one a doc: see `TextCorpus`. A
synthetic.json says that a language model wrote queries and judgements: see `synthetic_mark`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from evalkit.datasets.collection import (
    Judgements,
    content_digest,
    judged,
    read_queries,
    with_history,
)
from evalkit.datasets.corpus import LAYOUT, CorpusFile
from evalkit.datasets.synthetic import low_level_warning, synthetic_mark
from evalkit.datasets.text_corpus import TextCorpus
from evalkit.errors import ConfigError, DataError
from evalkit.io import read_qrels
from evalkit.types import Doc, Qrel, Query

QRELS_SUFFIXES = (".tsv", ".trec", ".tsv.gz", ".trec.gz")
SINGLE_SPLIT = "test"
CORPUS_FILES, TEXTS = ("corpus.jsonl", "corpus.jsonl.gz"), "corpus"


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
        self._corpus = _find_corpus(self.path)
        self._queries_file = find_file(self.path, "queries.jsonl")
        self._qrels_file = _find_qrels(self.path, split)

    @cached_property
    def _read_queries(self) -> tuple[list[Query], dict[str, tuple[str, ...]]]:
        queries, tags = read_queries(self._queries_file)
        return [with_history(query, self.history_turns) for query in queries], tags

    @cached_property
    def _judgements(self) -> Judgements:
        qrels = read_qrels(self._qrels_file)
        return judged(self._read_queries[0], qrels, self.relevance_level, self._qrels_file)

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
        missing = {q.doc_id for q in self.qrels} - set(self._corpus.doc_ids)
        return (
            *self._judgements.warnings,
            *self._corpus.notes,
            *self._corpus.summary.warnings(missing),
            *low_level_warning(self.synthetic, self.relevance_level),
        )

    @cached_property
    def synthetic(self) -> str:
        """What of the collection no person made, "" for nothing."""
        return synthetic_mark(self.path)

    def has_split(self, name: str) -> bool:
        return _split_file(self.path, name) is not None

    def with_split(self, name: str) -> FolderDataset:
        """The collection with another split's qrels; the corpus is not read again."""
        other = FolderDataset(
            self.path, name, None, self.exclude_self, self.relevance_level, self.history_turns
        )
        other._corpus = self._corpus
        return other

    def docs_iter(self) -> Iterator[Doc]:
        """Every document in file order; the whole corpus is checked before the first."""
        return self._corpus.docs_iter()

    def lookup(self, doc_ids: Iterable[str]) -> dict[str, Doc]:
        """The documents of these ids, in the order given; an unknown id is a DataError."""
        return self._corpus.lookup(doc_ids)


def find_file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder}: no {name}; {LAYOUT}")


def _find_corpus(folder: Path) -> CorpusFile | TextCorpus:
    texts = folder / TEXTS
    if texts.is_dir() and not any((folder / name).is_file() for name in CORPUS_FILES):
        return TextCorpus(texts)
    try:
        return CorpusFile(find_file(folder, CORPUS_FILES[0]))
    except DataError as error:
        raise DataError(
            f"{error}. Documents that are .txt and .md files go into {texts}; without queries and "
            f"judgements see task=synthesize path={folder}"
        ) from error


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
