"""MLflow logging against real stores: a SQLite file, a server on loopback, and a closed port."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow_servers import serving
from tiny import ListReranker

import evalkit
from evalkit.assembly import Parts, assemble
from evalkit.datasets.folder import FolderDataset
from evalkit.errors import DataError, TrackingError, without_credentials
from evalkit.io import write_json, write_text
from evalkit.manifest import build_manifest
from evalkit.rerankers.none import NoReranker
from evalkit.results import Results, SystemResult
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.run_file import RunFiles
from evalkit.tracking import TrackedRun, log_output
from evalkit.tracking.content import read_output
from evalkit.tracking.limits import flatten, metric_names
from evalkit.tracking.store import parse_address
from evalkit.types import DatasetInfo

pytest.importorskip("mlflow")

NDCG = "nDCG@10"
SWEEP = (10, 50, 100)
CONFIG = {
    "dataset": {"id": "sample"},
    "retriever": {"bm25": {"k1": 0.9, "stopwords": ["a", "the"]}},
    "reranker": {"cross_encoder": {"model": "some/model", "template": "x" * 700}},
    "tracking": {"uri": "http://me:secret@tracker:5000"},
    "bootstrap": {"resamples": 1000, "level": 0.95, "seed": 13},
    "device": "cpu",
}
FINGERPRINTS = {"retriever.bm25": "b" * 16, "reranker.cross_encoder": "c" * 16}
# What differs from checkout to checkout is fixed here.
FIXED = {"created": "2026-01-02T03:04:05+00:00", "git_commit": "abc1234"}


def manifest_of(config: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """What the command line would record; `changes` are of keys that it has."""
    manifest = build_manifest(config, FINGERPRINTS)
    unknown = {**FIXED, **changes}.keys() - manifest.keys()
    if unknown:
        raise KeyError(f"no manifest has {unknown}")
    return {**manifest, **FIXED, **changes}


def value_at(k: int | None, n: int | None) -> float:
    """A different value in every cell, so that a mixed-up one is noticed."""
    return 0.5 + (k or 0) / 1000 - (n or 0) / 100


def cell(reranker: str, k: int | None, n: int | None = None) -> SystemResult:
    measures = {NDCG: value_at(k, n), "RR": float("nan")}
    intervals = {NDCG: (0.25, 0.75), "RR": (float("nan"), float("nan"))}
    values = {measure: np.array([mean, mean]) for measure, mean in measures.items()}
    return SystemResult("bm25", reranker, k, n, values, measures, intervals)


def write_output(
    folder: Path,
    ks: tuple[int, ...] = SWEEP,
    config: Mapping[str, Any] = CONFIG,
    **changes: Any,
) -> Path:
    systems = [cell("none", None), cell("none", None, n=5)]
    systems += [cell("cross_encoder", k, n) for k in ks for n in (None, 5)]
    dataset = DatasetInfo("sample", "d" * 64, 100, 2, 7, 1, False)
    manifest = manifest_of(config, **changes)
    results = Results(dataset, ["q1", "q2"], [NDCG, "RR"], systems, {}, {}, {}, manifest)
    write_json(folder / "results.json", results.as_json())
    write_text(folder / "table.md", "| system | NDCG@10 |\n|---|---|\n")
    write_text(folder / "runs" / "bm25.trec", "q1 Q0 d1 1 1 bm25\n")
    write_text(folder / ".hydra" / "config.yaml", "seed: 13\n")
    write_text(folder / ".table.md.x1y2", "left by an interrupted write")
    return folder


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_output(tmp_path_factory.mktemp("outputs") / "first run")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "new" / "mlflow.db"


@pytest.fixture(scope="module")
def logged(output: Path, database: Path) -> TrackedRun:
    return log_output(output, f"sqlite:///{database}", "evalkit")


@pytest.fixture
def client(database: Path) -> Any:
    return client_of(f"sqlite:///{database}")


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def client_of(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def children(client: Any, run: TrackedRun) -> dict[str, Any]:
    found = client.search_runs([run.experiment_id], f"tags.`mlflow.parentRunId` = '{run.run_id}'")
    return {child.info.run_name: child for child in found}


def history(client: Any, run: Any, metric: str) -> dict[int, float]:
    return {m.step: m.value for m in client.get_metric_history(run.info.run_id, metric)}


def test_one_parent_and_one_child_for_each_pipeline(client: Any, logged: TrackedRun) -> None:
    parent = client.get_run(logged.run_id)
    assert parent.info.run_name == "first run"
    assert set(children(client, logged)) == {"bm25", "bm25+cross_encoder"}
    runs = client.search_runs([logged.experiment_id])
    assert len(runs) == 3
    assert {run.info.status for run in runs} == {"FINISHED"}
    ordered = sorted(children(client, logged).values(), key=lambda run: run.info.start_time)
    assert [run.info.run_name for run in reversed(ordered)] == ["bm25", "bm25+cross_encoder"]


def test_the_step_of_a_metric_is_k(client: Any, logged: TrackedRun) -> None:
    run = children(client, logged)["bm25+cross_encoder"]
    assert history(client, run, "quality/NDCG_10") == {k: value_at(k, None) for k in SWEEP}
    assert history(client, run, "quality_N5/NDCG_10") == {k: value_at(k, 5) for k in SWEEP}
    assert history(client, run, "quality_interval/NDCG_10_low") == dict.fromkeys(SWEEP, 0.25)
    assert history(client, run, "quality_interval_N5/NDCG_10_high") == dict.fromkeys(SWEEP, 0.75)


def test_without_a_reranker_the_line_is_flat(client: Any, logged: TrackedRun) -> None:
    run = children(client, logged)["bm25"]
    assert history(client, run, "quality/NDCG_10") == dict.fromkeys(SWEEP, 0.5)


def test_without_any_k_the_step_is_0(tmp_path: Path, database: Path, client: Any) -> None:
    folder = write_output(tmp_path / "no rerankers", ks=())
    run = log_output(folder, f"sqlite:///{database}", "no k", run_name="mine")
    assert client.get_run(run.run_id).info.run_name == "mine"
    assert history(client, children(client, run)["bm25"], "quality/NDCG_10") == {0: 0.5}


def test_what_is_not_defined_is_not_logged(client: Any, logged: TrackedRun) -> None:
    names = {name for run in children(client, logged).values() for name in run.data.metrics}
    base = {"quality/NDCG_10", "quality_N5/NDCG_10"}
    bounds = {
        f"quality_interval{cut}/NDCG_10_{end}" for cut in ("", "_N5") for end in ("low", "high")
    }
    assert names == base | bounds


def test_parameters(client: Any, logged: TrackedRun, tmp_path: Path) -> None:
    parent = client.get_run(logged.run_id).data.params
    assert parent["retriever.bm25.k1"] == "0.9"
    assert parent["retriever.bm25.stopwords"] == '["a", "the"]'
    assert parent["tracking.uri"] == "http://tracker:5000"
    child = children(client, logged)["bm25+cross_encoder"]
    params = child.data.params
    assert params["dataset"] == "sample"
    assert (params["retriever"], params["retriever.k1"]) == ("bm25", "0.9")
    assert (params["reranker"], params["reranker.model"]) == ("cross_encoder", "some/model")
    assert params["retriever.fingerprint"] == FINGERPRINTS["retriever.bm25"]
    assert params["reranker.fingerprint"] == FINGERPRINTS["reranker.cross_encoder"]
    assert params["reranker.template"] == "see the artifact long_params.json (700 characters)"
    path = client.download_artifacts(child.info.run_id, "long_params.json", str(tmp_path))
    assert json.loads(Path(path).read_text()) == {"reranker.template": "x" * 700}


def test_what_the_command_line_records_arrives_in_the_children(
    collection: Callable[..., FolderDataset], tmp_path: Path
) -> None:
    """Through `assemble`, which names the fingerprints, from a config as Hydra gives it."""
    write_text(tmp_path / "published.trec", "q1 Q0 d1 1 2.0 x\nq1 Q0 d2 2 1.0 x\n")
    config = {
        "retriever": {
            "bm25": {"k1": 1.2},
            "run_file": {"paths": ["published.trec"], "depth": None},
        },
        "reranker": {"none": {}, "reversed": {"model": "some/model"}},
        "bootstrap": {"resamples": 100, "seed": 5},
        "device": "cpu",
    }
    parts = Parts(
        dataset=collection({"d1": "red apple", "d2": "green pear"}, {"q1": "apple"}),
        retrievers={
            "bm25": BM25Retriever(cache_dir=str(tmp_path / "cache")),
            "run_file": RunFiles([str(tmp_path / "published.trec")]),
        },
        rerankers={"none": NoReranker(), "reversed": ListReranker()},
        settings={
            "sweep": {"k": [2]},
            "measures": ["RR@1"],
            "gains": "linear",
            "bootstrap": config["bootstrap"],
        },
        config=config,
    )
    experiment = assemble(parts)
    write_json(tmp_path / "results.json", experiment.run().as_json())
    children = {child.name: child for child in read_output(tmp_path).children}
    assert set(children) == {"bm25", "published", "bm25+reversed", "published+reversed"}
    reranked = children["bm25+reversed"]
    bm25, published = (experiment.retrievers[name].fingerprint for name in ("bm25", "published"))
    assert reranked.params["retriever.fingerprint"] == bm25
    assert reranked.params["reranker.fingerprint"] == ListReranker.fingerprint
    assert reranked.params["retriever.k1"] == "1.2"
    from_file = children["published"]
    assert from_file.params["retriever"] == "published"
    assert from_file.params["retriever.fingerprint"] == published
    assert from_file.params["retriever.paths"] == '["published.trec"]'
    assert from_file.params["retriever.depth"] == "null"
    assert {child.tags["evalkit.seed"] for child in children.values()} == {"5"}


def test_a_retriever_without_settings_has_none_of_others(tmp_path: Path) -> None:
    folder = write_output(tmp_path, config={**CONFIG, "retriever": {"dense": {"model": "m"}}})
    for child in read_output(folder).children:
        assert not [name for name in child.params if name in ("retriever.model", "retriever.k1")]


def test_tags_and_description(client: Any, logged: TrackedRun, output: Path) -> None:
    parent = client.get_run(logged.run_id).data.tags
    assert parent["evalkit.version"] == evalkit.__version__
    assert parent["evalkit.git_commit"] == parent["mlflow.source.git.commit"] == "abc1234"
    assert parent["evalkit.created"] == FIXED["created"]
    assert parent["evalkit.seed"] == "13"
    assert parent["evalkit.device"].startswith("cpu: ")
    assert f"numpy {np.__version__}" in parent["evalkit.libraries"]
    assert parent["evalkit.dataset"] == "sample"
    assert parent["evalkit.dataset_digest"] == "d" * 64
    assert parent["evalkit.output_dir"] == str(output.resolve())
    assert parent["evalkit.reranker"] == "none, cross_encoder"
    assert parent["mlflow.note.content"].startswith("| system |")
    child = children(client, logged)["bm25+cross_encoder"].data.tags
    assert (child["evalkit.retriever"], child["evalkit.reranker"]) == ("bm25", "cross_encoder")


def test_a_manifest_may_lack_everything(tmp_path: Path, database: Path, client: Any) -> None:
    folder = write_output(tmp_path / "bare")
    content = json.loads((folder / "results.json").read_text())
    content["manifest"] = {}
    write_json(folder / "results.json", content)
    run = log_output(folder, f"sqlite:///{database}", "bare")
    assert "evalkit.version" not in client.get_run(run.run_id).data.tags
    assert children(client, run)["bm25"].data.params == {
        "dataset": "sample",
        "retriever": "bm25",
        "reranker": "none",
    }


def test_the_dataset_is_an_input_of_every_run(client: Any, logged: TrackedRun) -> None:
    for run in client.search_runs([logged.experiment_id]):
        (used,) = run.inputs.dataset_inputs
        assert (used.dataset.name, used.dataset.digest) == ("sample", "d" * 36)
        assert json.loads(used.dataset.source)["digest"] == "d" * 64
        assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "eval")]


def test_artifacts_are_the_folder_and_lie_beside_the_database(
    client: Any, logged: TrackedRun, database: Path, output: Path
) -> None:
    root = database.parent / "mlartifacts" / logged.run_id / "artifacts"
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert files == {"results.json", "table.md", "runs/bm25.trec", "long_params.json"}
    assert (root / "results.json").read_bytes() == (output / "results.json").read_bytes()
    default = client.get_experiment_by_name("Default").artifact_location
    assert default.startswith((database.parent / "mlartifacts").as_uri())


def test_logging_twice_gives_one_run(
    client: Any, logged: TrackedRun, output: Path, database: Path, tmp_path: Path
) -> None:
    assert log_output(output, f"sqlite:///{database}", "evalkit") == logged
    moved = Path(shutil.copytree(output, tmp_path / "moved"))
    assert log_output(moved, f"sqlite:///{database}", "evalkit").run_id == logged.run_id
    assert len(client.search_runs([logged.experiment_id])) == 3
    other = write_output(tmp_path / "other", created="2026-01-03T03:04:05+00:00")
    assert log_output(other, f"sqlite:///{database}", "evalkit").run_id != logged.run_id


def test_a_failure_marks_the_run_and_the_next_call_replaces_it(
    tmp_path: Path, database: Path, client: Any
) -> None:
    folder = write_output(tmp_path / "half")
    uri = f"sqlite:///{database}"
    experiment = client.create_experiment("half", (tmp_path / "no folder").as_uri())
    write_text(tmp_path / "no folder", "a file where the artifacts should go")
    with pytest.raises(TrackingError, match="no folder"):
        log_output(folder, uri, "half")
    (failed,) = client.search_runs([experiment])
    assert failed.info.status == "FAILED"

    orphan = client.create_run(experiment, tags={"mlflow.parentRunId": failed.info.run_id})
    (tmp_path / "no folder").unlink()
    run = log_output(folder, uri, "half")
    statuses = {r.info.run_id: r.info.status for r in client.search_runs([experiment])}
    assert statuses[run.run_id] == "FINISHED"
    assert not {failed.info.run_id, orphan.info.run_id} & set(statuses)
    assert len(statuses) == 3


def test_a_deleted_experiment_is_said(output: Path, database: Path, client: Any) -> None:
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(TrackingError, match=r"'gone' was deleted; .*tracking\.experiment=NAME"):
        log_output(output, f"sqlite:///{database}", "gone")


def test_a_relative_database_is_in_the_working_directory_of_the_call(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        run = log_output(output, "sqlite:///mlflow.db", "evalkit")
        found = {path.name for path in (tmp_path / name).iterdir()}
        assert found == {"mlflow.db", "mlartifacts"}
    assert run.ui_command == "mlflow ui --backend-store-uri sqlite:///mlflow.db"


def test_24_pipelines_are_logged_in_seconds(tmp_path: Path, database: Path, client: Any) -> None:
    ks, names = (10, 20, 50, 100, 200, 500), [f"P@{cutoff}" for cutoff in range(1, 9)]
    folder = write_output(tmp_path / "large")
    content = json.loads((folder / "results.json").read_text())
    content["measures"] = names
    content["systems"] = [
        {"retriever": f"r{i}", "reranker": "x", "k": k, "n": None}
        | {"measures": dict.fromkeys(names, 0.5), "ci": {name: [0.4, 0.6] for name in names}}
        for i in range(24)
        for k in ks
    ]
    write_json(folder / "results.json", content)
    # The processor's time: how long the clock takes depends on who else uses the machine.
    start = time.process_time()
    run = log_output(folder, f"sqlite:///{database}", "large")
    assert time.process_time() - start < 10
    assert len(children(client, run)) == 24
    assert set(history(client, children(client, run)["r7+x"], "quality_interval/P_8_high")) == set(
        ks
    )


def test_a_server_that_is_down_is_said_quickly_and_without_credentials(
    output: Path, closed_port: int
) -> None:
    before = dict(os.environ)
    start = time.perf_counter()
    with pytest.raises(TrackingError) as caught:
        log_output(output, f"http://me:s3cret@127.0.0.1:{closed_port}", "evalkit")
    assert time.perf_counter() - start < 10
    assert dict(os.environ) == before
    message = str(caught.value)
    assert message.startswith(f"http://127.0.0.1:{closed_port}: cannot connect (")
    assert "Connection refused" in message
    assert "python -m evalkit task=log path=" in message
    assert "\n" not in message
    assert "s3cret" not in message + repr(caught.value.__cause__)


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_given_up(output: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.perf_counter()
        with pytest.raises(TrackingError, match="no answer in time"):
            log_output(output, f"http://127.0.0.1:{silent.getsockname()[1]}", "evalkit")
    assert time.perf_counter() - start < 10


def test_settings_of_the_user_and_log_levels_stay(
    output: Path, database: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import mlflow  # noqa: F401  (it sets its log level when imported)

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    before, level = dict(os.environ), logging.getLogger("mlflow").level
    log_output(output, f"sqlite:///{database.with_name('quiet.db')}", "evalkit")
    assert dict(os.environ) == before
    assert logging.getLogger("mlflow").level == level
    assert capfd.readouterr() == ("", "")


def test_what_is_no_database_is_said(output: Path, tmp_path: Path) -> None:
    write_text(tmp_path / "notes.db", "these are my notes, and quite long ones\n" * 100)
    with pytest.raises(TrackingError, match="file is not a database; the results are safe"):
        log_output(output, f"sqlite:///{tmp_path}/notes.db", "evalkit")


@pytest.mark.parametrize("uri", ["", "mlruns", "./mlruns", "file:///tmp/mlruns", "sqlite://"])
def test_an_address_that_is_none(output: Path, uri: str) -> None:
    with pytest.raises(TrackingError, match=r"expected sqlite:///mlflow\.db"):
        log_output(output, uri, "evalkit")


def test_the_driver_of_a_database_may_be_missing(output: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        log_output(output, "postgresql+asyncfake://me:s3cret@127.0.0.1/x", "evalkit")
    assert str(caught.value).startswith("postgresql+asyncfake://127.0.0.1/x: ")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "shown", "used", "login"),
    [
        ("http://h:5000", "http://h:5000", "http://h:5000", None),
        ("https://me:p%40ss@h/base", "https://h/base", "https://h/base", ("me", "p@ss")),
        ("http://me:a@b@h:1", "http://h:1", "http://h:1", ("me", "a@b")),
        ("mysql://me:pw@h/d?password=x", "mysql://h/d", "mysql://me:pw@h/d?password=x", None),
        ("sqlite:////a/b.db", "sqlite:////a/b.db", "sqlite:////a/b.db", None),
    ],
)
def test_addresses(uri: str, shown: str, used: str, login: tuple[str, str] | None) -> None:
    address = parse_address(uri)
    assert (address.shown, address.uri, address.login) == (shown, used, login)


def test_a_kind_of_store_that_mlflow_does_not_have_is_refused_at_once() -> None:
    with pytest.raises(TrackingError, match="no store of the kind 'htp'; expected sqlite:///"):
        parse_address("htp://127.0.0.1:5000")


def test_scrubbed_text_holds_no_secret() -> None:
    address = parse_address("postgresql://me:p%40ss@h/d?sslpassword=k3y")
    text = address.scrub("fails\nfor postgresql://me:p%40ss@h/d, p@ss and k3y " + "x" * 1000)
    assert text.startswith("fails for postgresql://h/d, *** and *** x")
    assert len(text) < 400
    assert without_credentials("see http://a:b@c/ and d@e") == "see http://c/ and d@e"


def test_metric_names_are_legal_readable_and_distinct() -> None:
    names = metric_names(
        ["nDCG@10", "RR@10", "R@100", "AP(rel=2)@100", "alpha_nDCG@5", "a b", "a(b"]
    )
    assert list(names.values()) == [
        "NDCG_10",
        "MRR_10",
        "Recall_100",
        "MAP_100_rel2",
        "alpha-NDCG_5",
        "a_b",
        "a_b_2",
    ]


def test_flatten() -> None:
    nested = {"a": {"b": [1, {"c": 2}], "d": {}}, "e": None, "f": "text"}
    assert flatten(nested) == {"a.b": '[1, {"c": 2}]', "a.d": "{}", "e": "null", "f": "text"}
    assert flatten({}) == {}


def test_parameter_names_are_legal_and_distinct(tmp_path: Path) -> None:
    config = {"a/b": 1, "a@b": 2, "_target_": "evalkit.x", "k" * 300: 3, "..": 4}
    parent = read_output(write_output(tmp_path, config=config)).parent
    assert parent.params["a_b"] == "1"
    assert parent.params["a_b_2"] == "2"
    assert parent.params["_target_"] == "evalkit.x"
    assert parent.params["k" * 250].startswith("see the artifact long_params.json")
    assert parent.long == {"k" * 300: "3"}


def test_a_folder_without_results(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"results\.json: not found; expected a folder"):
        log_output(tmp_path, "sqlite:///x.db", "evalkit")
    write_json(tmp_path / "results.json", {"schema": 99})
    with pytest.raises(DataError, match=r"results\.json: schema 99, expected 1"):
        log_output(tmp_path, "sqlite:///x.db", "evalkit")
    write_json(tmp_path / "results.json", {"schema": 1, "systems": []})
    with pytest.raises(DataError, match=r"results\.json: not what evalkit writes .*'dataset'"):
        log_output(tmp_path, "sqlite:///x.db", "evalkit")


def test_importing_tracking_does_not_import_mlflow() -> None:
    code = (
        "import sys, evalkit.tracking; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def server(tmp_path: Path, closed_port: int) -> Iterator[str]:
    with serving(tmp_path, closed_port, f"sqlite:///{tmp_path}/server.db") as uri:
        yield uri


@pytest.mark.slow
def test_a_real_server(output: Path, server: str, tmp_path: Path) -> None:
    run = log_output(output, server, "evalkit")
    assert run.ui_command is None
    assert run.ui_url == f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
    assert log_output(output, server, "evalkit") == run
    client = client_of(server)
    child = children(client, run)["bm25+cross_encoder"]
    assert history(client, child, "quality/NDCG_10") == {k: value_at(k, None) for k in SWEEP}
    path = client.download_artifacts(run.run_id, "runs/bm25.trec", str(tmp_path))
    assert Path(path).read_text() == "q1 Q0 d1 1 1 bm25\n"
    assert not (tmp_path / "mlartifacts").exists()
