"""Asking a language model for a doc's grade, one of a prompt's answers from the least relevant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.llm.answers import read_choice
from evalkit.llm.prompts import Prompt, shortened
from evalkit.types import LanguageModel, Message

Pair = tuple[str, str]  # query text, doc text


def pair_messages(prompt: Prompt, pair: Pair, doc_words: int | None) -> list[Message]:
    """A pointwise prompt with a query and a doc in it, the doc cut by `shortened`."""
    query, doc = pair
    return prompt.fill(query=query, doc=shortened(doc, doc_words))


def written_grades(
    llm: LanguageModel, prompt: Prompt, pairs: Sequence[Pair], doc_words: int | None, tokens: int
) -> list[int | None]:
    """The grade that each answer, of `tokens` at most, names first; None where it names none."""
    messages = [pair_messages(prompt, pair, doc_words) for pair in pairs]
    return [read_choice(text, prompt.answers) for text in llm.generate(messages, tokens)]


def grade_log_probabilities(
    llm: LanguageModel, prompt: Prompt, pairs: Sequence[Pair], doc_words: int | None
) -> np.ndarray:
    """Each grade's as the answer's first token: float32, shape (len(pairs), grades)."""
    messages = [pair_messages(prompt, pair, doc_words) for pair in pairs]
    return llm.choose(messages, prompt.answers)
