"""A corpus.jsonl without queries: what can be indexed and read, not evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from evalkit.datasets.collection import Judgements, content_digest
from evalkit.datasets.corpus import CorpusFile
from evalkit.errors import DataError
from evalkit.types import Doc, Qrel, Query


class UnjudgedCorpus:
    """The docs of one file in BEIR layout, as a Dataset that has no queries (yet)."""

    has_texts = True
    exclude_self = False
    relevance_level = 1
    split = ""
    queries: Sequence[Query] = ()
    qrels: Sequence[Qrel] = ()
    tags: Mapping[str, Sequence[str]] = {}

    def __init__(self, path: Path, dataset_id: str) -> None:
        self.dataset_id = dataset_id
        self._corpus = CorpusFile(path)

    @property
    def num_docs(self) -> int:
        return self._corpus.summary.num_docs

    @property
    def docs_digest(self) -> str:
        return self._corpus.summary.digest

    @property
    def digest(self) -> str:
        return content_digest(self.docs_digest, Judgements((), (), ()))

    @property
    def warnings(self) -> Sequence[str]:
        return self._corpus.summary.warnings(())

    def docs_iter(self) -> Iterator[Doc]:
        return self._corpus.docs_iter()

    def lookup(self, doc_ids: Iterable[str]) -> dict[str, Doc]:
        return self._corpus.lookup(doc_ids)

    def has_split(self, name: str) -> bool:
        return False

    def with_split(self, name: str) -> UnjudgedCorpus:
        """Always a DataError: there are no queries."""
        raise DataError(f"{self.dataset_id}: docs without queries, so no split '{name}'")
