"""Rerank endpoints over HTTP: Cohere, Jina, Voyage, TEI, and servers that answer as Cohere's does.

A relevance score depends on query and doc alone, so the docs of a query are sent in as few
requests as fit, each answer is read by its indices, and every pair's score is stored.

The model behind an address can change without a word: a fingerprint holds the address, the model's
name, the settings and `version`, a text of the user's own. Set another version when the model
changes, and everything is asked anew.

Formats: docs.cohere.com/reference/rerank (v2), jina.ai/reranker, docs.voyageai.com/docs/reranker,
huggingface.github.io/text-embeddings-inference (/rerank). vLLM, Infinity and Xinference answer
/rerank and /v1/rerank as Cohere and Jina do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.cache import resolve_cache_dir
from evalkit.errors import ConfigError
from evalkit.remote.budget import Budget
from evalkit.remote.client import HttpClient, Malformed
from evalkit.remote.delivery import Delivery
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.run import Run
from evalkit.types import DOC_TEMPLATE, Dataset, Neighbours, Query, fingerprint

_PATH = "/rerank"
# It reads all docs of a request together: the score of a pair depends on the others.
_LISTWISE = "jina-reranker-v3"


class Style(NamedTuple):
    """A format: names of the fields, and what every request says besides.

    ranks: the answer's field with the list of ranks, None where the answer is that list. most: the
    field that asks for all docs, None where all are given anyway.
    """

    docs: str
    most: str | None
    ranks: str | None
    score: str
    fixed: Mapping[str, Any]


STYLES = {
    "cohere": Style("documents", "top_n", "results", "relevance_score", {}),
    "jina": Style(
        "documents", "top_n", "results", "relevance_score", {"return_documents": False}
    ),
    "voyage": Style(
        "documents", "top_k", "data", "relevance_score",
        {"return_documents": False, "truncation": True},
    ),
    "tei": Style("texts", None, None, "score", {"raw_scores": True, "truncate": True}),
}  # fmt: skip


class ApiScorer:
    """PairScorer over a rerank endpoint.

    model: its name at the server; TEI is not told it, but scores are kept under it.
    docs_per_request: docs of one query sent together; changes no score. max_tokens_per_doc: where
    Cohere cuts a doc. extra: more fields of each request.
    """

    def __init__(
        self,
        client: HttpClient,
        model: str | None,
        style: str = "cohere",
        docs_per_request: int = 100,
        max_tokens_per_doc: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if style not in STYLES:
            raise ConfigError(f"style={style}: expected one of {', '.join(STYLES)}")
        if docs_per_request < 1:
            raise ConfigError(f"docs_per_request={docs_per_request}: expected at least 1")
        if max_tokens_per_doc is not None and (style != "cohere" or max_tokens_per_doc < 1):
            raise ConfigError(
                f"max_tokens_per_doc={max_tokens_per_doc}: a setting of style=cohere, at least 1; "
                "other servers may have one of their own name, given in extra"
            )
        self.client, self.model, self.style = client, model, style
        self.docs_per_request, self.max_tokens_per_doc = docs_per_request, max_tokens_per_doc
        self.extra: dict[str, Any] = {}
        taken = (extra or {}).keys() & self._payload("", []).keys()
        self.extra |= extra or {}
        if taken:
            raise ConfigError(f"extra.{min(taken)} is set by evalkit; leave it out of extra")
        if model is not None and model.split("/")[-1].startswith(_LISTWISE):
            raise ConfigError(
                f"model={model} reads the docs of a request together, so its scores depend on the "
                "list; choose a pointwise model, such as jina-reranker-m0"
            )

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "RerankApi",
            address=self.client.address,
            version=self.client.version,
            model=self.model,
            style=self.style,
            max_tokens_per_doc=self.max_tokens_per_doc,
            extra=self.extra,
        )

    def check(self) -> None:
        """ConfigError for a model without a name or a key that is not there; sends nothing."""
        if not self.model:
            raise ConfigError(
                f"{self.client.prefix}model is not set; name the model that runs at "
                f"{self.client.address}, under whose name its scores are kept"
            )
        self.client.check()

    def requests(self, docs: np.ndarray) -> np.ndarray:
        """Requests that queries with so many docs need: int64, shape of `docs`."""
        return -(-np.asarray(docs, dtype=np.int64) // self.docs_per_request)

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        if not pairs:
            return np.empty(0, dtype=np.float32)
        self.check()
        docs_of: dict[str, set[str]] = {}
        for query, doc in pairs:
            docs_of.setdefault(query, set()).add(doc)
        batches = [
            (query, batch)
            for query, docs in docs_of.items()
            # Sorted: the same docs make the same request, in whatever order they came.
            for batch in _batched(sorted(docs), self.docs_per_request)
        ]
        payloads = [self._payload(query, docs) for query, docs in batches]
        read = partial(_scores, STYLES[self.style])
        answers = self.client.post_all(_PATH, payloads, read)
        known: dict[tuple[str, str], float] = {}
        for (query, docs), payload, answer in zip(batches, payloads, answers, strict=True):
            scores = read(payload, answer)
            known |= {(query, doc): score for doc, score in zip(docs, scores, strict=True)}
        return np.array([known[pair] for pair in pairs], dtype=np.float32)

    def _payload(self, query: str, docs: Sequence[str]) -> dict[str, Any]:
        style = STYLES[self.style]
        payload: dict[str, Any] = {"query": query, style.docs: list(docs), **style.fixed}
        if style.most is not None:
            payload |= {"model": self.model, style.most: len(docs)}
        if self.max_tokens_per_doc is not None:
            payload["max_tokens_per_doc"] = self.max_tokens_per_doc
        return payload | self.extra


def _batched(docs: list[str], size: int) -> list[list[str]]:
    return [docs[start : start + size] for start in range(0, len(docs), size)]


def _scores(style: Style, payload: Mapping[str, Any], answer: Any) -> list[float]:
    """A score for each doc of the request; Malformed unless every doc has exactly one."""
    query, count = payload["query"][:60], len(payload[style.docs])
    ranks = answer
    if style.ranks is not None:
        ranks = answer.get(style.ranks) if isinstance(answer, dict) else None
    if not isinstance(ranks, list):
        expected = f"'{style.ranks}', a list" if style.ranks else "a list"
        raise Malformed(f"query '{query}': an answer without {expected} of ranks")
    scores: dict[int, float] = {}
    for rank in ranks:
        fields = rank if isinstance(rank, dict) else {}
        index, score = fields.get("index"), fields.get(style.score)
        if not isinstance(index, int) or not isinstance(score, int | float):
            continue
        if 0 <= index < count and math.isfinite(score):
            scores[index] = float(score)
    if len(ranks) != count or len(scores) != count:
        raise Malformed(
            f"query '{query}': {len(ranks)} ranks for {count} docs, {len(scores)} of the docs "
            "with a score; expected each doc once"
        )
    return [scores[index] for index in range(count)]


class ApiReranker(PointwiseReranker):
    """The endpoint behind the score store; settings as in `ApiScorer`, `Delivery`, `Budget`."""

    def __init__(
        self,
        url: str,
        model: str | None,
        style: str = "cohere",
        api_key_env: str | None = None,
        version: str = "",
        docs_per_request: int = 100,
        max_tokens_per_doc: int | None = None,
        extra: dict[str, Any] | None = None,
        concurrency: int = 4,
        timeout: float = 60.0,
        retries: int = 5,
        longest_wait: float = 60.0,
        max_requests: int | None = None,
        max_cost: float | None = None,
        price_per_request: float = 0.0,
        input_price: float = 0.0,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        delivery = Delivery(concurrency, timeout, retries, longest_wait)
        self.budget = Budget(max_requests, max_cost, price_per_request, input_price)
        client = HttpClient(
            url.rstrip("/").removesuffix(_PATH), api_key_env, delivery, self.budget,
            resolve_cache_dir(cache_dir), version,
        )  # fmt: skip
        scorer = ApiScorer(client, model, style, docs_per_request, max_tokens_per_doc, extra)
        # All missing pairs at once: a query's docs then share requests. No crash loses an answer,
        # the client keeps each as it comes.
        super().__init__(scorer, doc_template, cache_dir, chunk_size=np.iinfo(np.int64).max)
        self.client, self.endpoint = client, scorer
        self._spent: dict[str, int] = {}

    def connect(self, name: str, neighbours: Neighbours) -> None:
        self.client.prefix = f"reranker.{name}."

    @property
    def work(self) -> dict[str, int]:
        """Of the last call: pairs asked, reused and scored; then what the client spent."""
        return {**super().work, **self._spent}

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        before = self.client.work
        found = super().rerank(queries, dataset, candidates)
        spent = {unit: amount - before[unit] for unit, amount in self.client.work.items()}
        spent["reused_answers"] = spent.pop("reused")
        self._spent = spent
        return found

    def estimate(self, sizes: np.ndarray) -> dict[str, int]:
        """Requests at most, retries apart; US cents, rounded up, where requests have a price."""
        requests = int(self.endpoint.requests(sizes).sum())
        cents = math.ceil(100 * requests * self.budget.price_per_request)
        return {"requests": requests} | ({"US cents": cents} if cents else {})
