"""Setwise: a language model picks the best of a few docs, and a sort is made of its picks (Zhuang,
Zhuang, Koopman and Zuccon, SIGIR 2024).

One prompt compares a node of a heap with all of its children, so that a sort takes fewer prompts
than with pairs. An answer that names no doc leaves the first in its place, as the authors' code
does.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from evalkit.errors import ConfigError
from evalkit.llm.prompts import SETWISE
from evalkit.rerankers.llm_asking import (
    ListAsker,
    Question,
    checked_count,
    checked_mode,
)
from evalkit.rerankers.llm_labels import LABELS, answers_met, answers_told, best_labels
from evalkit.rerankers.llm_sorting import (
    Sorting,
    best_at_once,
    bubble_sort,
    bubble_steps,
    heap_sort,
    heap_steps,
)
from evalkit.types import DOC_TEMPLATE

METHODS = ("heap_sort", "bubble_sort")


class LLMSetwiseReranker(ListAsker):
    """Sorts by asking for the best of num_child + 1 docs at a time.

    method: "heap_sort" or "bubble_sort", as in the paper. top: ranks sorted; the others keep their
    order (bubble_sort: the one that the passes left). mode: the likeliest label ("logits"), or the
    text of the answer ("generate"), of max_tokens at most.
    """

    task = SETWISE

    def __init__(
        self,
        llm: Any,
        prompt: str = "setwise_en",
        method: str = "heap_sort",
        top: int = 10,
        num_child: int = 3,
        mode: str = "logits",
        max_tokens: int = 16,
        doc_words: int | None = 200,
        doc_template: str = DOC_TEMPLATE,
    ) -> None:
        super().__init__(llm, prompt, doc_words, doc_template)
        if method not in METHODS:
            raise ConfigError(f"method={method}: expected one of {', '.join(METHODS)}")
        most = len(LABELS) - 1
        if not 1 <= num_child <= most:
            raise ConfigError(f"num_child={num_child}: expected 1 to {most}")
        self.method, self.num_child, self.mode = method, num_child, checked_mode(mode)
        self.top = checked_count("top", top)
        self.max_tokens = checked_count("max_tokens", max_tokens)

    def _settings(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "top": self.top,
            "num_child": self.num_child,
            "mode": self.mode,
            "max_tokens": self.max_tokens if self.mode == "generate" else None,
        }

    def _sorting(self, count: int) -> Sorting:
        if self.method == "heap_sort":
            return heap_sort(count, self.top, self.num_child, best_at_once)
        return bubble_sort(count, self.top, self.num_child + 1, best_at_once)

    def _steps(self, count: int) -> int:
        if self.method == "heap_sort":
            return heap_steps(count, self.top, self.num_child)
        return bubble_steps(count, self.top, self.num_child + 1)

    def _answers(self, questions: list[Question]) -> list[int]:
        """The place of the best doc of each question."""
        places = best_labels(self.llm, self.prompt, questions, self.mode, self.max_tokens)
        self._met.update(answers_met(places))
        return [0 if place is None else place for place in places]

    def _told(self, met: Counter[str]) -> dict[str, Any]:
        return answers_told(met, self.mode)
