"""What of task=load's folder goes to MLflow: a parent run, and one for each system under load.

A closed loop's metrics have the number of clients as their step; those of an open loop the place of
its rate, 1 for the lowest, with the rate itself as a metric, since a step is a whole number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.tracking.content import dataset_content, run_content, tags_of
from evalkit.tracking.limits import LONGEST_TAG, flatten
from evalkit.tracking.points import Point
from evalkit.tracking.records import Recorded, Runs

_TABLES = "load.md"
_LOOP = ("achieved_qps", "offered_qps", "utilisation", "requests")
_TIMES = ("waiting", "response")


def _runs(folder: Path, record: Mapping[str, Any]) -> Runs:
    protocol = record["protocol"]
    params = {f"load.{key}": value for key, value in flatten(protocol).items()}
    name, digest = protocol["dataset"], protocol["dataset_digest"]
    tags = tags_of("load", folder, record["manifest"], {"evalkit.dataset": name})
    source = {"dataset_id": name, "digest": digest}
    return Runs(
        dataset_content(name, digest, source, {"num_queries": protocol["num_queries"]}),
        run_content(folder.name, params, tags | {"mlflow.note.content": _note(folder)}, []),
        [
            run_content(system["system"], params, tags, list(_points(system)))
            for system in record["systems"]
        ],
    )


def _points(system: Mapping[str, Any]) -> Iterator[Point]:
    """ "load_closed/achieved_qps", "load_open/waiting_p95_ms" and the like; a percentile of too few
    requests gives no point."""
    if system["capacity_qps"] is not None:
        yield Point("load/capacity_qps", system["capacity_qps"], 0)
    for loop in system["closed_loop"]:
        yield from _of_loop("load_closed", loop, loop["clients"])
    for place, loop in enumerate(system["open_loop"], 1):
        yield from _of_loop("load_open", loop, place)
        expected = loop["theory"]["expected_waiting_ms"]
        if expected is not None:
            yield Point("load_open/waiting_expected_ms", expected, place)


def _of_loop(section: str, loop: Mapping[str, Any], step: int) -> Iterator[Point]:
    values = {key: loop[key] for key in _LOOP if key in loop}
    for kind in _TIMES:
        values |= {f"{kind}_{k}": v for k, v in loop[kind].items() if k != "ci" and v is not None}
    yield from (Point(f"{section}/{key}", float(value), step) for key, value in values.items())


def _note(folder: Path) -> str:
    """The run's description: the tables, where they may be as long."""
    path = folder / _TABLES
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return text if len(text) <= LONGEST_TAG else f"The tables are in the artifact {_TABLES}."


LOAD = Recorded(
    record="load.json",
    files=(_TABLES,),
    remedy="measure again with `python -m evalkit task=load`",
    runs=_runs,
)
