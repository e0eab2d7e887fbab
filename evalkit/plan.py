"""What a run would do, before anything is spent: systems, pairs to score, caches hit."""

from __future__ import annotations

from dataclasses import dataclass

from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.results import NO_RERANKER
from evalkit.run import Run, union


@dataclass(frozen=True)
class RerankerPlan:
    """pairs: distinct (query, doc) pairs, or an upper bound (`exact` False) while an index is
    missing. scored: those that are not in the store. None: not known before the run."""

    name: str
    pairs: int
    exact: bool
    scored: int | None


@dataclass(frozen=True)
class Plan:
    """systems: cells of the grid. depth: docs retrieved a query. indexes: retriever → cached."""

    systems: int
    queries: int
    depth: int
    indexes: dict[str, bool]
    rerankers: list[RerankerPlan]

    def lines(self) -> list[str]:
        """The plan, a line each, for the terminal."""
        out = [f"{self.systems} systems, {self.queries} queries, {self.depth} docs a query"]
        out += [
            f"retriever {name}: index {'cached' if cached else 'to build'}"
            for name, cached in self.indexes.items()
        ]
        for plan in self.rerankers:
            amount = f"{plan.pairs:,} pairs" if plan.exact else f"at most {plan.pairs:,} pairs"
            if plan.scored is None:
                known = (
                    "each K and retriever anew" if plan.exact else "known once indexes are built"
                )
            else:
                known = f"{plan.scored:,} to score, the rest is in the store"
            out.append(f"reranker {plan.name}: {amount} ({known})")
        return out


def plan(experiment: Experiment) -> Plan:
    """Builds no index and scores nothing; retrieves only where every index is cached."""
    experiment.check()
    dataset, sweep = experiment.dataset, experiment.sweep
    depth = experiment.depth(experiment.measure_set())
    indexes = {name: r.is_cached(dataset) for name, r in experiment.retrievers.items()}
    ready = all(indexes.values())
    candidates = experiment.retrieve(depth, ExecutionLog()) if ready else None
    real = {name: r for name, r in experiment.rerankers.items() if name != NO_RERANKER}
    cuts = 1 + len(set(sweep.n))
    cells = (len(experiment.rerankers) - len(real)) + len(real) * len(set(sweep.k))
    return Plan(
        systems=len(experiment.retrievers) * cells * cuts,
        queries=len(dataset.queries),
        depth=depth,
        indexes=indexes,
        rerankers=[
            _reranker_plan(experiment, name, reranker.depends_on_list, candidates)
            for name, reranker in real.items()
        ],
    )


def _reranker_plan(
    experiment: Experiment, name: str, depends_on_list: bool, candidates: dict[str, Run] | None
) -> RerankerPlan:
    ks = sorted(set(experiment.sweep.k))
    queries = experiment.dataset.queries
    if candidates is None:
        each = sum(ks) if depends_on_list else ks[-1]
        return RerankerPlan(name, len(queries) * each * len(experiment.retrievers), False, None)
    if depends_on_list:
        pairs = sum(len(run.top(k)) for run in candidates.values() for k in ks)
        return RerankerPlan(name, pairs, True, None)
    pool = union([run.top(ks[-1]) for run in candidates.values()])
    reranker = experiment.rerankers[name]
    if isinstance(reranker, PointwiseReranker):
        counts = reranker.count(queries, experiment.dataset, pool)
        return RerankerPlan(name, len(pool), True, counts.scored)
    return RerankerPlan(name, len(pool), True, None)
