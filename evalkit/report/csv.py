"""A Table as CSV (RFC 4180), for spreadsheets and data frames: numbers alone, a header, no notes.

An interval takes two columns of its own, "NDCG@10 low" and "NDCG@10 high"; marks of significance
one, "NDCG@10 sign"; "best" and "second" are for people, and left out. What is missing is empty.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from evalkit.report.layout import MISSING, Cell, Column, Table

# A number with commas between thousands.
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")


def to_csv(table: Table) -> str:
    """UTF-8 text, lines end as RFC 4180 has them."""
    out = io.StringIO()
    writer = csv.writer(out)
    parts = [_Parts(column, i, table) for i, column in enumerate(table.columns)]
    writer.writerow([name for part in parts for name in part.names()])
    for row in table.rows:
        writer.writerow(
            [text for part, cell in zip(parts, row, strict=True) for text in part(cell)]
        )
    return out.getvalue()


class _Parts:
    """The columns of a file that one column of a table becomes."""

    def __init__(self, column: Column, i: int, table: Table) -> None:
        self._title = column.title
        self._interval = any(row[i].interval for row in table.rows)
        self._sign = any(row[i].sign for row in table.rows)

    def names(self) -> Iterator[str]:
        yield self._title
        if self._interval:
            yield from (f"{self._title} low", f"{self._title} high")
        if self._sign:
            yield f"{self._title} sign"

    def __call__(self, cell: Cell) -> Iterator[str]:
        yield _plain(cell.text)
        if self._interval:
            ends = cell.interval or ()
            yield from [f"{end:.{cell.digits}f}" for end in ends] or ["", ""]
        if self._sign:
            yield cell.sign


def _plain(text: str) -> str:
    """What a data frame reads as a number where it is one."""
    if text == MISSING:
        return ""
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text
