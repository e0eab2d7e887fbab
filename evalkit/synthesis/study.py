"""How far a language model's judgements agree with a collection's own.

On pairs: Cohen's κ of the grades that people gave and the model's. On what judgements are for:
Kendall's τ between the orders of systems under either. The second can be high where the first is
not (Upadhyay et al. 2024, arXiv 2406.06519; Faggioli et al., ICTIR 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evalkit.datasets.synthetic import ANSWERS_FROM
from evalkit.errors import ConfigError, DataError
from evalkit.first_stage import first_stage
from evalkit.measures import MeasureSet, parse_measures
from evalkit.measures.names import deepest_rank
from evalkit.report.names import is_quality
from evalkit.run import Run, union
from evalkit.settings import BootstrapSettings, MeasureSettings
from evalkit.synthesis.agreement import Agreement, GradedPairs
from evalkit.synthesis.judge import Judge
from evalkit.synthesis.kappa import Estimate, confusion, kappa_estimate, kendall_tau, tau_ap
from evalkit.synthesis.making import grade_run
from evalkit.types import DOC_TEMPLATE, Dataset, Qrel, Query, Retriever, grades_of

if TYPE_CHECKING:
    from ir_measures import Measure

# Systems below which their order says little: of three, a sixth of all orders agree by chance.
_FEW_SYSTEMS = 5


@dataclass(frozen=True)
class AgreementStudy:
    """num_queries: a random draw of so many (None: all). depth: docs of each system's top that the
    model judges besides those that people judged. count_unjudged: whether κ takes such docs as
    judged 0, as measures do. ks: what @K stands for in measures."""

    judge: Judge
    retrievers: Mapping[str, Retriever]
    measures: MeasureSettings
    bootstrap: BootstrapSettings
    num_queries: int | None = 50
    depth: int = 0
    count_unjudged: bool = False
    seed: int = 0
    doc_template: str = DOC_TEMPLATE
    ks: Sequence[int] = ()
    ns: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.depth < 0 or (self.num_queries is not None and self.num_queries < 1):
            raise ConfigError(
                f"depth={self.depth}, num_queries={self.num_queries}; expected depth ≥ 0 and "
                "num_queries ≥ 1, or null for all"
            )
        if self.count_unjudged and not self.depth:
            raise ConfigError("count_unjudged=true needs unjudged docs: set depth=10")

    @property
    def answers_from(self) -> int:
        """The lowest grade of the model that counts as relevant."""
        return min(ANSWERS_FROM, self.judge.top_grade)

    def check(self, dataset: Dataset) -> None:
        """Raise what is wrong; computes nothing, sends nothing."""
        if not dataset.has_texts:
            raise ConfigError(
                f"{dataset.dataset_id} has no texts to judge; use dataset=folder or "
                "dataset=ir_datasets"
            )
        self.judge.llm.check()
        for retriever in self.retrievers.values():
            check = getattr(retriever, "check", None)
            if check is not None:
                check(self._reach(dataset))

    def queries(self, dataset: Dataset) -> list[Query]:
        """The drawn queries, in the collection's order."""
        every = dataset.queries
        drawn = np.random.default_rng(self.seed).permutation(len(every))[: self.num_queries]
        return [every[place] for place in sorted(drawn.tolist())]

    def judged_by_people(self, dataset: Dataset) -> Run:
        """The drawn queries' judged docs that the corpus holds; others have no text to show."""
        human = grades_of(dataset.qrels)
        ids = [query.query_id for query in self.queries(dataset)]
        run = Run.from_dict({i: dict.fromkeys(human[i], 0.0) for i in ids}, ids)
        wanted = set(run.doc_ids.tolist())
        known = {doc.doc_id for doc in dataset.docs_iter() if doc.doc_id in wanted}
        return run.where(np.isin(run.doc_ids, sorted(known)))

    def most_pairs(self, dataset: Dataset) -> int:
        """What the judge is asked at most."""
        run = self.judged_by_people(dataset)
        return len(run) + len(run.query_ids) * self.depth * len(self.retrievers)

    def measure(self, dataset: Dataset) -> Agreement:
        """Ask for the judgements and compare them; DataError where no answer holds a grade."""
        queries = self.queries(dataset)
        runs = self._runs(dataset, queries)
        extra = [run.top(self.depth) for run in runs.values() if self.depth]
        pool = union([self.judged_by_people(dataset), *extra])
        texts = {query.query_id: query.text for query in queries}
        qrels, counts = grade_run(self.judge, dataset, pool, texts, self.doc_template)
        own = [qrel for qrel in dataset.qrels if qrel.query_id in texts]
        pairs = GradedPairs.joined(own, qrels, self.count_unjudged)
        if not len(pairs.rows):
            raise DataError(
                f"none of {counts['pairs']} answers grades a doc that people judged; take a larger "
                "model, or mode=logits"
            )
        kappas, notes = self._kappas(dataset.relevance_level, pairs)
        means = self._means(dataset, own, qrels, runs)
        if len(runs) < _FEW_SYSTEMS:
            notes.append(
                f"{len(runs)} systems: an order of so few says little; select more retrievers, or "
                "run files (retriever=[run_file])"
            )
        levels = int(max(pairs.human.max(), self.judge.top_grade)) + 1
        table = confusion(np.zeros_like(pairs.rows), pairs.human, pairs.model, 1, levels)[0]
        more = {"queries": len(queries), "pairs_compared": len(pairs.rows)}
        return Agreement(kappas, table, means, _taus(means), qrels, notes, {**counts, **more})

    def _runs(self, dataset: Dataset, queries: Sequence[Query]) -> dict[str, Run]:
        found: dict[str, Run] = {}
        for name, retriever in self.retrievers.items():
            retriever.index(dataset)
            found[name] = first_stage(retriever, dataset, self._reach(dataset), queries)
        return found

    def _reach(self, dataset: Dataset) -> int:
        deepest = deepest_rank(self._parsed(dataset.relevance_level, 1))
        return min(max(deepest, self.depth), dataset.num_docs)

    def _parsed(self, relevance_level: int, max_grade: int) -> list[Measure]:
        """The measures of quality among those asked for."""
        settings = self.measures
        parsed = parse_measures(
            settings.measures, self.ks, self.ns, relevance_level, settings.gains, max(max_grade, 1)
        )
        kept = [measure for measure in parsed if is_quality(str(measure))]
        if not kept:
            raise ConfigError("measures: none of them says how good a ranking is; add nDCG@10")
        return kept

    def _kappas(
        self, relevance_level: int, pairs: GradedPairs
    ) -> tuple[dict[str, Estimate], list[str]]:
        settings = (self.bootstrap.resamples, self.bootstrap.level, self.bootstrap.seed)
        human = (pairs.human >= relevance_level).astype(np.int64)
        model = (pairs.model >= self.answers_from).astype(np.int64)
        binary = confusion(pairs.rows, human, model, pairs.queries, 2)
        name = f"relevant or not (people ≥ {relevance_level}, model ≥ {self.answers_from})"
        found = {name: kappa_estimate(binary, "equal", *settings)}
        notes: list[str] = []
        if len(np.unique(human)) < 2:
            notes.append(
                "people judged all of these pairs alike, so that κ says nothing; depth=10 "
                "count_unjudged=true takes unjudged docs of the systems as not relevant"
            )
        highest, top = int(pairs.human.max()), self.judge.top_grade
        if 1 < highest <= top:
            graded = confusion(pairs.rows, pairs.human, pairs.model, pairs.queries, top + 1)
            found["grades"] = kappa_estimate(graded, "equal", *settings)
            found["grades, quadratic weights"] = kappa_estimate(graded, "quadratic", *settings)
        else:
            notes.append(
                f"people's grades go to {highest}, the model's to {top}: two scales, so that κ is "
                "given for relevant or not alone"
            )
        return found, notes

    def _means(
        self, dataset: Dataset, own: list[Qrel], qrels: list[Qrel], runs: Mapping[str, Run]
    ) -> dict[str, dict[str, tuple[float, float]]]:
        """Of the queries that have judgements of both."""
        both = {qrel.query_id for qrel in own} & {qrel.query_id for qrel in qrels}
        sets = []
        for judgements, level in ((own, dataset.relevance_level), (qrels, self.answers_from)):
            kept = [qrel for qrel in judgements if qrel.query_id in both]
            parsed = self._parsed(level, max(qrel.relevance for qrel in kept))
            sets.append(MeasureSet(parsed, kept, dataset))
        means: dict[str, dict[str, tuple[float, float]]] = {}
        for name, run in runs.items():
            people, model = (each.per_query(run.select(each.query_ids)) for each in sets)
            means[name] = {
                theirs: (float(people[theirs].mean()), float(model[its].mean()))
                for theirs, its in zip(sets[0].names, sets[1].names, strict=True)
            }
        return means


def _taus(means: Mapping[str, Mapping[str, tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """Measure → Kendall's τ and τ_AP of the systems' means."""
    taus = {}
    for name in next(iter(means.values()), {}):
        people, model = (np.array([each[name][i] for each in means.values()]) for i in (0, 1))
        taus[name] = kendall_tau(people, model), tau_ap(people, model)
    return taus
