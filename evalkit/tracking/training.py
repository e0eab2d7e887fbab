"""What of a training's folder goes to MLflow: one run, its curve by step, its record and card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.tracking.content import dataset_content, run_content, tags_of
from evalkit.tracking.limits import flatten, metric_names
from evalkit.tracking.points import Point
from evalkit.tracking.records import Recorded, Runs

_OF_THE_STEP = ("step", "loss", "learning_rate", "grad_norm")


def _runs(folder: Path, record: Mapping[str, Any]) -> Runs:
    dataset, data = record["dataset"], record["data"]
    settings = {"training": record["settings"], "dataset": dataset["dataset_id"]}
    profile = {"rows": data["rows"], **data["queries"]}
    return Runs(
        dataset_content(dataset["dataset_id"], data["digest"], dataset, profile),
        run_content(folder.name, flatten(settings), _tags(folder, record), list(_points(record))),
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
    own = {
        "evalkit.dataset": record["dataset"]["dataset_id"],
        "evalkit.data_digest": record["data"]["digest"],
        "evalkit.model_digest": record["model"]["digest"],
        "evalkit.base_model": record["base"]["name"],
    }
    return tags_of("train", folder, record["manifest"], own)


TRAINING = Recorded(
    record="training.json",
    # The weights and the texts stay where they are.
    files=("model/README.md", "data/data.json"),
    remedy="train again with `python -m evalkit task=train`",
    runs=_runs,
)
