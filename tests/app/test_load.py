"""task=load: what it writes and shows, what it refuses."""

from __future__ import annotations

import json

QUICK = ("task=load", "seconds=0.3", "clients=[1,2]", "utilisations=[0.3,0.6]", "warmup=2",
         "resamples=100")  # fmt: skip


def told(err: str) -> str:
    """What went to stderr, but for that the machine was busy, as tests side by side make it."""
    lines = err.splitlines(keepends=True)
    return "".join(line for line in lines if "measure again, on a quiet machine" not in line)


def test_a_system_under_load(cli, small, place):
    code, out, err = cli(*small, *QUICK, "systems=[bm25]", f"hydra.run.dir={place}/load")
    assert (code, told(err)) == (0, "")
    assert {path.name for path in (place / "load").iterdir()} == {"load.json", "load.md"}
    found = json.loads((place / "load" / "load.json").read_text(encoding="utf-8"))
    assert found["protocol"]["num_queries"] == 4
    (system,) = found["systems"]
    assert system["system"] == "bm25"
    assert [loop["clients"] for loop in system["closed_loop"]] == [1, 2]
    shares = [loop["offered_qps"] / system["capacity_qps"] for loop in system["open_loop"]]
    assert [round(share, 6) for share in shares] == [0.3, 0.6]
    markdown = (place / "load" / "load.md").read_text(encoding="utf-8")
    for text in (out, markdown):
        assert "Open loop: Poisson arrivals" in text
        assert "bm25: at most" in text


def test_a_load_is_logged_to_mlflow_a_run_a_system(cli, small, place, tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    small = tuple(each for each in small if not each.startswith("tracking"))
    tracked = ("tracking=mlflow", f"tracking.uri={uri}", "tracking.experiment=load")
    code, out, err = cli(*small, *QUICK, "systems=[bm25]", *tracked, f"hydra.run.dir={place}/load")
    assert (code, told(err)) == (0, "")
    assert "MLflow:" in out
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("load").experiment_id])
    found = json.loads((place / "load" / "load.json").read_text(encoding="utf-8"))
    (loops,) = found["systems"]
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    (child,) = (run for run in runs if run is not parent)
    assert parent.data.tags["evalkit.task"] == "load"
    assert "Open loop" in parent.data.tags["mlflow.note.content"]
    assert {each.path for each in client.list_artifacts(parent.info.run_id)} == {
        "load.json", "load.md",
    }  # fmt: skip
    assert child.info.run_name == "bm25"
    assert child.data.metrics["load/capacity_qps"] == loops["capacity_qps"]
    closed = client.get_metric_history(child.info.run_id, "load_closed/achieved_qps")
    assert {(m.step, m.value) for m in closed} == {
        (loop["clients"], loop["achieved_qps"]) for loop in loops["closed_loop"]
    }
    opened = client.get_metric_history(child.info.run_id, "load_open/offered_qps")
    assert [m.step for m in sorted(opened, key=lambda m: m.value)] == [1, 2]
    # Once more from the folder: it is there already. An experiment's results beside it are not
    # taken for the load, nor the other way round.
    code, _, err = cli("task=log", f"path={place}/load", *tracked)
    assert (code, told(err)) == (0, "")
    assert len(client.search_runs([parent.info.experiment_id])) == 2
    code, _, err = cli(*small, *tracked, f"hydra.run.dir={place}/load")
    assert (code, told(err)) == (0, "")
    tasks = [r.data.tags["evalkit.task"] for r in client.search_runs([parent.info.experiment_id])]
    assert sorted(tasks) == ["load", "load", "run", "run"]


def test_rerankers_batches_and_workers(cli, small, place, tmp_path):
    from tiny import save_bi_encoder

    model = save_bi_encoder(tmp_path / "model")
    code, _, err = cli(
        *small, *QUICK, "reranker=[bi_encoder]", f"reranker.bi_encoder.model={model}", "workers=2",
        "batch=2", "systems=[bm25+bi_encoder+k2]", f"hydra.run.dir={place}/load",
    )  # fmt: skip
    assert (code, told(err)) == (0, "")
    found = json.loads((place / "load" / "load.json").read_text(encoding="utf-8"))
    (system,) = found["systems"]
    assert system["open_loop"][0]["theory"]["verdict"] == "no model"
    assert all(loop["calls"] <= loop["requests"] for loop in system["closed_loop"])


def test_a_dry_run_loads_nothing(cli, small, place):
    code, out, err = cli(*small, *QUICK, "systems=[bm25]", "dry_run=true")
    assert (code, told(err)) == (0, "")
    assert out == "bm25: 4 loops of at most 0.3 s\n"
    assert not (place / "outputs").exists()


def test_what_cannot_be_loaded_is_refused(refused, small):
    assert "Did you mean 'bm25'" in refused(*small, *QUICK, "systems=[bm52]")
    assert "systems" in refused(*small, *QUICK)
    assert "systems is empty" in refused(*small, *QUICK, "systems=[]")
    assert "name each once" in refused(*small, *QUICK, "systems=[bm25,bm25]")
    assert "seconds=0" in refused(*small, *QUICK, "systems=[bm25]", "seconds=0")
    assert "needs 5 different queries" in refused(*small, *QUICK, "systems=[bm25]", "batch=5")
