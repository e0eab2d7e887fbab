"""task=drift: what it writes, how it ends, what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

SYSTEMS = (
    "retriever=[bm25]", "reranker=[none,bi_encoder]", "sweep.k=[2]", "sweep.depth=6",
    "measures=[nDCG@3]",
)  # fmt: skip


@pytest.fixture
def outputs(cli, small, place, tmp_path) -> tuple[Path, Path]:
    """Two finished runs of the same systems."""
    from tiny import save_bi_encoder

    model = save_bi_encoder(tmp_path / "model")
    for name in ("base", "new"):
        code, _, err = cli(
            *small, *SYSTEMS, f"reranker.bi_encoder.model={model}", f"hydra.run.dir={place}/{name}"
        )
        assert (code, err) == (0, "")
    return place / "base", place / "new"


def shifted(folder: Path, system: str, by: float) -> None:
    """Add to every score of a run file."""
    path = folder / "runs" / f"{system}.trec"
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [" ".join([*row[:4], str(float(row[4]) + by), row[5]]) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def drift(cli, outputs, place, *more):
    base, new = outputs
    return cli("task=drift", f"base={base}", f"new={new}", f"hydra.run.dir={place}/drift", *more)


def test_runs_that_are_the_same_have_not_drifted(cli, outputs, place):
    code, out, err = drift(cli, outputs, place)
    assert (code, err) == (0, "")
    written = {path.name for path in (place / "drift").iterdir()}
    assert written == {"drift.md", "drift.json", "quantiles.png"}
    found = json.loads((place / "drift" / "drift.json").read_text(encoding="utf-8"))
    assert [system["system"] for system in found["systems"]] == ["bm25", "bm25+bi_encoder+k2"]
    assert [system["stability_index"] for system in found["systems"]] == [0, 0]
    assert (place / "drift" / "quantiles.png").read_bytes().startswith(b"\x89PNG")
    markdown = (place / "drift" / "drift.md").read_text(encoding="utf-8")
    for text in (out, markdown):
        assert re.search(r"\| bm25 +\| 0\.0000 \| stable", text)
        assert "Quantiles of the scores" in text
    assert str(outputs[0]) in markdown


def test_a_shift_is_an_alarm_with_exit_code_1_and_its_files(cli, outputs, place):
    shifted(outputs[1], "bm25+bi_encoder+k2", 5.0)
    code, out, err = drift(cli, outputs, place)
    assert code == 1
    assert re.fullmatch(
        r"evalkit: scores drifted: stability index above alarm=0\.25 for bm25\+bi_encoder\+k2 "
        r"\(\d\.\d+\); see .*/drift/drift\.md\n",
        err,
    )
    assert "| shift" in out
    found = json.loads((place / "drift" / "drift.json").read_text(encoding="utf-8"))
    assert [system["alarm"] for system in found["systems"]] == [False, True]
    median = [found["systems"][1][of]["percentiles"][50] for of in ("base", "new")]
    assert median[1] - median[0] == pytest.approx(5.0, abs=1e-5)
    assert drift(cli, outputs, place, "alarm=100").code == 0


def test_made_up_scores_below_k_are_not_compared(cli, outputs, place):
    drift(cli, outputs, place)
    found = json.loads((place / "drift" / "drift.json").read_text(encoding="utf-8"))
    first, second = found["systems"]
    lines = (outputs[0] / "runs" / "bm25+bi_encoder+k2.trec").read_text("utf-8").splitlines()
    kept = [line for line in lines if int(line.split()[3]) <= 2]
    assert second["base"]["scores"] == len(kept) < len(lines) == first["base"]["scores"]


def test_systems_of_one_folder_only_are_named(cli, outputs, small, place):
    more = f"hydra.run.dir={place}/new", "retriever.bm25.k1=2.0"
    assert cli(*small, *more).code == 0
    code, out, _ = drift(cli, outputs, place, "alarm=9")
    assert code == 0
    assert "Only in base: bm25+bi_encoder+k2." in out


def test_nothing_in_common_is_refused(outputs, place, refused):
    results = place / "new" / "results.json"
    found = json.loads(results.read_text(encoding="utf-8"))
    for system in found["systems"]:
        system["run"] = system["run"].replace("bm25", "other")
        system["system"] = system["system"].replace("bm25", "other")
    results.write_text(json.dumps(found), encoding="utf-8")
    line = refused("task=drift", f"base={place}/base", f"new={place}/new")
    assert re.search(r"no system is in both .*/base \(bm25, .*\) and .*/new \(other", line)


def test_what_is_no_output_folder_or_no_setting_is_refused(refused, outputs, place):
    given = ("task=drift", f"base={place}/base", f"new={place}/new")
    assert "not a finished output folder" in refused(*given[:2], f"new={place}")
    assert "bins=1" in refused(*given, "bins=1")
    assert "alarm=0" in refused(*given, "alarm=0")
    assert "new" in refused(*given[:2])
