"""What a table is before it is rendered: the same description serves every format."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, field
from typing import Literal

DIGITS = 4
MISSING = "–"


@dataclass(frozen=True)
class Column:
    """A column's title and the side that its cells are set against."""

    title: str
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class Cell:
    """A text, or a number with its interval (None: no interval is known)."""

    text: str
    interval: tuple[float, float] | None = None
    is_best: bool = False
    is_second: bool = False

    @property
    def interval_text(self) -> str:
        """Such as "[0.6512, 0.7721]", or an empty string."""
        if self.interval is None:
            return ""
        low, high = self.interval
        return f"[{low:.{DIGITS}f}, {high:.{DIGITS}f}]"


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Caption, columns, groups of rows (one per retriever), and notes that belong below."""

    caption: str
    columns: tuple[Column, ...]
    groups: tuple[tuple[Row, ...], ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def is_marked(self) -> bool:
        """Whether any cell is marked as a best one, so that the marks need an explanation."""
        return any(cell.is_best for group in self.groups for row in group for cell in row)

    def marks(self, best: str, second: str) -> tuple[str, ...]:
        """The note that explains the marks, in the words of a renderer."""
        if not self.is_marked:
            return ()
        return (
            f"{best}: highest value of a column; {second}: second highest; "
            f"values equal to {DIGITS} digits are marked alike.",
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


def width(text: str) -> int:
    """Columns that a text takes on a terminal: East-Asian wide characters take two."""
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )
