"""The best system within a budget, with its evidence, the runner-up, what was ruled out and why.

Ties are not broken by noise: of the systems that fit, those whose paired difference to the best
one has an interval that includes zero are as good, and the cheapest of them is taken (then the
fastest by the mean, then the one with the smaller K). The intervals are not corrected for how many
systems are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evalkit.efficiency.fronts import joules, usd_per_1k
from evalkit.efficiency.latencies import interval_of, measured, statistic, unsupported
from evalkit.errors import ConfigError
from evalkit.measures.bootstrap import bootstrap_intervals
from evalkit.results import NO_RERANKER, Results, SystemResult

LATENCIES = ("mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms")


@dataclass(frozen=True)
class Budget:
    """Upper limits, None for none. Milliseconds are of the whole query; usd_per_1k: US dollars a
    thousand queries; joules_per_query; max_k: candidates reranked."""

    mean_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    usd_per_1k: float | None = None
    joules_per_query: float | None = None
    max_k: int | None = None

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            if limit is not None and not limit >= 0:
                raise ConfigError(f"budget.{name}={limit}: expected 0 or more")
        if not self.limits:
            raise ConfigError(
                "no budget; give at least one limit, such as budget.p95_ms=100 or "
                "budget.usd_per_1k=0.5"
            )

    @property
    def limits(self) -> dict[str, float]:
        return {name: limit for name, limit in vars(self).items() if limit is not None}


@dataclass(frozen=True)
class Candidate:
    """A system and what it spends. spent: limit's name → amount; those not known are not in it.
    intervals: of those that have one. ruled_out: why it does not fit the budget, "" if it does."""

    system: SystemResult
    spent: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    ruled_out: str = ""

    @property
    def name(self) -> str:
        return self.system.run_name


@dataclass(frozen=True)
class Difference:
    """The choice's measure minus another's: the mean over queries and its interval."""

    mean: float
    interval: tuple[float, float]

    @property
    def shows(self) -> bool:
        """Whether the interval leaves zero out."""
        low, high = self.interval
        return low > 0 or high < 0


@dataclass(frozen=True)
class Recommendation:
    """choice: what to ship. best: the highest mean within the budget; another system than the
    choice where the two are not distinguishable and the choice is cheaper. runner_up: the best of
    the rest within the budget, None for none, with the choice's difference to it. alike: all that
    are not distinguishable from the best, the best first. ruled_out: the others, as measured.
    barely: limits that the choice meets while its interval's upper end does not. unsupported:
    percentiles that were measured too few times."""

    measure: str
    budget: Budget
    choice: Candidate
    best: Candidate
    runner_up: Candidate | None
    difference: Difference | None
    to_best: Difference
    alike: Sequence[Candidate]
    fitting: Sequence[Candidate]
    ruled_out: Sequence[Candidate]
    barely: Sequence[str] = field(default=())
    unsupported: Sequence[str] = field(default=())


def recommend(results: Results, budget: Budget, measure: str) -> Recommendation:
    """The recommendation; ConfigError where the output lacks what the budget needs, or where no
    system fits it."""
    _require_evidence(results, budget)
    candidates = [_candidate(results, system, budget) for system in results.uncut]
    fitting = [c for c in candidates if not c.ruled_out]
    if not fitting:
        nearest = "; ".join(f"{c.name}: {c.ruled_out}" for c in candidates[:3])
        raise ConfigError(
            f"no system of this output fits the budget ({nearest}"
            f"{'; …' if len(candidates) > 3 else ''}); raise it, or run with a smaller K or model"
        )
    best = max(fitting, key=lambda c: (c.system.measures[measure], *(-x for x in _price(c))))
    alike = [
        c
        for c in sorted(fitting, key=lambda c: -c.system.measures[measure])
        if c is best or not difference(results, best, c, measure).shows
    ]
    choice = min(alike, key=lambda c: (*_price(c), -c.system.measures[measure]))
    rest = [c for c in fitting if c is not choice]
    runner_up = max(rest, key=lambda c: c.system.measures[measure], default=None)
    return Recommendation(
        measure=measure,
        budget=budget,
        choice=choice,
        best=best,
        runner_up=runner_up,
        difference=None if runner_up is None else difference(results, choice, runner_up, measure),
        to_best=difference(results, choice, best, measure),
        alike=alike,
        fitting=fitting,
        ruled_out=[c for c in candidates if c.ruled_out],
        barely=[
            name
            for name, limit in budget.limits.items()
            if name in choice.intervals and choice.intervals[name][1] > limit
        ],
        unsupported=[
            name for name in budget.limits if name in unsupported(results.efficiency, choice.name)
        ],
    )


def difference(results: Results, one: Candidate, other: Candidate, measure: str) -> Difference:
    """`one` minus `other`, query by query."""
    values = one.system.values[measure] - other.system.values[measure]
    settings = (results.resamples, results.level, results.seed, results.interval_method)
    low, high = bootstrap_intervals(values[:, None], *settings)[0].tolist()
    return Difference(float(values.mean()), (low, high))


def _require_evidence(results: Results, budget: Budget) -> None:
    limits = set(budget.limits)
    wanted = []
    if limits & set(LATENCIES) and not measured(results.efficiency):
        wanted.append("latency=on")
    if "usd_per_1k" in limits and not usd_per_1k(results.efficiency):
        wanted.append("latency=on cost=list_prices cost.machine=NAME")
    if "joules_per_query" in limits and not joules(results.efficiency):
        wanted.append("latency=on, on a machine with a readable energy counter")
    if wanted:
        raise ConfigError(
            f"the output has no numbers for {', '.join(f'budget.{name}' for name in limits)}; "
            f"make the run with {wanted[-1]}"
        )


def _candidate(results: Results, system: SystemResult, budget: Budget) -> Candidate:
    efficiency, name = results.efficiency, system.run_name
    spent: dict[str, float | None] = {key: statistic(efficiency, name, key) for key in LATENCIES}
    spent["usd_per_1k"] = usd_per_1k(efficiency).get(name)
    spent["joules_per_query"] = joules(efficiency).get(name)
    spent["max_k"] = float(system.k or 0)
    known = {key: amount for key, amount in spent.items() if amount is not None}
    found = {key: interval_of(efficiency, name, key) for key in LATENCIES}
    intervals = {key: interval for key, interval in found.items() if interval is not None}
    reasons = []
    for limit, most in budget.limits.items():
        if limit not in known:
            reasons.append(f"{limit} is not known")
        elif known[limit] > most:
            reasons.append(f"{limit} {known[limit]:.4g} > {most:g}")
    return Candidate(system, known, intervals, ", ".join(reasons))


def _price(candidate: Candidate) -> tuple[float, float, int, int]:
    """What a tie is broken by: money, time, then a system without a reranker, the smaller K.

    What is not known of one system counts as the most.
    """
    spent, system = candidate.spent, candidate.system
    time = spent.get("mean_ms", np.inf)
    bare = system.reranker == NO_RERANKER
    return spent.get("usd_per_1k", np.inf), time, 0 if bare else 1, system.k or 0


def as_json(found: Recommendation) -> dict[str, Any]:
    """Plain JSON data for recommendation.json."""

    def of(candidate: Candidate | None) -> dict[str, Any] | None:
        if candidate is None:
            return None
        low, high = candidate.system.ci.get(found.measure, (np.nan, np.nan))
        return {
            "system": candidate.name,
            "quality": candidate.system.measures[found.measure],
            "quality_ci": _numbers((low, high)),
            "spent": dict(candidate.spent),
            "ci": {key: list(interval) for key, interval in candidate.intervals.items()},
        }

    def between(one: Difference | None) -> dict[str, Any] | None:
        return (
            one
            if one is None
            else {"mean": one.mean, "ci": _numbers(one.interval), "shows": one.shows}
        )

    return {
        "measure": found.measure,
        "budget": found.budget.limits,
        "choice": of(found.choice),
        "best": of(found.best),
        "choice_minus_best": between(found.to_best),
        "runner_up": of(found.runner_up),
        "choice_minus_runner_up": between(found.difference),
        "not_distinguishable_from_the_best": [c.name for c in found.alike],
        "met_by_the_estimate_only": list(found.barely),
        "measured_too_few_times": list(found.unsupported),
        "ruled_out": [{"system": c.name, "why": c.ruled_out} for c in found.ruled_out],
    }


def _numbers(interval: tuple[float, float]) -> list[float | None]:
    return [None if np.isnan(end) else float(end) for end in interval]
