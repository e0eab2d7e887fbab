"""task=tables: the tables of finished outputs again, or others of them, from what was saved."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from evalkit.errors import ConfigError, DataError
from evalkit.io import write_text
from evalkit.progress import PLAIN, stdout
from evalkit.report.table import chosen_names, left_out, table_files, tables
from evalkit.saved import load_results
from evalkit.tasks import Job
from evalkit.tasks.shown import show

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """path: a finished output folder, or several."""

    path: str | list[str]


def perform(settings: Settings, job: Job) -> None:
    """Write table.md, table.tex and tables/*.csv, show the tables.

    Of one output into its own folder, of several into the job's. What cannot be made is a warning;
    DataError where that is everything.
    """
    names = chosen_names(job.config)
    paths = [settings.path] if isinstance(settings.path, str) else settings.path
    if not paths:
        raise ConfigError("path is empty; give a finished output folder: path=OUTPUT")
    folders = [Path(path).expanduser() for path in paths]
    outputs = [load_results(folder) for folder in folders]
    shown, lacking = tables(outputs, names), left_out(outputs, names)
    if not shown:
        raise DataError(
            f"{', '.join(map(str, folders))}: no table can be made. {' '.join(lacking)}"
        )
    target = folders[0] if len(folders) == 1 else job.folder
    files = table_files(outputs, names)
    for name, text in files.items():
        write_text(target / name, text)
    _remove_others(target, files)
    for line in lacking:
        log.warning("%s", line)
    show(shown)
    stdout.print(f"Tables: {target}", **PLAIN)


def _remove_others(folder: Path, files: dict[str, str]) -> None:
    """Tables that were chosen before must not lie beside these."""
    for path in (folder / "tables").glob("*.csv"):
        if f"tables/{path.name}" not in files:
            path.unlink()
