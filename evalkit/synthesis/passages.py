"""Long files as passages: whole paragraphs where they fit, else sentences, else words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.llm.prompts import shortened, word_count
from evalkit.types import Doc

# Each match ends with the white space behind it, so that together they are the whole text.
_PARAGRAPH = re.compile(r".+?(?:\n[^\S\n]*\n\s*|\Z)", re.DOTALL)
_SENTENCE = re.compile(r".+?(?:[。！？；]+\s*|[.!?]+\s+|\n\s*|\Z)", re.DOTALL)


def passages(doc: Doc, words: int) -> list[Doc]:
    """The doc in passages of at most `words` words (see `shortened`), each under its title.

    One that fits stays as it is, id and all; the ids of several end in #1, #2 and so on.
    """
    texts = _packed(_segments(doc.text, words), words)
    if len(texts) <= 1:
        return [doc]
    return [Doc(f"{doc.doc_id}#{n}", doc.title, text) for n, text in enumerate(texts, start=1)]


def _segments(text: str, words: int) -> Iterator[str]:
    """The text in order, nothing left out, in parts that are as large as they may be."""
    for paragraph in _PARAGRAPH.findall(text):
        if word_count(paragraph) <= words:
            yield paragraph
            continue
        for sentence in _SENTENCE.findall(paragraph):
            rest = sentence
            while word_count(rest) > words:
                part = shortened(rest, words)
                yield part
                rest = rest[len(part) :]
            yield rest


def _packed(segments: Iterator[str], words: int) -> list[str]:
    texts: list[str] = []
    held, size = "", 0
    for segment in segments:
        count = word_count(segment)
        if held and size + count > words:
            texts.append(held)
            held, size = "", 0
        held, size = held + segment, size + count
    return [text.strip() for text in (*texts, held) if text.strip()]
