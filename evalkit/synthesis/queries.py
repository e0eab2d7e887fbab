"""Queries that a language model writes for docs, and which of them are fit to be asked.

One request a doc and kind, as InPars (Bonifacio et al., SIGIR 2022) and Promptagator (Dai et al.,
ICLR 2023) do, with instructions in place of their examples.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit.errors import ConfigError
from evalkit.llm.answers import final_answer
from evalkit.llm.bilingual import BilingualPrompt
from evalkit.llm.prompts import WRITE_QUERY, shortened, word_count
from evalkit.types import Doc, LanguageModel, Message

# From this many words on, a query that stands in its doc as it is was copied, not written.
COPIED_WORDS = 8
_LABEL = re.compile(
    r"^(?:[-*•\d.)、\s]*)(?:(?:search )?query|document|keywords?|question(?: in other words)?|文档|"
    r"查询|关键词|(?:换一种说法的)?问题)\s*[:：]\s*|^\s*(?:[-*•]|\d{1,2}[.)、])\s+",
    re.IGNORECASE,
)
_QUOTES = "\"'`“”「」『』*"
# Its author has the doc in view; who searches has not.
_REFERS = re.compile(
    r"^the (?:document|article|text)\b"
    r"|\bth(?:is|e (?:given|above)) (?:passage|text|document|article|excerpt)\b"
    r"|\bthe (?:passage|excerpt)\b|\baccording to the (?:text|document|article|author)\b"
    r"|本文|上文|文中|该段|该文档|该文章|这段(?:文字|话|文本)|这篇(?:文档|文章)|根据(?:文章|文档|文本|段落)",
    re.IGNORECASE,
)


class Draft(NamedTuple):
    """A query as it was written. doc: the one that it was written for."""

    query_id: str
    text: str
    kind: str
    language: str
    doc: Doc


class QueryWriter:
    """Asks for one query of each kind for each doc.

    kinds: names of evalkit's prompts without "write_query_", or paths of YAML files. language: that
    of prompts and queries, "auto" for each doc's own. doc_words: where a doc is cut.
    """

    def __init__(
        self, kinds: Sequence[str], language: str, max_tokens: int, doc_words: int | None
    ) -> None:
        if not kinds:
            raise ConfigError("kinds is empty; write kinds=[keyword,question,paraphrase]")
        own = (".yaml", ".yml")
        prompts = {
            Path(kind).stem if kind.endswith(own) else kind: BilingualPrompt(
                kind if kind.endswith(own) else f"{WRITE_QUERY.name}_{kind}", WRITE_QUERY, language
            )
            for kind in kinds
        }
        for name in prompts:
            if len(name.split()) != 1 or len(prompts) < len(kinds):
                raise ConfigError(
                    f"kinds={list(kinds)}: expected different names without white space, which "
                    "query ids are made of"
                )
        self.prompts, self.max_tokens, self.doc_words = prompts, max_tokens, doc_words

    @property
    def instructions(self) -> list[str]:
        """What the prompts say around a doc: a weak model repeats it."""
        filled = [p.fill(doc="") for each in self.prompts.values() for p in each.prompts]
        return [" ".join(message["content"] for message in messages) for messages in filled]

    def messages(self, docs: Sequence[Doc]) -> list[list[Message]]:
        """What is asked, kind by kind, doc by doc."""
        shown = [shortened(doc.render("{title}\n{text}"), self.doc_words) for doc in docs]
        return [
            prompt.of(text).fill(doc=text) for prompt in self.prompts.values() for text in shown
        ]

    def drafts(self, llm: LanguageModel, docs: Sequence[Doc]) -> list[Draft]:
        """A draft a kind and doc, in that order; an answer that says nothing is an empty text."""
        answers = iter(llm.generate(self.messages(docs), self.max_tokens))
        return [
            Draft(
                f"{kind}-{number}",
                one_line(next(answers)),
                kind,
                prompt.language_of(doc.render()),
                doc,
            )
            for kind, prompt in self.prompts.items()
            for number, doc in enumerate(docs, start=1)
        ]


def one_line(answer: str) -> str:
    """The query that an answer holds: its first line that introduces nothing, without a label, a
    list's number, or quotes around it."""
    lines = [" ".join(line.split()) for line in final_answer(answer).splitlines()]
    for line in lines:
        text = _LABEL.sub("", line.strip(_QUOTES)).strip().strip(_QUOTES).strip()
        if text and text[-1] not in ":：":
            return text
    return ""


def normalised(text: str) -> str:
    """Width, case, punctuation and white space made one, to compare texts by."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split())


def fit(
    drafts: Sequence[Draft], longest: int, instructions: Sequence[str] = ()
) -> tuple[list[Draft], Counter[str]]:
    """The drafts that can be asked, in order, and how many were dropped, by reason.

    empty, too_long (over `longest` words), echo (a stretch of the `instructions`), refers_to_doc
    ("according to this passage"), copy (the title, or a stretch of the doc), duplicate (the first
    one stays). A stretch: COPIED_WORDS words or more.
    """
    kept: list[Draft] = []
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    for draft in drafts:
        key = normalised(draft.text)
        reason = _unfit(draft, key, longest, instructions) or ("duplicate" if key in seen else None)
        if reason is None:
            seen.add(key)
            kept.append(draft)
        else:
            dropped[reason] += 1
    return kept, dropped


def _unfit(draft: Draft, key: str, longest: int, instructions: Sequence[str]) -> str | None:
    words = word_count(draft.text)
    if not key:
        return "empty"
    if words > longest:
        return "too_long"
    long = words >= COPIED_WORDS
    if long and any(_is_inside(key, text) for text in instructions):
        return "echo"
    if _REFERS.search(draft.text):
        return "refers_to_doc"
    if key == normalised(draft.doc.title) or (long and _is_inside(key, draft.doc.text)):
        return "copy"
    return None


def _is_inside(key: str, text: str) -> bool:
    """Whether a normalised text is a stretch of another; Chinese has no word borders to mind."""
    whole = normalised(text)
    if key.isascii():
        return f" {key} " in f" {whole} "
    return key.replace(" ", "") in whole.replace(" ", "")
