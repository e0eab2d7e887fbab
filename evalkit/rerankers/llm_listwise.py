"""RankGPT: a language model writes the order of a window of docs, which slides from the last
candidates to the first (Sun et al., EMNLP 2023).

Permutations that are none are repaired as the authors do, and counted. Unlike their code, the last
window of a pass always reaches the first candidate, whatever the step and however short the list.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from evalkit.errors import ConfigError
from evalkit.llm.answers import FAULTS, read_ranking
from evalkit.llm.prompts import LISTWISE
from evalkit.rerankers.llm_asking import ListAsker, Question, checked_count, share
from evalkit.rerankers.llm_sorting import Sorting, sliding_windows, windows
from evalkit.types import DOC_TEMPLATE, Message

# "[20] > " is seven in vocabularies that have a token for each digit only; and room for a preface.
_TOKENS_A_DOC, _PREFACE = 10, 50


class LLMListwiseReranker(ListAsker):
    """Sorts by windows of docs.

    window, step: docs in a window, and how far the next one is from it. passes: how often the
    windows slide over the list. max_tokens: the longest answer; None for 10 a doc shown
    and 50 more.
    """

    task = LISTWISE

    def __init__(
        self,
        llm: Any,
        prompt: str = "listwise_en",
        window: int = 20,
        step: int = 10,
        passes: int = 1,
        max_tokens: int | None = None,
        doc_words: int | None = 200,
        doc_template: str = DOC_TEMPLATE,
    ) -> None:
        super().__init__(llm, prompt, doc_words, doc_template)
        self.window = checked_count("window", window, least=2)
        if not 1 <= step <= window:
            raise ConfigError(f"step={step}: expected 1 to window={window}")
        self.step, self.passes = step, checked_count("passes", passes)
        self.max_tokens = None if max_tokens is None else checked_count("max_tokens", max_tokens)

    def _settings(self) -> dict[str, Any]:
        return {
            "window": self.window,
            "step": self.step,
            "passes": self.passes,
            "max_tokens": self.max_tokens,
        }

    def _sorting(self, count: int) -> Sorting:
        return sliding_windows(count, self.window, self.step, self.passes)

    def _steps(self, count: int) -> int:
        return len(windows(count, self.window, self.step)) * self.passes

    def _answers(self, questions: list[Question]) -> list[list[int]]:
        """The places of each window's docs, best first."""
        prompts = [
            self.prompt.fill_docs(query, [str(n) for n in range(1, len(docs) + 1)], docs)
            for query, docs in questions
        ]
        texts = self._texts(prompts, [len(docs) for _, docs in questions])
        rankings = [
            read_ranking(text, len(docs)) for text, (_, docs) in zip(texts, questions, strict=True)
        ]
        self._met["answers"] += len(rankings)
        self._met["malformed"] += sum(bool(ranking.faults) for ranking in rankings)
        self._met.update(fault for ranking in rankings for fault in ranking.faults)
        return [ranking.order for ranking in rankings]

    def _texts(self, prompts: list[list[Message]], counts: list[int]) -> list[str]:
        """The answers on so many docs each. How long they may be must not depend on which other
        windows are asked with them."""
        texts = [""] * len(prompts)
        for count in sorted(set(counts)):
            rows = [row for row, each in enumerate(counts) if each == count]
            most = self.max_tokens or _PREFACE + _TOKENS_A_DOC * count
            answers = self.llm.generate([prompts[row] for row in rows], most)
            for row, answer in zip(rows, answers, strict=True):
                texts[row] = answer
        return texts

    def _told(self, met: Counter[str]) -> dict[str, Any]:
        return {
            "answers": met["answers"],
            "malformed_share": share(met["malformed"], met["answers"]),
            **{f"{fault}_share": share(met[fault], met["answers"]) for fault in FAULTS},
        }
