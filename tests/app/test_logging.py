"""MLflow from the command line: a dead server costs nothing, and no password is ever written."""

from __future__ import annotations

import json
import socket

import pytest

SECRET = "s3cr3t"
REFUSED = [
    f"tracking.uri=http://me:{SECRET}@127.0.0.1:9",
    f"tracking.uri=postgresql://me:{SECRET}@127.0.0.1/db",
    f"tracking.uri=postgresql://127.0.0.1/db?user=me&password={SECRET}",
    f"tracking.uri='http://:{SECRET}@127.0.0.1:9'",
]


@pytest.fixture
def tracked(small, monkeypatch):
    """The overrides of a small run that logs to MLflow, with no address in the environment."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tuple(part for part in small if part != "tracking=off")


@pytest.fixture
def dead_server() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def holds(files: dict[str, bytes | None], text: str) -> list[str]:
    return [name for name, content in files.items() if text.encode() in (content or b"")]


def test_a_dead_server_costs_no_result_and_the_folder_is_logged_later(
    cli, refused, tracked, place, dead_server
):
    output = place / "out"
    at = f"tracking.uri=http://{dead_server}"
    code, out, err = cli(*tracked, at, f"hydra.run.dir={output}")
    assert code == 0
    assert "Traceback" not in err
    assert f"WARNING: not logged to MLflow: http://{dead_server}: cannot connect" in err
    assert f"task=log path={output}" in err
    assert f"Results: {output}" in out
    assert (output / "results.json").is_file()
    assert not (output / "INCOMPLETE").exists()

    line = refused("task=log", f"path={output}", at)
    assert "cannot connect" in line

    code, out, err = cli("task=log", f"path={output}", "tracking.uri=sqlite:///later.db")
    assert (code, err) == (0, "")
    assert "mlflow ui --backend-store-uri sqlite:///later.db" in out
    assert not (place / "outputs").exists()

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place}/later.db")
    experiment = client.get_experiment_by_name("evalkit")
    runs = client.search_runs([experiment.experiment_id])
    names = {run.info.run_name for run in runs}
    assert "default" in names
    assert any("bm25" in name for name in names)


def test_only_a_finished_folder_can_be_logged(refused, place):
    output = place / "out"
    assert "not a finished output folder" in refused("task=log", f"path={output}")
    output.mkdir()
    assert "no results.json" in refused("task=log", f"path={output}")
    (output / "results.json").write_text("{", encoding="utf-8")
    assert "results.json, line 1: not JSON" in refused("task=log", f"path={output}")
    (output / "results.json").write_text('{"schema": 99}', encoding="utf-8")
    assert "schema 99, expected 1" in refused("task=log", f"path={output}")
    (output / "results.json").write_text('{"schema": 1}', encoding="utf-8")
    (output / "INCOMPLETE").write_text("running\n", encoding="utf-8")
    assert "not a finished output folder (running)" in refused("task=log", f"path={output}")


@pytest.mark.parametrize("override", REFUSED)
@pytest.mark.parametrize("flag", [(), ("-m",), ("--cfg", "job"), ("dry_run=true",)])
def test_a_password_on_the_command_line_is_refused_unseen(refused, tracked, override, flag):
    line = refused(*tracked, override, *flag)
    assert "tracking.uri holds a password" in line
    assert "MLFLOW_TRACKING_URI" in line
    assert SECRET not in line


def test_a_password_in_a_config_is_refused_unseen(refused, tracked, place, tmp_path):
    (tmp_path / "conf" / "tracking").mkdir(parents=True)
    (tmp_path / "conf" / "tracking" / "ours.yaml").write_text(
        f'kind: mlflow\nuri: "http://me:{SECRET}@127.0.0.1:9"\nexperiment: e\nrun_name: null\n',
        encoding="utf-8",
    )
    line = refused(*tracked, "tracking=ours", "--config-dir", str(tmp_path / "conf"))
    assert "tracking.uri holds a password" in line
    assert SECRET not in line


@pytest.mark.parametrize(
    "address", ["http://me:{}@{}", "mysql://me:{}@{}/db", "mysql://{1}/db?user=me&password={0}"]
)
def test_a_password_in_the_environment_is_used_and_written_nowhere(
    cli, tracked, place, dead_server, monkeypatch, address, everything_in
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.format(SECRET, dead_server))
    code, out, err = cli(*tracked, f"hydra.run.dir={place}/out")
    assert code == 0
    assert "WARNING: not logged to MLflow" in err
    assert SECRET not in out + err
    assert holds(everything_in(place), SECRET) == []
    results = json.loads((place / "out" / "results.json").read_text(encoding="utf-8"))
    shown = results["manifest"]["config"]["tracking"]["uri"]
    assert dead_server in shown
    assert "me" not in shown.partition(dead_server)[0]
