"""The core types, in the field's own words, and the protocols that components satisfy."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from evalkit.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from evalkit.run import Run

# How an interval is read off resampled means: see `evalkit.measures.bootstrap`.
IntervalMethod = Literal["percentile", "expanded"]
DOC_TEMPLATE = "{title} {text}"
_PLACEHOLDER = re.compile(r"\{(title|text)\}")


class Query(NamedTuple):
    """A search request; `history` holds the earlier turns of its conversation, oldest first."""

    query_id: str
    text: str
    history: tuple[str, ...] = ()


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
    """A relevance judgement; `relevance` ≤ 0 means judged and not relevant.

    subtopic: which of the query's meanings or aspects was judged, "0" where they are not told
    apart. A collection judged per subtopic holds a (query, doc) pair once for each.
    """

    query_id: str
    doc_id: str
    relevance: int
    subtopic: str = "0"


def grades_of(qrels: Iterable[Qrel]) -> dict[str, dict[str, int]]:
    """query_id → doc_id → grade; of a doc that is judged per subtopic, the highest grade."""
    grades: dict[str, dict[str, int]] = {}
    for qrel in qrels:
        judged = grades.setdefault(qrel.query_id, {})
        judged[qrel.doc_id] = max(qrel.relevance, judged.get(qrel.doc_id, qrel.relevance))
    return grades


def has_subtopics(qrels: Iterable[Qrel]) -> bool:
    """Whether any query is judged on more than one subtopic."""
    seen: dict[str, str] = {}
    return any(seen.setdefault(qrel.query_id, qrel.subtopic) != qrel.subtopic for qrel in qrels)


class DatasetInfo(NamedTuple):
    """What tables and results say about a dataset; counts are of what is evaluated.

    synthetic: what of it a language model made, such as "synthetic queries and judgements (MODEL)";
    "" for nothing.
    """

    dataset_id: str
    digest: str
    num_docs: int
    num_queries: int
    num_qrels: int
    relevance_level: int
    exclude_self: bool
    synthetic: str = ""


@runtime_checkable
class Dataset(Protocol):
    """A test collection. Never holds a large corpus in memory.

    `queries` are the judged ones, in the collection's order. `relevance_level` is the lowest grade
    that counts as relevant for binary measures. `exclude_self` says that a query's own document
    (doc_id == query_id, as in ArguAna and Quora) is not an answer. `has_texts` is False for
    qrels-only datasets: their runs can be measured and fused, not reranked. `split` is the name of
    the part that is evaluated, "" where a collection has one only. `digest` is of docs,
    queries and qrels; `docs_digest` of the docs alone, what an index depends on. `tags` says per
    query_id what makes it hard, where the collection knows.

    It may have `synthetic`: see DatasetInfo; every table says it.
    """

    dataset_id: str
    relevance_level: int
    exclude_self: bool
    has_texts: bool
    split: str

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

    def has_split(self, name: str) -> bool:
        """Whether `with_split(name)` finds judged queries, such as those of "train"."""
        ...

    def with_split(self, name: str) -> Dataset:
        """The same docs with another split's queries and qrels; DataError where there is none."""
        ...


class Retriever(Protocol):
    """A first stage: finds candidates in the whole corpus.

    It may have `check(depth)`, which raises what is wrong with its settings, given the docs a query
    that will be asked of it, before anything is computed; `connect(name, retrievers)`, called once
    before anything else with its own name and all selected retrievers, and `uses`, the names of
    those it calls after that; `details` and `work` (spent since it was made). See Reranker.
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
    """A pointwise model: the score of a pair depends on nothing but its two texts.

    It may have `check()`, which raises what is wrong with the model and loads no weights; `about`,
    plain JSON data that tells people which model and settings a store of its scores is of; and
    `truncated(pairs) -> bool[n]`: which pairs lose text to the model's longest input (see
    `token_counts`). The adapter reports their share.
    """

    @property
    def fingerprint(self) -> str: ...

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Scores of (query text, doc text) pairs: float32, shape (len(pairs),), in input order."""
        ...


Message = Mapping[str, str]


class LanguageModel(Protocol):
    """A chat model, local or behind an address; the LLM rerankers and query rewriting share it.

    A prompt is a list of messages, {"role": "system" | "user" | "assistant", "content": text}.
    Answers are those of greedy decoding (temperature 0) and are kept on disk by fingerprint and
    prompt, so that a repeated question costs nothing. `work` is what was spent since it was made:
    requests, reused, input_tokens, output_tokens.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def work(self) -> Mapping[str, int]: ...

    def check(self) -> None:
        """Raise what is wrong with model, address or key; loads no weights, sends nothing."""
        ...

    def generate(self, prompts: Sequence[Sequence[Message]], max_tokens: int) -> list[str]:
        """The answers, in the order of the prompts."""
        ...

    def choose(self, prompts: Sequence[Sequence[Message]], options: Sequence[str]) -> np.ndarray:
        """Log-probabilities of each option as the answer's first token: float32, shape
        (len(prompts), len(options)). What lies below the deepest that a server tells is that
        deepest value. ConfigError where a back end cannot tell any."""
        ...


class Neighbours(NamedTuple):
    """What a composed component may use: the dataset and the selected components, by name."""

    dataset: Dataset
    retrievers: Mapping[str, Retriever]
    rerankers: Mapping[str, Reranker]


class Reranker(Protocol):
    """A second stage: reorders candidates, adds and drops none.

    `depends_on_list` is True for listwise and pairwise rerankers: they are run once per K and
    retriever. Otherwise one call on the union of all candidates serves every cell of the grid.

    A reranker may also have:
    - `check(depth)`: as a Retriever's.
    - `connect(name, neighbours: Neighbours)`: called once before anything else, with its own name;
      `uses`: after that, the names of the rerankers that it calls (a circle is refused).
    - `for_retriever(name) -> Reranker`: the one to use over this retriever's candidates, where
      something is fitted to them, such as a fusion weight. It then depends on the list.
    - `at_k(k)`: called before each `rerank` of what `for_retriever` gave: the K that the table
      names, which a small corpus need not fill; `details` are named by it.
    - `fits_to_queries`: True if `rerank` also fits something to queries, such as a weight or a
      model; what it takes for one query alone is then not measured.
    - `filters`: True if it may drop candidates, as a threshold does.
    - `work: Mapping[str, int]`: what the last call of `rerank` cost, by unit (asked, reused,
      scored pairs; requests; tokens). It goes to execution.json.
    - `details: Mapping[str, Any]`: what it learned or met, plain JSON data, the same whenever the
      experiment is repeated (weights, importances, shares). It goes to results.json and the report.
    - `estimate(sizes) -> Mapping[str, int]`: what lists of these sizes, int64 of shape (Q,), cost
      at most, by unit; for the dry run.
    """

    depends_on_list: bool

    @property
    def fingerprint(self) -> str: ...

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run: ...


def for_retriever(reranker: Reranker, retriever: str) -> Reranker:
    """The reranker as it is fitted to one retriever's candidates; most are the same for all."""
    fitted = getattr(reranker, "for_retriever", None)
    return reranker if fitted is None else fitted(retriever)


def fingerprint(component: str, **settings: Any) -> str:
    """A short digest of a component's name and of every setting that can change a score."""
    try:
        text = json.dumps([component, settings], sort_keys=True, ensure_ascii=False)
    except TypeError as error:
        raise ConfigError(f"{component}: a setting is not plain data ({error})") from error
    return hashlib.sha256(text.encode()).hexdigest()[:16]
