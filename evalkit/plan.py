"""What a run would do, before anything is spent: systems, pairs to score, caches hit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.remote.key import missing_keys
from evalkit.results import NO_RERANKER
from evalkit.run import Run, union
from evalkit.types import Reranker


@dataclass(frozen=True)
class RerankerPlan:
    """pairs: distinct (query, doc) pairs, or an upper bound (`exact` False) while an index is
    missing. scored: those that are not in the store. None: not known before the run. cost: what
    the lists cost at most, by unit, from a reranker that can tell. listed: whether it depends on
    the list."""

    name: str
    pairs: int
    exact: bool
    scored: int | None
    cost: Mapping[str, int] = field(default_factory=dict)
    listed: bool = False


@dataclass(frozen=True)
class Plan:
    """systems: cells of the grid. depth: docs retrieved a query. indexes: retriever → cached.
    missing: why a run would be refused all the same, a line each, such as for an API key."""

    systems: int
    queries: int
    depth: int
    indexes: dict[str, bool]
    rerankers: list[RerankerPlan]
    missing: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The plan, a line each, for the terminal."""
        out = [f"{self.systems} systems, {self.queries} queries, {self.depth} docs a query"]
        out += [
            f"retriever {name}: index {'cached' if cached else 'to build'}"
            for name, cached in self.indexes.items()
        ]
        for plan in self.rerankers:
            amount = f"{plan.pairs:,} pairs" if plan.exact else f"at most {plan.pairs:,} pairs"
            if plan.listed:
                known = "depends on the list: run for each K and retriever"
            elif plan.scored is None:
                known = "all anew" if plan.exact else "known once indexes are built"
            else:
                known = f"{plan.scored:,} to score, the rest is in the store"
            if plan.cost:
                most = ", ".join(f"{count:,} {unit}" for unit, count in plan.cost.items())
                known += f"; at most {most}"
            out.append(f"reranker {plan.name}: {amount} ({known})")
        return out + [f"A run would be refused: {line}" for line in self.missing]


def plan(experiment: Experiment) -> Plan:
    """Builds no index and scores nothing; retrieves only where every index is cached."""
    with missing_keys() as missing:
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
            replace(
                _reranker_plan(experiment, name, reranker.depends_on_list, candidates),
                cost=_cost(experiment, reranker, candidates),
                listed=reranker.depends_on_list,
            )
            for name, reranker in real.items()
        ],
        missing=list(dict.fromkeys(missing)),
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
    count = getattr(reranker, "count", None)
    if count is not None:
        counts = count(queries, experiment.dataset, pool)
        return RerankerPlan(name, len(pool), True, counts.scored)
    return RerankerPlan(name, len(pool), True, None)


def _cost(
    experiment: Experiment, reranker: Reranker, candidates: dict[str, Run] | None
) -> dict[str, int]:
    """The reranker's own estimate over all the lists it will be given."""
    estimate = getattr(reranker, "estimate", None)
    if estimate is None:
        return {}
    ks = sorted(set(experiment.sweep.k))
    full = np.full(len(experiment.dataset.queries), ks[-1], dtype=np.int64)
    runs = list((candidates or dict.fromkeys(experiment.retrievers)).values())
    sizes = [full if run is None else run.sizes for run in runs]
    if reranker.depends_on_list:
        lists = [np.minimum(each, k) for each in sizes for k in ks]
    elif candidates is None:
        lists = [full * len(runs)]
    else:
        lists = [union([run.top(ks[-1]) for run in candidates.values()]).sizes]
    total: dict[str, int] = {}
    for each in lists:
        for unit, amount in estimate(each).items():
            total[unit] = total.get(unit, 0) + int(amount)
    return total
