"""The wheel: the config and the sample are in it, and the command runs from it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = (
    "evalkit/conf/config.yaml",
    "evalkit/conf/retriever/bm25.yaml",
    "evalkit/conf/dataset/beir_scifact.yaml",
    "evalkit/experiments/scifact.yaml",
    "evalkit/datasets/sample_data/corpus.jsonl",
    "evalkit/datasets/sample_data/queries.jsonl",
    "evalkit/datasets/sample_data/qrels.tsv",
    "evalkit/shipped_models/minilm_squad/adapter_model.safetensors",
    "evalkit/shipped_models/minilm_squad/README.md",
    "evalkit/report/page.css",
    "evalkit/report/sort.js",
    "evalkit/report/explorer.js",
    "evalkit/report/explorer_details.js",
)


@pytest.mark.slow
def test_the_wheel_holds_its_data_and_runs(tmp_path: Path):
    pytest.importorskip("hatchling", reason="NOT CHECKED: building a wheel needs hatchling")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*build, "-w", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("evalkit-*.whl")
    unpacked = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(unpacked)
    assert names >= set(DATA)
    assert not [n for n in names if n.startswith(("tests/", "conf/")) or "__pycache__" in n]
    in_checkout = {str(p.relative_to(ROOT / "conf")) for p in (ROOT / "conf").rglob("*.yaml")}
    assert {f"evalkit/conf/{name}" for name in in_checkout} <= names

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def evalkit(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "evalkit", *arguments],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": str(unpacked)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [sys.executable, "-c", "import evalkit; print(evalkit.__file__)"]
    env = {**os.environ, "PYTHONPATH": str(unpacked)}
    found = subprocess.run(where, cwd=elsewhere, env=env, capture_output=True, text=True).stdout
    assert found.startswith(str(unpacked))
    assert "k1: 1.2" in evalkit("--cfg", "job")
    assert "name: scifact" in evalkit("+experiment=scifact", "--cfg", "job")
    assert "\n  k_sweep " in evalkit("--help").split("+experiment=NAME")[1]
    assert list(elsewhere.iterdir()) == []
    out = evalkit("retriever=[bm25]", "reranker=[none]", "tracking=off", "hydra.run.dir=out")
    assert "| bm25" in out
    assert (elsewhere / "out" / "results.json").is_file()
