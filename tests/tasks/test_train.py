"""task=train from the command line to a model that a run reranks with."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from tiny import save_cross_encoder, write_collection

import evalkit
from evalkit import app
from evalkit.io import read_run
from evalkit.training import libraries
from evalkit.training.data import TrainingData

SOURCE = Path(evalkit.__file__).parents[1]
PATIENCE_S = 120
SHORT = (
    "task=train", "retriever=[bm25]", "reranker=[none]", "tracking=off", "device=cpu",
    "training.max_length=32", "training.dtype=float32", "training.steps=6",
    "training.queries_per_batch=4", "training.evaluate_every=3", "training.checkpoint_every=3",
    "training.negatives.validation_share=0.2", "training.learning_rate=1e-3",
)  # fmt: skip


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_cross_encoder(tmp_path_factory.mktemp("models") / "ce")


@pytest.fixture
def collection(tmp_path) -> Path:
    """Sixteen queries with two relevant docs of their own: twelve to train on, four to test on."""
    folder = write_collection(tmp_path / "collection", docs=60, queries=16)
    for split, queries in (("train", range(12)), ("test", range(12, 16))):
        lines = [f"q{q}\td{2 * q + i}\t{1 + i}\n" for q in queries for i in (0, 1)]
        path = folder / "qrels" / f"{split}.tsv"
        path.write_text("".join(["query-id\tcorpus-id\tscore\n", *lines]))
    return folder


@pytest.fixture
def evalkit_cli(monkeypatch, capfd, tmp_path) -> Iterator[Callable[..., Outcome]]:
    """The command line in this process; logging is put back after."""
    root, ours = logging.getLogger(), logging.getLogger("evalkit")
    before = root.handlers[:], root.level, ours.level

    def run(*arguments: str) -> Outcome:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["evalkit", *arguments])
        capfd.readouterr()
        code = 0
        try:
            app.main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        GlobalHydra.instance().clear()
        return Outcome(code, *capfd.readouterr())

    yield run
    root.handlers[:], root.level = before[:2]
    ours.setLevel(before[2])


@pytest.fixture
def command(collection, model, tmp_path) -> tuple[str, ...]:
    return (
        *SHORT, "dataset=folder", f"dataset.path={collection}", f"training.model={model}",
        f"cache_dir={tmp_path}/cache",
    )  # fmt: skip


def record_of(folder: Path) -> dict:
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))


def losses(folder: Path) -> list[float]:
    return [point["loss"] for point in record_of(folder)["fit"]["curve"] if "loss" in point]


def test_the_whole_path_on_the_sample(evalkit_cli, model, tmp_path):
    out = tmp_path / "out"
    done = evalkit_cli(
        *SHORT, "dataset=sample", "training.split=test", f"training.model={model}",
        f"hydra.run.dir={out}", "training.licence=apache-2.0",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "checked against no evaluation" in done.err
    found = record_of(out)
    assert found["fit"]["steps"] == 6
    assert found["data"]["digest"] == TrainingData.load(out / "data").digest
    assert not (out / "INCOMPLETE").exists()
    card = (out / "model" / "README.md").read_text(encoding="utf-8")
    for part in ("apache-2.0", "evalkit-sample", "training.split=test", str(model), "| RR@10 |"):
        assert part in card
    scored = evalkit_cli(
        "dataset=sample", "retriever=[bm25]", "reranker=[none,cross_encoder]", "sweep.k=[5]",
        "sweep.n=[]", f"reranker.cross_encoder.model={out}/model", "tracking=off", "device=cpu",
        "bootstrap.resamples=100", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert scored.code == 0, scored.err
    assert "cross_encoder" in (tmp_path / "run" / "table.md").read_text(encoding="utf-8")


def test_a_query_of_the_test_split_in_training_is_refused(
    evalkit_cli, command, collection, tmp_path
):
    leaked = (collection / "qrels" / "test.tsv").read_text().splitlines()[1]
    with open(collection / "qrels" / "train.tsv", "a", encoding="utf-8") as file:
        file.write(leaked + "\n")
    refused = evalkit_cli(*command, f"hydra.run.dir={tmp_path}/out")
    assert refused.code == 2
    assert "of the 4 queries of collection/test are in the training data" in refused.err
    assert "training.test_queries=allow" in refused.err
    assert not (tmp_path / "out").exists()
    allowed = evalkit_cli(*command, f"hydra.run.dir={tmp_path}/out", "training.test_queries=allow")
    assert allowed.code == 0, allowed.err
    assert record_of(tmp_path / "out")["leaks"][0]["exact_queries"] == 1
    dropped = evalkit_cli(
        *command, f"hydra.run.dir={tmp_path}/dropped", "training.test_queries=drop"
    )
    assert dropped.code == 0, dropped.err
    found = record_of(tmp_path / "dropped")
    assert found["leaks"][0]["exact_queries"] == 1
    for folder, fate in (
        (
            "out",
            "1 of its 4 queries are in the training data word for word; 0 more are",
        ),
        ("dropped", "1 of its 4 queries were among those prepared and are left out of the"),
    ):
        assert fate in (tmp_path / folder / "model" / "README.md").read_text(encoding="utf-8")
    assert found["data"]["origin"]["left_out_queries"] == [leaked.split("\t")[0]]


def test_what_the_model_to_go_on_from_has_seen_is_a_leak_too(evalkit_cli, command, model, tmp_path):
    first = (*command, "dataset.split=test", "training.split=test", "training.steps=3")
    begun = evalkit_cli(*first, f"hydra.run.dir={tmp_path}/first")
    assert begun.code == 0, begun.err
    further = (
        *command, "training.steps=3", f"training.model={tmp_path}/first/model",
        f"hydra.run.dir={tmp_path}/out",
    )  # fmt: skip
    refused = evalkit_cli(*further, "training.test_queries=drop")
    assert refused.code == 2
    assert "4 of the queries of collection/test are in the data that the model" in refused.err
    assert not (tmp_path / "out").exists()
    allowed = evalkit_cli(*further, "training.test_queries=allow")
    assert allowed.code == 0, allowed.err
    (earlier,) = record_of(tmp_path / "out")["earlier_trainings"]
    assert earlier["data_digest"] == record_of(tmp_path / "first")["data"]["digest"]
    assert earlier["evaluated_queries"] == {"collection/test": 4}
    card = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert "0 of the validation queries and 4 of the queries of collection/test." in card


def test_another_collection_is_kept_clean_of_too(evalkit_cli, command, collection, tmp_path):
    other = ("+dataset@training.evaluate.mine=folder", f"training.evaluate.mine.path={collection}")
    clean = evalkit_cli(*command, *other, f"hydra.run.dir={tmp_path}/out")
    assert clean.code == 0, clean.err
    assert len(record_of(tmp_path / "out")["leaks"]) == 2
    refused = evalkit_cli(*command, *other, "training.evaluate.mine.split=train")
    assert refused.code == 2
    assert "queries of collection/train are in the training data" in refused.err


def test_killed_in_the_middle_it_goes_on(evalkit_cli, command, tmp_path):
    slow = "training.steps=40"
    whole = evalkit_cli(*command, slow, f"hydra.run.dir={tmp_path}/whole", "cache_dir=other")
    assert whole.code == 0, whole.err
    process = subprocess.Popen(
        [sys.executable, "-m", "evalkit", *command, slow, f"hydra.run.dir={tmp_path}/out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + PATIENCE_S
    while not list(tmp_path.glob("cache/training/*/checkpoint-*/complete.json")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["INCOMPLETE"]
    again = evalkit_cli(*command, slow, f"hydra.run.dir={tmp_path}/out")
    assert again.code == 0, again.err
    assert "going on from" in again.err
    assert 3 <= record_of(tmp_path / "out")["fit"]["resumed"] < 40
    assert losses(tmp_path / "out") == pytest.approx(losses(tmp_path / "whole"), abs=1e-4)
    digests = {record_of(tmp_path / name)["model"]["digest"] for name in ("whole", "out")}
    assert len(digests) == 1
    assert not list(tmp_path.glob("cache/training/*/checkpoint-*"))


@pytest.mark.slow
def test_two_processes_learn_what_one_does(evalkit_cli, command, tmp_path):
    steps = ("training.dropout=0", "training.queries_per_batch=2")
    one = evalkit_cli(
        *command, *steps, "training.gradient_accumulation=2", f"hydra.run.dir={tmp_path}/one"
    )
    assert one.code == 0, one.err
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "evalkit")
    two = subprocess.run(
        [sys.executable, "-m", *launcher, *command, *steps, f"hydra.run.dir={tmp_path}/two"],
        cwd=tmp_path,
        env={
            **os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )  # fmt: skip
    assert two.returncode == 0, two.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
    done = [record_of(tmp_path / name)["fit"] for name in ("one", "two")]
    for key in ("steps", "queries_per_step", "examples", "pairs"):
        assert done[0][key] == done[1][key]
    assert done[1]["queries_per_step"] == 4


def test_a_student_learns_from_stored_scores(evalkit_cli, command, model, tmp_path):
    teach = (
        "training=distil", "reranker=[cross_encoder]", "training.num_layers=1",
        f"reranker.cross_encoder.model={model}",
    )  # fmt: skip
    done = evalkit_cli(*command, *teach, f"hydra.run.dir={tmp_path}/out")
    assert done.code == 0, done.err
    found, data = record_of(tmp_path / "out"), TrainingData.load(tmp_path / "out" / "data")
    assert found["teacher"]["name"] == "cross_encoder"
    # The validation queries are measured by judgements: their pairs are not asked for.
    assert np.array_equal(np.isfinite(data.teacher), data.split == "train")
    assert 0 < np.isfinite(data.teacher).sum() < len(data)
    stored = set(tmp_path.glob("cache/scores/*/*"))
    assert stored
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert config["num_hidden_layers"] == 1
    # The data has the teacher's scores in it: another objective needs no teacher.
    again = evalkit_cli(
        *command, f"training.data={tmp_path}/out/data", "training.objective=margin_mse",
        f"hydra.run.dir={tmp_path}/mse",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert set(tmp_path.glob("cache/scores/*/*")) == stored


def test_judgements_sentences_and_a_teacher_are_learned_from_together(
    evalkit_cli, command, collection, model, tmp_path
):
    with (collection / "corpus.jsonl").open("a", encoding="utf-8") as corpus:
        for i in range(4):
            text = " ".join(f"Sentence {j} of {i} has these {j} words in it." for j in range(8))
            corpus.write(json.dumps({"_id": f"long{i}", "title": "", "text": text}) + "\n")
    done = evalkit_cli(
        *command, "reranker=[cross_encoder]", f"reranker.cross_encoder.model={model}",
        "training.teacher=cross_encoder", "training.teacher_share=0.4", "training.temperature=0.5",
        "training.negatives.cloze_queries=60", f"hydra.run.dir={tmp_path}/out",
    )  # fmt: skip
    assert done.code == 0, done.err
    found, data = record_of(tmp_path / "out"), TrainingData.load(tmp_path / "out" / "data")
    # Only these docs have sentences of enough words.
    assert set(data.doc_id[data.source == "cloze"]) == {f"long{i}" for i in range(4)}
    assert found["data"]["queries"]["sentences"] == 4
    assert np.isfinite(data.teacher[data.split == "train"]).all()
    card = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert "(4 of them sentences of its docs)" in card
    assert "Teacher: cross_encoder, whose scores' softmax (temperature 0.5) is 0.4 of the" in card


def test_the_curve_goes_to_mlflow_once(evalkit_cli, command, tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    where = ("tracking=mlflow", f"tracking.uri={uri}", "training=lora")
    done = evalkit_cli(*command, *where, f"hydra.run.dir={tmp_path}/out")
    assert done.code == 0, done.err
    logged = evalkit_cli("task=log", f"path={tmp_path}/out", *where[:2])
    assert logged.code == 0, logged.err
    client = MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "evalkit"]
    (run,) = client.search_runs([experiment.experiment_id])
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "training/loss")]
    assert steps == [1, 2, 3, 4, 5, 6]
    history = client.get_metric_history(run.info.run_id, "validation/MRR_10")
    assert [metric.step for metric in history] == [0, 3, 6]
    assert run.data.params["training.lora.rank"] == "16"


def test_a_dry_run_says_what_would_be_done_and_does_nothing(evalkit_cli, command, tmp_path):
    before = set(tmp_path.rglob("*"))
    shown = evalkit_cli(*command, "dry_run=true")
    assert shown.code == 0, shown.err
    # The dataset is evaluated on its test split and trained on its train split.
    assert "Training data: collection/train, negatives by bm25\n" in shown.out
    assert "Checked against: collection/test\n" in shown.out
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+training.learnig_rate=1", "Did you mean 'learning_rate'?"),
        ("training.learnig_rate=1", "Did you mean 'training.learning_rate'?"),
        ("training.objective=listwize", "training.objective=listwize"),
        ("training.negatives.num=0", "training.negatives: num=0"),
        ("training.lora={rank: 0}", "training.lora: rank=0"),
        ("training.docs_per_query=9", "set training.negatives.num=8, or training.docs_per_query=5"),
        ("training.objective=kl", "objective=kl learns from another model's scores"),
        ("training.teacher_share=0.5", "teacher_share=0.5 learns from another model's scores"),
        ("training.teacher=cross_encoder", "not among the selected rerankers"),
        ("training.teacher=none", "does not score pairs of texts"),
        ("training.split=dev", "dev"),
        ("training.model=/nowhere", "no such folder"),
        ("training.device=quantum", "device=quantum is not usable here"),
        ("training.data=nowhere", "nowhere"),
        ("training.max_length=3", "no room for a query and a doc"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    evalkit_cli, command, tmp_path, override, message
):
    found = evalkit_cli(*command, override, f"hydra.run.dir={tmp_path}/out")
    assert found.code == 2, found.err
    lines = [line for line in found.err.splitlines() if line.startswith("evalkit: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in found.err
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_would_not_be_learned_from_is_refused(evalkit_cli, command, model, tmp_path):
    teacher = ("reranker=[cross_encoder]", f"reranker.cross_encoder.model={model}")
    found = evalkit_cli(*command, *teacher, "training.teacher=cross_encoder")
    assert found.code == 2
    assert "objective listwise learns from judgements, not from a teacher; set" in found.err


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("library", "override", "package"),
    [
        ("datasketch", "training.seed=1", "evalkit[diversity]"),
        ("accelerate", "training.seed=1", "sentence-transformers[train]"),
        ("peft", "training.lora={rank: 2}", "evalkit[llm]"),
    ],
)
def test_a_library_that_is_missing_is_told_before_anything_is_mined(
    evalkit_cli, command, tmp_path, monkeypatch, library, override, package, dry_run
):
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name == library else name)
    found = evalkit_cli(*command, override, f"dry_run={dry_run}")
    assert found.code == 2, found.err
    assert f'needs {library}, which is not installed: pip install "{package}"' in found.err
    assert not (tmp_path / "cache" / "training").exists()


@pytest.mark.parametrize("dry_run", [True, False])
def test_without_a_split_to_train_on_folds_are_named(evalkit_cli, command, collection, dry_run):
    (collection / "qrels" / "train.tsv").unlink()
    found = evalkit_cli(*command, f"dry_run={dry_run}")
    assert found.code == 2, found.err
    assert "qrels/train" in found.err
    assert "training.folds=5 training.split=test" in found.err
    folds = ("training.folds=2", "training.split=test", "dry_run=true")
    assert evalkit_cli(*command, *folds).code == 0


def test_a_step_that_cannot_be_chosen_and_an_untrained_model_are_said(
    evalkit_cli, command, tmp_path
):
    # With this learning rate no weight moves: no step is better than the start.
    one = ("training.negatives.validation_share=0.08", "training.learning_rate=1e-30")
    done = evalkit_cli(*command, *one, f"hydra.run.dir={tmp_path}/out")
    assert done.code == 0, done.err
    assert "On 1 validation query, step 0: RR@10" in done.out
    few = "1 validation query cannot choose a step: RR@10 on fewer than 10 differs by chance"
    nothing = "no step was better than step 0 on 1 validation query"
    card = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    for line in (few, nothing):
        assert line in done.err + done.out
        assert line in card


FOLDED = ("training.folds=3", "training.split=test", "training.negatives.validation_share=0")


def test_by_folds_each_query_is_ranked_by_a_model_that_has_not_seen_it(
    evalkit_cli, command, tmp_path
):
    out = tmp_path / "out"
    split = ("dataset.split=train", "training.split=train", *FOLDED[::2])
    done = evalkit_cli(*command, *split, f"hydra.run.dir={out}")
    assert done.code == 0, done.err
    folds = json.loads((out / "folds.json").read_text(encoding="utf-8"))
    assert sorted(fold for _, _, fold in folds["queries"]) == [0] * 4 + [1] * 4 + [2] * 4
    for fold in range(3):
        seen = set(TrainingData.load(out / f"fold-{fold}" / "data").query_id.tolist())
        own = {query_id for query_id, _, where in folds["queries"] if where == fold}
        assert seen == {query_id for query_id, _, _ in folds["queries"]} - own
        (leak,) = record_of(out / f"fold-{fold}")["leaks"]
        assert (leak["evaluation_queries"], leak["exact_queries"]) == (4, 0)
    assert not list(out.rglob("INCOMPLETE"))
    assert not list(tmp_path.glob("cache/training/*/checkpoint-*"))
    run = (
        "dataset=folder", f"dataset.path={tmp_path}/collection", "dataset.split=train",
        "retriever=[bm25]", "sweep.k=[5]", "sweep.n=[]", "tracking=off", "device=cpu",
        "bootstrap.resamples=100", f"cache_dir={tmp_path}/cache",
    )  # fmt: skip
    both = evalkit_cli(
        *run, "reranker=[by_fold,cross_encoder]", f"reranker.by_fold.path={out}",
        f"reranker.cross_encoder.model={out}/fold-1/model", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert both.code == 0, both.err
    ours = read_run(tmp_path / "run" / "runs" / "bm25+by_fold+k5.trec")
    one = read_run(tmp_path / "run" / "runs" / "bm25+cross_encoder+k5.trec")
    for query_id, _, fold in folds["queries"]:
        same = dict(ours.top(5)[query_id]) == pytest.approx(dict(one.top(5)[query_id]))
        assert same == (fold == 1)
    other = evalkit_cli(
        *run[:2], "dataset.split=test", *run[3:], "reranker=[by_fold]",
        f"reranker.by_fold.path={out}", f"hydra.run.dir={tmp_path}/other",
    )  # fmt: skip
    assert other.code == 2
    assert "is in none of its folds" in other.err


def test_folds_that_were_trained_before_a_kill_are_not_trained_again(
    evalkit_cli, command, tmp_path, monkeypatch
):
    from evalkit.tasks import train

    fit, trained = train.fit, []

    def killed_in_the_last(student, data, settings, folder):
        trained.append(fit(student, data, settings, folder).resumed)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return fit(student, data, settings, folder)

    split = ("dataset.split=train", "training.split=train", *FOLDED[::2])
    monkeypatch.setattr(train, "fit", killed_in_the_last)
    assert evalkit_cli(*command, *split, f"hydra.run.dir={tmp_path}/out").code == 130
    assert (tmp_path / "out" / "INCOMPLETE").exists()
    assert not (tmp_path / "out" / "folds.json").exists()
    monkeypatch.setattr(train, "fit", fit)
    again = evalkit_cli(*command, *split, f"hydra.run.dir={tmp_path}/out")
    assert again.code == 0, again.err
    resumed = [record_of(tmp_path / "out" / f"fold-{fold}")["fit"]["resumed"] for fold in range(3)]
    assert resumed == [6, 6, 6]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (("training.folds=3",), "set training.split=test"),
        ((*FOLDED, "training.folds=5"), "expected 2 to 4"),
        ((*FOLDED, "training.folds=1"), "expected 2 to 4"),
    ],
)
def test_folds_that_cannot_be_are_refused(evalkit_cli, command, tmp_path, override, message):
    found = evalkit_cli(*command, *override, f"hydra.run.dir={tmp_path}/out")
    assert found.code == 2, found.err
    assert message in found.err
    assert not (tmp_path / "out").exists()
