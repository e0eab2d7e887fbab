"""MLflow, fed a finished output folder: the results are safe on disk before anything is logged.

Nothing but the folder is read, so that a server that was down costs nothing: the same call logs
later what it missed. Logging a folder twice gives one run.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evalkit.errors import TrackingError
from evalkit.tracking.content import Output, read_output
from evalkit.tracking.delivery import OUTPUT_ID, PARENT, deliver
from evalkit.tracking.store import Address, connected, parse_address

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["TrackedRun", "log_content", "log_output"]

# Is it a server? → requests at the same time. A server's answers are waited for together; SQLite
# takes one writer, and more of them would only wait for each other.
_AT_ONCE = {True: 8, False: 1}


class TrackedRun(NamedTuple):
    """The parent run. uri: without credentials. ui_command: the line that starts the UI, None for
    a server, whose UI is there. ui_url: where the UI shows the run."""

    run_id: str
    experiment_id: str
    uri: str
    ui_command: str | None
    ui_url: str


def log_output(
    output_dir: Path, uri: str, experiment: str, run_name: str | None = None
) -> TrackedRun:
    """Log an output folder: a parent run, and a nested run for each pipeline.

    A folder that the experiment holds already is not logged again; its half-logged run is replaced.
    Raises DataError if the folder holds no results, TrackingError if the store cannot be used.
    """
    return log_content(read_output(Path(output_dir)), uri, experiment, run_name)


def log_content(
    output: Output, uri: str, experiment: str, run_name: str | None = None
) -> TrackedRun:
    """Log what was read of an output folder; see `log_output`."""
    address = parse_address(uri)
    later = (
        f"the results are safe in {output.folder}; "
        f"log them later with: python -m evalkit task=log path={shlex.quote(str(output.folder))}"
    )
    with connected(address, later) as client:
        experiment_id = _experiment_id(client, address, experiment)
        run_id = _logged(client, experiment_id, output.output_id)
        if run_id is None:
            run_id = deliver(client, experiment_id, output, run_name, _AT_ONCE[address.is_server])
    server = address.shown.rstrip("/") if address.is_server else "http://127.0.0.1:5000"
    command = f"mlflow ui --backend-store-uri {shlex.quote(address.shown)}"
    return TrackedRun(
        run_id,
        experiment_id,
        address.shown,
        None if address.is_server else command,
        f"{server}/#/experiments/{experiment_id}/runs/{run_id}",
    )


def _experiment_id(client: MlflowClient, address: Address, name: str) -> str:
    """The experiment of this name, made if there is none; its artifacts beside a database file."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        location = address.artifacts.as_uri() if address.artifacts else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another job was faster
    if found is None or found.lifecycle_stage != "active":
        raise TrackingError(
            f"{address.shown}: the experiment '{name}' was deleted; choose another with "
            "tracking.experiment=NAME, or bring it back with `mlflow experiments restore`"
        )
    return found.experiment_id


def _logged(client: MlflowClient, experiment_id: str, output_id: str) -> str | None:
    """The finished run of this output; without one, what a failure left of it is deleted."""
    runs = client.search_runs([experiment_id], f"tags.`{OUTPUT_ID}` = '{output_id}'")
    for run in runs:
        if run.info.status == "FINISHED":
            return run.info.run_id
    for run in runs:
        # The parent last, so that a failure in between leaves something to find.
        children = client.search_runs([experiment_id], f"tags.`{PARENT}` = '{run.info.run_id}'")
        for half in (*children, run):
            client.delete_run(half.info.run_id)
    return None
