"""What tasks print: no task of its own."""

from __future__ import annotations

from collections.abc import Iterable

from evalkit.progress import PLAIN, stdout
from evalkit.report.layout import Table
from evalkit.report.render import to_markdown, to_rich


def show(tables: Iterable[Table]) -> None:
    """In colour on a terminal, elsewhere as Markdown, whose marks survive a pipe."""
    for table in tables:
        if stdout.is_terminal:
            stdout.print(to_rich(table))
        else:
            stdout.print(to_markdown(table), **PLAIN)
