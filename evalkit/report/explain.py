"""Why a document is on top, for people: on a terminal, in Markdown, on an HTML page of its own."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from evalkit.report.cells import digits_for, number_cells
from evalkit.report.layout import MISSING, Cell, Column, Row, Table, number, printable
from evalkit.report.names import display_name
from evalkit.report.page import page
from evalkit.report.render import to_html, to_markdown, to_rich

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from evalkit.inspection.explanation import ExplainedDoc, Explanation
    from evalkit.inspection.highlights import Span

# A part of a text, and whether it is highlighted.
Piece = tuple[str, bool]
Excerpt = Sequence[Piece]
# Significant figures of the smallest score of a stage, and digits after the point at most.
_SCORE_FIGURES, _SCORE_DIGITS = 4, 5
NO_TEXT = "(judged, but not in the collection)"


def stage_table(found: Explanation) -> Table:
    """A row a document: judgement, and rank and score under each stage."""
    columns = (
        Column("Document", "left"),
        Column("Judged", "left"),
        *(Column(f"{printable(stage)}{part}") for stage in found.stages for part in ("", " score")),
    )
    cells = [[Cell(_name(doc)) for doc in found.docs], [Cell(_grade(doc)) for doc in found.docs]]
    for stage in found.stages:
        places = [doc.standings.get(stage) for doc in found.docs]
        cells.append([Cell(MISSING if at is None else f"#{at.rank}") for at in places])
        scores = [np.nan if at is None or at.score is None else at.score for at in places]
        digits = digits_for(scores, _SCORE_FIGURES, _SCORE_DIGITS)
        cells.append(number_cells(scores, digits, rank=False))
    rows: list[Row] = list(zip(*cells, strict=True))
    values = ", ".join(f"{display_name(m)} {number(v)}" for m, v in found.measures.items())
    notes = [f"This query under {printable(found.system)}: {values}."]
    if any(at.score is None for doc in found.docs for at in doc.standings.values()):
        notes.append("Without a score: below the K documents that the reranker saw.")
    notes.append(_about_missed(found))
    if found.synthetic:
        notes.append(f"Made by a language model: {printable(found.synthetic)}.")
    caption = f"Rank and score under each stage; the system is {printable(found.system)}."
    caption = f"{caption} {found.about}".rstrip()
    return Table(caption, columns, (tuple(rows),), tuple(notes))


def _about_missed(found: Explanation) -> str:
    if not found.num_missed:
        count = found.num_relevant
        return f"Relevant documents: {count}, all on top." if count else "No relevant document."
    return (
        f"Relevant documents that are not on top: {found.num_missed} of {found.num_relevant}; the "
        "one shown has the highest grade, and of those the best rank."
    )


def term_table(found: Explanation) -> Table:
    """A row an index term of the query, a column a document: what it adds to the BM25 score."""
    columns = (
        Column("In the query", "left"),
        Column("Index term", "left"),
        *(Column(_name(doc)) for doc in found.docs),
    )
    best = {t: max(doc.terms.get(t, 0.0) for doc in found.docs) for t in found.query_terms}
    rows: list[Row] = [
        (
            Cell(printable(found.query_terms[term])),
            Cell(printable(term)),
            *(
                Cell(number(doc.terms[term]) if term in doc.terms else MISSING)
                for doc in found.docs
            ),
        )
        for term in sorted(best, key=lambda term: -best[term])
    ]
    total = (Cell("BM25 score"), Cell(""), *(Cell(number(doc.bm25_score)) for doc in found.docs))
    name = "BM25" if found.bm25 is None else printable(found.bm25)
    notes = () if found.bm25 else ("BM25 is none of the output's retrievers: default settings.",)
    caption = f"What each word of the query adds to the score of {name}."
    return Table(caption, columns, (tuple(rows), (total,)), notes)


def _name(doc: ExplainedDoc) -> str:
    return f"{printable(doc.doc_id)}{' (missed)' if doc.is_missed else ''}"


def _grade(doc: ExplainedDoc) -> str:
    if doc.grade is None:
        return "not judged"
    return f"grade {doc.grade}, {'relevant' if doc.is_relevant else 'not relevant'}"


def pieces(text: str, spans: Sequence[Span]) -> list[Piece]:
    """The text in parts, highlighted or not; line breaks become spaces, and control characters
    and lone surrogates, which break files, "�"."""
    found: list[Piece] = []
    at = 0
    for span in spans:
        found += [
            (_clean(text[at : span.start]), False),
            (_clean(text[span.start : span.end]), True),
        ]
        at = span.end
    found.append((_clean(text[at:]), False))
    return [piece for piece in found if piece[0]]


def _clean(text: str) -> str:
    return "".join(
        " " if char.isspace()
        else "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in ("Cc", "Cs")
        else char
        for char in text
    )  # fmt: skip


def _headings(found: Explanation) -> list[tuple[str, ExplainedDoc]]:
    headings = []
    for doc in found.docs:
        at = doc.standings.get(found.system)
        place = "not ranked" if at is None else f"#{at.rank}"
        kind = "best relevant document missed, " if doc.is_missed else ""
        headings.append((f"{kind}{place}: {printable(doc.doc_id)}, {_grade(doc)}", doc))
    return headings


def explanation_rich(found: Explanation, excerpts: Sequence[Excerpt]) -> list[RenderableType]:
    """What a terminal prints, in order. excerpts: of the documents, in their order."""
    from rich.text import Text

    shown: list[RenderableType] = [
        Text.assemble((f"Query {printable(found.query.query_id)}: ", "bold"), _rich(_query(found)))
    ]
    shown += [to_rich(stage_table(found)), to_rich(term_table(found))]
    for (heading, _), excerpt in zip(_headings(found), excerpts, strict=True):
        shown += [Text(heading, style="bold"), _rich(excerpt), Text()]
    return shown


def explanation_text(found: Explanation, excerpts: Sequence[Excerpt]) -> str:
    """What is printed off a terminal: texts as they are, matched words between asterisks; tables in
    Markdown, as everywhere."""
    parts = [f"Query {printable(found.query.query_id)}: {_starred(_query(found))}\n"]
    parts += [to_markdown(stage_table(found)), to_markdown(term_table(found))]
    for (heading, _), excerpt in zip(_headings(found), excerpts, strict=True):
        parts.append(f"{heading}\n{_starred(excerpt)}\n")
    return "\n".join(parts)


def _starred(parts: Sequence[Piece]) -> str:
    return "".join(f"**{part}**" if marked else part for part, marked in parts)


def _rich(parts: Sequence[Piece]) -> Text:
    from rich.text import Text

    return Text.assemble(*((part, "bold reverse" if marked else "") for part, marked in parts))


def _query(found: Explanation) -> list[Piece]:
    return pieces(found.query.text, found.query_spans)


def explanation_markdown(found: Explanation, excerpts: Sequence[Excerpt]) -> str:
    """Texts are HTML paragraphs, in which nothing is taken for Markdown; matched words are bold."""
    name = printable(found.query.query_id)
    parts = [f"<p><b>Query {escape(name)}:</b> {_marked(_query(found), 'b')}</p>\n"]
    parts += [to_markdown(stage_table(found)), to_markdown(term_table(found))]
    for (heading, _), excerpt in zip(_headings(found), excerpts, strict=True):
        parts += [f"<h3>{escape(heading)}</h3>\n", f"<p>{_marked(excerpt, 'b')}</p>\n"]
    return "\n".join(parts)


def explanation_html(found: Explanation) -> str:
    """A self-contained page with the whole texts."""
    name = escape(printable(found.query.query_id))
    body = [
        f"<header>\n<h1>Query {name}: why these documents</h1>\n"
        f'<p class="lead">{_marked(_query(found), "mark")}</p>\n</header>\n<main>',
        "<section>\n<h2>Stage by stage</h2>",
        f"{to_html(stage_table(found))}\n</section>",
        f"<section>\n<h2>Term by term</h2>\n{to_html(term_table(found))}\n</section>",
        "<section>\n<h2>Texts</h2>",
    ]
    for heading, doc in _headings(found):
        text = [(NO_TEXT, False)] if doc.text is None else pieces(doc.text, doc.spans)
        body.append(f"<h3>{escape(heading)}</h3>\n<p>{_marked(text, 'mark')}</p>")
    body.append("</section>\n</main>")
    return page(f"Query {printable(found.query.query_id)}: evalkit", "\n".join(body))


def _marked(parts: Sequence[Piece], tag: str) -> str:
    return "".join(
        f"<{tag}>{escape(part)}</{tag}>" if marked else escape(part) for part, marked in parts
    )
