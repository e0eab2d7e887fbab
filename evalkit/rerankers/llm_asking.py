"""What the rerankers that ask a language model share: its check, its cost, and lists of docs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from evalkit.errors import ConfigError
from evalkit.llm.prompts import Prompt, Task, checked_words, load_prompt, shortened
from evalkit.rerankers.llm_sorting import Group, Sorting, asked_together
from evalkit.rerankers.pointwise import blocks
from evalkit.run import Run
from evalkit.types import (
    Dataset,
    LanguageModel,
    Query,
    checked_template,
    fingerprint,
)

MODES = ("logits", "generate")
Self = TypeVar("Self", bound="ListAsker")


class Question(NamedTuple):
    """Docs that a query asks about together, in the order in which the prompt shows them."""

    query: str
    docs: Sequence[str]


def checked_llm(llm: Any) -> LanguageModel:
    """The language model, if it is one; ConfigError."""
    if not (callable(getattr(llm, "generate", None)) and callable(getattr(llm, "choose", None))):
        raise ConfigError(
            f"llm={llm}: expected a language model; choose it for all with llm=local or llm=http"
        )
    return llm


def checked_mode(mode: str) -> str:
    if mode not in MODES:
        raise ConfigError(f"mode={mode}: expected one of {', '.join(MODES)}")
    return mode


def checked_count(name: str, value: int | None, least: int = 1) -> int:
    """A setting that is a count; ConfigError below `least`."""
    if value is None or value < least:
        raise ConfigError(f"{name}={value}: expected at least {least}")
    return value


def spent(before: Mapping[str, int], llm: LanguageModel) -> dict[str, int]:
    """What a language model has spent since `before`, by unit."""
    return {unit: amount - before.get(unit, 0) for unit, amount in llm.work.items()}


class ListAsker:
    """A reranker that sorts each query's docs by asking a language model about several at a time.

    A subclass says how a list is sorted (`_sorting`), what a group of docs is asked and how the
    answers are read (`_answers`), and what that costs (`_steps`). prompt: see `load_prompt`.
    doc_words: where a doc is cut, see `shortened`.
    """

    depends_on_list = True
    task: Task

    def __init__(self, llm: Any, prompt: str, doc_words: int | None, doc_template: str) -> None:
        self.llm = checked_llm(llm)
        self.prompt: Prompt = load_prompt(prompt, self.task)
        self.doc_words = checked_words(doc_words)
        self.doc_template = checked_template(doc_template)
        self.work: dict[str, int] = {}
        self.details: dict[str, Any] = {}
        self._met: Counter[str] = Counter()

    def _settings(self) -> dict[str, Any]:
        """The subclass's settings that can change a ranking."""
        raise NotImplementedError

    def _sorting(self, count: int) -> Sorting:
        """How a list of `count` docs is sorted."""
        raise NotImplementedError

    def _steps(self, count: int) -> int:
        """Prompts for a list of `count` docs, at most."""
        raise NotImplementedError

    def _answers(self, questions: list[Question]) -> list[Any]:
        """What `_sorting` is sent for its questions; what is met on the way goes to `_met`."""
        raise NotImplementedError

    def _told(self, met: Counter[str]) -> dict[str, Any]:
        """What one call says in `details`, of what was met."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            type(self).__name__,
            llm=self.llm.fingerprint,
            prompt=self.prompt.digest,
            doc_words=self.doc_words,
            doc_template=self.doc_template,
            **self._settings(),
        )

    def check(self, depth: int) -> None:
        """Raise what is wrong with the language model; loads no weights, sends nothing."""
        self.llm.check()

    def for_retriever(self: Self, retriever: str) -> Self:
        """The same reranker; what it reports is kept by retriever."""
        own = copy(self)
        own.details = self.details.setdefault(retriever, {})
        return own

    def estimate(self, sizes: np.ndarray) -> dict[str, int]:
        """Requests that lists of these sizes take at most, were none stored."""
        found, counts = np.unique(sizes, return_counts=True)
        return {
            "requests": sum(
                self._steps(int(size)) * int(count)
                for size, count in zip(found, counts, strict=True)
            )
        }

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """The candidates in the order that the answers give; scores are n - rank.

        `details`: by K, the longest list: what the answers were like, and the share of docs that
        doc_words cuts.
        """
        before, self._met = dict(self.llm.work), Counter()
        scores = np.empty(len(candidates), dtype=np.float32)
        for rows, block in blocks(candidates):
            scores[rows] = self._block_scores(queries, dataset, block)
        self.work = spent(before, self.llm)
        told = self._told(self._met)
        told["truncated_share"] = share(self._met["truncated"], len(candidates))
        self.details[f"K={int(candidates.sizes.max(initial=0))}"] = told
        return candidates.with_scores(scores)

    def _block_scores(self, queries: Sequence[Query], dataset: Dataset, block: Run) -> np.ndarray:
        query_texts = {query.query_id: query.text for query in queries}
        docs = dataset.lookup(np.unique(block.doc_ids).tolist())
        whole = {doc_id: doc.render(self.doc_template) for doc_id, doc in docs.items()}
        short = {doc_id: shortened(text, self.doc_words) for doc_id, text in whole.items()}
        cut = {doc_id for doc_id, text in whole.items() if len(short[doc_id]) < len(text)}
        self._met["truncated"] += sum(doc_id in cut for doc_id in block.doc_ids.tolist())
        lists = [
            Question(query_texts[query_id], [short[doc_id] for doc_id in doc_ids])
            for query_id, doc_ids in block
        ]
        orders = asked_together(
            [self._sorting(len(each.docs)) for each in lists], partial(self._ask, lists)
        )
        scores = [np.empty(len(order), dtype=np.float32) for order in orders]
        for found, order in zip(scores, orders, strict=True):
            found[order] = np.arange(len(order), 0, -1)
        return np.concatenate([np.empty(0, dtype=np.float32), *scores])

    def _ask(self, lists: list[Question], asked: list[tuple[int, Group]]) -> list[Any]:
        return self._answers(
            [
                Question(lists[query].query, [lists[query].docs[place] for place in group])
                for query, group in asked
            ]
        )


def share(part: int, whole: int) -> float:
    return round(part / max(whole, 1), 6)
