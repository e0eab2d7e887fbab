"""The tasks of the command line, from built components to saved results; knows nothing of Hydra."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from evalkit.assembly import Parts, assemble
from evalkit.errors import ConfigError, TrackingError
from evalkit.execution import ExecutionLog
from evalkit.output import require_complete, write_output
from evalkit.plan import plan
from evalkit.progress import stdout
from evalkit.report.details import details_markdown
from evalkit.report.render import to_markdown, to_rich
from evalkit.report.table import tables
from evalkit.results import Results
from evalkit.settings import TrackingSettings

log = logging.getLogger(__name__)
# Paths and commands are printed as they are, on one line.
PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
# Columns below which a table with all intervals would fold them.
WIDE_TERMINAL = 160


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
