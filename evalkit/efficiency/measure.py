"""results.efficiency: what a run's components cost, measured after its quality.

Only a run with latency=on comes here; a section is a function of the finished experiment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.efficiency.energy import energy_section
from evalkit.efficiency.index_side import index_section
from evalkit.efficiency.index_storage import vector_storage
from evalkit.efficiency.latency import latency_section
from evalkit.efficiency.protocol import Clock, Samples, perf_counter_ns
from evalkit.efficiency.stages import pipelines
from evalkit.settings import LatencySettings

if TYPE_CHECKING:
    from evalkit.experiment import Experiment


class Measured(NamedTuple):
    """sections: `Results.efficiency`, plain JSON data. samples: every measured time."""

    sections: dict[str, Any]
    samples: Samples


def measure(
    experiment: Experiment, settings: LatencySettings, clock: Clock = perf_counter_ns
) -> Measured:
    """Every section of an experiment that has run: its indexes are built, its models loaded."""
    served = pipelines(experiment)
    section, samples = latency_section(experiment, served, settings, clock)
    retrievers = {**experiment.retrievers, **experiment.hidden}
    told = {f"reranker.{name}": part for name, part in experiment.rerankers.items()}
    sections: dict[str, Any] = {
        "latency": section,
        "index": index_section(retrievers, experiment.dataset),
        "vectors": vector_storage({n: getattr(part, "details", {}) for n, part in told.items()}),
    }
    if settings.energy_s > 0:
        measured = {system["system"] for system in section["systems"]}
        answers = {each.system: each.serve for each in served if each.system in measured}
        sections["energy"] = energy_section(answers, experiment.dataset.queries, settings.energy_s)
    return Measured(sections, samples)
