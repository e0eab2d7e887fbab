"""A retriever asked twice searches once: hybrids and the first stage itself share a ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.measured import is_cold
from evalkit.run import Run
from evalkit.types import Dataset, Query, Retriever

# Test queries, train queries, and what a rewriting makes of both.
_QUERY_SETS = 4


class RememberingRetriever:
    """Keeps the deepest ranking of its last few sets of queries. `least_depth`: never less."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever
        self.least_depth = 0
        self._indexed: str | None = None
        self._known: dict[tuple[Query, ...], tuple[int, Run]] = {}

    @property
    def fingerprint(self) -> str:
        return self.retriever.fingerprint

    @property
    def details(self) -> Mapping[str, Any]:
        """What the retriever says about itself."""
        return getattr(self.retriever, "details", {})

    @property
    def work(self) -> Mapping[str, int]:
        """What the retriever has spent, where it is one that pays, such as a rewriting one."""
        return getattr(self.retriever, "work", {})

    def is_cached(self, dataset: Dataset) -> bool:
        return self.retriever.is_cached(dataset)

    def check(self, depth: int) -> None:
        check = getattr(self.retriever, "check", None)
        if check is not None:
            check(max(depth, self.least_depth))

    def index(self, dataset: Dataset) -> None:
        if self._indexed != dataset.docs_digest:
            self.retriever.index(dataset)
            self._indexed, self._known = dataset.docs_digest, {}

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        if is_cold():
            return self.retriever.retrieve(queries, k)
        asked = tuple(queries)
        depth, run = self._known.pop(asked, (0, None))
        if run is None or depth < k:
            depth = max(k, self.least_depth)
            run = self.retriever.retrieve(queries, depth)
        self._known[asked] = depth, run
        if len(self._known) > _QUERY_SETS:
            del self._known[next(iter(self._known))]
        return run.top(k)


def inner(retriever: Retriever) -> Retriever:
    """The retriever itself, without the memory around it."""
    return retriever.retriever if isinstance(retriever, RememberingRetriever) else retriever
