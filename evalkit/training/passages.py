"""What a model reads of a long document in training: the window that fits the query best.

A model that reads 192 tokens learns nothing from an answer that stands below them. Windows overlap
by half; the one is taken whose terms, each counted by its idf, cover most of the query, as BM25
would judge it without counting repetitions. Of equal ones the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from evalkit.analysis import Analyzer
from evalkit.rerankers.passages import cut_windows
from evalkit.similarities import CJK
from evalkit.types import Doc

# A word, or one character of a script that writes no spaces between words.
_UNIT = re.compile(rf"[{CJK}]|[^\s{CJK}]+")


def passages_of(doc: Doc, doc_template: str, words: int | None) -> list[str]:
    """The doc's text in windows of so many words, each under its title; None: the whole as one.

    Chinese and Japanese characters count as words. A shorter doc is one passage, as it is.
    """
    if words is None:
        return [doc.render(doc_template)]
    spans = [match.span() for match in _UNIT.finditer(doc.text)]
    if len(spans) <= words:
        return [doc.render(doc_template)]
    windows = cut_windows(doc.text, spans, words, max(words // 2, 1))
    return [doc._replace(text=window).render(doc_template) for window in windows]


class BestPassages:
    """Chooses passages; the terms of a doc's passages are kept until `forget`.

    words, doc_template: as in `passages_of`. idf: of a query's term. analyzer: makes the terms.
    """

    def __init__(
        self,
        words: int | None,
        doc_template: str,
        analyzer: Analyzer,
        idf: Callable[[str], float],
    ) -> None:
        self.words, self.doc_template = words, doc_template
        self.analyzer, self.idf = analyzer, idf
        self._known: dict[str, list[tuple[str, frozenset[str]]]] = {}

    def best(self, query: str, doc: Doc) -> str:
        """The passage of `doc` to read for the query text."""
        if doc.doc_id not in self._known:
            texts = passages_of(doc, self.doc_template, self.words)
            # A doc of one passage needs no terms: there is no choice.
            several = len(texts) > 1
            self._known[doc.doc_id] = [
                (text, frozenset(self.analyzer.terms(text) if several else ())) for text in texts
            ]
        passages = self._known[doc.doc_id]
        if len(passages) == 1:
            return passages[0][0]
        weights = {term: self.idf(term) for term in self.analyzer.terms(query)}
        # Summed in the query's order: a set has none, and the order changes a sum's last digits.
        covered = [
            sum(weight for term, weight in weights.items() if term in terms)
            for _, terms in passages
        ]
        return passages[covered.index(max(covered))][0]

    def forget(self) -> None:
        """Free the memory of the docs met."""
        self._known.clear()
