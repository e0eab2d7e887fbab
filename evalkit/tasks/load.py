"""task=load: systems under load, as a service would meet it; see `evalkit.efficiency.load`."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from evalkit.assembly import assemble
from evalkit.efficiency.index_side import build_index
from evalkit.efficiency.load_levels import LoadSettings, draw, measure_load, slowed
from evalkit.efficiency.machine import load_average, threads
from evalkit.efficiency.protocol import why_not
from evalkit.efficiency.resident import places
from evalkit.efficiency.stages import Pipeline, pipelines
from evalkit.errors import ConfigError, nearest
from evalkit.experiment import Experiment
from evalkit.io import write_json, write_text
from evalkit.progress import PLAIN, stdout, track
from evalkit.report.load import load_tables
from evalkit.report.render import to_markdown, to_rich
from evalkit.results import NO_RERANKER, SystemResult
from evalkit.tasks import Job
from evalkit.tasks.log import log_results
from evalkit.types import Query

log = logging.getLogger(__name__)
# A system's name; a reranker's own may have a sign between words.
_SYSTEM = re.compile(r"(?P<retriever>[^+]+)(\+(?P<reranker>.+)\+k(?P<k>\d+))?")


@dataclass(frozen=True, kw_only=True)
class Settings(LoadSettings):
    """systems: names of those to be loaded, as in the tables. The others: see `LoadSettings`."""

    systems: list[str]


def perform(settings: Settings, job: Job) -> None:
    """Load each system, write load.json and load.md, show the tables, log to MLflow."""
    experiment = assemble(job.parts())
    experiment.check()
    _check_names(settings.systems, experiment)
    draw(experiment.dataset.queries, settings)  # refuses a batch that has too few of them
    if job.dry_run:
        for line in _plan(settings):
            stdout.print(line, **PLAIN)
        return
    for name in experiment.retrievers:
        build_index(name, {**experiment.retrievers, **experiment.hidden}, experiment.dataset)
    by_name = {pipeline.system: pipeline for pipeline in pipelines(experiment)}
    chosen = [by_name[name] for name in settings.systems]
    for pipeline in chosen:
        if reason := why_not(pipeline):
            raise ConfigError(f"systems: {pipeline.system} cannot be loaded: {reason}")
    found: dict[str, Any] = {
        "protocol": _protocol(settings, experiment),
        "systems": [
            {"system": pipeline.system, **_measured(pipeline, experiment.dataset.queries, settings)}
            for pipeline in track(chosen, "Systems under load", len(chosen))
        ],
        "manifest": experiment.manifest,
    }
    found["protocol"]["load_average_after"] = load_average()
    _warn_of_slow_loops(found["systems"])
    tables = load_tables(found)
    write_text(job.folder / "load.md", "\n\n".join(map(to_markdown, tables)) + "\n")
    write_json(job.folder / "load.json", found)
    for table in tables:
        if stdout.is_terminal:
            stdout.print(to_rich(table, intervals=1))
        else:
            stdout.print(to_markdown(table), **PLAIN)
    stdout.print(f"Load: {job.folder}", **PLAIN)
    if job.tracking.kind == "mlflow":
        log_results(job.folder, job.tracking, required=False, load=True)


def _measured(pipeline: Pipeline, queries: Sequence[Query], settings: Settings) -> dict[str, Any]:
    return measure_load(lambda asked: pipeline.serve(*asked), queries, settings)


def _warn_of_slow_loops(systems: Sequence[Mapping[str, Any]]) -> None:
    for system in systems:
        for loop in slowed(system["open_loop"]):
            log.warning(
                "%s at %.3g QPS: a request was served %.1f times as long as in the closed loops; "
                "the machine was busy with something else, or the system is slower under load: "
                "measure again, on a quiet machine",
                system["system"], loop["offered_qps"], loop["service"]["times_closed"],
            )  # fmt: skip


def _check_names(names: Sequence[str], experiment: Experiment) -> None:
    known = [
        SystemResult(retriever, reranker, k, None, {}, {}, {}).run_name
        for reranker in experiment.rerankers
        for retriever in experiment.retrievers
        for k in ([None] if reranker == NO_RERANKER else sorted(set(experiment.sweep.k)))
    ]
    if not names:
        raise ConfigError(f"systems is empty; name some of {', '.join(known)}")
    for name in names:
        if name not in known:
            raise ConfigError(
                f"systems: '{name}' is not among the selected ({', '.join(known)})"
                f"{_remedy(name, experiment)}.{nearest(name, known)}"
            )
    if len(set(names)) < len(names):
        raise ConfigError(f"systems names one twice ({', '.join(names)}); name each once")


def _remedy(name: str, experiment: Experiment) -> str:
    """What to select so that a system of this name is there, "" for what is no such name."""
    form = _SYSTEM.fullmatch(name)
    if form is None:
        return "; a system is RETRIEVER, or RETRIEVER+RERANKER+kK"
    reranker, k = form["reranker"] or NO_RERANKER, form["k"]
    sizes = sorted({*experiment.sweep.k, *([] if k is None else [int(k)])})
    settings = (
        ("retriever", form["retriever"], experiment.retrievers),
        ("reranker", reranker, experiment.rerankers),
    )
    adds = [
        f"{setting}=[{','.join([*selected, wanted])}]"
        for setting, wanted, selected in settings
        if wanted not in selected
    ]
    adds += [] if sizes == sorted(set(experiment.sweep.k)) else [f"sweep.k={sizes}"]
    return f"; add {' '.join(adds).replace(', ', ',')}" if adds else ""


def _plan(settings: Settings) -> list[str]:
    rates = settings.rates if settings.rates is not None else settings.utilisations
    loops = len(settings.clients) + len(rates)
    return [f"{name}: {loops} loops of at most {settings.seconds:g} s" for name in settings.systems]


def _protocol(settings: Settings, experiment: Experiment) -> dict[str, Any]:
    """How it was measured, for whoever compares two of these."""
    return {
        **{each.name: getattr(settings, each.name) for each in fields(LoadSettings)},
        "dataset": experiment.dataset.dataset_id,
        "dataset_digest": experiment.dataset.digest,
        "num_queries": len(experiment.dataset.queries),
        "threads": threads(),
        "load_average_before": load_average(),
        "caches": "none: each request is met as if for the first time",
        "doc_vectors": places({**experiment.retrievers, **experiment.hidden}),
        "garbage_collector": "on, as in a service",
    }
