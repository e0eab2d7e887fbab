"""What of task=load's folder goes to MLflow: a parent run, and one for each system under load.

A closed loop's metrics have the number of clients as their step; those of an open loop the place of
its rate, 1 for the lowest, with the rate itself as a metric, since a step is a whole number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.io import read_json
from evalkit.tracking.content import DatasetContent, Output, RunContent
from evalkit.tracking.limits import (
    LONGEST_DATASET_NAME,
    LONGEST_DIGEST,
    LONGEST_PARAM,
    LONGEST_TAG,
    flatten,
    param_names,
    shortened,
)
from evalkit.tracking.points import Point

RECORD = "load.json"
_TABLES = "load.md"
_LOOP = ("achieved_qps", "offered_qps", "utilisation", "requests")
_TIMES = ("waiting", "response")


def is_load(folder: Path) -> bool:
    """Whether the folder holds what task=load measured."""
    return (folder / RECORD).is_file()


def read_load(folder: Path) -> Output:
    """The content of a load's folder; DataError where its record is not what evalkit writes."""
    folder = folder.resolve()
    path = folder / RECORD
    record = read_json(path)
    try:
        protocol = {f"load.{key}": value for key, value in flatten(record["protocol"]).items()}
        tags = _tags(folder, record)
        children = [
            _run(system["system"], protocol, tags, list(_points(system)))
            for system in record["systems"]
        ]
        note = _note(folder)
        parent = _run(folder.name, protocol, tags | {"mlflow.note.content": note}, [])
        dataset = _dataset(record)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not what evalkit writes ({type(error).__name__}: {error}); measure again "
            "with `python -m evalkit task=load`"
        ) from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    files = [Path(name) for name in (RECORD, _TABLES) if (folder / name).is_file()]
    return Output(folder, digest, dataset, parent, children, files)


def _run(
    name: str, params: Mapping[str, str], tags: Mapping[str, str], points: list[Point]
) -> RunContent:
    short, long = shortened(params, LONGEST_PARAM)
    named = dict(zip(param_names(short), short.values(), strict=True))
    short_tags, long_tags = shortened(tags, LONGEST_TAG)
    return RunContent(name, named, short_tags, points, long | long_tags)


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


def _tags(folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
    manifest = record["manifest"]
    tags = {
        "evalkit.task": "load",
        "evalkit.version": manifest.get("evalkit"),
        "evalkit.git_commit": manifest.get("git_commit"),
        "evalkit.created": manifest.get("created"),
        "evalkit.device": manifest.get("device"),
        "evalkit.dataset": record["protocol"]["dataset"],
        "evalkit.output_dir": str(folder),
        "mlflow.source.name": "evalkit",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": manifest.get("git_commit"),
    }
    return {key: str(value) for key, value in tags.items() if value is not None}


def _note(folder: Path) -> str:
    """The run's description: the tables, where they may be as long."""
    path = folder / _TABLES
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return text if len(text) <= LONGEST_TAG else f"The tables are in the artifact {_TABLES}."


def _dataset(record: Mapping[str, Any]) -> DatasetContent:
    protocol = record["protocol"]
    digest = protocol["dataset_digest"]
    return DatasetContent(
        protocol["dataset"][:LONGEST_DATASET_NAME],
        digest[:LONGEST_DIGEST],
        json.dumps({"dataset_id": protocol["dataset"], "digest": digest}),
        json.dumps({"num_queries": protocol["num_queries"]}),
    )
