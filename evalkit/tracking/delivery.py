"""Writing what was read of an output folder into a store: as few requests as MLflow allows.

A run takes five (made, a batch of metrics and parameters, dataset, table, ended), and each file of
the folder one more; `at_once` of them are under way at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from evalkit.tracking.content import DatasetContent, Output, RunContent
from evalkit.tracking.limits import LONG_PARAMS, LONGEST_KEY, cut
from evalkit.tracking.query_table import QUERY_TABLE

if TYPE_CHECKING:
    from mlflow import MlflowClient

OUTPUT_ID = "evalkit.output_id"
PARENT = "mlflow.parentRunId"
T = TypeVar("T")


def deliver(
    client: MlflowClient, experiment_id: str, output: Output, name: str | None, at_once: int
) -> str:
    """The id of the parent run, once everything is logged.

    name: of the parent run, None for the folder's. Of several failures the first is raised; what
    was not begun by then is left out.
    """
    tags = {OUTPUT_ID: output.output_id}
    parent = output.parent._replace(name=name or output.parent.name)
    now = int(time.time() * 1000)
    with _started(client, experiment_id, parent, tags, output.dataset, now) as run_id:
        nested = {PARENT: run_id}

        def log_child(numbered: tuple[int, RunContent]) -> None:
            # The UI lists the newest run first: dated backwards, they stand as in the tables.
            number, child = numbered
            date = now + len(output.children) - number
            with _started(client, experiment_id, child, nested, output.dataset, date):
                pass

        def log_file(file: Path) -> None:
            folder = file.parent.as_posix() if file.parent.parts else None
            client.log_artifact(run_id, str(output.folder / file), folder)

        for_each(log_file, output.files, at_once)
        for_each(log_child, enumerate(output.children), at_once)
    return run_id


def for_each(work: Callable[[T], None], items: Iterable[T], at_once: int) -> None:
    """Call `work` on every item, `at_once` at the same time; the first failure ends it."""
    with ThreadPoolExecutor(at_once, thread_name_prefix="evalkit-mlflow") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future in done:
                    future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _started(
    client: MlflowClient,
    experiment_id: str,
    content: RunContent,
    tags: Mapping[str, str],
    dataset: DatasetContent,
    date: int,
) -> Iterator[str]:
    """A run with its content logged: FINISHED when the block ends, FAILED if it raises.

    date: when it began, in milliseconds since 1970.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    run = client.create_run(
        experiment_id, date, {**content.tags, **tags}, cut(content.name, LONGEST_KEY)
    )
    run_id = run.info.run_id
    try:
        client.log_batch(
            run_id,
            metrics=[Metric(p.name, p.value, date, p.step) for p in content.points],
            params=[Param(key, value) for key, value in content.params.items()],
        )
        source = Dataset(
            dataset.name, dataset.digest, "evalkit", dataset.source, profile=dataset.profile
        )
        context = InputTag("mlflow.data.context", "eval")
        client.log_inputs(run_id, datasets=[DatasetInput(source, [context])])
        if content.long:
            client.log_dict(run_id, dict(content.long), LONG_PARAMS)
        if content.table:
            client.log_text(run_id, content.table.as_json(), QUERY_TABLE)
        yield run_id
    except BaseException:
        # The first error says what went wrong; a dead server cannot be told either.
        with suppress(Exception):
            client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id)
