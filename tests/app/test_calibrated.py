"""A run with calibrated scores and a threshold on them, from the command line to the folder."""

from __future__ import annotations

import json


def test_a_calibration_is_in_the_results_the_report_and_the_plots(cli, small, place, tmp_path):
    from tiny import save_bi_encoder

    code, out, err = cli(
        *small, "plots=true", "reranker=[none,bi_encoder,calibrated,threshold]", "sweep.k=[2]",
        f"reranker.bi_encoder.model={save_bi_encoder(tmp_path / 'model')}",
        "reranker.calibrated.folds=2", "reranker.threshold.of=calibrated",
        "reranker.threshold.threshold=0.9", "reranker.threshold.keep_least=1",
        f"hydra.run.dir={place}/out",
    )  # fmt: skip
    assert code == 0, err
    found = json.loads((place / "out" / "results.json").read_text(encoding="utf-8"))
    told = found["details"]["reranker.calibrated"]["bm25"]["K=2"]
    assert told["fitted on"].startswith("2-fold cross-validation by query on tiny/test, 4 queries")
    assert set(told["parameters"]["fold 1"]) == {"a", "b"}
    plots = {path.name for path in (place / "out" / "plots").iterdir()}
    assert "reliability_bm25+calibrated+k2.png" in plots
    assert "before and after calibration" in (place / "out" / "report.html").read_text("utf-8")
    assert "bm25, K=2, after: ECE" in out
    scores = [
        [float(line.split()[4]) for line in (place / "out" / "runs" / name).open(encoding="utf-8")]
        for name in ("bm25+calibrated+k2.trec", "bm25+threshold+k2.trec")
    ]
    assert len(scores[1]) < len(scores[0])
