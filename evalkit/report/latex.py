r"""A Table as LaTeX (booktabs), made to be read into a paper with \input.

Compiles with pdfLaTeX, XeLaTeX and LuaLaTeX. A table that is wider than the line is shrunk to it;
one that would be too small to read then is turned sideways. What the preamble needs is said in
comments above each table.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import NamedTuple

from evalkit.report.latex_text import escaped, needs_of, with_minus
from evalkit.report.layout import LOWER, Cell, Row, Table, unbroken, width

# Characters of the widest row, two columns of a page, in \small; above it in \footnotesize, and
# above that turned sideways: what is left of 10 pt type by then is 6 pt.
_NARROW, _SMALL, _WIDE = 48, 100, 145
_COLUMN_SPACE = 2
# Lines of type on a page beside caption and notes, and on one that is turned sideways.
_TALL, _TALL_SIDEWAYS = 48, 38
_SIDEWAYS = "sidewaystable*"
# Intervals are set in the next smaller type.
_SMALLER = 0.85
# Longer names are broken, at their signs, within this many characters of half an em.
_LONGEST_NAME = 24
_BREAKS = re.compile(r"(?<=[_/+.=:,@-])(?=\w)")
# Words of a heading, with what belongs to them: "p50 (ms) ↓", "/ month".
_HEADING_WORDS = re.compile(rf"(?:/ )?[^ ]+(?: \([^ ]+\))?(?: {LOWER})?")
_UNDER = r"\evalkitci"
_UNDER_DEFINED = (
    r"\providecommand{\evalkitci}[2]{\begin{tabular}[t]{@{}r@{}}#1\\[-2pt]"
    r"{\scriptsize #2}\end{tabular}}"
)


def to_latex(table: Table) -> str:
    """The table in an environment of its own, several where a page cannot hold it; intervals under
    the values."""
    form = _form(table)
    parts = _parts(table, _TALL if form.environment != _SIDEWAYS else _TALL_SIDEWAYS)
    text = "\n".join(_environment(part, form, i == 0) for i, part in enumerate(parts))
    return "\n".join([*_needs(text, form.packages), text])


def _parts(table: Table, lines: int) -> list[Table]:
    """The table in parts of at most so many lines of type, about as long as one another; notes
    stand under the last."""
    pages = _pages(table, lines)
    if len(pages) < 2:
        return [table]
    # The shortest pages that are no more: the last one is not left with a single row.
    least = math.ceil(sum(map(_lines, table.rows)) / len(pages))
    fewest = (_pages(table, limit) for limit in range(least, lines + 1))
    pages = next(found for found in fewest if len(found) == len(pages))
    last = len(pages) - 1
    return [
        replace(
            table,
            caption=f"{table.caption} Part {i + 1} of {len(pages)}.",
            groups=tuple(map(tuple, page)),
            notes=table.notes if i == last else (),
        )
        for i, page in enumerate(pages)
    ]


def _pages(table: Table, lines: int) -> list[list[list[Row]]]:
    """The groups of rows of each page, which has at most so many lines of type."""
    pages: list[list[list[Row]]] = []
    left = 0.0
    for group in table.groups:
        for i, row in enumerate(group):
            taken = _lines(row)
            if not pages or taken > left:
                pages.append([])
                left = lines
            if i == 0 or not pages[-1]:
                pages[-1].append([])
            pages[-1][-1].append(row)
            left -= taken
    return pages


def _lines(row: Row) -> float:
    names = max(-(-width(cell.text) // _LONGEST_NAME) for cell in row)
    return max(names, 1 + _SMALLER * any(cell.interval for cell in row))


def _environment(table: Table, form: _Form, labelled: bool) -> str:
    body: list[str] = []
    for i, group in enumerate(table.groups):
        body += [r"\addlinespace"] if i else []
        for before, row in zip([None, *group], group, strict=False):
            body.append(" & ".join(_cells(table, row, before)) + r" \\")
    notes = [*_marks(table), *(escaped(unbroken(note)) for note in table.notes)]
    below = [rf"\par\smallskip\raggedright\footnotesize {' '.join(notes)}"] if notes else []
    lines = [
        rf"\begin{{{form.environment}}}",
        r"\centering",
        r"\setlength{\belowcaptionskip}{4pt}",  # classes mean captions to stand below
        rf"\caption{{{escaped(unbroken(table.caption))}}}",
        *([rf"\label{{tab:{_slug(table.name)}}}"] if table.name and labelled else []),
        *([rf"{form.size}\setlength{{\tabcolsep}}{{4pt}}"] if form.size else []),
        # No wider than the line; narrower ones keep their size.
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{''.join(_kind(table, i) for i in range(len(table.columns)))}}}",
        r"\toprule",
        " & ".join(_heading(table, i) for i in range(len(table.columns))) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        *below,
        rf"\end{{{form.environment}}}",
    ]
    return "\n".join(lines) + "\n"


class _Form(NamedTuple):
    environment: str
    size: str
    packages: str


def _form(table: Table) -> _Form:
    """Environment, size of type and packages, by how many characters the widest row takes."""
    taken = sum(_column_width(table, i) + _COLUMN_SPACE for i in range(len(table.columns)))
    packages = "array,booktabs,graphicx"
    if taken <= _NARROW:
        return _Form("table", "", packages)
    if taken <= _WIDE:
        return _Form("table*", r"\small" if taken <= _SMALL else r"\footnotesize", packages)
    return _Form(_SIDEWAYS, r"\footnotesize", f"{packages},rotating")


def _column_width(table: Table, i: int) -> int:
    """In characters of the table's type."""
    texts = max(_body_width(table, i), *map(width, _heading_lines(table, i)))
    return min(texts, _LONGEST_NAME) if table.columns[i].align == "left" else texts


def _body_width(table: Table, i: int) -> int:
    intervals = [round(_SMALLER * len(row[i].interval_text)) for row in table.rows]
    return max([_longest(table, i), *intervals])


def _heading(table: Table, i: int) -> str:
    """On several lines, the last of which all headings share, where it is wider than its column."""
    lines = list(map(escaped, _heading_lines(table, i)))
    if len(lines) == 1:
        return lines[0]
    return rf"\shortstack[{table.columns[i].align[0]}]{{{(chr(92) * 2).join(lines)}}}"


def _heading_lines(table: Table, i: int) -> list[str]:
    """The heading, broken at spaces to the width of what stands below it; units stay whole."""
    words = _HEADING_WORDS.findall(table.columns[i].heading)
    wide = max([_body_width(table, i), *map(width, words)])
    lines = words[:1]
    for word in words[1:]:
        if width(f"{lines[-1]} {word}") <= wide:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _longest(table: Table, i: int) -> int:
    return max((width(row[i].text + row[i].sign) for row in table.rows), default=0)


def _kind(table: Table, i: int) -> str:
    """The column's letter: names longer than others go into a box of several lines."""
    align = table.columns[i].align
    if align == "right" or _longest(table, i) <= _LONGEST_NAME:
        return align[0]
    return rf">{{\raggedright\arraybackslash}}p{{{_LONGEST_NAME / 2:g}em}}"


def _needs(text: str, packages: str) -> list[str]:
    """Comments and definitions that come before the table."""
    under = [_UNDER_DEFINED] if _UNDER in text else []
    return [rf"% needs \usepackage{{{packages}}}", *under, *needs_of(text)]


def _marks(table: Table) -> list[str]:
    return [
        note.replace(LOWER, escaped(LOWER))
        for note in table.marks(r"\textbf{Bold}", r"\underline{underlined}")
    ]


def _cells(table: Table, row: Row, before: Row | None) -> list[str]:
    """A row's cells; leading names that the row before has too are not repeated."""
    shown = []
    repeats = before is not None
    for i, (column, cell) in enumerate(zip(table.columns, row, strict=True)):
        repeats = repeats and before is not None and column.align == "left" and cell == before[i]
        longest = max((each[i].sign for each in table.rows), key=len)
        shown.append("" if repeats else _cell(cell, longest))
    return shown


def _cell(cell: Cell, longest: str) -> str:
    text = with_minus(cell.text)
    if width(cell.text) > _LONGEST_NAME:
        text = r"\allowbreak{}".join(map(escaped, _BREAKS.split(cell.text)))
    if cell.is_best:
        text = rf"\textbf{{{text}}}"
    elif cell.is_second:
        text = rf"\underline{{{text}}}"
    if cell.sign:
        text += rf"\textsuperscript{{{escaped(cell.sign)}}}"
    # Digits stay below one another where another row has more marks.
    space = longest[len(cell.sign) :]
    text += rf"\phantom{{\textsuperscript{{{escaped(space)}}}}}" if space else ""
    return rf"{_UNDER}{{{text}}}{{{with_minus(cell.interval_text)}}}" if cell.interval else text


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
