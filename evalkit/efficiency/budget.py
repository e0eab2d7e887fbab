"""A budget's limits, and what each system spends of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evalkit.efficiency.fronts import exact_usd, joules, usd_intervals, usd_per_1k
from evalkit.efficiency.latencies import interval_of, measured, statistic
from evalkit.errors import ConfigError
from evalkit.results import Results, SystemResult

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
    intervals: of those that have one. exact: those that need none. ruled_out: why it does not fit
    the budget, "" if it does."""

    system: SystemResult
    spent: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    ruled_out: str = ""
    exact: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.system.run_name

    def ends(self, name: str) -> tuple[float, float] | None:
        """The interval of what is spent, both ends the amount if it is exact; None for none."""
        amount = self.spent.get(name)
        if name in self.exact and amount is not None:
            return amount, amount
        return self.intervals.get(name)


def require_evidence(results: Results, budget: Budget) -> None:
    """ConfigError where the output has no numbers for a limit."""
    efficiency = results.efficiency
    lacking = {
        "latency=on": [] if measured(efficiency) else [*LATENCIES],
        "latency=on cost=list_prices cost.machine=NAME": []
        if usd_per_1k(efficiency)
        else ["usd_per_1k"],
        "latency=on, on a machine with a readable energy counter": []
        if joules(efficiency)
        else ["joules_per_query"],
    }
    wanted = {run: [n for n in names if n in budget.limits] for run, names in lacking.items()}
    for run, names in reversed(wanted.items()):
        if names:
            raise ConfigError(
                f"the output has no numbers for {', '.join(f'budget.{n}' for n in names)}; make "
                f"the run with {run}"
            )


def candidate_of(results: Results, system: SystemResult, budget: Budget) -> Candidate:
    """What a system spends, and why it does not fit the budget, if it does not."""
    efficiency, name = results.efficiency, system.run_name
    spent: dict[str, float | None] = {key: statistic(efficiency, name, key) for key in LATENCIES}
    spent["usd_per_1k"] = usd_per_1k(efficiency).get(name)
    spent["joules_per_query"] = joules(efficiency).get(name)
    spent["max_k"] = float(system.k or 0)
    known = {key: amount for key, amount in spent.items() if amount is not None}
    found = {key: interval_of(efficiency, name, key) for key in LATENCIES}
    found["usd_per_1k"] = usd_intervals(efficiency).get(name)
    intervals = {key: interval for key, interval in found.items() if interval is not None}
    reasons = []
    for limit, most in budget.limits.items():
        if limit not in known:
            reasons.append(f"{limit} is not known")
        elif known[limit] > most:
            reasons.append(f"{limit} {known[limit]:.4g} > {most:g}")
    exact = frozenset({"usd_per_1k"} if name in exact_usd(efficiency) else ())
    return Candidate(system, known, intervals, ", ".join(reasons), exact)
