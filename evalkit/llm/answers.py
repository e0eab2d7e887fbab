"""What a language model's answer says: a grade, one of several labels, a ranking.

A model need not keep to the form that it was asked for. What cannot be read is None, or is repaired
and named; never guessed silently.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_THOUGHT = re.compile(r"^.*</think>", re.DOTALL)
_OPEN, _CLOSE = r"[\[(（【［]", r"[\])）】］]"
_BRACKETED = re.compile(rf"{_OPEN}\s*([0-9]{{1,9}})\s*{_CLOSE}")
_NUMBER = re.compile(r"(?<![0-9])[0-9]{1,9}(?![0-9])")

FAULTS = ("no_ranking", "duplicate", "missing", "out_of_range")


def final_answer(text: str) -> str:
    """What follows the thoughts of a reasoning model; the whole text where there are none."""
    return _THOUGHT.sub("", text).strip()


def read_choice(text: str, answers: Sequence[str]) -> int | None:
    """Which of the answers stands first in a text, by position; None where none does.

    A number inside a longer number, a decimal, a negative one or a range does not count.
    """
    wanted = "|".join(map(re.escape, sorted(answers, key=len, reverse=True)))
    lone = re.compile(
        rf"(?<![A-Za-z0-9.,\-–])(?:{wanted})(?![A-Za-z0-9]|[.,\-–][0-9])", re.IGNORECASE
    )
    found = lone.search(final_answer(text))
    if found is None:
        return None
    folded = [answer.casefold() for answer in answers]
    return folded.index(found[0].casefold())


def read_label(text: str, labels: Sequence[str]) -> int | None:
    """Which label, such as "B", a text names, by position; None where it names none.

    The label alone or followed by a punctuation mark, after the word passage, or in brackets: the
    article in "A passage about" is no answer.
    """
    text, one = final_answer(text), "|".join(map(re.escape, labels))
    forms = (
        rf"^\W*({one})(?=\s*$|\s*\n|[.:,;*)\]）】］。：，；])",
        rf"(?:passage|document|doc|段落|文档|文段)\s*{_OPEN}?\s*({one})(?![A-Za-z0-9])",
        rf"{_OPEN}\s*({one})\s*{_CLOSE}",
    )
    for form in forms:
        found = re.search(form, text, re.IGNORECASE)
        if found is not None:
            return [label.casefold() for label in labels].index(found[1].casefold())
    return None


class Ranking(NamedTuple):
    """order: positions from 0, best first, each exactly once. faults: what had to be repaired, of
    FAULTS."""

    order: list[int]
    faults: tuple[str, ...]


def read_ranking(text: str, count: int) -> Ranking:
    """The order of `count` docs that a text such as "[2] > [1]" gives, repaired where need be.

    As RankGPT does: a number met again is dropped, one out of range is dropped, and docs that are
    not named follow in their old order. Numbers in brackets count; without any, all numbers do.
    """
    text = final_answer(text)
    numbers = [int(number) for number in _BRACKETED.findall(text) or _NUMBER.findall(text)]
    inside = [number - 1 for number in numbers if 1 <= number <= count]
    named = list(dict.fromkeys(inside))
    left = [position for position in range(count) if position not in set(named)]
    if not named:
        return Ranking(left, ("no_ranking",))
    met = {
        "duplicate": len(named) < len(inside),
        "missing": bool(left),
        "out_of_range": len(inside) < len(numbers),
    }
    return Ranking(named + left, tuple(fault for fault in FAULTS if met.get(fault)))
