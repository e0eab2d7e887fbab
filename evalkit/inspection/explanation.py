"""Why is this document on top: a query's documents, what of the query is in them, and how each
stage ranked and scored them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.analysis import Analyzer
from evalkit.errors import ConfigError, DataError, nearest
from evalkit.inspection.highlights import Span, marked_spans
from evalkit.inspection.subject import LexicalView
from evalkit.report.compare import first_stages
from evalkit.report.wording import about_output
from evalkit.results import Results, SystemResult
from evalkit.types import Dataset, Query, grades_of


@dataclass(frozen=True)
class Standing:
    """Where a stage has a document. rank: from 1. score: None below the reranker's K, where a run
    file's scores do nothing but keep the order."""

    rank: int
    score: float | None


@dataclass(frozen=True)
class ExplainedDoc:
    """A document of one query.

    text: as every stage sees it, None where the corpus does not have it. grade: None where nobody
    judged it; is_relevant: whether that grade counts as relevant. standings: stage → where it is;
    stages that lack it are left out. terms: index term of the query → what it adds to the BM25
    score, highest first. spans: where those are in the text. is_missed: relevant, and not among the
    top documents.
    """

    doc_id: str
    text: str | None
    grade: int | None
    is_relevant: bool
    standings: Mapping[str, Standing]
    terms: Mapping[str, float]
    spans: Sequence[Span]
    is_missed: bool

    @property
    def bm25_score(self) -> float:
        return sum(self.terms.values())


@dataclass(frozen=True)
class Explanation:
    """A query's documents under one system.

    query_spans: where terms are that any of the documents has. query_terms: index term → the
    query's word that it was made of. measures: the system's values for this query. stages: the
    output's first stages, then the system. num_relevant, num_missed: relevant documents, and those
    of them not among the top. bm25: the output's BM25, None where it has none and default settings
    stand in. about: dataset, its queries, models and date of the output. synthetic: as in
    `DatasetInfo`.
    """

    query: Query
    query_spans: Sequence[Span]
    query_terms: Mapping[str, str]
    system: str
    measures: Mapping[str, float]
    stages: Sequence[str]
    docs: Sequence[ExplainedDoc]
    num_relevant: int
    num_missed: int
    bm25: str | None
    about: str = ""
    synthetic: str = ""


def explain(
    results: Results,
    dataset: Dataset,
    lexical: LexicalView,
    query_id: str,
    system: SystemResult,
    num_docs: int = 3,
) -> Explanation:
    """The system's first `num_docs` documents, and the best relevant one that is not among them.

    That one has the highest grade; of several, the one that the system, then the first stages rank
    highest. ConfigError for a query that was not evaluated.
    """
    query = _query(dataset, query_id)
    stages = [*first_stages(results), system]
    standings = {stage.system: _standings(results, stage, query_id) for stage in stages}
    top = list(standings[system.system])[:num_docs]
    grades = grades_of(dataset.qrels)[query_id]
    relevant = [doc_id for doc_id, grade in grades.items() if grade >= dataset.relevance_level]
    missed = sorted(
        set(relevant) - set(top),
        key=lambda doc_id: (-grades[doc_id], *_ranks(standings, doc_id), doc_id),
    )
    chosen = [*top, *missed[:1]]
    bm25 = lexical.bm25
    contributions = bm25.contributions(query.text, chosen)
    docs = []
    for doc_id in chosen:
        text = _text(dataset, doc_id, bm25.doc_template)
        terms = dict(sorted(contributions[doc_id].items(), key=lambda item: -item[1]))
        docs.append(
            ExplainedDoc(
                doc_id=doc_id,
                text=text,
                grade=grades.get(doc_id),
                is_relevant=doc_id in relevant,
                standings={s: at[doc_id] for s, at in standings.items() if doc_id in at},
                terms=terms,
                spans=[] if text is None else marked_spans(bm25.analyzer, text, terms),
                is_missed=doc_id not in top,
            )
        )
    matched = {term for doc in docs for term in doc.terms}
    at = list(results.query_ids).index(query_id)
    return Explanation(
        query=query,
        query_spans=marked_spans(bm25.analyzer, query.text, matched),
        query_terms=_words(bm25.analyzer, query.text),
        system=system.system,
        measures={name: float(system.values[name][at]) for name in results.measure_names},
        stages=tuple(standings),
        docs=docs,
        num_relevant=len(relevant),
        num_missed=len(missed),
        bm25=lexical.name,
        about=about_output(results),
        synthetic=results.dataset.synthetic,
    )


def _query(dataset: Dataset, query_id: str) -> Query:
    for query in dataset.queries:
        if query.query_id == query_id:
            return query
    known = [query.query_id for query in dataset.queries]
    raise ConfigError(
        f"query_id={query_id} is no judged query of {dataset.dataset_id}."
        f"{nearest(query_id, known)} It has {len(known)}, such as {known[0]}"
    )


def _standings(results: Results, stage: SystemResult, query_id: str) -> dict[str, Standing]:
    """doc_id → where this stage has it, best first."""
    ranking = results.runs[stage.run_name][query_id]
    return {
        doc_id: Standing(rank, score if stage.k is None or rank <= stage.k else None)
        for rank, (doc_id, score) in enumerate(ranking, start=1)
    }


def _ranks(standings: Mapping[str, Mapping[str, Standing]], doc_id: str) -> list[float]:
    """The doc's rank under the system, which is the last stage, then under each first stage."""
    found = [at[doc_id].rank if doc_id in at else float("inf") for at in standings.values()]
    return found[-1:] + found[:-1]


def _text(dataset: Dataset, doc_id: str, template: str) -> str | None:
    try:
        return dataset.lookup([doc_id])[doc_id].render(template)
    except DataError:  # judged, and not in the corpus
        return None


def _words(analyzer: Analyzer, text: str) -> dict[str, str]:
    """Index term → the words of the text that it was made of, in their order."""
    words: dict[str, list[str]] = {}
    for term, start, end in analyzer.located(text):
        found = words.setdefault(term, [])
        if text[start:end] not in found:
            found.append(text[start:end])
    return {term: ", ".join(found) for term, found in words.items()}
