"""Asking which of a few docs is the best one: by the likeliest label, or by the answer's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

import numpy as np

from evalkit.llm.answers import read_label
from evalkit.llm.prompts import Prompt
from evalkit.rerankers.llm_asking import Question, share
from evalkit.types import LanguageModel

LABELS = ascii_uppercase


def best_labels(
    llm: LanguageModel,
    prompt: Prompt,
    questions: Sequence[Question],
    mode: str,
    max_tokens: int,
) -> list[int | None]:
    """The place of the best doc of each question, whose docs are labelled A, B, C and so on.

    mode: "logits" takes the likeliest label as the first token of the answer, None where several
    are equally likely, as where a server tells of none; "generate" reads the answer, None where it
    names no label.
    """
    prompts = [
        prompt.fill_docs(question.query, LABELS[: len(question.docs)], question.docs)
        for question in questions
    ]
    found: list[int | None] = [None] * len(questions)
    if mode == "generate":
        for at, text in enumerate(llm.generate(prompts, max_tokens)):
            found[at] = read_label(text, LABELS[: len(questions[at].docs)])
        return found
    counts = np.array([len(question.docs) for question in questions])
    for count in np.unique(counts).tolist():
        rows = np.flatnonzero(counts == count).tolist()
        values = llm.choose([prompts[row] for row in rows], list(LABELS[:count]))
        likeliest = values == values.max(axis=1, keepdims=True)
        sure = likeliest.sum(axis=1) == 1
        for row, best, is_sure in zip(rows, likeliest.argmax(axis=1), sure, strict=True):
            found[row] = int(best) if is_sure else None
    return found


def answers_met(places: Sequence[int | None]) -> dict[str, int]:
    """Counts of answers, of those for the doc that is shown first, and of those for none."""
    return {"answers": len(places), "first": places.count(0), "none": places.count(None)}


def answers_told(met: Mapping[str, int], mode: str) -> dict[str, Any]:
    """What `details` says of these counts. undecided: labels that are equally likely."""
    name = "malformed_share" if mode == "generate" else "undecided_share"
    return {
        "answers": met["answers"],
        name: share(met["none"], met["answers"]),
        "first_position_share": share(met["first"], met["answers"] - met["none"]),
    }
