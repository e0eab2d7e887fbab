"""What retrievers on top of one other retriever share: finding it by name, and its index."""

from __future__ import annotations

from collections.abc import Mapping

from evalkit.errors import ConfigError, nearest
from evalkit.retrievers.remembering import inner
from evalkit.types import Dataset, Retriever


class ComposedRetriever:
    """A retriever that asks another; `of` is the name of that one among those selected."""

    def __init__(self, of: str) -> None:
        self.of = of
        self.name = ""
        self._base: Retriever | None = None

    def connect(self, name: str, others: Mapping[str, Retriever]) -> None:
        """Find the other one; `name` is this retriever's own."""
        self.name = name
        if self.of not in others:
            raise ConfigError(
                f"retriever.{name}.of: '{self.of}' is not among the selected retrievers "
                f"({', '.join(others)}).{nearest(self.of, others)} "
                f"Add it: retriever=[{','.join(dict.fromkeys([self.of, *others]))}]"
            )
        self._base = others[self.of]

    @property
    def base(self) -> Retriever:
        """The retriever below, with its memory."""
        if self._base is None:
            raise ConfigError(f"the retriever '{self.of}' is not there yet; call connect() first")
        return self._base

    @property
    def uses(self) -> tuple[str, ...]:
        """The name of the retriever below."""
        return (self.of,)

    def check(self, depth: int) -> None:
        """Raise what is wrong with the retriever below."""
        check = getattr(self.base, "check", None)
        if check is not None:
            check(depth)

    def is_cached(self, dataset: Dataset) -> bool:
        return self.base.is_cached(dataset)

    def index(self, dataset: Dataset) -> None:
        self.base.index(dataset)


def described(name: str, retriever: Retriever) -> str:
    """Such as "bm25 (BM25Retriever)", for a message."""
    return f"{name} ({type(inner(retriever)).__name__})"
