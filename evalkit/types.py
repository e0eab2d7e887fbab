"""The core types, in the field's own words, and the protocols that components satisfy."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from evalkit.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from evalkit.run import Run

DOC_TEMPLATE = "{title} {text}"
_PLACEHOLDER = re.compile(r"\{(title|text)\}")


class Query(NamedTuple):
    """A search request."""

    query_id: str
    text: str


class Doc(NamedTuple):
    """A document; `title` is empty where the collection has none."""

    doc_id: str
    title: str
    text: str

    def render(self, template: str = DOC_TEMPLATE) -> str:
        """The one string that retrievers and rerankers see, outer white space removed."""
        fields = {"title": self.title, "text": self.text}
        # In one pass: a title that holds the characters {text} must stay as it is.
        return _PLACEHOLDER.sub(lambda field: fields[field[1]], template).strip()


def checked_template(template: str) -> str:
    """The template, if it holds {title}, {text} or both and no other field; ConfigError."""
    fields = re.findall(r"\{(\w*)\}", template)
    if not fields or set(fields) - {"title", "text"}:
        raise ConfigError(
            f"doc_template='{template}': expected {{title}}, {{text}} or both, such as "
            f"doc_template='{DOC_TEMPLATE}'"
        )
    return template


class Qrel(NamedTuple):
    """A relevance judgement; `relevance` ≤ 0 means judged and not relevant."""

    query_id: str
    doc_id: str
    relevance: int


class DatasetInfo(NamedTuple):
    """What tables and results say about a dataset; counts are of what is evaluated."""

    dataset_id: str
    digest: str
    num_docs: int
    num_queries: int
    num_qrels: int
    relevance_level: int
    exclude_self: bool


@runtime_checkable
class Dataset(Protocol):
    """A test collection. Never holds a large corpus in memory.

    `queries` are the judged ones, in the collection's order. `relevance_level` is the lowest grade
    that counts as relevant for binary measures. `exclude_self` says that a query's own document
    (doc_id == query_id, as in ArguAna and Quora) is not an answer. `has_texts` is False for
    qrels-only datasets: their runs can be measured and fused, not reranked. `digest` is of docs,
    queries and qrels; `docs_digest` of the docs alone, what an index depends on. `tags` says per
    query_id what makes it hard, where the collection knows.
    """

    dataset_id: str
    relevance_level: int
    exclude_self: bool
    has_texts: bool

    @property
    def digest(self) -> str: ...
    @property
    def docs_digest(self) -> str: ...
    @property
    def queries(self) -> Sequence[Query]: ...
    @property
    def qrels(self) -> Sequence[Qrel]: ...
    @property
    def tags(self) -> Mapping[str, Sequence[str]]: ...
    @property
    def num_docs(self) -> int: ...
    @property
    def warnings(self) -> Sequence[str]: ...

    def docs_iter(self) -> Iterator[Doc]:
        """Every document, in the collection's order."""
        ...

    def lookup(self, doc_ids: Iterable[str]) -> dict[str, Doc]:
        """The documents of these ids; an unknown id is a DataError."""
        ...


class Retriever(Protocol):
    """A first stage: finds candidates in the whole corpus.

    It may have `check(depth)`, which raises what is wrong with its settings, given the docs a query
    that will be asked of it, before anything is computed. So may a Reranker.
    """

    @property
    def fingerprint(self) -> str: ...

    def is_cached(self, dataset: Dataset) -> bool:
        """True when `index` has nothing to build."""
        ...

    def index(self, dataset: Dataset) -> None:
        """Build the index, or load it from the cache; call before `retrieve`."""
        ...

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """At most `k` docs a query; a query that matches nothing keeps an empty ranking."""
        ...


class PairScorer(Protocol):
    """A pointwise model: the score of a pair depends on nothing but its two texts."""

    @property
    def fingerprint(self) -> str: ...

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Scores of (query text, doc text) pairs: float32, shape (len(pairs),), in input order."""
        ...


class Reranker(Protocol):
    """A second stage: reorders candidates, adds and drops none.

    `depends_on_list` is True for listwise and pairwise rerankers: they are run once per K and
    retriever. Otherwise one call on the union of all candidates serves every cell of the grid.
    """

    depends_on_list: bool

    @property
    def fingerprint(self) -> str: ...

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run: ...


def fingerprint(component: str, **settings: Any) -> str:
    """A short digest of a component's name and of every setting that can change a score."""
    try:
        text = json.dumps([component, settings], sort_keys=True, ensure_ascii=False)
    except TypeError as error:
        raise ConfigError(f"{component}: a setting is not plain data ({error})") from error
    return hashlib.sha256(text.encode()).hexdigest()[:16]
