"""task=run, the default: from built components to saved and shown results."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from evalkit.assembly import Parts, assemble
from evalkit.execution import ExecutionLog
from evalkit.output import marked, write_output
from evalkit.plan import plan
from evalkit.progress import PLAIN, stdout
from evalkit.report.details import details_markdown
from evalkit.report.render import to_markdown, to_rich
from evalkit.report.table import tables
from evalkit.results import Results
from evalkit.settings import TrackingSettings
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
    if job.dry_run:
        show_plan(parts)
        return
    with marked(job.folder):
        run_experiment(parts, job.folder, job.tracking)


def run_experiment(parts: Parts, folder: Path, tracking: TrackingSettings) -> None:
    """Run, save to `folder`, log to MLflow, show the tables."""
    execution = ExecutionLog()
    with execution.listening(), execution.timed("set up"):
        experiment = assemble(parts)
        experiment.check()
    for line in parts.dataset.warnings:
        log.warning("%s", line)
    with execution.listening():
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
    if results.details:
        stdout.print(f"\n{details_markdown(results)}\n", **PLAIN)
