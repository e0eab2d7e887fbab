"""task=log: log a finished output folder to MLflow, for instance after its server was down."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from evalkit.errors import ConfigError, TrackingError
from evalkit.progress import PLAIN, stdout
from evalkit.saved import MARKER, require_complete
from evalkit.settings import TrackingSettings
from evalkit.tasks import Job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """path: a finished output folder."""

    path: str


def perform(settings: Settings, job: Job) -> None:
    if job.tracking.kind != "mlflow":
        raise ConfigError("task=log needs tracking=mlflow; tracking=off logs nothing")
    log_results(Path(settings.path).expanduser(), job.tracking)


def log_results(
    folder: Path, tracking: TrackingSettings, required: bool = True, load: bool = False
) -> None:
    """Log a finished output folder, of an experiment, a training or a load, to MLflow.

    load: of a folder that holds an experiment's results too, log what task=load measured. A server
    is down costs no result: unless `required`, it is a warning, whose message says how to log
    the folder later.
    """
    from evalkit.tracking import log_content, log_output
    from evalkit.tracking.content import RESULTS
    from evalkit.tracking.load import LOAD
    from evalkit.tracking.training import TRAINING

    recorded = None
    if load or (LOAD.is_in(folder) and not (folder / RESULTS).exists()):
        recorded = LOAD
    elif TRAINING.is_in(folder) and not (folder / MARKER).exists():
        recorded = TRAINING
    else:
        require_complete(folder)
    where = tracking.uri, tracking.experiment, tracking.run_name
    try:
        if recorded is not None:
            tracked = log_content(recorded.read(folder), *where)
        else:
            tracked = log_output(folder, *where)
    except TrackingError as error:
        if required:
            raise
        log.warning("not logged to MLflow: %s", error)
        return
    lines = filter(None, [tracked.ui_command, tracked.ui_url])
    stdout.print(f"MLflow:  {', then open '.join(lines)}", **PLAIN)
