"""The tasks of the command line, from built components to saved results; knows nothing of Hydra."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import ConfigError, TrackingError
from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.manifest import build_manifest
from evalkit.output import require_complete, write_output
from evalkit.plan import plan
from evalkit.progress import stdout
from evalkit.report.render import to_markdown, to_rich
from evalkit.report.table import tables
from evalkit.results import Results
from evalkit.retrievers.hybrid import HybridRetriever
from evalkit.retrievers.remembering import RememberingRetriever
from evalkit.retrievers.run_file import RunFiles
from evalkit.settings import (
    BootstrapSettings,
    MeasureSettings,
    SweepSettings,
    TrackingSettings,
    checked,
)
from evalkit.types import Dataset, Reranker, Retriever

log = logging.getLogger(__name__)
# Paths and commands are printed as they are, on one line.
PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
# Columns below which a table with all intervals would fold them.
WIDE_TERMINAL = 160


@dataclass(frozen=True)
class Parts:
    """What a config describes: components by name, the other settings, the whole as plain data."""

    dataset: Dataset
    retrievers: Mapping[str, Any]
    rerankers: Mapping[str, Reranker]
    settings: Mapping[str, Any]
    config: Mapping[str, Any]


def assemble(parts: Parts) -> Experiment:
    """The experiment: run files named by stem, hybrids connected to the other retrievers."""
    retrievers = _connected(parts.retrievers)
    settings = parts.settings
    fingerprints = {f"retriever.{name}": r.fingerprint for name, r in retrievers.items()}
    fingerprints |= {f"reranker.{name}": r.fingerprint for name, r in parts.rerankers.items()}
    chosen = {"measures": settings["measures"], "gains": settings["gains"]}
    return Experiment(
        dataset=parts.dataset,
        retrievers=retrievers,
        rerankers=parts.rerankers,
        sweep=checked(SweepSettings, settings["sweep"], "sweep"),
        measures=checked(MeasureSettings, chosen, ""),
        bootstrap=checked(BootstrapSettings, settings["bootstrap"], "bootstrap"),
        manifest=build_manifest(parts.config, fingerprints, parts.dataset.warnings),
    )


def _connected(given: Mapping[str, Any]) -> dict[str, Retriever]:
    retrievers: dict[str, Retriever] = {}
    for name, part in given.items():
        new = part.retrievers if isinstance(part, RunFiles) else {name: part}
        for each, retriever in new.items():
            if each in retrievers:
                raise ConfigError(
                    f"two retrievers are named '{each}'; rename the run file of that name"
                )
            simple = not isinstance(retriever, HybridRetriever)
            retrievers[each] = RememberingRetriever(retriever) if simple else retriever
    for name, retriever in retrievers.items():
        if isinstance(retriever, HybridRetriever):
            retriever.connect(name, retrievers)
    return retrievers


def run_experiment(parts: Parts, folder: Path, tracking: TrackingSettings) -> None:
    """Run, save to `folder`, log to MLflow, show the tables."""
    execution = ExecutionLog()
    with execution.timed("set up"):
        experiment = assemble(parts)
        experiment.check()
    for line in parts.dataset.warnings:
        log.warning("%s", line)
    results = experiment.run(execution)
    write_output(folder, results, parts.dataset.queries, execution)
    show_results(results)
    stdout.print(f"Results: {folder}", **PLAIN)
    if tracking.kind == "mlflow":
        log_results(folder, tracking, required=False)


def show_plan(parts: Parts) -> None:
    for line in plan(assemble(parts)).lines():
        stdout.print(line, **PLAIN)


def show_results(results: Results) -> None:
    """The tables: in colour on a terminal, elsewhere as Markdown, whose marks survive a pipe."""
    for table in tables(results):
        if stdout.is_terminal:
            wide = stdout.width >= WIDE_TERMINAL
            stdout.print(to_rich(table, intervals=None if wide else 1))
            if not wide:
                stdout.print("(all intervals: table.md, report.html, or a wider terminal)", **PLAIN)
        else:
            stdout.print(to_markdown(table), **PLAIN)


def log_results(folder: Path, tracking: TrackingSettings, required: bool = True) -> None:
    """Log a finished output folder to MLflow.

    A server that is down costs no result: unless `required`, it is a warning, whose message says
    how to log the folder later.
    """
    from evalkit.tracking import log_output

    if tracking.kind != "mlflow":
        raise ConfigError("task=log needs tracking=mlflow; tracking=off logs nothing")
    require_complete(folder)
    try:
        tracked = log_output(folder, tracking.uri, tracking.experiment, tracking.run_name)
    except TrackingError as error:
        if required:
            raise
        log.warning("not logged to MLflow: %s", error)
        return
    lines = filter(None, [tracked.ui_command, tracked.ui_url])
    stdout.print(f"MLflow:  {', then open '.join(lines)}", **PLAIN)
