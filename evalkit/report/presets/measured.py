"""Tables of what serving takes, as `evalkit.report.efficiency`, `cost` and `footprint` make them.

Their captions gain models and date here, as all that go into a paper have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from evalkit.report.cost import cost_quality_table, knee_table
from evalkit.report.efficiency import latency_table, stage_table, timing_table
from evalkit.report.footprint import energy_table, index_table, vector_table
from evalkit.report.layout import Table, printable
from evalkit.report.presets.needs import NotMeasured, latencies
from evalkit.report.prices import break_even_table, price_table
from evalkit.report.significance import significance_table
from evalkit.report.wording import about_dataset, about_models, measured_on
from evalkit.results import Results


def k_latency(results: Results) -> Table:
    """What each K takes and what it brings: a row a system."""
    latencies(results)
    return _captioned(latency_table, results, "k_latency")


def latency_breakdown(results: Results) -> Table:
    """Where the time goes: a row a system, a column a stage."""
    latencies(results)
    return _captioned(stage_table, results, "latency_breakdown")


def latency_model(results: Results) -> Table:
    """T(K) = a + b·K of each pipeline."""
    latencies(results)
    if not results.efficiency["latency"]["models"]:
        raise NotMeasured("no line was fitted; run it with latency=on and several K")
    return _captioned(timing_table, results, "latency_model")


def cost_quality(results: Results) -> Table:
    """What a system is worth and what it spends: a row a system, and which ones are dominated."""
    if not (results.efficiency.get("cost") or _pareto(results, "axes")):
        raise NotMeasured("neither latency nor cost is known; run it with latency=on, cost=NAME")
    return _captioned(cost_quality_table, results, "cost_quality")


def knees(results: Results) -> Table:
    """The K beyond which no larger one gains anything that shows: a row a pipeline."""
    if not _pareto(results, "knees"):
        raise NotMeasured("needs several K and what they spend; run it with latency=on")
    return _captioned(knee_table, results, "knees")


def break_even(results: Results) -> Table:
    """From which load on one's own machine costs less than a service."""
    if not (results.efficiency.get("cost") or {}).get("alternatives"):
        raise NotMeasured("no service is compared; run it with cost=NAME and cost.instead")
    return _captioned(break_even_table, results, "break_even")


def prices(results: Results) -> Table:
    """What each part of a query costs, and where its price is from."""
    cost = results.efficiency.get("cost") or {"systems": ()}
    if not any(system["parts"] for system in cost["systems"]):
        raise NotMeasured("nothing is paid by the query; run it with cost=NAME")
    return _captioned(price_table, results, "prices")


def indexes(results: Results) -> Table:
    """What each retriever's index cost to build and takes on disk."""
    rows = _section(results, "index", "no index was looked at; run it with latency=on")
    return _captioned(lambda _: index_table(rows), results, "indexes")


def vectors(results: Results) -> Table:
    """A vector a token against one a doc, of the rerankers that keep the former."""
    rows = _section(results, "vectors", "nothing keeps a vector a token, or latency=off")
    return _captioned(lambda _: vector_table(rows), results, "vectors")


def energy(results: Results) -> Table:
    """Joules a query, by counter."""
    found = _section(results, "energy", "no energy was measured; latency=on latency.energy_s=10")
    if not found["available"]:
        raise NotMeasured(f"no energy was measured: {found['reason']}")
    return _captioned(lambda _: energy_table(found), results, "energy")


def significance(results: Results) -> Table:
    """Every system against every baseline on the primary measure."""
    table = significance_table(results)
    if table is None:
        raise NotMeasured("no differences were tested; run it with two systems or more")
    return _captioned(lambda _: table, results, "significance")


def _section(results: Results, key: str, missing: str) -> Any:
    """A section of `results.efficiency`; NotMeasured where it is not there or holds nothing."""
    if not results.efficiency.get(key):
        raise NotMeasured(missing)
    return results.efficiency[key]


def _pareto(results: Results, key: str) -> bool:
    return bool((results.efficiency.get("pareto") or {}).get(key))


def _captioned(make: Callable[[Results], Table], results: Results, name: str) -> Table:
    table = make(results)
    here = printable(results.dataset.dataset_id)
    dataset = "" if here in table.caption else about_dataset(results)
    words = [table.caption, dataset, about_models([results]), measured_on([results])]
    return replace(table, caption=" ".join(filter(None, words)), name=name)
