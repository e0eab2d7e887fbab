"""Another retriever, asked with transformed queries: rewritten, expanded, joined with history.

    retriever=[bm25,history]   history: {of: bm25, transform: {...}}

Both stand side by side in one grid. A transformed retriever may be on top of another one: the outer
transform is applied first, and its texts go through the inner one. Rerankers still see the user's
own query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from evalkit.errors import ConfigError
from evalkit.measured import stage
from evalkit.queries.transform import Part, QueryTransform, extra, is_plain, joined
from evalkit.retrievers.composed import ComposedRetriever, described
from evalkit.retrievers.remembering import inner
from evalkit.run import Run
from evalkit.types import Dataset, Query, Retriever, fingerprint


@runtime_checkable
class LinearRetriever(Protocol):
    """A retriever whose scores are linear in the query, such as BM25 and dense retrieval."""

    def retrieve_parts(
        self, query_ids: Sequence[str], parts: Sequence[Sequence[Part]], k: int
    ) -> Run:
        """At most `k` docs a query, by Σ weight × score(text) over the query's parts."""
        ...


class TransformedRetriever(ComposedRetriever):
    """The retriever named `of`, given what `transform` makes of the queries."""

    def __init__(self, of: str, transform: QueryTransform) -> None:
        super().__init__(of)
        self.transform = transform

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "Transformed", of=self.base.fingerprint, transform=self.transform.fingerprint
        )

    @property
    def root(self) -> Retriever:
        """The retriever below all transforms, with its memory."""
        below = inner(self.base)
        return below.root if isinstance(below, TransformedRetriever) else self.base

    @property
    def details(self) -> Mapping[str, Any]:
        """What the transform says about itself."""
        return extra(self.transform, "details")

    @property
    def work(self) -> Mapping[str, int]:
        """What transforming the queries cost since this was made, by unit."""
        return extra(self.transform, "work")

    def check(self, depth: int) -> None:
        """Raise what is wrong below, with the transform, or with the two together."""
        super().check(depth)
        check = getattr(self.transform, "check", None)
        if check is not None:
            check()
        if self.transform.weighted and not isinstance(inner(self.root), LinearRetriever):
            raise ConfigError(
                f"retriever.{self.name} adds weighted scores of several texts, which "
                f"{described(self.of, self.root)} cannot; put it on top of BM25 or a dense "
                "retriever, or leave the weights out"
            )

    def is_cached(self, dataset: Dataset) -> bool:
        """False also while transforming the queries costs something: a dry run spends nothing."""
        return self.root.is_cached(dataset) and self.is_known(dataset.queries)

    def is_known(self, queries: Sequence[Query]) -> bool:
        """Whether all transforms from here on down have their texts at hand."""
        known = getattr(self.transform, "is_known", None)
        if known is not None and not known(queries):
            return False
        below = inner(self.base)
        if not isinstance(below, TransformedRetriever):
            return True
        return below.is_known(_passed_on(self.transform.parts(queries)))

    def parts(self, queries: Sequence[Query]) -> list[list[Part]]:
        """What the root is asked for each query, after all transforms."""
        own = self.transform.parts(queries)
        below = inner(self.base)
        if not isinstance(below, TransformedRetriever):
            return own
        replaced = iter(below.parts(_passed_on(own)))
        return [
            [
                new._replace(weight=part.weight * new.weight)
                for part in parts
                for new in (next(replaced) if part.side == "query" else [part._replace(weight=1.0)])
            ]
            for parts in own
        ]

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        with stage("query_processing"):
            parts = self.parts(queries)
        root = inner(self.root)
        if isinstance(root, LinearRetriever) and not all(map(is_plain, parts)):
            return root.retrieve_parts([query.query_id for query in queries], parts, k)
        return self.root.retrieve([joined(each) for each in parts], k)


def _passed_on(parts: Sequence[Sequence[Part]]) -> list[Query]:
    """What goes through the next transform; a text that stands for a doc is left as it is."""
    return [part.query for each in parts for part in each if part.side == "query"]


def query_parts(retriever: Retriever, queries: Sequence[Query]) -> list[list[Part]]:
    """What a retriever's root is asked for each query: itself if nothing transforms it."""
    below = inner(retriever)
    if isinstance(below, TransformedRetriever):
        return below.parts(queries)
    return [[Part(query)] for query in queries]


def root_of(retriever: Retriever) -> Retriever:
    """The retriever below all transforms, without its memory."""
    below = inner(retriever)
    return inner(below.root) if isinstance(below, TransformedRetriever) else below
