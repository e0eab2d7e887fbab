"""results.efficiency's sections for decisions: what each system costs, which ones are dominated.

A system's cost is what it pays by the query (see `usage`) plus the time that it keeps a machine of
one's own busy: the measured mean latency, without the waiting for services.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.efficiency.cost import Hosting, Usage, month_at, total_per_query
from evalkit.efficiency.fronts import pareto_section
from evalkit.efficiency.instead import alternatives, check_instead
from evalkit.efficiency.latencies import mean_ms
from evalkit.efficiency.prices import CostSettings, Price, price_list
from evalkit.efficiency.usage import Accounts, is_remote
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
    """Own hardware of one system. hosting: None where no machine is priced or needed. unknown: why
    its cost is not known, "" if it is."""

    hosting: Hosting | None
    unknown: str = ""


def cost_section(
    results: Results, experiment: Experiment, work: Work, settings: CostSettings
) -> dict[str, Any]:
    """`efficiency["cost"]`, plain JSON data: a cost per query is None where a part of it is not
    known, and `notes` say why."""
    prices = price_list(settings)
    accounts = Accounts(experiment, prices, work)
    machine = None if settings.machine is None else prices.of(settings.machine, "hour")
    systems = []
    for system in results.uncut:
        usages, unknown = _spent(accounts, results, system)
        own = _own_hardware(results, experiment, system, machine, settings.utilisation)
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
                "paid_usd_per_query": None if unknown else paid,
                "machine_ms": None if own.hosting is None else 1000 * own.hosting.service_s,
                "machine_usd_per_query": own.hosting and own.hosting.cost_per_query,
                "queries_per_second_per_machine": _finite(own.hosting),
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
    machine: Price | None,
    utilisation: float,
) -> _Own:
    if machine is None:
        return _Own(None, "what runs on your own hardware has no price; set cost.machine=NAME")
    if machine.each == 0:
        return _Own(Hosting(0.0, 0.0, utilisation))
    busy = _busy_ms(results, experiment, system)
    if busy is None:
        return _Own(
            None,
            f"the time of {system.run_name} on {machine.model} was not measured; run with "
            "latency=on",
        )
    return _Own(Hosting(machine.each, busy / 1000, utilisation))


def _busy_ms(results: Results, experiment: Experiment, system: SystemResult) -> float | None:
    """Milliseconds that a query keeps this machine busy: all but the waiting for a reranker that
    is a service. None where they were not measured."""
    remote = system.reranker != NO_RERANKER and is_remote(experiment.rerankers[system.reranker])
    total = mean_ms(results.efficiency, system.run_name)
    if not remote:
        return total
    waited = mean_ms(results.efficiency, system.run_name, "rerank")
    if total is None or waited is None:
        return mean_ms(results.efficiency, system.retriever)
    return total - waited
