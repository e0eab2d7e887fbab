"""Tables by name, in the shapes that the literature has: what `tables=[...]` chooses from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evalkit.report.grid import cutoff_table, grid_table
from evalkit.report.layout import Table
from evalkit.report.presets.ablation import ablation
from evalkit.report.presets.datasets import per_dataset
from evalkit.report.presets.measured import (
    break_even,
    cost_quality,
    energy,
    indexes,
    k_latency,
    knees,
    latency_breakdown,
    latency_model,
    prices,
    significance,
    vectors,
)
from evalkit.report.presets.needs import NotMeasured
from evalkit.report.presets.quality import first_second_stage, recall_by_k, rerankers
from evalkit.report.presets.throughput import throughput
from evalkit.results import Results

__all__ = ["PRESETS", "NotMeasured", "Preset"]


@dataclass(frozen=True)
class Preset:
    """build: the table of outputs, NotMeasured where they lack its numbers. spans: whether one
    table is made of all outputs together; else `build` takes them one at a time."""

    build: Callable[[Sequence[Results]], Table]
    spans: bool = False


def _of_one(make: Callable[[Results], Table]) -> Preset:
    return Preset(lambda outputs: make(outputs[0]))


def _cutoffs(results: Results) -> Table:
    if all(system.n is None for system in results.systems):
        raise NotMeasured("no ranking is cut; run it with cutoffs N, such as sweep.n=[5,10]")
    return cutoff_table(results)


PRESETS: dict[str, Preset] = {
    "grid": _of_one(grid_table),
    "cutoffs": _of_one(_cutoffs),
    "first_second_stage": _of_one(first_second_stage),
    "rerankers": _of_one(rerankers),
    "ablation": _of_one(ablation),
    "recall_by_k": _of_one(recall_by_k),
    "k_latency": _of_one(k_latency),
    "latency_breakdown": _of_one(latency_breakdown),
    "latency_model": _of_one(latency_model),
    "throughput": Preset(throughput, spans=True),
    "cost_quality": _of_one(cost_quality),
    "knees": _of_one(knees),
    "break_even": _of_one(break_even),
    "prices": _of_one(prices),
    "indexes": _of_one(indexes),
    "vectors": _of_one(vectors),
    "energy": _of_one(energy),
    "significance": _of_one(significance),
    "per_dataset": Preset(per_dataset, spans=True),
}
