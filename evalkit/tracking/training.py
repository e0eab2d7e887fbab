"""What of a training's folder goes to MLflow: one run, its curve by step, its record and card."""

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
    metric_names,
    param_names,
    shortened,
)
from evalkit.tracking.points import Point

RECORD = "training.json"
# Beside the record; the weights and the texts stay where they are.
_FILES = (RECORD, "model/README.md", "data/data.json")
_OF_THE_STEP = ("step", "loss", "learning_rate", "grad_norm")


def is_training(folder: Path) -> bool:
    """Whether the folder holds a finished training."""
    return (folder / RECORD).is_file()


def read_training(folder: Path) -> Output:
    """The content of a training's folder; DataError where its record is not what evalkit writes."""
    folder = folder.resolve()
    path = folder / RECORD
    record = read_json(path)
    try:
        settings = {"training": record["settings"], "dataset": record["dataset"]["dataset_id"]}
        params, long = shortened(flatten(settings), LONGEST_PARAM)
        params = dict(zip(param_names(params), params.values(), strict=True))
        tags, long_tags = shortened(_tags(folder, record), LONGEST_TAG)
        points = list(_points(record))
        dataset = _dataset(record)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not what evalkit writes ({type(error).__name__}: {error}); train again with "
            "`python -m evalkit task=train`"
        ) from error
    return Output(
        folder,
        hashlib.sha256(path.read_bytes()).hexdigest()[:32],
        dataset,
        RunContent(folder.name, params, tags, points, long | long_tags),
        [],
        [Path(name) for name in _FILES if (folder / name).is_file()],
    )


def _points(record: Mapping[str, Any]) -> Iterator[Point]:
    """ "training/loss" and the like by step, "validation/MRR_10" where it was measured."""
    curve = record["fit"]["curve"]
    names = metric_names(dict.fromkeys(k for p in curve for k in p if k not in _OF_THE_STEP))
    for point in curve:
        for key, value in point.items():
            if key in names:
                yield Point(f"validation/{names[key]}", value, point["step"])
            elif key != "step":
                yield Point(f"training/{key}", value, point["step"])


def _tags(folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
    manifest = record["manifest"]
    tags = {
        "evalkit.task": "train",
        "evalkit.version": manifest.get("evalkit"),
        "evalkit.git_commit": manifest.get("git_commit"),
        "evalkit.created": manifest.get("created"),
        "evalkit.device": manifest.get("device"),
        "evalkit.dataset": record["dataset"]["dataset_id"],
        "evalkit.data_digest": record["data"]["digest"],
        "evalkit.model_digest": record["model"]["digest"],
        "evalkit.base_model": record["base"]["name"],
        "evalkit.output_dir": str(folder),
        "mlflow.source.name": "evalkit",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": manifest.get("git_commit"),
    }
    return {key: str(value) for key, value in tags.items() if value is not None}


def _dataset(record: Mapping[str, Any]) -> DatasetContent:
    dataset, data = record["dataset"], record["data"]
    return DatasetContent(
        dataset["dataset_id"][:LONGEST_DATASET_NAME],
        data["digest"][:LONGEST_DIGEST],
        json.dumps(dataset),
        json.dumps({"rows": data["rows"], **data["queries"]}),
    )
