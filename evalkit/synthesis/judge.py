"""A language model as a judge of relevance, with UMBRELA's grades from 0 to 3.

The scale and the steps of the default prompt are those of Bing's assessor (Thomas, Spielman,
Craswell and Mitra, SIGIR 2024, arXiv 2309.10621) and of UMBRELA, its open reproduction (Upadhyay et
al. 2024, arXiv 2406.06519); the wording is our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evalkit.llm.bilingual import BilingualPrompt
from evalkit.llm.grades import Pair, grade_log_probabilities, pair_messages, written_grades
from evalkit.llm.prompts import POINTWISE, checked_words
from evalkit.rerankers.llm_asking import checked_count, checked_llm, checked_mode
from evalkit.types import LanguageModel, Message

PROMPT = "pointwise_umbrela"
_BLOCK = 1024  # pairs whose prompts are in memory at once


class Judge:
    """Grades pairs of texts.

    prompt: a pointwise one, in the query's language (`BilingualPrompt`). mode: "generate" reads the
    grade that the answer names first, of max_tokens at most; "logits" takes the likeliest grade as
    the answer's first token. doc_words: where a doc is cut.
    """

    def __init__(
        self,
        llm: Any,
        prompt: str = PROMPT,
        language: str = "auto",
        mode: str = "generate",
        max_tokens: int = 16,
        doc_words: int | None = 300,
    ) -> None:
        self.llm: LanguageModel = checked_llm(llm)
        self.mode = checked_mode(mode)
        self.prompt = BilingualPrompt(prompt, POINTWISE, language)
        self.max_tokens = checked_count("grade_tokens", max_tokens)
        self.doc_words = checked_words(doc_words)

    @property
    def about(self) -> Mapping[str, Any]:
        """What can change a grade, besides the model."""
        return {
            "prompt": self.prompt.name,
            "digests": dict(self.prompt.digests),
            "mode": self.mode,
            "max_tokens": self.max_tokens if self.mode == "generate" else 1,
            "doc_words": self.doc_words,
        }

    @property
    def top_grade(self) -> int:
        return len(self.prompt.of("").answers) - 1

    def messages(self, pair: Pair) -> list[Message]:
        """What one pair is asked."""
        return pair_messages(self.prompt.of(pair[0]), pair, self.doc_words)

    def grades(self, pairs: Sequence[Pair]) -> list[int | None]:
        """The grade of each (query text, doc text); None for an answer that names none, and where
        several grades are equally likely."""
        found: list[int | None] = [None] * len(pairs)
        for start in range(0, len(pairs), _BLOCK):
            block = range(start, min(start + _BLOCK, len(pairs)))
            for language in ("en", "zh"):
                rows = [i for i in block if self.prompt.language_of(pairs[i][0]) == language]
                for row, grade in zip(rows, self._asked([pairs[i] for i in rows]), strict=True):
                    found[row] = grade
        return found

    def _asked(self, pairs: Sequence[Pair]) -> list[int | None]:
        """Of pairs whose queries are of one language."""
        if not pairs:
            return []
        asked = (self.llm, self.prompt.of(pairs[0][0]), pairs, self.doc_words)
        if self.mode == "generate":
            return written_grades(*asked, self.max_tokens)
        values = grade_log_probabilities(*asked)
        likeliest = values == values.max(axis=1, keepdims=True)
        sure = likeliest.sum(axis=1) == 1
        best = np.argmax(likeliest, axis=1)
        return [int(g) if s else None for g, s in zip(best.tolist(), sure.tolist(), strict=True)]
