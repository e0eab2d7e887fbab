"""A retriever asked twice searches once: hybrids and the first stage itself share a ranking."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.run import Run
from evalkit.types import Dataset, Query, Retriever


class RememberingRetriever:
    """Keeps the deepest ranking of its last queries. `least_depth`: never retrieve less."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever
        self.least_depth = 0
        self._indexed: str | None = None
        self._last: tuple[tuple[Query, ...], int, Run] | None = None

    @property
    def fingerprint(self) -> str:
        return self.retriever.fingerprint

    def is_cached(self, dataset: Dataset) -> bool:
        return self.retriever.is_cached(dataset)

    def check(self, depth: int) -> None:
        check = getattr(self.retriever, "check", None)
        if check is not None:
            check(max(depth, self.least_depth))

    def index(self, dataset: Dataset) -> None:
        if self._indexed != dataset.digest:
            self.retriever.index(dataset)
            self._indexed, self._last = dataset.digest, None

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        asked = tuple(queries)
        if self._last is None or self._last[0] != asked or self._last[1] < k:
            depth = max(k, self.least_depth)
            self._last = (asked, depth, self.retriever.retrieve(queries, depth))
        return self._last[2].top(k)
