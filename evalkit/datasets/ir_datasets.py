"""Any collection of ir_datasets (MacAvaney et al., SIGIR 2021) with docs, queries and qrels.

The library downloads to IR_DATASETS_HOME (default ~/.ir_datasets) and builds a docstore there;
documents are read from it, never held in memory together.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from evalkit.datasets.collection import (
    DocsSummary,
    Judgements,
    content_digest,
    judged,
    unknown_docs,
)
from evalkit.errors import ConfigError, DataError, nearest
from evalkit.progress import track
from evalkit.types import Doc, Qrel, Query

FULL_DIGEST_DOCS = 1_000_000
FIRST_DOCS = 1_000
LOOKUP_BATCH = 10_000
REASON_CHARACTERS = 200


class _Docs(NamedTuple):
    """What a pass over the docs finds, or over some of a large collection."""

    num_docs: int
    digest: str
    docs_digest: str
    warnings: tuple[str, ...]


class IrDataset:
    """The collection `id`, split included, such as "beir/scifact/test".

    title is the collection's own title field, where it has one; text is what the library says is
    a doc's default text, without that title in front. A query's text is its default text.
    exclude_self, relevance_level: as in `evalkit.types.Dataset`. Raises ConfigError for an unknown
    id or one that lacks docs, queries or qrels; nothing is downloaded before it is needed.
    """

    has_texts = True

    def __init__(self, id: str, exclude_self: bool = False, relevance_level: int = 1) -> None:
        self.dataset_id = id
        self.exclude_self = exclude_self
        self.relevance_level = relevance_level
        with _reading(id):
            self._source = _load(id)

    @cached_property
    def _judgements(self) -> Judgements:
        with _reading(self.dataset_id):
            qrels = _unique(self._source.qrels_iter(), self.dataset_id)
            queries = [_query(q) for q in self._source.queries_iter()]
        judgements = judged(queries, qrels, self.relevance_level, self.dataset_id)
        if blank := [q.query_id for q in judgements.queries if not q.text.strip()]:
            raise DataError(
                f"{self.dataset_id}: query '{blank[0]}' has no text (as {len(blank)} of "
                f"{len(judgements.queries)}); choose a collection with text queries"
            )
        return judgements

    @cached_property
    def _docs(self) -> _Docs:
        wanted = {q.doc_id for q in self.qrels}
        with _reading(self.dataset_id):
            count = self._source.docs_count()
        if count is not None and count > FULL_DIGEST_DOCS:
            return self._sampled(wanted, count)
        summary = DocsSummary()
        for doc in track(self._stream(), f"reading {self.dataset_id}", count):
            summary.add(doc)
            wanted.discard(doc.doc_id)
        digest = summary.digest
        return _Docs(summary.num_docs, digest, digest, summary.warnings(wanted))

    def _sampled(self, wanted: set[str], count: int) -> _Docs:
        """Of a large collection, the first docs and the judged ones (ids `wanted`) only."""
        summary, missing = DocsSummary(), set()
        for doc in islice(self._stream(), FIRST_DOCS):
            summary.add(doc)
            wanted.discard(doc.doc_id)
        # Not of the judged docs: DL 2019 and DL 2020 share one corpus, and so one index.
        docs_digest = f"{_parent(self.dataset_id)}-{count}-{summary.digest}".replace("/", "_")
        ordered = sorted(wanted)
        for start in range(0, len(ordered), LOOKUP_BATCH):
            batch = ordered[start : start + LOOKUP_BATCH]
            found = self._fetch(batch)
            missing.update(set(batch) - found.keys())
            for doc_id in sorted(found):
                summary.add(found[doc_id])
        digest = f"{self.dataset_id} {count} {summary.digest}"
        return _Docs(count, digest, docs_digest, summary.warnings(missing))

    @property
    def queries(self) -> Sequence[Query]:
        return self._judgements.queries

    @property
    def qrels(self) -> Sequence[Qrel]:
        return self._judgements.qrels

    @property
    def tags(self) -> Mapping[str, Sequence[str]]:
        return {}

    @property
    def num_docs(self) -> int:
        return self._docs.num_docs

    @cached_property
    def digest(self) -> str:
        """Of docs (id, title, text), judged queries and qrels, as for a BEIR folder.

        Above FULL_DIGEST_DOCS documents, where a pass takes many minutes, the docs are represented
        by the collection's id, their number, the first FIRST_DOCS and every judged one: a change
        to any other document goes unnoticed.
        """
        return content_digest(self._docs.digest, self._judgements)

    @property
    def docs_digest(self) -> str:
        """Of the docs alone; above FULL_DIGEST_DOCS, of the first FIRST_DOCS and their number."""
        return self._docs.docs_digest

    @cached_property
    def warnings(self) -> Sequence[str]:
        """Empty docs are counted among those that the digest reads."""
        return (*self._judgements.warnings, *self._docs.warnings)

    @property
    def split(self) -> str:
        """The last part of the id, such as "test"."""
        return self.dataset_id.rpartition("/")[2]

    def has_split(self, name: str) -> bool:
        return _is_known(self._sibling(name))

    def with_split(self, name: str) -> IrDataset:
        """The collection whose id ends in this split instead, such as beir/scifact/train."""
        if not self.has_split(name):
            raise DataError(f"ir_datasets has no '{self._sibling(name)}' with queries and qrels")
        return IrDataset(self._sibling(name), self.exclude_self, self.relevance_level)

    def _sibling(self, name: str) -> str:
        return f"{self.dataset_id.rpartition('/')[0]}/{name}"

    def docs_iter(self) -> Iterator[Doc]:
        """Every document, in the collection's order."""
        return self._stream()

    def lookup(self, doc_ids: Iterable[str]) -> dict[str, Doc]:
        """The documents of these ids, in the order given; an unknown id is a DataError."""
        wanted = list(dict.fromkeys(doc_ids))
        found = self._fetch(wanted)
        if unknown := [d for d in wanted if d not in found]:
            raise unknown_docs(self.dataset_id, unknown, len(wanted))
        return {doc_id: found[doc_id] for doc_id in wanted}

    @cached_property
    def _store(self) -> Any:
        return self._source.docs_store()

    def _fetch(self, doc_ids: Sequence[str]) -> dict[str, Doc]:
        with _reading(self.dataset_id):
            found = self._store.get_many(doc_ids) if doc_ids else {}
        return {doc_id: _doc(doc) for doc_id, doc in found.items()}

    def _stream(self) -> Iterator[Doc]:
        with _reading(self.dataset_id):
            yield from map(_doc, self._source.docs_iter())


def _parent(dataset_id: str) -> str:
    """The id of the collection that a subset such as "msmarco-passage/dev" takes its docs from."""
    import ir_datasets

    try:
        return str(ir_datasets.docs_parent_id(dataset_id))
    except KeyError:  # a collection that the user registered has no parent on record
        return dataset_id


def _is_known(dataset_id: str) -> bool:
    """Whether the library knows a collection of this id with docs, queries and qrels."""
    try:
        _load(dataset_id)
    except ConfigError:
        return False
    return True


def _load(dataset_id: str) -> Any:
    import ir_datasets

    try:
        source = ir_datasets.load(dataset_id)
    except KeyError as error:
        raise ConfigError(
            f"ir_datasets has no collection '{dataset_id}'."
            f"{nearest(dataset_id, ir_datasets.registry)} 'ir_datasets list' prints every id"
        ) from error
    needed = ("docs", "queries", "qrels")
    if lacking := [what for what in needed if not source.has(what)]:
        below = [
            name
            for name in ir_datasets.registry
            if name.startswith(f"{dataset_id}/")
            and all(ir_datasets.registry[name].has(what) for what in needed)
        ]
        hint = f"use a part: {', '.join(below[:8])}" if below else "choose another id"
        raise ConfigError(f"ir_datasets' '{dataset_id}' has no {' and no '.join(lacking)}; {hint}")
    return source


@contextmanager
def _reading(dataset_id: str) -> Iterator[None]:
    """Turns what the library raises when it cannot download or read into one clear line."""
    try:
        yield
    except (OSError, RuntimeError, EOFError, ImportError, zipfile.BadZipFile) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:REASON_CHARACTERS]
        home = os.environ.get("IR_DATASETS_HOME", "~/.ir_datasets")
        raise DataError(
            f"{dataset_id}: cannot be downloaded or read by ir_datasets ({reason}); go online, or "
            f"copy {home} from a machine that has it, or use dataset=folder dataset.path=DIR"
        ) from error


def _query(query: Any) -> Query:
    default = getattr(query, "default_text", None)
    text = default() if default else getattr(query, "text", None)
    return Query(query.query_id, text or "")


def _doc(doc: Any) -> Doc:
    """The doc with its title apart, so that "{title} {text}" gives the library's default text."""
    default = getattr(doc, "default_text", None)
    if default is None and not isinstance(getattr(doc, "text", None), str):
        raise DataError(
            f"a {type(doc).__name__} of ir_datasets says nowhere what its text is "
            f"(fields: {', '.join(doc._fields)}); export it as BEIR and use dataset=folder"
        )
    text = default() if default else doc.text
    if "title" not in doc._fields:
        return Doc(doc.doc_id, "", text)
    title = doc.title or ""
    rest = text.removeprefix(title)
    # Only the one character that joins title and text is cut: the texts stay those of a folder.
    at_word_end = not rest or rest[0].isspace()
    return Doc(doc.doc_id, title, rest[1:] if at_word_end else text)


def _unique(qrels: Iterable[Any], dataset_id: str) -> list[Qrel]:
    """Each judgement once. The subtopic is the library's own field for it, which collections of a
    diversity task have; what it calls an iteration may as well be a round of judging."""
    grades: dict[tuple[str, str, str], int] = {}
    for q in qrels:
        key = q.query_id, q.doc_id, str(getattr(q, "subtopic_id", "0"))
        if grades.setdefault(key, int(q.relevance)) != q.relevance:
            raise DataError(
                f"{dataset_id}: query '{q.query_id}', doc '{q.doc_id}' is judged twice, "
                f"{grades[key]} and {q.relevance} (as in judgements per passage); choose a "
                "collection with one grade a doc"
            )
    return [Qrel(query_id, doc_id, grade, sub) for (query_id, doc_id, sub), grade in grades.items()]
