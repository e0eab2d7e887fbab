"""task=probe: real systems, what it writes, what it refuses."""

from __future__ import annotations

import json
import re

import pytest


def probed(cli, small, place, *more):
    return cli(*small, "task=probe", f"hydra.run.dir={place}/probed", "sweep.depth=8", *more)


def test_what_is_written_and_shown(cli, small, place):
    code, out, err = probed(
        cli, small, place, "probes=[stuffing,casing]", "measures=[RR@10]", "n=1"
    )
    assert code == 0
    assert re.sub(r"\d+\.\d s", "T", err).splitlines() == [
        "INFO: probe 1 of 2, stuffing: 4 queries, T",
        "INFO: probe 2 of 2, casing: 4 queries, T",
    ]
    written = {path.name for path in (place / "probed").iterdir()}
    assert written == {"probe.md", "probe.json", "changed.jsonl"}
    found = json.loads((place / "probed" / "probe.json").read_text(encoding="utf-8"))
    stuffing, casing = found["probes"]
    (bm25,) = stuffing["systems"]
    assert bm25["measures"]["RR@10"]["loss"] > 0
    assert bm25["documents"]["top_after"] > bm25["documents"]["top_before"]
    assert casing["systems"][0]["documents"] is None
    lines = (place / "probed" / "changed.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == stuffing["queries"] + casing["queries"]
    assert json.loads(lines[-1])["after"] == json.loads(lines[-1])["before"].upper()
    for text in (out, (place / "probed" / "probe.md").read_text(encoding="utf-8")):
        assert "Stuffing: a document that is not relevant repeats the query" in text
        assert "CAT ON MAT" in text


def test_probes_without_anything_to_change_are_said(cli, small, place):
    code, out, _ = probed(cli, small, place, "probes=[numbers]")
    assert code == 0
    assert "Nothing to change for: numbers." in out


def test_a_dry_run_writes_nothing(cli, small, place):
    code, out, _ = probed(cli, small, place, "dry_run=true")
    assert code == 0
    assert "systems" in out
    assert not (place / "probed").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("probes=[typo]",), "Did you mean 'typos'?"),
        (("probes=[]",), "at least one probe"),
        (("n=0",), "n=0"),
    ],
)
def test_mistakes_are_one_line(cli, small, place, settings, words):
    code, _, err = probed(cli, small, place, *settings)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
