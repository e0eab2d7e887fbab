"""task=report: the HTML report and the plots of a finished output again, from what was saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evalkit.output import write_report
from evalkit.progress import PLAIN, stdout
from evalkit.saved import load_results, query_texts
from evalkit.tasks import Job


@dataclass(frozen=True)
class Settings:
    """path: a finished output folder."""

    path: str


def perform(settings: Settings, job: Job) -> None:
    """Write report.html and plots/ of the output anew, in its own folder; nothing else changes."""
    folder = Path(settings.path).expanduser()
    results = load_results(folder)
    write_report(folder, results, query_texts(folder))
    stdout.print(f"Report: {folder / 'report.html'}", **PLAIN)
