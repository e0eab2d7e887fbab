"""results.efficiency["pareto"]: quality against what is spent; the knees of curves over K."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from evalkit.efficiency.knee import knee
from evalkit.efficiency.latencies import interval_of, mean_ms
from evalkit.efficiency.pareto import standings
from evalkit.efficiency.simpler import effort, told_below
from evalkit.measures.kinds import is_quality
from evalkit.results import NO_RERANKER, Results, SystemResult

Interval = tuple[float, float] | None


class Axis(NamedTuple):
    """Something that is spent. of: run name → (amount, interval), None where it is not known; no
    interval: a price or a count, or a time of too few queries. exact: run name → whether the amount
    is taken as it is: a price, or joules, which are counted once."""

    name: str
    unit: str
    of: Callable[[str], tuple[float, Interval] | None]
    exact: Callable[[str], bool] = lambda _: False


def axes_of(efficiency: Mapping[str, Any]) -> list[Axis]:
    """What is known to be spent: latency (the mean of the whole), money, energy."""

    def latency(system: str) -> tuple[float, Interval] | None:
        mean = mean_ms(efficiency, system)
        return None if mean is None else (mean, interval_of(efficiency, system, "mean_ms"))

    axes = [Axis("latency", "ms a query, the mean", latency)] if "latency" in efficiency else []
    usd, counted = usd_per_1k(efficiency), joules(efficiency)
    if usd:
        of = partial(_spent, usd, usd_intervals(efficiency))
        axes.append(Axis("cost", "USD a 1,000 queries", of, exact_usd(efficiency).__contains__))
    if counted:
        axes.append(Axis("energy", "joules a query", partial(_spent, counted, {}), lambda _: True))
    return axes


def _spent(
    amounts: Mapping[str, float], bounds: Mapping[str, tuple[float, float]], system: str
) -> tuple[float, Interval] | None:
    return (amounts[system], bounds.get(system)) if system in amounts else None


def usd_intervals(efficiency: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Run name → the interval of its cost, of those that depend on a measured time."""
    systems = (efficiency.get("cost") or {}).get("systems", [])
    found = {s["system"]: s.get("usd_per_1k_ci") for s in systems}
    return {system: (ends[0], ends[1]) for system, ends in found.items() if ends is not None}


def exact_usd(efficiency: Mapping[str, Any]) -> set[str]:
    """The run names whose cost is of prices and counts alone, of no measured time."""
    systems = (efficiency.get("cost") or {}).get("systems", [])
    return {s["system"] for s in systems if not s.get("machine_ms") and not s.get("usd_per_1k_ci")}


def usd_per_1k(efficiency: Mapping[str, Any]) -> dict[str, float]:
    """Run name → dollars a thousand queries, of those whose cost is known."""
    systems = (efficiency.get("cost") or {}).get("systems", [])
    return {s["system"]: s["usd_per_1k"] for s in systems if s["usd_per_1k"] is not None}


def joules(efficiency: Mapping[str, Any]) -> dict[str, float]:
    """Run name → joules a query, of those that were measured."""
    energy = efficiency.get("energy") or {}
    systems = energy.get("systems") or []
    found = {s["system"]: s.get("joules_per_query") for s in systems if "system" in s}
    return {system: float(amount) for system, amount in found.items() if amount is not None}


def judged_by(results: Results) -> str | None:
    """The first measure of which more is better, as the primary one may be redundancy or a count;
    None for none."""
    return next(filter(is_quality, results.measure_names), None)


def pareto_section(results: Results, efficiency: Mapping[str, Any]) -> dict[str, Any]:
    """Plain JSON data, by `judged_by`: each axis with its systems' places; the knees. Neither where
    no measure tells the better ranking."""
    measure = judged_by(results)
    if measure is None:
        nothing: dict[str, Any] = {"axes": [], "knees": []}
        return {"measure": results.measure_names[0], "level": results.level, **nothing}
    axes = [_front(results, axis, measure) for axis in axes_of(efficiency)]
    return {
        "measure": measure,
        "level": results.level,
        "axes": [front for front in axes if front["systems"]],
        "knees": knees(results, measure),
    }


def _front(results: Results, axis: Axis, measure: str) -> dict[str, Any]:
    known = [(s, found) for s in results.uncut if (found := axis.of(s.run_name)) is not None]
    systems = [system for system, _ in known]
    front: dict[str, Any] = {"axis": axis.name, "unit": axis.unit, "systems": []}
    if not systems:
        return front
    spent = np.array([amount for _, (amount, _) in known])
    ends = [
        given or ((amount, amount) if axis.exact(system.run_name) else None)
        for system, (amount, given) in known
    ]
    bounds = np.array([each or (np.nan, np.nan) for each in ends])
    quality = np.stack([system.values[measure] for system in systems], axis=1)
    spared = _spared(systems, spent.tolist(), ends)
    settings = (results.resamples, results.level, results.seed, results.interval_method)
    for system, amount, place in zip(
        systems, spent, standings(quality, spent, bounds, *settings, spared=spared), strict=True
    ):
        front["systems"].append(
            {
                "system": system.run_name,
                "quality": float(system.measures[measure]),
                "spent": float(amount),
                "dominated": place.dominated,
                "by": None if place.by is None else systems[place.by].run_name,
                "beyond_interval": place.beyond,
            }
        )
    return front


def _spared(
    systems: Sequence[SystemResult], spent: Sequence[float], ends: Sequence[Interval]
) -> np.ndarray:
    """[j, i]: i is simpler than j, which is not told to spend less: bool, shape (S, S)."""
    found = np.zeros((len(systems), len(systems)), dtype=bool)
    for j, one in enumerate(systems):
        for i, other in enumerate(systems):
            if effort(other) < effort(one):
                below = told_below(one, spent[j], ends[j], other, spent[i], ends[i])
                found[j, i] = not below
    return found


def knees(results: Results, measure: str) -> list[dict[str, Any]]:
    """The knee of each retriever and reranker, the first stage as K = 0 where it was measured."""
    curves: dict[tuple[str, str], dict[int, SystemResult]] = {}
    first = {s.retriever: s for s in results.uncut if s.reranker == NO_RERANKER}
    for system in results.uncut:
        if system.k is not None:
            curve = curves.setdefault((system.retriever, system.reranker), {})
            curve[system.k] = system
    settings = (results.resamples, results.level, results.seed, results.interval_method)
    found = []
    for (retriever, reranker), curve in curves.items():
        whole = ({0: first[retriever]} if retriever in first else {}) | curve
        values = {k: system.values[measure] for k, system in whole.items()}
        point = knee(values, *settings)
        found.append(
            {
                "retriever": retriever,
                "reranker": reranker,
                "k": point.k,
                "ks": list(point.ks),
                "gains": [
                    {"k": g.k, "larger_k": g.larger, "gain": g.mean, "ci": _numbers(g.interval)}
                    for g in point.gains
                ],
            }
        )
    return found


def _numbers(interval: Sequence[float]) -> list[float | None]:
    return [None if np.isnan(end) else float(end) for end in interval]
