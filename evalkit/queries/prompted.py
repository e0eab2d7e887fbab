"""Asking a language model for another text of a query; prompts: see `BilingualPrompt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.errors import ConfigError
from evalkit.llm.answers import final_answer
from evalkit.llm.bilingual import BilingualPrompt
from evalkit.llm.prompts import Task
from evalkit.types import LanguageModel, Message, Query, fingerprint

# Answers in `details`, and characters of each.
_EXAMPLES, _SHOWN = 3, 100
_QUOTES = "\"'`“”「」『』"


class QueryPrompt:
    """The messages for a query; {query} is its text, {history} its earlier turns, a line each.

    name, language: as in `BilingualPrompt`; "auto" is each query's own.
    """

    def __init__(self, name: str, task: Task, language: str = "auto") -> None:
        self._prompt = BilingualPrompt(name, task, language)

    @property
    def fingerprint(self) -> str:
        prompt = self._prompt
        return fingerprint("QueryPrompt", prompts=prompt.digests, language=prompt.language)

    def messages(self, query: Query) -> list[Message]:
        turns = "".join(f"{turn.strip()}\n" for turn in query.history if turn.strip())
        return self._prompt.of(query.text).fill(query=query.text, history=turns)


class PromptedText:
    """A language model's answers to one prompt. They are kept by the model's own store; what was
    answered in this process is at hand here."""

    def __init__(self, llm: LanguageModel, prompt: QueryPrompt, max_tokens: int) -> None:
        if max_tokens < 1:
            raise ConfigError(f"max_tokens={max_tokens}: expected at least 1")
        self.llm, self.prompt, self.max_tokens = llm, prompt, max_tokens
        self._answers: dict[Query, str] = {}

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "PromptedText",
            llm=self.llm.fingerprint,
            prompt=self.prompt.fingerprint,
            max_tokens=self.max_tokens,
        )

    def is_known(self, queries: Sequence[Query]) -> bool:
        """Whether all of these were answered in this process."""
        return all(query in self._answers for query in queries)

    def answers(self, queries: Sequence[Query]) -> list[str]:
        """An answer a query, in order, on one line, quotes around it removed; "" for a blank."""
        new = list(dict.fromkeys(query for query in queries if query not in self._answers))
        if new:
            prompts = [self.prompt.messages(query) for query in new]
            found = self.llm.generate(prompts, self.max_tokens)
            self._answers |= {query: _line(text) for query, text in zip(new, found, strict=True)}
        return [self._answers[query] for query in queries]

    @property
    def details(self) -> Mapping[str, Any]:
        """How many queries were asked about, how many answers were blank, the first few answers."""
        if not self._answers:
            return {}
        first = list(self._answers.items())[:_EXAMPLES]
        return {
            "queries_asked": len(self._answers),
            "blank_answers": sum(not answer for answer in self._answers.values()),
            "examples": [
                f"{query.text} → {_start(answer) or '(blank)'}" for query, answer in first
            ],
        }


class PromptedTransform:
    """What transforms share that ask a language model: one or several prompts, by name."""

    weighted = False

    def __init__(
        self,
        llm: LanguageModel,
        task: Task,
        prompts: Sequence[str],
        language: str,
        max_tokens: int,
    ) -> None:
        self._llm = llm
        self._texts = {
            name: PromptedText(llm, QueryPrompt(name, task, language), max_tokens)
            for name in prompts
        }

    @property
    def fingerprint(self) -> str:
        texts = [text.fingerprint for text in self._texts.values()]
        return fingerprint(type(self).__name__, texts=texts, **self._settings)

    @property
    def _settings(self) -> Mapping[str, Any]:
        """What else changes a part."""
        return {}

    @property
    def work(self) -> Mapping[str, int]:
        """What the language model spent since it was made."""
        return self._llm.work

    @property
    def details(self) -> Mapping[str, Any]:
        """What the prompt was answered; each of them by name, where there are several."""
        found = {name: text.details for name, text in self._texts.items() if text.details}
        return next(iter(found.values())) if len(found) == 1 else found

    def check(self) -> None:
        """Raise what is wrong with the language model; asks it nothing."""
        self._llm.check()

    def is_known(self, queries: Sequence[Query]) -> bool:
        """Whether all answers for these are at hand."""
        return all(text.is_known(queries) for text in self._texts.values())

    def answered(self, queries: Sequence[Query]) -> list[tuple[Query, list[str]]]:
        """Each query with the answers to its prompts, in their order; blank ones left out."""
        columns = [text.answers(queries) for text in self._texts.values()]
        rows = zip(*columns, strict=True)
        return [
            (query, [answer for answer in row if answer])
            for query, row in zip(queries, rows, strict=True)
        ]


def _start(answer: str) -> str:
    return f"{answer[:_SHOWN]} …" if len(answer) > _SHOWN else answer or "(blank)"


def _line(answer: str) -> str:
    return " ".join(final_answer(answer).split()).strip(_QUOTES).strip()
