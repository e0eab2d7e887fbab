"""task=run, the default: from built components to saved and shown results."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.assembly import Parts, assemble
from evalkit.efficiency.prices import CostSettings
from evalkit.errors import EvalkitError
from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.output import marked, write_output
from evalkit.plan import plan
from evalkit.progress import PLAIN, stdout
from evalkit.report.details import details_markdown
from evalkit.report.render import to_markdown, to_rich
from evalkit.report.table import chosen_names, left_out, tables
from evalkit.results import Results
from evalkit.settings import LatencySettings, TrackingSettings, checked
from evalkit.tasks import Job
from evalkit.tasks.log import log_results

log = logging.getLogger(__name__)
# Columns below which a table with all intervals would fold them.
WIDE_TERMINAL = 160


@dataclass(frozen=True)
class Settings:
    """An experiment's settings are those of its components."""


def perform(settings: Settings, job: Job) -> None:
    parts = job.parts()
    latency = checked(LatencySettings, job.config["latency"], "latency")
    cost = checked(CostSettings, job.config["cost"], "cost")
    chosen_names(job.config)  # refused before anything is computed
    if job.dry_run:
        show_plan(parts)
        return
    with marked(job.folder):
        run_experiment(parts, job.folder, job.tracking, latency, cost, job.config["plots"])


def run_experiment(
    parts: Parts,
    folder: Path,
    tracking: TrackingSettings,
    latency: LatencySettings,
    cost: CostSettings,
    draw: bool,
) -> None:
    """Run, save to `folder`, log to MLflow, show the tables; draw: whether there are plots."""
    execution = ExecutionLog()
    with execution.listening(), execution.timed("set up"):
        experiment = assemble(parts)
        experiment.check()
        if cost.kind == "on":
            check_prices(experiment, cost)
    for line in parts.dataset.warnings:
        log.warning("%s", line)
    times: Mapping[str, Any] | None = None
    failed: EvalkitError | None = None
    with execution.listening():
        results = experiment.run(execution)
        try:
            if latency.kind == "on":
                results, times = with_efficiency(results, experiment, latency, execution)
            if latency.kind == "on" or cost.kind == "on":
                results = with_decisions(results, experiment, execution, cost)
        except EvalkitError as error:
            # Such as a service's budget that is spent: the quality that was paid for is kept.
            failed, line = error, f"latency and cost are not in these results: {error}"
            execution.warn(line)
            warnings = [*results.manifest["warnings"], line]
            results = replace(results, manifest={**results.manifest, "warnings": warnings})
    write_output(folder, results, parts.dataset.queries, execution, times, draw)
    show_results(results)
    stdout.print(f"Results: {folder}", **PLAIN)
    if tracking.kind == "mlflow":
        log_results(folder, tracking, required=False)
    if failed is not None:
        raise failed


def with_efficiency(
    results: Results, experiment: Experiment, settings: LatencySettings, execution: ExecutionLog
) -> tuple[Results, Mapping[str, Any]]:
    """The results with what serving them takes; and the columns of latency.parquet."""
    # Here, so that a run that measures none of it does not load it.
    from evalkit.efficiency.measure import measure

    with execution.timed("measure efficiency"):
        measured = measure(experiment, settings)
    return replace(results, efficiency=measured.sections), measured.samples.columns()


def check_prices(experiment: Experiment, cost: CostSettings) -> None:
    """ConfigError for a price that is not known, before anything is computed."""
    from evalkit.efficiency.priced import check_cost

    check_cost(experiment, cost)


def with_decisions(
    results: Results, experiment: Experiment, execution: ExecutionLog, cost: CostSettings
) -> Results:
    """The results with what each system costs, and which ones another one dominates."""
    from evalkit.efficiency.priced import with_decisions as decided

    with execution.timed("price"):
        return decided(results, experiment, execution.work, cost)


def show_plan(parts: Parts) -> None:
    for line in plan(assemble(parts)).lines():
        stdout.print(line, **PLAIN)


def show_results(results: Results) -> None:
    """The tables: in colour on a terminal, elsewhere as Markdown, whose marks survive a pipe."""
    for line in left_out(results):
        log.warning("%s", line)
    for table in tables(results):
        if stdout.is_terminal:
            wide = stdout.width >= WIDE_TERMINAL
            stdout.print(to_rich(table, intervals=None if wide else 1))
            if not wide:
                stdout.print("(all intervals: table.md, report.html, or a wider terminal)", **PLAIN)
        else:
            stdout.print(to_markdown(table), **PLAIN)
    if results.details:
        stdout.print(f"\n{details_markdown(results)}\n", **PLAIN)
