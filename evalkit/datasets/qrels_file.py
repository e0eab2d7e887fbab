"""Qrels alone: enough to measure and fuse existing runs, not to retrieve or rerank."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from evalkit.datasets.collection import Judgements, content_digest, judged, read_queries
from evalkit.datasets.synthetic import low_level_warning, synthetic_mark
from evalkit.errors import DataError
from evalkit.io import read_qrels
from evalkit.types import Doc, Qrel, Query


class QrelsFile:
    """A TREC (four columns) or BEIR (header, three columns) qrels file, gzipped or not.

    queries: an optional queries.jsonl that gives the queries their order, texts and tags; without
    it they come in the file's order with empty texts. dataset_id: by default
    "<folder>/<file>".
    """

    has_texts = False
    exclude_self = False
    num_docs = 0
    split = ""

    def __init__(
        self,
        path: str | os.PathLike[str],
        queries: str | os.PathLike[str] | None = None,
        dataset_id: str | None = None,
        relevance_level: int = 1,
    ) -> None:
        self.path = Path(path).expanduser()
        self.relevance_level = relevance_level
        self._queries_file = None if queries is None else Path(queries).expanduser()
        for file in filter(None, (self.path, self._queries_file)):
            if not file.is_file():
                raise DataError(
                    f"{file}: no such file; dataset=qrels needs dataset.path=QRELS_FILE "
                    "(query_id iteration doc_id relevance)"
                )
        folder, stem = self.path.resolve().parent.name, self.path.name.split(".")[0]
        self.dataset_id = dataset_id or f"{folder}/{stem}"

    @cached_property
    def _read(self) -> tuple[Judgements, dict[str, tuple[str, ...]]]:
        qrels = read_qrels(self.path)
        queries = [Query(query_id, "") for query_id in dict.fromkeys(q.query_id for q in qrels)]
        tags: dict[str, tuple[str, ...]] = {}
        if self._queries_file is not None:
            queries, tags = read_queries(self._queries_file)
        return judged(queries, qrels, self.relevance_level, self.path), tags

    @property
    def queries(self) -> Sequence[Query]:
        return self._read[0].queries

    @property
    def qrels(self) -> Sequence[Qrel]:
        return self._read[0].qrels

    @property
    def tags(self) -> Mapping[str, Sequence[str]]:
        judgements, tags = self._read
        return {q.query_id: tags[q.query_id] for q in judgements.queries if q.query_id in tags}

    @property
    def warnings(self) -> Sequence[str]:
        low = low_level_warning(self.synthetic, self.relevance_level)
        return (*self._read[0].warnings, *low)

    @cached_property
    def synthetic(self) -> str:
        """As of the collection that the file lies in, be it in the folder qrels/ or beside it."""
        folder = self.path.resolve().parent
        return synthetic_mark(folder) or synthetic_mark(folder.parent)

    docs_digest = ""

    @cached_property
    def digest(self) -> str:
        """Of the judged queries and their qrels; there are no docs in it."""
        return content_digest("", self._read[0])

    def has_split(self, name: str) -> bool:
        return False

    def with_split(self, name: str) -> QrelsFile:
        """Always a DataError: a qrels file is one split."""
        raise DataError(f"{self.path}: a qrels file has no split '{name}'")

    def docs_iter(self) -> Iterator[Doc]:
        """Always a DataError: there are no texts."""
        raise self._no_texts()

    def lookup(self, doc_ids: Iterable[str]) -> dict[str, Doc]:
        """Always a DataError: there are no texts."""
        raise self._no_texts()

    def _no_texts(self) -> DataError:
        return DataError(
            f"{self.dataset_id}: qrels only, no texts to index or rerank; use dataset=folder "
            "dataset.path=DIR, or dataset=ir_datasets dataset.id=ID, which have texts "
            "(retriever=[run_file] with reranker=[none] works without them)"
        )
