"""Texts tampered with, in English and Chinese: each a pure function of text and random generator.

After ABNIRML (MacAvaney et al., TACL 2022) and typo probes (Zhuang and Zuccon, EMNLP 2021). What
cannot be changed in the way asked for comes back as it was.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import Any

# Shorter ones are mostly function words, in which a mistake costs nothing.
_LATIN_WORD = re.compile(r"[A-Za-z]{5,}")
_HAN_PAIR = re.compile(r"(?=([一-鿿])(?!\1)([一-鿿]))")
_HAN = re.compile(r"[一-鿿]")
# A longer one is two: Python refuses to read thousands of digits as a number.
_NUMBER = re.compile(r"\d{1,18}")
_VERB = r"is|are|was|were|can|could|will|would|should|must|may|might|does|do|did|has|have|had"
# can't and won't come first: of the others n't is no part of the verb.
_ENGLISH_VERB = re.compile(
    rf"\b(?P<whole>cannot|can['’]t|won['’]t)\b|\b(?P<verb>{_VERB})(?P<no>\s+not\b|n['’]t\b|\b)",
    re.IGNORECASE,
)
# A word and its negation; whole words only, so that 但是 and 功能 stay as they are.
_CHINESE_NEGATIONS = {
    "是": "不是", "能": "不能", "会": "不会", "可以": "不可以", "能够": "不能够", "有": "没有",
    "需要": "不需要", "应该": "不应该", "必须": "不必", "支持": "不支持", "允许": "不允许",
}  # fmt: skip
_OPPOSITES = _CHINESE_NEGATIONS | {no: yes for yes, no in _CHINESE_NEGATIONS.items()}
# A name is a capital letter inside a sentence, two capitals, or a word of letters and digits.
_LATIN_NAME = re.compile(
    r"(?<![.!?。！？]\s)(?<!^)\b[A-Z][a-z]+(?:[A-Z]\w*)?\b|\b[A-Z]{2,}[A-Za-z]*\b|\b[a-z]+[A-Z]\w*\b"
)
# jieba's tags of people, places and organisations.
_HAN_NAMES = ("nr", "ns", "nt")
# A stuffed page says the query so often.
STUFFING = 3

Names = dict[str, list[str]]


def with_typo(text: str, random: Random) -> str:
    """One word of five letters or more with two neighbours swapped, a letter lost or doubled; in a
    text without such words two neighbouring Chinese characters swapped.

    The first letter stays, as it mostly does in people's own mistakes.
    """
    words = list(_LATIN_WORD.finditer(text))
    if words:
        word = random.choice(words)
        start, end = word.span()
        return text[:start] + _misspelt(word[0], random) + text[end:]
    pairs = list(_HAN_PAIR.finditer(text))
    if not pairs:
        return text
    at = random.choice(pairs).start()
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _misspelt(word: str, random: Random) -> str:
    at = random.randrange(1, len(word) - 1)
    kinds: list[Callable[[], str]] = [
        lambda: word[:at] + word[at + 1 :],
        lambda: word[:at] + word[at] + word[at:],
    ]
    if word[at] != word[at + 1]:
        kinds.append(lambda: word[:at] + word[at + 1] + word[at] + word[at + 2 :])
    return random.choice(kinds)()


def in_capitals(text: str, random: Random) -> str:
    """All letters in upper case; Chinese has no case."""
    return text.upper()


def first_half(text: str, random: Random) -> str:
    """The first half of the text, cut between two words where it has spaces."""
    half = (len(text) + 1) // 2
    space = text.rfind(" ", 0, half + 1)
    return text[: space if space > 0 else half].rstrip()


def stuffed(text: str, query: str) -> str:
    """The text with the query three times behind it."""
    return " ".join([text, *[query] * STUFFING])


def negated(text: str, random: Random) -> str:
    """Every statement with a common auxiliary verb turned into its opposite."""
    text = _ENGLISH_VERB.sub(_opposite, text)
    if not _HAN.search(text):
        return text
    words = [_OPPOSITES.get(word, word) for word in _jieba().lcut(text)]
    # 不可以 is two words to jieba, of which the second was negated again.
    return "".join(words).replace("不不", "")


def _opposite(found: re.Match[str]) -> str:
    if whole := found["whole"]:
        verb = "will" if whole[0] in "wW" else "can"
        return verb if whole[0].islower() else verb.capitalize()
    return found["verb"] if found["no"] else f"{found['verb']} not"


def with_other_numbers(text: str, random: Random) -> str:
    """Every number in digits replaced by another of the same length, the same one each time."""
    replaced: dict[str, str] = {}

    def other(found: re.Match[str]) -> str:
        number = found[0]
        if number not in replaced:
            least = 10 ** (len(number) - 1) if len(number) > 1 else 0
            drawn = random.randrange(least, 10 ** len(number) - 1)
            # Those from the old number on are moved up by one: any number but itself.
            new = drawn + (drawn >= int(number))
            replaced[number] = str(new).zfill(len(number))
        return replaced[number]

    return _NUMBER.sub(other, text)


def names_in(text: str) -> Names:
    """Kind of name → the names of a text, each once: Latin ones, and Chinese people (nr), places
    (ns) and organisations (nt), as jieba tags them."""
    found: Names = {}
    for match in _LATIN_NAME.finditer(text):
        found.setdefault("latin", []).append(match[0])
    if _HAN.search(text):
        for word, tag in _tagged(text):
            if tag in _HAN_NAMES and len(word) > 1:
                found.setdefault(tag, []).append(word)
    return {kind: list(dict.fromkeys(names)) for kind, names in found.items()}


def with_other_names(text: str, random: Random, pool: Names) -> str:
    """Every name replaced by another of its kind out of the pool, the same one each time."""
    replaced: dict[str, str] = {}
    for kind, names in names_in(text).items():
        for name in names:
            taken = {*names, *replaced.values()}
            others = [other for other in pool.get(kind, ()) if other not in taken]
            if others:
                replaced[name] = random.choice(others)
    if not replaced:
        return text
    longest = sorted(replaced, key=len, reverse=True)
    # Latin names end where a word does; Chinese has no such ends.
    parts = [rf"\b{re.escape(n)}\b" if n.isascii() else re.escape(n) for n in longest]
    return re.sub("|".join(parts), lambda found: replaced[found[0]], text)


def pool_of(texts: Sequence[str]) -> Names:
    """The names of many texts, by kind, sorted."""
    pool: dict[str, set[str]] = {}
    for text in texts:
        for kind, names in names_in(text).items():
            pool.setdefault(kind, set()).update(names)
    return {kind: sorted(names) for kind, names in pool.items()}


@lru_cache(maxsize=1)
def _jieba() -> Any:
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba


def _tagged(text: str) -> list[tuple[str, str]]:
    _jieba()
    from jieba import posseg

    return [(pair.word, pair.flag) for pair in posseg.lcut(text)]
