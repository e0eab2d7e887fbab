"""The table of queries, on a folder that evalkit wrote, and in MLflow's own reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.execution import ExecutionLog
from evalkit.output import write_output
from evalkit.results import Results, SystemResult
from evalkit.run import Run
from evalkit.tracking import log_output
from evalkit.tracking.query_table import query_tables
from evalkit.types import DatasetInfo, Query

QUERIES = [Query("q1", 'what is "BM25"?'), Query("q2", "搜索引擎")]


def system(reranker: str, k: int | None, values: list[float], n: int | None = None) -> SystemResult:
    by_measure = {"nDCG@10": np.array(values), "RR": np.zeros(2)}
    means = {measure: float(np.mean(v)) for measure, v in by_measure.items()}
    return SystemResult("bm25", reranker, k, n, by_measure, means, dict.fromkeys(means, (0.0, 1.0)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    systems = [
        system("none", None, [0.25, 1.0]),
        system("none", None, [0.0, 0.0], n=5),
        system("ce", 50, [1 / 3, 0.5]),
        system("ce", 10, [0.75, np.nan]),
    ]
    run = Run.from_dict({"q1": {"d1": 1.0}, "q2": {"d2": 1.0}})
    info = DatasetInfo("made", "d" * 64, 2, 2, 2, 1, False)
    runs = {s.run_name: run for s in systems}
    results = Results(
        info, ["q1", "q2"], ["nDCG@10", "RR"], systems, runs, {}, resamples=10,
        manifest={"created": "2026-01-02T03:04:05+00:00", "config": {}},
    )  # fmt: skip
    path = tmp_path_factory.mktemp("output")
    write_output(path, results, QUERIES, ExecutionLog())
    return path


def test_every_k_is_a_column_of_the_primary_measure(folder: Path) -> None:
    tables = {name: json.loads(table.as_json()) for name, table in query_tables(folder).items()}
    columns = ["query_id", "NDCG@10, K=10", "NDCG@10, K=50", "query"]
    assert tables == {
        "bm25": {
            "columns": columns,
            "data": [["q1", 0.25, 0.25, 'what is "BM25"?'], ["q2", 1.0, 1.0, "搜索引擎"]],
        },
        "bm25+ce": {
            "columns": columns,
            "data": [["q1", 0.75, 0.333333, 'what is "BM25"?'], ["q2", None, 0.5, "搜索引擎"]],
        },
    }


def test_an_older_folder_has_no_table(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes((folder / "results.json").read_bytes())
    assert query_tables(tmp_path) == {}


def test_mlflow_reads_the_tables_of_all_pipelines(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow: Any = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    # MLflow 3.17's load_table searches the store of the environment, not the client's.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run = log_output(folder, uri, "tables")
    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.load_table(run.experiment_id, "per_query.json", extra_columns=["run_id"])
    names = [client.get_run(run_id).data.tags["evalkit.pipeline"] for run_id in found["run_id"]]
    rows = zip(names, found["query"], found["NDCG@10, K=50"], strict=True)
    assert sorted(rows) == [
        ("bm25", 'what is "BM25"?', 0.25),
        ("bm25", "搜索引擎", 1.0),
        ("bm25+ce", 'what is "BM25"?', 0.333333),
        ("bm25+ce", "搜索引擎", 0.5),
    ]
