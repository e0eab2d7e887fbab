"""task=load: what it writes and shows, what it refuses."""

from __future__ import annotations

import json

QUICK = ("task=load", "seconds=0.3", "clients=[1,2]", "utilisations=[0.3,0.6]", "warmup=2",
         "resamples=100")  # fmt: skip


def test_a_system_under_load(cli, small, place):
    code, out, err = cli(*small, *QUICK, "systems=[bm25]", f"hydra.run.dir={place}/load")
    assert (code, err) == (0, "")
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


def test_rerankers_batches_and_workers(cli, small, place, tmp_path):
    from tiny import save_bi_encoder

    model = save_bi_encoder(tmp_path / "model")
    code, _, err = cli(
        *small, *QUICK, "reranker=[bi_encoder]", f"reranker.bi_encoder.model={model}", "workers=2",
        "batch=2", "systems=[bm25+bi_encoder+k2]", f"hydra.run.dir={place}/load",
    )  # fmt: skip
    assert (code, err) == (0, "")
    found = json.loads((place / "load" / "load.json").read_text(encoding="utf-8"))
    (system,) = found["systems"]
    assert system["open_loop"][0]["theory"]["verdict"] == "no model"
    assert all(loop["calls"] <= loop["requests"] for loop in system["closed_loop"])


def test_a_dry_run_loads_nothing(cli, small, place):
    code, out, err = cli(*small, *QUICK, "systems=[bm25]", "dry_run=true")
    assert (code, err) == (0, "")
    assert out == "bm25: 4 loops of at most 0.3 s\n"
    assert not (place / "outputs").exists()


def test_what_cannot_be_loaded_is_refused(refused, small):
    assert "Did you mean 'bm25'" in refused(*small, *QUICK, "systems=[bm52]")
    assert "systems" in refused(*small, *QUICK)
    assert "systems is empty" in refused(*small, *QUICK, "systems=[]")
    assert "name each once" in refused(*small, *QUICK, "systems=[bm25,bm25]")
    assert "seconds=0" in refused(*small, *QUICK, "systems=[bm25]", "seconds=0")
    assert "needs 5 different queries" in refused(*small, *QUICK, "systems=[bm25]", "batch=5")
