"""results.efficiency's sections for decisions: what each system costs, which ones are dominated.

A system's cost is what it pays by the query (see `usage`) plus the time that it keeps a machine of
one's own busy: the measured mean latency, without the waiting for a reranker that is a service. The
waiting of one that only has a service among its parts cannot be told apart: its machine is priced
as busy meanwhile, at most, and `waits_for` names the services.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.efficiency.cost import Hosting, Usage, month_at, total_per_query
from evalkit.efficiency.fronts import pareto_section
from evalkit.efficiency.instead import alternatives, check_instead
from evalkit.efficiency.latencies import interval_of, mean_ms, why_not_measured
from evalkit.efficiency.paid_parts import is_remote, services_of
from evalkit.efficiency.prices import CostSettings, Price, price_list
from evalkit.efficiency.usage import Accounts
from evalkit.results import NO_RERANKER, Results, SystemResult

if TYPE_CHECKING:
    from evalkit.experiment import Experiment

Work = Mapping[str, Mapping[str, int]]


def check_cost(experiment: Experiment, settings: CostSettings) -> None:
    """ConfigError for an unknown price; called before anything is computed."""
    if settings.kind == "off":
        return
    prices = price_list(settings)
    Accounts(experiment, prices).check()
    if settings.machine is not None:
        prices.of(settings.machine, "hour")
    check_instead(experiment, prices, settings)


def with_decisions(
    results: Results, experiment: Experiment, work: Work, settings: CostSettings
) -> Results:
    """The results with `efficiency["cost"]` where prices are on, and `["pareto"]` where anything
    that is spent is known.

    work: component → what it spent in this run, by unit.
    """
    efficiency = dict(results.efficiency)
    if settings.kind == "on":
        efficiency["cost"] = cost_section(results, experiment, work, settings)
    if "latency" in efficiency or "cost" in efficiency:
        efficiency["pareto"] = pareto_section(results, efficiency)
    return replace(results, efficiency=efficiency)


class _Own(NamedTuple):
    """Own hardware of one system. hosting: None where no machine is priced or needed. ends: the
    same at both ends of the interval of its time, None where there is none. unknown: why its cost
    is not known, "" if it is."""

    hosting: Hosting | None
    ends: tuple[Hosting, Hosting] | None = None
    unknown: str = ""


def cost_section(
    results: Results, experiment: Experiment, work: Work, settings: CostSettings
) -> dict[str, Any]:
    """`efficiency["cost"]`, plain JSON data: a cost per query is None where a part of it is not
    known, and `notes` say why."""
    prices = price_list(settings)
    accounts = Accounts(experiment, prices, work)
    machine = None if settings.machine is None else prices.of(settings.machine, "hour")
    lacking = (
        "what runs on your own hardware has no price; name its machine: cost.machine="
        f"{' or '.join(prices.machines) or 'NAME'}"
    )
    systems = []
    for system in results.uncut:
        usages, unknown = _spent(accounts, results, system)
        own = (
            _Own(None, unknown=lacking)
            if machine is None
            else _own_hardware(results, experiment, system, machine, settings.utilisation)
        )
        notes = [note for note in (unknown, own.unknown) if note]
        each = None if notes else total_per_query(usages, own.hosting)
        paid = sum(usage.cost_per_query for usage in usages)
        systems.append(
            {
                "system": system.run_name,
                "retriever": system.retriever,
                "reranker": system.reranker,
                "k": system.k,
                "usd_per_query": each,
                "usd_per_1k": None if each is None else 1000 * each,
                "usd_per_1k_ci": None if notes else _interval(usages, own),
                "paid_usd_per_query": None if unknown else paid,
                "machine_ms": None if own.hosting is None else 1000 * own.hosting.service_s,
                "machine_usd_per_query": own.hosting and own.hosting.cost_per_query,
                "queries_per_second_per_machine": _finite(own.hosting),
                "waits_for": _waits_for(experiment, system) if own.hosting else [],
                "parts": [usage.as_json() for usage in usages],
                "monthly": []
                if notes
                else [
                    month_at(load, paid, own.hosting, settings.hours_a_month).as_json()
                    for load in settings.qps
                ],
                "notes": notes,
            }
        )
    return {
        "currency": "USD",
        "machine": machine and {"model": machine.model, **machine.as_json()},
        "utilisation": settings.utilisation,
        "hours_a_month": settings.hours_a_month,
        "systems": systems,
        "alternatives": alternatives(accounts, results, machine, settings),
    }


def _interval(usages: Sequence[Usage], own: _Own) -> list[float] | None:
    """That of the cost of 1,000 queries, by the interval of the machine's time; None for a cost
    that is of prices and counts alone, or of a time without an interval."""
    if own.ends is None:
        return None
    return [1000 * total_per_query(usages, hosting) for hosting in own.ends]


def _waits_for(experiment: Experiment, system: SystemResult) -> list[str]:
    """The services among the parts of a system's reranker."""
    if system.reranker == NO_RERANKER:
        return []
    part = experiment.rerankers[system.reranker]
    return [] if is_remote(part) else list(services_of(system.reranker, part))


def _finite(hosting: Hosting | None) -> float | None:
    """A machine's capacity; None of one that has nothing to do."""
    return None if hosting is None or hosting.service_s == 0 else hosting.capacity


def _spent(accounts: Accounts, results: Results, system: SystemResult) -> tuple[list[Usage], str]:
    """What a system pays by the query, and why that is not all, "" if it is."""
    found = [accounts.retriever(system.retriever)]
    if system.reranker != NO_RERANKER:
        candidates = results.runs[system.run_name].top(system.k or 0)
        found.append(accounts.reranker(system.reranker, candidates))
    usages = [usage for each in found for usage in each.usages]
    return usages, "; ".join(each.unknown for each in found if each.unknown)


def _own_hardware(
    results: Results,
    experiment: Experiment,
    system: SystemResult,
    machine: Price,
    utilisation: float,
) -> _Own:
    if machine.each == 0:
        return _Own(Hosting(0.0, 0.0, utilisation))
    busy = _busy_ms(results, experiment, system)
    if busy is None:
        return _Own(
            None,
            unknown=f"the time of {system.run_name} on {machine.model} was not measured"
            f"{why_not_measured(results.efficiency, system.run_name)}",
        )
    low, mean, high = (
        Hosting(machine.each, ms / 1000, utilisation) for ms in (busy.low, busy.mean, busy.high)
    )
    return _Own(mean, (low, high) if busy.measured_ends else None)


class _Busy(NamedTuple):
    """Milliseconds that a query keeps this machine busy, and the ends of their interval; without
    one (measured_ends) both are the mean."""

    mean: float
    low: float
    high: float
    measured_ends: bool = True


def _busy_ms(results: Results, experiment: Experiment, system: SystemResult) -> _Busy | None:
    """All of a query's time but the waiting for a reranker that is a service; None where it was
    not measured."""
    efficiency, name = results.efficiency, system.run_name
    remote = system.reranker != NO_RERANKER and is_remote(experiment.rerankers[system.reranker])
    total, waited = mean_ms(efficiency, name), mean_ms(efficiency, name, "rerank")
    if not remote or total is None or waited is None:
        name = system.retriever if remote else name
        mean = mean_ms(efficiency, name)
        if mean is None:
            return None
        ends = interval_of(efficiency, name, "mean_ms")
        return _Busy(mean, mean, mean, False) if ends is None else _Busy(mean, *ends)
    # Of a difference no interval is kept; its ends here are those that the two intervals allow.
    whole = interval_of(efficiency, name, "mean_ms")
    waiting = interval_of(efficiency, name, "mean_ms", "rerank")
    if whole is None or waiting is None:
        return _Busy(total - waited, total - waited, total - waited, False)
    return _Busy(total - waited, max(whole[0] - waiting[1], 0.0), whole[1] - waiting[0])
