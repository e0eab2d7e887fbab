"""A dataset with some of its texts replaced: what a probe lets the real components work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from evalkit.types import Dataset, Doc, Qrel, Query, fingerprint


class ProbedDataset:
    """`original` with these docs and queries, by id, in place of its own; judgements stay.

    Its digests differ where its texts do, so that no index of the one serves the other.
    """

    def __init__(
        self, original: Dataset, docs: Mapping[str, Doc], queries: Mapping[str, Query]
    ) -> None:
        self.original, self._docs, self._queries = original, docs, queries
        self.dataset_id = original.dataset_id
        self.relevance_level = original.relevance_level
        self.exclude_self = original.exclude_self
        self.has_texts = original.has_texts
        self.split = original.split
        self.synthetic = getattr(original, "synthetic", "")

    @cached_property
    def docs_digest(self) -> str:
        if not self._docs:
            return self.original.docs_digest
        return fingerprint("ProbedDocs", of=self.original.docs_digest, docs=_plain(self._docs))

    @cached_property
    def digest(self) -> str:
        return fingerprint(
            "Probed",
            of=self.original.digest,
            docs=_plain(self._docs),
            queries=_plain(self._queries),
        )

    @cached_property
    def queries(self) -> Sequence[Query]:
        return [self._queries.get(query.query_id, query) for query in self.original.queries]

    @property
    def qrels(self) -> Sequence[Qrel]:
        return self.original.qrels

    @property
    def tags(self) -> Mapping[str, Sequence[str]]:
        return self.original.tags

    @property
    def num_docs(self) -> int:
        return self.original.num_docs

    @property
    def warnings(self) -> Sequence[str]:
        return self.original.warnings

    def docs_iter(self) -> Iterator[Doc]:
        for doc in self.original.docs_iter():
            yield self._docs.get(doc.doc_id, doc)

    def lookup(self, doc_ids: Iterable[str]) -> dict[str, Doc]:
        found = self.original.lookup(doc_ids)
        return {doc_id: self._docs.get(doc_id, doc) for doc_id, doc in found.items()}

    def has_split(self, name: str) -> bool:
        return self.original.has_split(name)

    def with_split(self, name: str) -> Dataset:
        """Another split, which is not probed: what is trained is trained on the original texts."""
        return self.original.with_split(name)


def _plain(records: Mapping[str, Doc] | Mapping[str, Query]) -> list[list[object]]:
    return [[key, *records[key]] for key in sorted(records)]
