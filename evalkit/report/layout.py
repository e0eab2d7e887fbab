"""What a table is before it is rendered: the same description serves every format."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Literal

DIGITS = 4
MISSING = "–"
LOWER = "↓"
_GLUED = re.compile(r"(?<=\d) (?=%)|(?<=[†‡§¶‖]) ")


@dataclass(frozen=True)
class Column:
    """A column's title, its unit with it, and the side that its cells are set against.

    lower_is_better: an arrow in the heading says so, as for latencies and costs.
    """

    title: str
    align: Literal["left", "right"] = "right"
    lower_is_better: bool = False

    @property
    def heading(self) -> str:
        return f"{self.title} {LOWER}" if self.lower_is_better else self.title


@dataclass(frozen=True)
class Cell:
    """A text, or a number with its interval (None: no interval is known).

    digits: after the decimal point, of the interval. sign: marks of significance, such as "†‡",
    which a note of the table explains.
    """

    text: str
    interval: tuple[float, float] | None = None
    is_best: bool = False
    is_second: bool = False
    digits: int = DIGITS
    sign: str = ""

    @property
    def interval_text(self) -> str:
        """Such as "[0.6512, 0.7721]", or an empty string."""
        if self.interval is None:
            return ""
        low, high = self.interval
        return f"[{low:.{self.digits}f}, {high:.{self.digits}f}]"


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Caption, columns, groups of rows (one per retriever), and notes that belong below.

    name: what files and LaTeX labels call it, such as "latency_breakdown"; "" for no name.
    """

    caption: str
    columns: tuple[Column, ...]
    groups: tuple[tuple[Row, ...], ...]
    notes: tuple[str, ...] = field(default=())
    name: str = ""

    @property
    def rows(self) -> list[Row]:
        return [row for group in self.groups for row in group]

    @property
    def is_marked(self) -> bool:
        """Whether any cell is marked as a best one, so that the marks need an explanation."""
        return any(cell.is_best for row in self.rows for cell in row)

    def marks(self, best: str, second: str) -> tuple[str, ...]:
        """The note that explains the marks, in the words of a renderer."""
        if not self.is_marked:
            return ()
        marked = {
            column.lower_is_better
            for row in self.rows
            for column, cell in zip(self.columns, row, strict=True)
            if cell.is_best
        }
        if marked == {False}:
            return (
                f"{best}: highest value of a column; {second}: second highest; "
                f"values equal to {DIGITS} digits are marked alike.",
            )
        return (
            f"{best}: best value of a column, the lowest where its heading has {LOWER}; "
            f"{second}: second best; values that print alike are marked alike.",
        )


def number(value: float) -> str:
    """A measure's value, to four digits."""
    return MISSING if math.isnan(value) else f"{value:.{DIGITS}f}"


def percent(share: float) -> str:
    """0.95 as "95 %"."""
    return f"{100 * share:g} %"


def printable(text: str) -> str:
    """`text` on one line; control characters and lone surrogates, which break files, become "�"."""
    kinds = ((char, unicodedata.category(char)) for char in " ".join(text.split()))
    return "".join("\N{REPLACEMENT CHARACTER}" if kind in ("Cc", "Cs") else c for c, kind in kinds)


def unbroken(text: str) -> str:
    """`text` with no-break spaces where a line must not end: "95 %", "† bm25"."""
    return _GLUED.sub("\N{NO-BREAK SPACE}", text)


def width(text: str) -> int:
    """Columns that a text takes on a terminal: East-Asian wide characters take two."""
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )
