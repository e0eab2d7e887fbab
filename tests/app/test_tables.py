"""task=tables: what it writes, of one output and of several, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from evalkit.report.presets import PRESETS

MEASURES = "measures=[nDCG@3,R@2,R@6,RR@10,P@5]"


@pytest.fixture
def output(cli, small, place, tmp_path) -> Path:
    """A finished run with latency, whose settings choose two tables."""
    from tiny import save_bi_encoder

    model = save_bi_encoder(tmp_path / "model")
    code, _, err = cli(
        *small, "reranker=[none,bi_encoder]", f"reranker.bi_encoder.model={model}", MEASURES,
        "sweep.k=[2,4]", "sweep.n=[1]", "sweep.depth=6", "latency=on", "latency.queries=3",
        "latency.repeats=2", "latency.resamples=100", "tables=[ablation,first_second_stage]",
        f"hydra.run.dir={place}/out",
    )  # fmt: skip
    assert code == 0, err
    return place / "out"


def csvs(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "tables").iterdir()}


def test_a_run_shows_the_tables_that_its_settings_choose(output):
    assert csvs(output) == {"ablation", "first_second_stage"}
    markdown = (output / "table.md").read_text(encoding="utf-8")
    assert markdown.startswith("Ablation: one part of the best system changed at a time. ")
    assert "First and second stage." in markdown


def test_other_tables_of_a_finished_output(cli, output, place, everything_in):
    before = everything_in(output)
    code, out, err = cli("task=tables", f"path={output}", "tables=[grid,k_latency,per_dataset]")
    assert code == 0
    assert err.startswith("WARNING: per_dataset: needs outputs of several datasets")
    assert csvs(output) == {"grid", "k_latency"}
    markdown = (output / "table.md").read_text(encoding="utf-8")
    assert "First and second stage." not in markdown
    assert "Total p50 (ms)" in out
    assert "Total p50 (ms)" in markdown
    after = everything_in(output)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {Path(name).parts[0] for name in changed} == {"table.md", "table.tex", "tables"}
    assert not (place / "outputs").exists()


def test_the_same_tables_again_are_the_same_files(cli, output, everything_in):
    before = everything_in(output)
    given = "tables=[ablation,first_second_stage]"
    assert cli("task=tables", f"path={output}", given).code == 0
    assert everything_in(output) == before


def test_several_outputs_in_one_table_beside_neither(cli, output, small, place, collection):
    other = place / "other"
    shutil.copytree(collection.path, other)
    text = (other / "queries.jsonl").read_text(encoding="utf-8").replace("deep sea fish", "sea")
    (other / "queries.jsonl").write_text(text, encoding="utf-8")
    changed = [part for part in small if not part.startswith("dataset.path")]
    args = (*changed, f"dataset.path={other}", MEASURES, f"hydra.run.dir={place}/out2")
    assert cli(*args).code == 0
    code, out, _ = cli(
        "task=tables", f"path=[{output},{place}/out2]", "tables=[per_dataset]",
        f"hydra.run.dir={place}/joint",
    )  # fmt: skip
    assert code == 0
    header = (place / "joint/tables/per_dataset.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "Retriever,Reranker,K,tiny,other,Average"
    assert "NDCG@3 by dataset. Queries: tiny 4, other 4." in out
    assert csvs(output) == {"ablation", "first_second_stage"}


def test_what_cannot_be_made_or_is_unknown_is_refused(cli, small, place, refused):
    assert cli(*small, f"hydra.run.dir={place}/plain").code == 0
    path = f"path={place}/plain"
    line = refused("task=tables", path, "tables=[k_latency]")
    assert (
        "no table can be made. k_latency: no latency was measured; run it with latency=on" in line
    )
    assert "Did you mean 'ablation'" in refused("task=tables", path, "tables=[ablations]")
    assert "Did you mean 'grid'" in refused(*small, "tables=[gird]", "dry_run=true")
    assert "not a finished output folder" in refused("task=tables", f"path={place}")
    assert "path" in refused("task=tables")


def test_every_table_of_a_real_output_compiles(cli, output, tmp_path):
    needed = ("booktabs.sty", "rotating.sty")
    if shutil.which("pdflatex") is None or any(
        subprocess.run(["kpsewhich", file], capture_output=True).returncode for file in needed
    ):
        pytest.skip("needs pdflatex with booktabs and rotating")
    names = ",".join(PRESETS)
    assert cli("task=tables", f"path={output}", f"tables=[{names}]").code == 0
    made = csvs(output)
    assert made >= PRESETS.keys() - {"per_dataset", "break_even", "prices", "energy", "vectors"}
    text = (output / "table.tex").read_text(encoding="utf-8")
    assert "may not know" not in text  # no sign that only other engines have
    (tmp_path / "paper.tex").write_text(
        "\\documentclass[10pt,twocolumn]{article}\n"
        "\\usepackage{array,booktabs,graphicx,rotating}\n"
        "\\usepackage[margin=1in]{geometry}\n"
        f"\\begin{{document}}{text}\\end{{document}}\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:]
    assert "Overfull" not in done.stdout
    assert "Float too large" not in done.stdout
