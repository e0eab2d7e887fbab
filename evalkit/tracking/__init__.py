"""MLflow, fed a finished output folder: the results are safe on disk before anything is logged.

Nothing but the folder is read, so that a server that was down costs nothing: the same call logs
later what it missed. Logging a folder twice gives one run.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evalkit.errors import TrackingError
from evalkit.tracking.content import DatasetContent, Output, RunContent, read_output
from evalkit.tracking.limits import LONG_PARAMS
from evalkit.tracking.store import Address, connected, parse_address

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["TrackedRun", "log_content", "log_output"]

OUTPUT_ID = "evalkit.output_id"
PARENT = "mlflow.parentRunId"


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
            run_id = _log(client, experiment_id, output, run_name or output.folder.name)
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


def _log(client: MlflowClient, experiment_id: str, output: Output, name: str) -> str:
    tags = {OUTPUT_ID: output.output_id}
    with _started(client, experiment_id, name, output.parent, tags, output.dataset) as parent:
        for file in output.files:
            folder = file.parent.as_posix() if file.parent.parts else None
            client.log_artifact(parent, str(output.folder / file), folder)
        # The UI lists the newest run first: logged backwards, they stand as in the tables.
        for child in reversed(output.children):
            nested = {PARENT: parent}
            with _started(client, experiment_id, child.name, child, nested, output.dataset):
                pass
    return parent


@contextmanager
def _started(
    client: MlflowClient,
    experiment_id: str,
    name: str,
    content: RunContent,
    tags: dict[str, str],
    dataset: DatasetContent,
) -> Iterator[str]:
    """A run with its content logged: FINISHED when the block ends, FAILED if it raises."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    run = client.create_run(experiment_id, tags={**content.tags, **tags}, run_name=name)
    run_id = run.info.run_id
    try:
        now = run.info.start_time
        client.log_batch(
            run_id,
            metrics=[Metric(p.name, p.value, now, p.step) for p in content.points],
            params=[Param(key, value) for key, value in content.params.items()],
        )
        source = Dataset(
            dataset.name, dataset.digest, "evalkit", dataset.source, profile=dataset.profile
        )
        context = InputTag("mlflow.data.context", "eval")
        client.log_inputs(run_id, datasets=[DatasetInput(source, [context])])
        if content.long:
            client.log_dict(run_id, dict(content.long), LONG_PARAMS)
        yield run_id
    except BaseException:
        # The first error says what went wrong; a dead server cannot be told either.
        with suppress(Exception):
            client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id)
