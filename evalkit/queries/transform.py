"""What a query becomes before retrieval: one or several weighted texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from evalkit.types import Query


class Part(NamedTuple):
    """One text of what is searched for.

    A doc's score is Σ weight × score(text) over the parts. side: how a bi-encoder encodes the text;
    "doc" for one that stands for a document, such as a hypothetical answer.
    """

    query: Query
    weight: float = 1.0
    side: Literal["query", "doc"] = "query"


class QueryTransform(Protocol):
    """Turns each query into its parts.

    `weighted`: the parts' weights matter, so that only a retriever that adds weighted scores can
    search for them. Otherwise any retriever can: it is given the texts joined, in their order.
    A part keeps the history that its text does not hold yet, for the next transform.

    It may have `check()`, which raises what is wrong before anything is computed; `is_known(
    queries)`, False while transforming them costs something; `details` and `work`, as a Reranker's.
    """

    weighted: bool

    @property
    def fingerprint(self) -> str: ...

    def parts(self, queries: Sequence[Query]) -> list[list[Part]]:
        """Each query's parts, at least one; a part's query_id is its query's."""
        ...


def is_plain(parts: Sequence[Part]) -> bool:
    """Whether these parts are one text searched for as it is."""
    return len(parts) == 1 and parts[0].weight == 1.0 and parts[0].side == "query"


def joined(parts: Sequence[Part]) -> Query:
    """The parts as one query, for a retriever that takes one text."""
    return Query(parts[0].query.query_id, " ".join(part.query.text for part in parts))


def extra(transform: QueryTransform, name: str) -> Mapping[str, Any]:
    """A transform's `details` or `work`; {} where it has none."""
    found: Mapping[str, Any] = getattr(transform, name, {})
    return found
