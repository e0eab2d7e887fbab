"""Texts to index terms, in English and Chinese: what BM25 indexes and lexical features count.

English: lower case, words of two or more characters, stop words out, Snowball stemmer (as bm25s
and Lucene's EnglishAnalyzer do). Chinese: jieba in search mode, which also emits the words inside a
compound; Latin words inside a Chinese text are analysed as English, so that they match across.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache, partial
from typing import NamedTuple

from evalkit.errors import ConfigError
from evalkit.types import fingerprint

LANGUAGES = ("auto", "en", "zh")
# Raise it when a rule below changes, so that no index of old terms is searched with new ones.
RULES = 1
_WORD = re.compile(r"\w\w+")
_HAN = re.compile(r"[㐀-䶿一-鿿豈-﫿\U00020000-\U0003134f]")
# Letters only: the middle dot of the katakana block also stands in Chinese names.
_KANA_OR_HANGUL = re.compile(r"[ぁ-ゖァ-ヺ가-힣]")
# A text is Chinese when at least this share of its letters is Han: mixed technical prose has many
# Latin terms, while an English text that quotes one Chinese word must stay English.
_HAN_SHARE = 0.15


def detect_language(text: str) -> str:
    """ "zh" or "en", by the share of Han characters among the letters."""
    if text.isascii() or not (han := len(_HAN.findall(text))):
        return "en"  # as most texts are, whose letters need no counting
    # Han characters newer than Python's Unicode tables are no letters to it.
    letters = max(sum(map(str.isalpha, text)), han)
    chinese = han / letters >= _HAN_SHARE and not _KANA_OR_HANGUL.search(text)
    return "zh" if chinese else "en"


class LocatedTerm(NamedTuple):
    """An index term and what it was made of: text[start:end]."""

    term: str
    start: int
    end: int


class Analyzer:
    """Turns a text into index terms; the same object serves docs and queries.

    language: "auto" detects it per text. stemmer, stopwords: switch the English stemmer and the
    stop words (English and Chinese) on or off.
    """

    def __init__(
        self, language: str = "auto", stemmer: bool = True, stopwords: bool = True
    ) -> None:
        if language not in LANGUAGES:
            raise ConfigError(f"language={language}: expected one of {', '.join(LANGUAGES)}")
        self.language, self.stemmer, self.stopwords = language, stemmer, stopwords

    @cached_property
    def fingerprint(self) -> str:
        """A digest of what can change a term: settings, this module's rules, the libraries."""
        import jieba
        import Stemmer

        return fingerprint(
            "Analyzer",
            rules=RULES,
            language=self.language,
            stemmer=Stemmer.version() if self.stemmer else None,
            stopwords=self.stopwords,
            jieba=jieba.__version__ if self.language != "en" else None,
        )

    @cached_property
    def _stop(self) -> frozenset[str]:
        if not self.stopwords:
            return frozenset()
        from bm25s.stopwords import STOPWORDS_CHINESE, STOPWORDS_EN

        return frozenset(STOPWORDS_EN) | frozenset(STOPWORDS_CHINESE)

    @cached_property
    def _stem(self) -> Callable[[str], str]:
        if not self.stemmer:
            return str
        import Stemmer

        return lru_cache(maxsize=1 << 18)(Stemmer.Stemmer("english").stemWord)

    @cached_property
    def _segment(self) -> Callable[[str], list[str]]:
        import jieba

        jieba.setLogLevel(logging.WARNING)
        return jieba.lcut_for_search

    @cached_property
    def _segments(self) -> Callable[[str], Iterable[tuple[str, int, int]]]:
        """What `_segment` gives, each word with its start and end."""
        import jieba

        jieba.setLogLevel(logging.WARNING)
        return partial(jieba.tokenize, mode="search")

    def terms(self, text: str) -> list[str]:
        """The index terms of a text, in order, repeats kept."""
        language = detect_language(text) if self.language == "auto" else self.language
        return self._chinese(text) if language == "zh" else self._english(text)

    def _english(self, text: str) -> list[str]:
        return [self._stem(w) for w in _WORD.findall(text.lower()) if w not in self._stop]

    def _chinese(self, text: str) -> list[str]:
        terms: list[str] = []
        for word in self._segment(text.lower()):
            if _HAN.search(word):
                if word not in self._stop:
                    terms.append(word)
            else:
                terms.extend(self._english(word))
        return terms

    def located(self, text: str) -> list[LocatedTerm]:
        """What `terms` gives, each term with its place in the text; the parts of a Chinese compound
        lie inside it."""
        language = detect_language(text) if self.language == "auto" else self.language
        find = self._located_chinese if language == "zh" else self._located_english
        # Lower case may be longer: İ becomes two characters.
        places = [at for at, char in enumerate(text) for _ in char.lower()]
        return [
            LocatedTerm(found.term, places[found.start], places[found.end - 1] + 1)
            for found in find(text.lower())
        ]

    def _located_english(self, text: str, offset: int = 0) -> list[LocatedTerm]:
        return [
            LocatedTerm(self._stem(found[0]), offset + found.start(), offset + found.end())
            for found in _WORD.finditer(text)
            if found[0] not in self._stop
        ]

    def _located_chinese(self, text: str) -> list[LocatedTerm]:
        located: list[LocatedTerm] = []
        for word, start, end in self._segments(text):
            if not _HAN.search(word):
                located.extend(self._located_english(word, start))
            elif word not in self._stop:
                located.append(LocatedTerm(word, start, end))
        return located
