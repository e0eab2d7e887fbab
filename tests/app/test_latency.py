"""latency=on from the command line, and that latency=off costs nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from evalkit.errors import RemoteError
from evalkit.saved import load_results
from evalkit.tracking.content import read_output

QUICK = ("latency=on", "latency.queries=3", "latency.repeats=2", "latency.resamples=100")


def latency(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))["efficiency"][
        "latency"
    ]


def test_a_run_measures_its_systems_and_shows_them(cli, small, place, tiny_model):
    model = tiny_model("cross")
    code, out, err = cli(
        *small, *QUICK, "reranker=[none,cross_encoder]", f"reranker.cross_encoder.model={model}",
        "sweep.k=[2,3,4]", f"hydra.run.dir={place}/out",
    )  # fmt: skip
    assert (code, err) == (0, "")
    section = latency(place / "out")
    names = ["bm25", *(f"bm25+cross_encoder+k{k}" for k in (2, 3, 4))]
    assert [system["system"] for system in section["systems"]] == names
    assert section["protocol"]["queries"] == 3
    assert section["protocol"]["skipped"] == []
    (model_of_time,) = section["models"]
    assert (model_of_time["retriever"], model_of_time["reranker"]) == ("bm25", "cross_encoder")
    for system in section["systems"]:
        stages = system["stages"]
        parts = sum(stage["mean_ms"] for name, stage in stages.items() if name != "total")
        # what is between two readings of the clock belongs to no stage
        assert 0.5 < parts / stages["total"]["mean_ms"] < 1 + 1e-9
        assert "rerank" in stages or system["k"] is None
    times = pq.read_table(place / "out" / "latency.parquet")
    assert times.column_names == ["system", "query_id", "repeat", "stage", "ms"]
    assert set(times["system"].to_pylist()) == set(names)
    shown = (place / "out" / "table.md").read_text(encoding="utf-8")
    for heading in ("Rerank p50 (ms)", "Post-processing (ms)", "b (ms per document)"):
        assert heading in shown
        assert heading in out
    assert load_results(place / "out").efficiency["latency"] == section
    (first, second) = read_output(place / "out").children
    metrics = {(point.name, point.step): point.value for point in second.points}
    for system in section["systems"][1:]:
        rerank = system["stages"]["rerank"]
        assert metrics["latency/rerank_p50_ms", system["k"]] == rerank["p50_ms"]
    assert {step for name, step in metrics if name == "latency/total_mean_ms"} == {2, 3, 4}
    # six times support no percentile beyond the median
    assert not any("p95" in name for name, _ in metrics)
    flat = [p for p in first.points if p.name == "latency/total_mean_ms"]
    assert [p.step for p in flat] == [2, 3, 4]
    assert len({p.value for p in flat}) == 1


def test_a_run_without_it_calls_and_loads_nothing_and_clears_old_times(cli, small, place, shell):
    folder = place / "out"
    folder.mkdir()
    (folder / "latency.parquet").write_bytes(b"of an earlier run")
    # What times queries; tables may load what reads finished figures.
    timing = ("measure", "latency", "protocol", "stages", "percentiles", "timing_model")
    names = [f"evalkit.efficiency.{name}" for name in timing]
    watched = (
        "import sys, evalkit.app; sys.argv[0] = 'evalkit'\n"
        "try: evalkit.app.main()\n"
        "except SystemExit: pass\n"
        f"print('LOADED', [name for name in {names} if name in sys.modules])"
    )
    process = shell(*small, f"hydra.run.dir={folder}", program=("-c", watched))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "LOADED []" in out
    assert not (folder / "latency.parquet").exists()
    assert "efficiency" not in json.loads((folder / "results.json").read_text())


def test_mistaken_settings_are_refused_before_anything_is_computed(refused, small):
    line = refused(*small, "latency=on", "latency.queries=0")
    assert "latency.queries=0: expected at least 2" in line
    assert "latency.query" in refused(*small, "latency=on", "latency.query=5")
    assert "kind" in refused(*small, "latency=on", "latency.kind=maybe")


def test_what_ends_the_measuring_leaves_the_results(cli, small, place, monkeypatch):
    def spent(*_):
        raise RemoteError("the budget of 3 requests is spent")

    monkeypatch.setattr("evalkit.efficiency.measure.measure", spent)
    code, _, err = cli(*small, *QUICK, f"hydra.run.dir={place}/out")
    assert code == 2
    assert "evalkit: the budget of 3 requests is spent" in err
    found = load_results(place / "out")
    assert found.efficiency == {}
    assert "latency and cost are not in these results" in " ".join(found.manifest["warnings"])
