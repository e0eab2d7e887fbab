"""A Table as rich, Markdown or HTML (and, from here too, LaTeX and CSV); text is escaped here."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from evalkit.report.csv import to_csv
from evalkit.report.latex import to_latex
from evalkit.report.layout import Cell, Column, Table, unbroken, width

if TYPE_CHECKING:
    import rich.table

__all__ = ["to_csv", "to_html", "to_latex", "to_markdown", "to_rich"]

_MARKDOWN = re.compile(r"[\\`*<>\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")


def to_rich(table: Table, intervals: int | None = None) -> rich.table.Table:
    """For a terminal: names are texts, never rich markup; intervals stand under the values.

    intervals: how many columns of numbers show theirs, from the left; None for all. Seven measures
    need about 160 columns with all intervals, 115 with one.
    """
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    notes = (*table.marks("bold", "underlined"), *table.notes)
    out = RichTable(
        box=box.SIMPLE_HEAD,
        title=Text(table.caption),
        title_justify="left",
        title_style="none",
        caption=Text("\n".join(notes)) if notes else None,
        caption_justify="left",
        caption_style="dim",
    )
    rows = table.rows
    measured = [i for i in range(len(table.columns)) if any(row[i].interval for row in rows)]
    shown = set(measured[:intervals])
    for i, column in enumerate(table.columns):
        cells = [_rich_cell(row[i], i in shown) for row in rows if column.align == "right"]
        # Numbers are never broken; names give way.
        least = max((width(part) for cell in cells for part in cell.plain.split()), default=None)
        out.add_column(Text(column.heading), justify=column.align, overflow="fold", min_width=least)
    for group in table.groups:
        for row in group:
            out.add_row(*(_rich_cell(cell, i in shown) for i, cell in enumerate(row)))
        out.add_section()
    return out


def _rich_cell(cell: Cell, with_interval: bool) -> rich.text.Text:
    from rich.text import Text

    style = "bold" if cell.is_best else "underline" if cell.is_second else ""
    text = Text.assemble((cell.text, style), cell.sign)
    if not (with_interval and cell.interval_text):
        return text
    return Text("\n").join([text, Text(cell.interval_text, style="dim")])


def to_markdown(table: Table) -> str:
    """Padded, so that it reads as plain text too; ends with a newline."""
    titles = [_markdown(column.heading) for column in table.columns]
    rows = [[_markdown_cell(cell) for cell in row] for row in table.rows]
    widths = [max(3, *map(width, column)) for column in zip(titles, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        padded = [
            _pad(cell, size, column)
            for cell, size, column in zip(cells, widths, table.columns, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (size - 1) + ":" if column.align == "right" else "-" * size
        for size, column in zip(widths, table.columns, strict=True)
    ]
    parts = [_markdown(table.caption), "\n".join([line(titles), line(rule), *map(line, rows)])]
    notes = [*table.marks("**Bold**", "_italic_"), *map(_markdown, table.notes)]
    if notes:
        parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def _pad(cell: str, size: int, column: Column) -> str:
    space = " " * (size - width(cell))
    return cell + space if column.align == "left" else space + cell


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", text)


def _markdown_cell(cell: Cell) -> str:
    text = _markdown(cell.text)
    mark = "**" if cell.is_best else "_" if cell.is_second else ""
    return f"{mark}{text}{mark}{cell.sign} {cell.interval_text}".rstrip()


def to_html(table: Table) -> str:
    """A <figure>: caption, a table that scrolls inside its own box, notes. Needs no style sheet."""
    head = "".join(
        f'<th scope="col" class="{column.align}">{html.escape(column.heading)}</th>'
        for column in table.columns
    )
    groups = "\n".join(
        "<tbody>\n" + "\n".join(_html_row(table.columns, row) for row in group) + "\n</tbody>"
        for group in table.groups
    )
    marks = table.marks("<strong>Bold</strong>", "<u>underlined</u>")
    said = (html.escape(unbroken(note)) for note in table.notes)
    notes = "".join(f"<li>{note}</li>" for note in (*marks, *said))
    return (
        f"<figure>\n<figcaption>{html.escape(unbroken(table.caption))}</figcaption>\n"
        '<div class="scroll" role="region" aria-label="Table, scrolls sideways" tabindex="0">\n'
        f"<table>\n<thead><tr>{head}</tr></thead>\n{groups}\n</table>\n</div>\n"
        + (f'<ul class="notes">{notes}</ul>\n' if notes else "")
        + "</figure>"
    )


def _html_row(columns: tuple[Column, ...], row: tuple[Cell, ...]) -> str:
    cells = []
    for i, (column, cell) in enumerate(zip(columns, row, strict=True)):
        text = html.escape(cell.text)
        if cell.is_best or cell.is_second:
            tag = "strong" if cell.is_best else "u"
            text = f"<{tag}>{text}</{tag}>"
        if cell.sign:
            text += f"<sup>{html.escape(cell.sign)}</sup>"
        if cell.interval:
            text += f" <small>{cell.interval_text}</small>"
        tag = 'th scope="row"' if i == 0 else "td"
        cells.append(f'<{tag} class="{column.align}">{text}</{tag.split()[0]}>')
    return f"<tr>{''.join(cells)}</tr>"
