"""Queries that nobody wrote: a sentence asks for the doc that it was taken from.

The inverse cloze task (Lee et al., ACL 2019). It costs no judgement, and shows a model statements
where judged queries are questions, on every subject of a corpus.
"""

from __future__ import annotations

import heapq
import re
from random import Random
from typing import NamedTuple

from evalkit.similarities import words
from evalkit.training.splitting import draw
from evalkit.types import Dataset, Doc, Query

# Words of a sentence that can be asked for, lowest and highest; each CJK character is one.
SENTENCE_WORDS = (7, 30)
# A doc of fewer words without the sentence says too little to be found by it.
LEAST_LEFT = 30
# How often the doc keeps its sentence, so that a model learns to look for the words, too: theirs.
KEPT = 0.1
# A full stop before a small letter or a figure ends an abbreviation more often than a sentence.
_SENTENCE = re.compile(r".+?(?:[。！？]+|[.!?]+(?=\s+[^\sa-z0-9])|\n|\Z)", re.DOTALL)


class Cloze(NamedTuple):
    """A sentence as a query, and the doc it is from, which loses it unless it is `kept` there."""

    query: Query
    doc_id: str
    kept: bool

    def shown(self, doc: Doc) -> Doc:
        """The doc as a model sees it beside the query, under an id of its own."""
        text = doc.text if self.kept else doc.text.replace(self.query.text, " ")
        return Doc(self.query.query_id, doc.title, text)


def cloze_queries(dataset: Dataset, count: int, seed: int) -> list[Cloze]:
    """A sentence each of `count` docs, fewer where fewer have one; by seed, in the docs' order.

    A sentence stands in the text, not in the title, and is all that is taken from its doc.
    """
    if count == 0:
        return []
    chosen: list[tuple[int, int, Cloze]] = []  # a heap with the highest draw on top
    for place, doc in enumerate(dataset.docs_iter()):
        rank = -int(draw("cloze", seed, doc.doc_id), 16)
        if len(chosen) == count and rank < chosen[0][0]:
            continue
        if (found := _cloze(doc, seed)) is not None:
            keep = heapq.heappush if len(chosen) < count else heapq.heappushpop
            keep(chosen, (rank, place, found))
    return [each for _, _, each in sorted(chosen, key=lambda entry: entry[1])]


def _cloze(doc: Doc, seed: int) -> Cloze | None:
    least, most = SENTENCE_WORDS
    random = Random(f"cloze\0{seed}\0{doc.doc_id}")
    sentences = [match.strip() for match in _SENTENCE.findall(doc.text)]
    fit = [text for text in sentences if least <= len(words(text)) <= most]
    if not fit:
        return None
    # The one sequence that Python promises to keep from version to version.
    sentence = fit[int(random.random() * len(fit))]
    cloze = Cloze(Query(f"cloze:{doc.doc_id}", sentence), doc.doc_id, random.random() < KEPT)
    left = cloze._replace(kept=False).shown(doc)
    return cloze if len(words(left.text)) >= LEAST_LEFT else None
