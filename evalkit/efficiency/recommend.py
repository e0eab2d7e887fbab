"""The best system within a budget, with its evidence, the runner-up, what was ruled out and why.

Ties are not broken by noise: of the systems that fit, those whose paired difference to the best
one has an interval that includes zero are as good, and the cheapest of them is taken, then the
fastest by the mean. Where that is noise, too (see `simpler`), the simplest is: no reranker before
any, then the smaller K. The intervals are not corrected for how many systems are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evalkit.efficiency.budget import LATENCIES, Budget, Candidate, candidate_of, require_evidence
from evalkit.efficiency.latencies import unsupported
from evalkit.efficiency.simpler import effort, told_below
from evalkit.errors import ConfigError
from evalkit.measures.bootstrap import bootstrap_intervals
from evalkit.results import Results


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
    choice where the two are not distinguishable and the choice is cheaper or simpler. runner_up:
    the best of the rest within the budget, None for none, with the choice's difference to it.
    alike: all that are not distinguishable from the best, the best first. untold: those of them
    that are cheaper or faster than the choice by the estimate alone. ruled_out: the others, as
    measured.
    barely: limits that the choice meets while its interval's upper end does not. unsupported:
    percentiles that were measured too few times. without_interval: latencies whose interval is not
    known, the unsupported left out."""

    measure: str
    budget: Budget
    choice: Candidate
    best: Candidate
    runner_up: Candidate | None
    difference: Difference | None
    to_best: Difference
    alike: Sequence[Candidate]
    untold: Sequence[Candidate]
    fitting: Sequence[Candidate]
    ruled_out: Sequence[Candidate]
    barely: Sequence[str] = field(default=())
    unsupported: Sequence[str] = field(default=())
    without_interval: Sequence[str] = field(default=())


def recommend(results: Results, budget: Budget, measure: str) -> Recommendation:
    """The recommendation; ConfigError where the output lacks what the budget needs, or where no
    system fits it."""
    require_evidence(results, budget)
    candidates = [candidate_of(results, system, budget) for system in results.uncut]
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
    limits = budget.limits
    choice = _simplest(alike, measure)
    if choice.system.measures[measure] == best.system.measures[measure]:
        best = choice
    too_few = [name for name in limits if name in unsupported(results.efficiency, choice.name)]
    latencies = [name for name in limits if name in LATENCIES and name not in too_few]
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
        untold=[c for c in alike if _price(c)[:2] < _price(choice)[:2]],
        fitting=fitting,
        ruled_out=[c for c in candidates if c.ruled_out],
        barely=[
            name
            for name, limit in limits.items()
            if name in choice.intervals and choice.intervals[name][1] > limit
        ],
        unsupported=too_few,
        without_interval=[name for name in latencies if name not in choice.intervals],
    )


def difference(results: Results, one: Candidate, other: Candidate, measure: str) -> Difference:
    """`one` minus `other`, query by query."""
    values = one.system.values[measure] - other.system.values[measure]
    settings = (results.resamples, results.level, results.seed, results.interval_method)
    low, high = bootstrap_intervals(values[:, None], *settings)[0].tolist()
    return Difference(float(values.mean()), (low, high))


def _simplest(alike: Sequence[Candidate], measure: str) -> Candidate:
    """Of those that no other one is told to be cheaper than, then none to be faster."""
    left = list(alike)
    for name in ("usd_per_1k", "mean_ms"):
        left = [c for c in left if not any(_below(other, c, name) for other in left)]
    return min(left, key=lambda c: (*effort(c.system), *_price(c)[:2], -c.system.measures[measure]))


def _below(one: Candidate, other: Candidate, name: str) -> bool:
    """Whether `one` is told to spend less; what is not known of a system counts as the most."""
    if name not in one.spent or name not in other.spent:
        return name in one.spent and name not in other.spent
    return told_below(
        one.system, one.spent[name], one.ends(name),
        other.system, other.spent[name], other.ends(name),
    )  # fmt: skip


def _price(candidate: Candidate) -> tuple[float, float, bool, int]:
    """Money, time by the mean, then a system without a reranker, the smaller K.

    What is not known of one system counts as the most.
    """
    spent = candidate.spent
    money, time = (spent.get(name, np.inf) for name in ("usd_per_1k", "mean_ms"))
    return money, time, *effort(candidate.system)


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
        "cheaper_or_faster_by_the_estimate_alone": [c.name for c in found.untold],
        "met_by_the_estimate_only": list(found.barely),
        "measured_too_few_times": list(found.unsupported),
        "without_interval": list(found.without_interval),
        "ruled_out": [{"system": c.name, "why": c.ruled_out} for c in found.ruled_out],
    }


def _numbers(interval: tuple[float, float]) -> list[float | None]:
    return [None if np.isnan(end) else float(end) for end in interval]
