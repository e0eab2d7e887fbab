"""The story: write queries, drop what is unfit, look for each query's own doc, judge the pool.

    docs → a query a doc and kind → filters on the text → retrieve → is the query's own doc found?
    → grade the pool of all retrievers and the own doc → does the own doc answer? → qrels

A query that its own doc cannot be found by is more likely a bad query than a hard one; asking this
back is Promptagator's round trip (Dai et al., ICLR 2023). It also drops hard queries, more so the
fewer retrievers are asked, which flatters them: how many is told, and the filter can be off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalkit.errors import ConfigError, DataError
from evalkit.first_stage import first_stage
from evalkit.run import Run, union
from evalkit.synthesis.judge import Judge
from evalkit.synthesis.queries import Draft, QueryWriter, fit
from evalkit.types import (
    DOC_TEMPLATE,
    Dataset,
    Doc,
    LanguageModel,
    Qrel,
    Query,
    Retriever,
    grades_of,
)

_EXAMPLE = 60  # characters of a query in an error
_HELP = "take a larger model, or loosen least_source_grade, keep_rank or longest_query"


@dataclass(frozen=True)
class Made:
    """drafts: the queries that are left. qrels: their judgements. about: counts of all steps."""

    drafts: list[Draft]
    qrels: list[Qrel]
    about: dict[str, Any]


@dataclass(frozen=True)
class Synthesis:
    """longest_query: words. keep_rank: a query stays if any retriever has its own doc among its
    best keep_rank; None keeps all. depth: docs a retriever gives to the pool. least_source_grade: a
    query stays if its own doc is graded this or higher; 0 keeps all."""

    llm: LanguageModel
    writer: QueryWriter
    judge: Judge
    retrievers: Mapping[str, Retriever]
    longest_query: int = 40
    keep_rank: int | None = 20
    depth: int = 10
    least_source_grade: int = 2
    doc_template: str = DOC_TEMPLATE

    def __post_init__(self) -> None:
        for name in ("longest_query", "depth", "keep_rank"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}: expected at least 1")
        if not self.retrievers:
            raise ConfigError("no retriever; the pool to judge needs one: retriever=[bm25]")

    @property
    def reach(self) -> int:
        """Docs that each retriever is asked for."""
        return max(self.depth, self.keep_rank or 0)

    def check(self) -> None:
        """Raise what is wrong with the model or a retriever; computes nothing, sends nothing."""
        self.llm.check()
        for retriever in self.retrievers.values():
            check = getattr(retriever, "check", None)
            if check is not None:
                check(self.reach)

    def make(self, corpus: Dataset, docs: Sequence[Doc]) -> Made:
        """Queries written for `docs`, judged on the whole corpus; DataError where none is left."""
        written = self.writer.drafts(self.llm, docs)
        drafts, dropped = fit(written, self.longest_query, self.writer.instructions)
        require(drafts, written, dropped)
        runs = self._runs(corpus, drafts)
        ranks = own_ranks(runs, drafts)
        found = self._found(ranks, drafts)
        dropped["own_doc_not_found"] = len(drafts) - len(found)
        require(found, written, dropped)
        qrels, judged = self._judged(corpus, found, runs)
        good = self._answered(found, qrels)
        dropped["own_doc_no_answer"] = len(found) - len(good)
        require(good, written, dropped)
        kept = {draft.query_id for draft in good}
        qrels = [qrel for qrel in qrels if qrel.query_id in kept]
        about = {
            "asked": len(written),
            "dropped": {reason: count for reason, count in dropped.items() if count},
            "own_doc_found": {name: _shares(each) for name, each in ranks.items()},
            **judged,
            "queries": len(kept),
            "queries_by_kind": dict(Counter(draft.kind for draft in good)),
            "queries_by_language": dict(Counter(draft.language for draft in good)),
            "judgements": len(qrels),
            "grades": _histogram(qrels),
        }
        return Made(good, qrels, about)

    def _runs(self, corpus: Dataset, drafts: Sequence[Draft]) -> dict[str, Run]:
        """Each retriever's candidates for the drafts, in their order."""
        queries = [Query(draft.query_id, draft.text) for draft in drafts]
        runs: dict[str, Run] = {}
        for name, retriever in self.retrievers.items():
            retriever.index(corpus)
            runs[name] = first_stage(retriever, corpus, self.reach, queries)
        return runs

    def _found(self, ranks: Mapping[str, np.ndarray], drafts: list[Draft]) -> list[Draft]:
        """The drafts whose own doc some retriever has among its best keep_rank."""
        if self.keep_rank is None:
            return drafts
        best = np.min(list(ranks.values()), axis=0)
        return [d for d, rank in zip(drafts, best, strict=True) if rank <= self.keep_rank]

    def _judged(
        self, corpus: Dataset, drafts: Sequence[Draft], runs: Mapping[str, Run]
    ) -> tuple[list[Qrel], dict[str, int]]:
        """The pool of all retrievers and each draft's own doc, graded: see `grade_run`."""
        texts = {draft.query_id: draft.text for draft in drafts}
        own = Run.from_dict({draft.query_id: {draft.doc.doc_id: 0.0} for draft in drafts})
        tops = [run.select(own.query_ids).top(self.depth) for run in runs.values()]
        return grade_run(self.judge, corpus, union([own, *tops]), texts, self.doc_template)

    def _answered(self, drafts: Sequence[Draft], qrels: Sequence[Qrel]) -> list[Draft]:
        """The drafts with a judgement whose own doc is graded high enough."""
        grades = grades_of(qrels)
        least = self.least_source_grade
        return [
            draft
            for draft in drafts
            if draft.query_id in grades
            and (least < 1 or grades[draft.query_id].get(draft.doc.doc_id, -1) >= least)
        ]


def grade_run(
    judge: Judge, corpus: Dataset, pool: Run, texts: Mapping[str, str], doc_template: str
) -> tuple[list[Qrel], dict[str, int]]:
    """The judge's grades of a run's results, in its order; what has none is left unjudged.

    texts: query_id → text. Also the counts "pairs" and "malformed".
    """
    doc_ids = pool.doc_ids.tolist()
    query_ids = np.asarray(pool.query_ids)[pool.rows].tolist() if len(pool) else []
    docs = corpus.lookup(doc_ids)
    pairs = [
        (texts[query_id], docs[doc_id].render(doc_template))
        for query_id, doc_id in zip(query_ids, doc_ids, strict=True)
    ]
    grades = judge.grades(pairs)
    qrels = [
        Qrel(query_id, doc_id, grade)
        for query_id, doc_id, grade in zip(query_ids, doc_ids, grades, strict=True)
        if grade is not None
    ]
    return qrels, {"pairs": len(pairs), "malformed": len(pairs) - len(qrels)}


def own_ranks(runs: Mapping[str, Run], drafts: Sequence[Draft]) -> dict[str, np.ndarray]:
    """Retriever → the rank, from 1, of each query's own doc: float64, inf where it is not found."""
    ranks: dict[str, np.ndarray] = {}
    for name, run in runs.items():
        found = dict(iter(run))
        ranks[name] = np.array(
            [
                found[d.query_id].index(d.doc.doc_id) + 1.0
                if d.doc.doc_id in found[d.query_id]
                else np.inf
                for d in drafts
            ]
        )
    return ranks


def require(left: Sequence[Draft], written: Sequence[Draft], dropped: Mapping[str, int]) -> None:
    """DataError, with the reasons and an example, where no query is left."""
    if left:
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items() if count)
    example = next((draft.text for draft in written if draft.text), "")[:_EXAMPLE]
    raise DataError(
        f"no query is left of {len(written)} asked for ({reasons}; the first answer: "
        f"'{example}'); {_HELP}"
    )


def _shares(ranks: np.ndarray) -> dict[str, float]:
    return {f"top_{k}": round(float((ranks <= k).mean()), 4) for k in (1, 10)}


def _histogram(qrels: Sequence[Qrel]) -> dict[str, int]:
    counts = Counter(qrel.relevance for qrel in qrels)
    return {str(grade): counts[grade] for grade in sorted(counts)}
