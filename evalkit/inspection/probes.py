"""The probes: what each changes, in which text of which query, and what a good system does then.

A probe of documents changes one document a query, in the collection itself, which is indexed anew:
first stages retrieve from it and rerankers score the new text. A probe of queries changes every
query, and the whole pipeline is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple

from evalkit.inspection.perturbations import (
    first_half,
    in_capitals,
    negated,
    pool_of,
    stuffed,
    with_other_names,
    with_other_numbers,
    with_typo,
)
from evalkit.inspection.probed import ProbedDataset
from evalkit.run import Run
from evalkit.types import Dataset, Doc, Query, grades_of

Changes = Literal["query", "relevant doc", "other doc"]


@dataclass(frozen=True)
class Probe:
    """changes: the query; its best relevant doc; or a doc that is not relevant. does: to that text,
    expects: of a good system, both a few words for tables."""

    name: str
    changes: Changes
    does: str
    expects: str


PROBES = {
    probe.name: probe
    for probe in (
        Probe(
            "stuffing",
            "other doc",
            "a document that is not relevant repeats the query",
            "the document does not rise",
        ),
        Probe(
            "negation",
            "relevant doc",
            "the relevant document says the opposite",
            "its score falls, as it is no answer any more",
        ),
        Probe(
            "numbers",
            "relevant doc",
            "the relevant document has other numbers",
            "its score falls where the query asks about a number",
        ),
        Probe(
            "entities",
            "relevant doc",
            "the relevant document is about other names",
            "its score falls where the query names one",
        ),
        Probe(
            "truncation",
            "relevant doc",
            "the relevant document is cut to its first half",
            "little is lost, as most answers are still there",
        ),
        Probe("casing", "query", "the query is in capitals", "nothing changes"),
        Probe("typos", "query", "one word of the query is misspelt", "little is lost"),
    )
}


class Perturbed(NamedTuple):
    """One query's changed text. doc_id: of the changed document, None for a changed query."""

    query_id: str
    doc_id: str | None
    before: str
    after: str


class Disturbance(NamedTuple):
    """A probe applied: the dataset with the changed texts, and what was changed, a line a query;
    queries in which there was nothing to change are left out."""

    probe: Probe
    dataset: ProbedDataset
    changed: Sequence[Perturbed]


def disturbance(probe: Probe, dataset: Dataset, candidates: Run, seed: int) -> Disturbance:
    """The probe on this dataset. candidates: a first stage's, over all queries; from them the
    documents are chosen. The same seed changes the same texts in the same way."""
    if probe.changes == "query":
        return _queries_changed(probe, dataset, seed)
    targets = _relevant(dataset, candidates)
    if probe.changes == "other doc":
        targets = _not_relevant(dataset, candidates)
    return _docs_changed(probe, dataset, targets, seed)


def _queries_changed(probe: Probe, dataset: Dataset, seed: int) -> Disturbance:
    change = {"casing": in_capitals, "typos": with_typo}[probe.name]
    changed: dict[str, Query] = {}
    lines = []
    for query in dataset.queries:
        text = change(query.text, _random(seed, probe, query.query_id))
        if text != query.text:
            changed[query.query_id] = query._replace(text=text)
            lines.append(Perturbed(query.query_id, None, query.text, text))
    return Disturbance(probe, ProbedDataset(dataset, {}, changed), lines)


def _docs_changed(
    probe: Probe, dataset: Dataset, targets: Mapping[str, Sequence[str]], seed: int
) -> Disturbance:
    """A document a query, the first of its targets that can be changed and is no other query's."""
    docs = dataset.lookup(sorted({doc_id for each in targets.values() for doc_id in each}))
    changed: dict[str, Doc] = {}
    lines = []
    change = _doc_change(probe, docs)
    for query in dataset.queries:
        for doc_id in targets[query.query_id]:
            doc = docs[doc_id]
            random = _random(seed, probe, doc_id)
            new = doc if doc_id in changed else change(doc, query, random)
            if new != doc:
                changed[doc_id] = new
                lines.append(Perturbed(query.query_id, doc_id, doc.render(), new.render()))
                break
    return Disturbance(probe, ProbedDataset(dataset, changed, {}), lines)


def _doc_change(probe: Probe, docs: Mapping[str, Doc]) -> Callable[[Doc, Query, Random], Doc]:
    if probe.name == "stuffing":
        return lambda doc, query, random: doc._replace(text=stuffed(doc.text, query.text))
    if probe.name == "truncation":
        return lambda doc, query, random: doc._replace(text=first_half(doc.text, random))
    if probe.name == "entities":
        pool = pool_of([doc.render() for doc in docs.values()])

        def whole(text: str, random: Random) -> str:
            return with_other_names(text, random, pool)
    else:
        whole = {"negation": negated, "numbers": with_other_numbers}[probe.name]

    def both(doc: Doc, query: Query, random: Random) -> Doc:
        return doc._replace(title=whole(doc.title, random), text=whole(doc.text, random))

    return both


def _random(seed: int, probe: Probe, key: str) -> Random:
    """One generator a text, so that a text changes alike whatever else is changed."""
    return Random(f"{seed} {probe.name} {key}")


def _relevant(dataset: Dataset, candidates: Run) -> dict[str, list[str]]:
    """query_id → its relevant docs among the candidates: best grade first, then best rank."""
    grades = grades_of(dataset.qrels)
    level = dataset.relevance_level
    return {
        query_id: sorted(
            (d for d in docs if grades[query_id].get(d, level - 1) >= level),
            key=lambda d: -grades[query_id][d],
        )
        for query_id, docs in candidates
    }


def _not_relevant(dataset: Dataset, candidates: Run) -> dict[str, list[str]]:
    """query_id → candidates that are not relevant, worst rank first: there is room to rise."""
    grades = grades_of(dataset.qrels)
    level = dataset.relevance_level
    return {
        query_id: [d for d in docs[::-1] if grades[query_id].get(d, level - 1) < level]
        for query_id, docs in candidates
    }
