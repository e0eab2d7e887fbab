"""The docs of a collection whose folder `corpus/` holds .txt and .md files, one a doc."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from evalkit.datasets.collection import DocsSummary, counted, unknown_docs
from evalkit.datasets.text_files import TextFiles, read_text_files
from evalkit.types import Doc

_SHOWN = 5


class TextCorpus:
    """The texts of the folder `path`, in memory; they are read when they are first asked for.

    Ids and titles are those of `read_text_files`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _files(self) -> TextFiles:
        return read_text_files(self.path)

    @cached_property
    def _docs(self) -> Mapping[str, Doc]:
        return MappingProxyType({doc.doc_id: doc for doc in self._files.docs})

    @cached_property
    def summary(self) -> DocsSummary:
        summary = DocsSummary()
        for doc in self._files.docs:
            summary.add(doc)
        return summary

    @property
    def doc_ids(self) -> Collection[str]:
        return self._docs.keys()

    @property
    def notes(self) -> Sequence[str]:
        """One line on what of the folder is no doc, if anything."""
        left = [counted(self._files.empty, "empty file")] if self._files.empty else []
        left += [f"{count} × {kind}" for kind, count in list(self._files.others.items())[:_SHOWN]]
        return [f"{self.path}: left out {', '.join(left)}"] if left else []

    def docs_iter(self) -> Iterator[Doc]:
        """Every document, sorted by path."""
        yield from self._files.docs

    def lookup(self, doc_ids: Iterable[str]) -> dict[str, Doc]:
        """The documents of these ids, in the order given; an unknown id is a DataError."""
        wanted = list(dict.fromkeys(doc_ids))
        if unknown := [doc_id for doc_id in wanted if doc_id not in self._docs]:
            raise unknown_docs(self.path, unknown, len(wanted))
        return {doc_id: self._docs[doc_id] for doc_id in wanted}
