"""MLflow on PostgreSQL, which refuses what SQLite lets pass: behind a server, and without one."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow_servers import postgresql, postgresql_programs, serving

from evalkit.io import write_json, write_text
from evalkit.tracking import log_output

pytest.importorskip("mlflow")
pytest.importorskip("psycopg", reason="no driver: pip install evalkit[postgresql]")
PROGRAMS = postgresql_programs()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL's server is not installed"),
]
KS = (10, 20, 50, 100, 200, 500)
MEASURES = [f"P@{cutoff}" for cutoff in range(1, 9)]
# Longer than a run's name may be, in letters of several bytes.
LONG_NAME = "検索-" * 90


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql(PROGRAMS or Path(), free_port()) as address:
        yield f"postgresql+psycopg://evalkit@{address}/mlflow"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pipelines at 6 K in 8 measures, one of them with a name beyond every limit."""
    folder = tmp_path_factory.mktemp("output")
    names = [LONG_NAME, *(f"r{i}" for i in range(1, 24))]
    systems = [
        {"retriever": name, "reranker": "x", "k": k, "n": None}
        | {"measures": dict.fromkeys(MEASURES, k / 1000), "ci": {m: [0.4, 0.6] for m in MEASURES}}
        for name in names
        for k in KS
    ]
    dataset = {"dataset_id": "made", "digest": "d" * 64, "num_docs": 9, "num_queries": 2}
    manifest = {"config": {"retriever": {LONG_NAME: {"prompt": "长" * 9000}}}}
    content = {"schema": 1, "measures": MEASURES, "systems": systems, "manifest": manifest}
    write_json(folder / "results.json", {**content, "dataset": {**dataset, "num_qrels": 7}})
    for number in range(100):
        write_text(folder / "runs" / f"{number}.trec", "q1 Q0 d1 1 1 made\n")
    return folder


def check(client: Any, experiment_id: str, run_id: str, folder: Path) -> None:
    """Everything of `output` is there, unabridged."""
    nested = f"tags.`mlflow.parentRunId` = '{run_id}'"
    found = client.search_runs([experiment_id], nested, order_by=["attributes.start_time DESC"])
    children = [run.data.tags["evalkit.retriever"] for run in found]
    assert children == [LONG_NAME, *(f"r{i}" for i in range(1, 24))]
    assert found[0].info.run_name.endswith(" ...")
    assert {run.info.status for run in found} == {"FINISHED"}
    history = client.get_metric_history(found[7].info.run_id, "quality/P_8")
    assert {metric.step: metric.value for metric in history} == {k: k / 1000 for k in KS}
    long = client.download_artifacts(found[0].info.run_id, "long_params.json", str(folder))
    kept = json.loads(Path(long).read_text(encoding="utf-8"))
    assert kept["retriever.prompt"] == "长" * 9000
    assert len(client.list_artifacts(run_id, "runs")) == 100


def test_a_server_on_postgresql(database: str, output: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    with serving(tmp_path, free_port(), database) as server:
        run = log_output(output, server, "served")
        check(MlflowClient(tracking_uri=server), run.experiment_id, run.run_id, tmp_path)
        assert log_output(output, server, "served") == run


def test_postgresql_without_a_server(
    database: str, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    run = log_output(output, database, "direct")
    assert "evalkit@" not in run.uri
    check(MlflowClient(tracking_uri=database), run.experiment_id, run.run_id, tmp_path)
