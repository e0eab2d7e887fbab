"""Folders with one record, of a load or a training: what goes to MLflow, and records that are not
evalkit's."""

from __future__ import annotations

import json

import pytest

from evalkit.errors import DataError
from evalkit.tracking.limits import LONGEST_DATASET_NAME, LONGEST_PARAM
from evalkit.tracking.load import LOAD
from evalkit.tracking.training import TRAINING

MANIFEST = {"evalkit": "0.1.0", "git_commit": "abc", "created": "2026-11-22", "device": "cpu"}


def times(mean):
    return {"mean_ms": mean, "p99_ms": None, "ci": {}}


def loop(**more):
    found = {"achieved_qps": 9.5, "utilisation": 0.5, "requests": 95}
    return {**found, "waiting": times(1.0), "response": times(21.0), **more}


LOADED = {
    "manifest": MANIFEST,
    "protocol": {
        "dataset": "toy" * LONGEST_DATASET_NAME, "dataset_digest": "d", "num_queries": 4,
        "seconds": 5.0, "notes": "n" * (LONGEST_PARAM + 1),
    },
    "systems": [
        {
            "system": "bm25", "capacity_qps": 20.0, "closed_loop": [loop(clients=4)],
            "open_loop": [
                loop(offered_qps=10.0, theory={"expected_waiting_ms": 1.5}),
                loop(offered_qps=30.0, theory={"expected_waiting_ms": None}),
            ],
        }
    ],
}  # fmt: skip
TRAINED = {
    "manifest": MANIFEST,
    "settings": {"epochs": 2},
    "dataset": {"dataset_id": "toy/train"},
    "data": {"digest": "d" * 50, "rows": 7, "queries": {"train": 3}},
    "model": {"digest": "m"},
    "base": {"name": "some/model"},
    "fit": {"curve": [{"step": 10, "loss": 0.5, "nDCG@10": 0.7}]},
}


def written(folder, kind, record, *others):
    for name in others:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")
    (folder / kind.record).write_text(json.dumps(record))
    return kind.read(folder)


def test_a_load_is_a_parent_and_a_run_a_system(tmp_path):
    found = written(tmp_path, LOAD, LOADED, "load.md", "other.txt")
    assert found.parent.tags["evalkit.task"] == "load"
    assert found.parent.tags["mlflow.note.content"] == "text"
    assert [str(name) for name in found.files] == ["load.json", "load.md"]
    (child,) = found.children
    assert child.name == "bm25"
    assert child.tags["evalkit.git_commit"] == child.tags["mlflow.source.git.commit"] == "abc"
    assert child.params["load.seconds"] == "5.0"
    assert len(child.params["load.notes"]) < LONGEST_PARAM
    assert child.long["load.notes"] == LOADED["protocol"]["notes"]
    assert len(found.dataset.name) == LONGEST_DATASET_NAME
    points = {(p.name, p.step): p.value for p in child.points}
    assert points["load/capacity_qps", 0] == 20
    assert points["load_closed/response_mean_ms", 4] == 21
    assert points["load_open/offered_qps", 2] == 30
    assert points["load_open/waiting_expected_ms", 1] == 1.5
    assert ("load_open/waiting_expected_ms", 2) not in points
    assert not any("p99" in name for name, _ in points)


def test_a_training_is_one_run_with_its_curve(tmp_path):
    found = written(tmp_path, TRAINING, TRAINED, "model/README.md", "model/weights.bin")
    assert found.children == ()
    assert [str(name) for name in found.files] == ["training.json", "model/README.md"]
    assert found.parent.name == tmp_path.name
    assert found.parent.params == {"training.epochs": "2", "dataset": "toy/train"}
    assert found.parent.tags["evalkit.base_model"] == "some/model"
    assert {(p.name, p.value, p.step) for p in found.parent.points} == {
        ("training/loss", 0.5, 10), ("validation/NDCG_10", 0.7, 10),
    }  # fmt: skip
    assert json.loads(found.dataset.profile) == {"rows": 7, "train": 3}


@pytest.mark.parametrize(
    ("kind", "record", "lacks", "remedy"),
    [(LOAD, LOADED, "protocol", "task=load"), (TRAINING, TRAINED, "fit", "task=train")],
)
def test_a_record_of_something_else_is_one_line(tmp_path, kind, record, lacks, remedy):
    assert not kind.is_in(tmp_path)
    with pytest.raises(DataError, match=rf"KeyError: '{lacks}'\).*{remedy}"):
        written(tmp_path, kind, {key: record[key] for key in record if key != lacks})
    assert kind.is_in(tmp_path)
    with pytest.raises(DataError, match="TypeError"):
        written(tmp_path, kind, {**record, lacks: None})


def test_another_record_is_another_output(tmp_path):
    first = written(tmp_path, LOAD, LOADED).output_id
    assert written(tmp_path, LOAD, LOADED).output_id == first
    assert written(tmp_path, LOAD, {**LOADED, "more": 1}).output_id != first
