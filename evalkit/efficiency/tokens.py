"""Tokens as a provider would count them: by a real tokenizer, or marked as an estimate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import islice

import numpy as np

from evalkit.efficiency.prices import CHARACTERS
from evalkit.errors import ModelNotFound
from evalkit.run import Run
from evalkit.token_counts import TokenCounter
from evalkit.types import Dataset, Query

# OpenAI's rule of thumb for English; a text in Chinese has about a token a character.
_CHARACTERS_A_TOKEN = 4
_DOCS = 4096


class ProviderTokens:
    """Counts the tokens of texts, special tokens left out.

    tokenizer: path or hub name, or "characters" for an estimate.
    """

    def __init__(self, tokenizer: str) -> None:
        self.tokenizer = tokenizer

    @property
    def described(self) -> str:
        """How the tokens are known, for tables."""
        if self.tokenizer == CHARACTERS:
            return f"estimated, {_CHARACTERS_A_TOKEN} characters a token"
        return f"counted by the tokenizer of {self.tokenizer}"

    @cached_property
    def _lengths(self) -> Callable[[Sequence[str]], np.ndarray]:
        if self.tokenizer == CHARACTERS:
            return _by_characters
        from evalkit.models import loading, quiet_transformers, resolve_model

        quiet_transformers()
        from transformers import AutoTokenizer

        try:
            place = str(resolve_model(self.tokenizer))
        except ModelNotFound:
            place = self.tokenizer  # a repository may hold a tokenizer and no model
        with loading(self.tokenizer):
            return TokenCounter(AutoTokenizer.from_pretrained(place)).lengths

    def check(self) -> None:
        """ModelNotFound for a tokenizer that is not there."""
        _ = self._lengths

    def lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of each text: int64, shape (len(texts),)."""
        return self._lengths(texts)

    def of_pairs(
        self, queries: Sequence[Query], dataset: Dataset, run: Run, template: str
    ) -> float:
        """Tokens a query, the mean: those of each candidate, and the query's once for each."""
        texts = {query.query_id: query.text for query in queries}
        docs = dataset.lookup(np.unique(run.doc_ids).tolist())
        rendered = dict(
            zip(docs, self.lengths([doc.render(template) for doc in docs.values()]), strict=True)
        )
        asked = self.lengths([texts[query_id] for query_id in run.query_ids])
        of_docs = sum(int(rendered[doc_id]) for doc_id in run.doc_ids.tolist())
        return float(of_docs + (asked * run.sizes).sum()) / len(run.query_ids)

    def of_queries(self, queries: Sequence[Query]) -> float:
        """Tokens a query, the mean."""
        return float(self.lengths([query.text for query in queries]).mean())

    def of_corpus(self, dataset: Dataset, template: str) -> int:
        """Tokens of all documents; a few thousand texts are in memory at a time."""
        texts = (doc.render(template) for doc in dataset.docs_iter())
        return sum(int(self.lengths(part).sum()) for part in _parts(texts))


def _parts(texts: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(texts)
    while part := list(islice(rest, _DOCS)):
        yield part


def _by_characters(texts: Sequence[str]) -> np.ndarray:
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    return -(-sizes // _CHARACTERS_A_TOKEN)


def searches(sizes: np.ndarray, docs_per_request: int, docs_per_search: int) -> float:
    """Billed searches a query, the mean, of lists of these sizes: int, shape (Q,).

    A list is sent in requests of `docs_per_request` docs, each billed as one search for every
    `docs_per_search` docs begun.
    """
    full, rest = np.divmod(np.asarray(sizes, dtype=np.int64), docs_per_request)
    billed = full * -(-docs_per_request // docs_per_search) + -(-rest // docs_per_search)
    return float(billed.mean()) if len(billed) else 0.0
