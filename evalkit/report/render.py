"""A Table as rich, Markdown, LaTeX or HTML. Text is escaped here, and only here."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from evalkit.report.layout import Cell, Column, Table, width

if TYPE_CHECKING:
    import rich.table

_MARKDOWN = re.compile(r"[\\`*<>\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    # After a line break LaTeX would take them for the break's own arguments.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "≥": r"$\geq$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "α": r"$\alpha$",
    "–": "--",
}
_WIDE_FROM = 4
# Where Unicode's East Asian scripts begin, which pdfLaTeX cannot set.
_EAST_ASIAN = 0x2E80


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
    rows = [row for group in table.groups for row in group]
    measured = [i for i in range(len(table.columns)) if any(row[i].interval for row in rows)]
    shown = set(measured[:intervals])
    for i, column in enumerate(table.columns):
        cells = [_rich_cell(row[i], i in shown) for row in rows if column.align == "right"]
        # Numbers are never broken; names give way.
        least = max((width(part) for cell in cells for part in cell.plain.split()), default=None)
        out.add_column(Text(column.title), justify=column.align, overflow="fold", min_width=least)
    for group in table.groups:
        for row in group:
            out.add_row(*(_rich_cell(cell, i in shown) for i, cell in enumerate(row)))
        out.add_section()
    return out


def _rich_cell(cell: Cell, with_interval: bool) -> rich.text.Text:
    from rich.text import Text

    style = "bold" if cell.is_best else "underline" if cell.is_second else ""
    text = Text(cell.text, style=style)
    if not (with_interval and cell.interval_text):
        return text
    return Text("\n").join([text, Text(cell.interval_text, style="dim")])


def to_markdown(table: Table) -> str:
    """Padded, so that it reads as plain text too; ends with a newline."""
    titles = [_markdown(column.title) for column in table.columns]
    rows = [[_markdown_cell(cell) for cell in row] for group in table.groups for row in group]
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
    return f"{mark}{text}{mark} {cell.interval_text}".rstrip()


def to_latex(table: Table) -> str:
    r"""A booktabs table, intervals in a line of their own under the values.

    Needs `\usepackage{booktabs}`; names outside Latin letters need XeLaTeX or LuaLaTeX and a font.
    """
    numbers = sum(column.align == "right" for column in table.columns)
    environment = "table*" if numbers > _WIDE_FROM else "table"
    body = []
    for i, group in enumerate(table.groups):
        body += [r"\addlinespace"] if i else []
        for row in group:
            body.append(" & ".join(map(_latex_cell, row)) + r" \\")
            if any(cell.interval for cell in row):
                body.append(" & ".join(map(_latex_interval, row)).lstrip() + r" \\")
    notes = [*table.marks(r"\textbf{Bold}", r"\underline{underlined}"), *map(_latex, table.notes)]
    below = [rf"\par\smallskip\raggedright\footnotesize {' '.join(notes)}"] if notes else []
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{{environment}}}",
        r"\centering",
        rf"\caption{{{_latex(table.caption)}}}",
        rf"\begin{{tabular}}{{{''.join(column.align[0] for column in table.columns)}}}",
        r"\toprule",
        " & ".join(_latex(column.title) for column in table.columns) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *below,
        rf"\end{{{environment}}}",
    ]
    text = "\n".join(lines) + "\n"
    if any(ord(char) >= _EAST_ASIAN for char in text):
        return f"% holds East Asian characters: compile with XeLaTeX or LuaLaTeX and ctex\n{text}"
    return text


def _latex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)


def _latex_cell(cell: Cell) -> str:
    text = _latex(cell.text)
    if cell.is_best:
        return rf"\textbf{{{text}}}"
    return rf"\underline{{{text}}}" if cell.is_second else text


def _latex_interval(cell: Cell) -> str:
    return rf"{{\scriptsize {cell.interval_text}}}" if cell.interval else ""


def to_html(table: Table) -> str:
    """A <figure>: caption, a table that scrolls inside its own box, notes. Needs no style sheet."""
    head = "".join(
        f'<th scope="col" class="{column.align}">{html.escape(column.title)}</th>'
        for column in table.columns
    )
    groups = "\n".join(
        "<tbody>\n" + "\n".join(_html_row(table.columns, row) for row in group) + "\n</tbody>"
        for group in table.groups
    )
    marks = table.marks("<strong>Bold</strong>", "<u>underlined</u>")
    notes = "".join(f"<li>{note}</li>" for note in (*marks, *map(html.escape, table.notes)))
    return (
        f"<figure>\n<figcaption>{html.escape(table.caption)}</figcaption>\n"
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
        if cell.interval:
            text += f" <small>{cell.interval_text}</small>"
        tag = 'th scope="row"' if i == 0 else "td"
        cells.append(f'<{tag} class="{column.align}">{text}</{tag.split()[0]}>')
    return f"<tr>{''.join(cells)}</tr>"
