"""Pairwise ranking prompting: a language model says which of two docs is more relevant (Qin et al.,
Findings of NAACL 2024).

Models favour what is shown first or second. Each pair is therefore asked in both orders, and counts
as a tie when the two answers disagree; how often they do is reported.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from evalkit.errors import ConfigError
from evalkit.llm.prompts import PAIRWISE
from evalkit.rerankers.llm_asking import (
    ListAsker,
    Question,
    checked_count,
    checked_mode,
    share,
)
from evalkit.rerankers.llm_labels import answers_met, answers_told, best_labels
from evalkit.rerankers.llm_sorting import (
    Sorting,
    all_pairs,
    best_by_pairs,
    bubble_sort,
    bubble_steps,
    heap_sort,
    heap_steps,
)
from evalkit.types import DOC_TEMPLATE

METHODS = ("all_pairs", "heap_sort", "bubble_sort")
_TIE = 0.5


class LLMPairwiseReranker(ListAsker):
    """Sorts by comparing two docs at a time.

    method: "all_pairs" (n(n-1)/2 comparisons, by wins), "heap_sort" (about n + top · 2 log2 n) or
    "bubble_sort" (top passes of n, PRP-Sliding). top: ranks sorted; the others keep their order
    (bubble_sort: the one that the passes left). both_orders: ask each pair twice. mode: the
    likelier first token of "A" and "B" ("logits"), or the text of the answer ("generate").
    max_tokens: the longest answer, for "generate".
    """

    task = PAIRWISE

    def __init__(
        self,
        llm: Any,
        prompt: str = "pairwise_en",
        method: str = "heap_sort",
        top: int = 10,
        both_orders: bool = True,
        mode: str = "logits",
        max_tokens: int = 16,
        doc_words: int | None = 200,
        doc_template: str = DOC_TEMPLATE,
    ) -> None:
        super().__init__(llm, prompt, doc_words, doc_template)
        if method not in METHODS:
            raise ConfigError(f"method={method}: expected one of {', '.join(METHODS)}")
        self.method, self.both_orders, self.mode = method, both_orders, checked_mode(mode)
        self.top = checked_count("top", top)
        self.max_tokens = checked_count("max_tokens", max_tokens)

    def _settings(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "top": None if self.method == "all_pairs" else self.top,
            "both_orders": self.both_orders,
            "mode": self.mode,
            "max_tokens": self.max_tokens if self.mode == "generate" else None,
        }

    def _sorting(self, count: int) -> Sorting:
        if self.method == "all_pairs":
            return all_pairs(count)
        if self.method == "heap_sort":
            return heap_sort(count, self.top, 2, best_by_pairs)
        return bubble_sort(count, self.top, 2, best_by_pairs)

    def _steps(self, count: int) -> int:
        comparisons = {
            "all_pairs": count * (count - 1) // 2,
            "heap_sort": 2 * heap_steps(count, self.top, 2),
            "bubble_sort": bubble_steps(count, self.top, 2),
        }[self.method]
        return comparisons * (1 + self.both_orders)

    def _answers(self, questions: list[Question]) -> list[float]:
        """1 where the first doc wins, 0 where the second does, 0.5 for a tie."""
        asked = list(questions)
        if self.both_orders:
            asked += [Question(query, list(docs)[::-1]) for query, docs in questions]
        places = best_labels(self.llm, self.prompt, asked, self.mode, self.max_tokens)
        self._met.update(answers_met(places))
        first = np.array([_TIE if place is None else 1.0 - place for place in places])
        if not self.both_orders:
            return first.tolist()
        shown, turned = first[: len(questions)], 1.0 - first[len(questions) :]
        sure = (shown != _TIE) & (turned != _TIE)
        disagreements = sure & (shown != turned)
        self._met.update(pairs=int(sure.sum()), disagreements=int(disagreements.sum()))
        return np.where(shown == turned, shown, _TIE).tolist()

    def _told(self, met: Counter[str]) -> dict[str, Any]:
        told = answers_told(met, self.mode)
        if self.both_orders:
            told["disagreement_share"] = share(met["disagreements"], met["pairs"])
        return told
