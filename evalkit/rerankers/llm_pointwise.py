"""A language model asked about one doc at a time: is it relevant, or how relevant is it?

Yes or no: Liang et al., HELM, 2022. Grades, and their expected value instead of the likeliest one:
Zhuang et al., NAACL 2024, "Beyond Yes and No".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.llm.grades import grade_log_probabilities, written_grades
from evalkit.llm.prompts import POINTWISE, Prompt, checked_words, load_prompt, shortened
from evalkit.rerankers.llm_asking import checked_count, checked_llm, checked_mode, share, spent
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.run import Run
from evalkit.types import DOC_TEMPLATE, Dataset, Query, fingerprint

MALFORMED = -1.0  # the score of an answer without a grade: below all grades, so that it is counted

# Raised when docs are cut, or written answers read, in another way: scores are kept for long.
RULES = 1


class LLMPointwiseScorer:
    """PairScorer over a language model and a prompt with the answers a0, a1, ... an.

    mode: "logits": with two answers log P(a1) - log P(a0); with more the expected grade, Σ i·P(ai)
    over the answers alone. "generate": the grade i that the answer names first, of max_tokens at
    most; MALFORMED where it names none. doc_words: where a doc is cut, see `shortened`.
    """

    def __init__(
        self,
        llm: Any,
        prompt: str = "pointwise_yes_no_en",
        mode: str = "logits",
        max_tokens: int = 16,
        doc_words: int | None = 300,
    ) -> None:
        self.llm, self.mode = checked_llm(llm), checked_mode(mode)
        self.prompt: Prompt = load_prompt(prompt, POINTWISE)
        self.max_tokens = checked_count("max_tokens", max_tokens)
        self.doc_words = checked_words(doc_words)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "LLMPointwise",
            llm=self.llm.fingerprint,
            prompt=self.prompt.digest,
            mode=self.mode,
            max_tokens=self.max_tokens if self.mode == "generate" else None,
            doc_words=self.doc_words,
            rules=RULES,
        )

    def check(self) -> None:
        """Raise what is wrong with the language model; loads no weights, sends nothing."""
        self.llm.check()

    def truncated(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Which pairs lose a part of their doc to doc_words: bool, shape (len(pairs),)."""
        cut = (len(shortened(doc, self.doc_words)) < len(doc) for _, doc in pairs)
        return np.fromiter(cut, dtype=bool, count=len(pairs))

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        if not pairs:
            return np.empty(0, dtype=np.float32)
        asked = (self.llm, self.prompt, pairs, self.doc_words)
        if self.mode == "generate":
            grades = written_grades(*asked, self.max_tokens)
            return np.array([MALFORMED if g is None else g for g in grades], dtype=np.float32)
        values = grade_log_probabilities(*asked)
        if values.shape[1] == 2:
            return values[:, 1] - values[:, 0]
        chances = np.exp(values - values.max(axis=1, keepdims=True), dtype=np.float64)
        chances /= chances.sum(axis=1, keepdims=True)
        return (chances @ np.arange(values.shape[1])).astype(np.float32)


class LLMPointwiseReranker(PointwiseReranker):
    """The language model behind the score store; settings as in `LLMPointwiseScorer`."""

    def __init__(
        self,
        llm: Any,
        prompt: str = "pointwise_yes_no_en",
        mode: str = "logits",
        max_tokens: int = 16,
        doc_words: int | None = 300,
        chunk_size: int = 256,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        scorer = LLMPointwiseScorer(llm, prompt, mode, max_tokens, doc_words)
        super().__init__(scorer, doc_template, cache_dir, chunk_size)
        self.llm, self.mode = scorer.llm, mode
        self._spent: dict[str, int] = {}

    @property
    def work(self) -> dict[str, int]:
        """Of the last call: pairs asked, reused and scored; then what the language model spent."""
        return {**super().work, **self._spent}

    def estimate(self, sizes: np.ndarray) -> dict[str, int]:
        """Requests that lists of these sizes take at most, were none stored."""
        return {"requests": int(np.sum(sizes))}

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """As `PointwiseReranker.rerank`; `details` has the share of answers without a grade."""
        before = dict(self.llm.work)
        found = super().rerank(queries, dataset, candidates)
        self._spent = spent(before, self.llm)
        if "reused" in self._spent:
            self._spent["reused_answers"] = self._spent.pop("reused")
        if self.mode == "generate":
            malformed = int((found.scores == MALFORMED).sum())
            self.details["malformed_share"] = share(malformed, len(found))
        return found
