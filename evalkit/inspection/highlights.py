"""Where the words of a query stand in a text, as BM25 sees words: stemmed, and in Chinese cut out
of compounds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from evalkit.analysis import Analyzer

ELLIPSIS = "…"


class Span(NamedTuple):
    """text[start:end] and the index terms in it."""

    start: int
    end: int
    terms: tuple[str, ...]


def marked_spans(analyzer: Analyzer, text: str, terms: Collection[str]) -> list[Span]:
    """The parts of the text that are made of these index terms, in order; overlapping ones, as in
    Chinese compounds, are one."""
    found = sorted(
        (term for term in analyzer.located(text) if term.term in terms),
        key=lambda term: (term.start, -term.end),
    )
    spans: list[Span] = []
    for term, start, end in found:
        if spans and start < spans[-1].end:
            last = spans.pop()
            known = last.terms if term in last.terms else (*last.terms, term)
            spans.append(Span(last.start, max(last.end, end), known))
        else:
            spans.append(Span(start, end, (term,)))
    return spans


def excerpt(text: str, spans: Sequence[Span], size: int) -> tuple[str, list[Span]]:
    """About `size` characters of the text where most different terms are, and the spans in it.

    Of equal places the first. What is cut off is an ellipsis.
    """
    if len(text) <= size:
        return text, list(spans)
    start = _best_start(text, spans, size)
    end = min(start + size, len(text))
    inside = [span for span in spans if start <= span.start and span.end <= end]
    before, after = ELLIPSIS * (start > 0), ELLIPSIS * (end < len(text))
    shift = len(before) - start
    moved = [Span(span.start + shift, span.end + shift, span.terms) for span in inside]
    return f"{before}{text[start:end]}{after}", moved


def _best_start(text: str, spans: Sequence[Span], size: int) -> int:
    """Where an excerpt begins: a little before a span, at the beginning of a word."""
    # Some of what stands in front of a word is needed to read it.
    lead = size // 8
    starts = [0, *(max(span.start - lead, 0) for span in spans)]

    def richness(start: int) -> int:
        inside = (s.terms for s in spans if start <= s.start and s.end <= start + size)
        return len({term for terms in inside for term in terms})

    best = max(starts, key=lambda start: (richness(start), -start))
    space = text.find(" ", best, best + lead)
    return space + 1 if best and space >= 0 else best
