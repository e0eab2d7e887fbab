"""task=compare: what it writes, how it ends, what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evalkit.datasets.folder import FolderDataset
from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.output import write_output
from evalkit.rerankers.none import NoReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.settings import BootstrapSettings, MeasureSettings, SweepSettings

QUERIES = 300


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run of BM25 over 300 queries of three words of a doc each."""
    root = tmp_path_factory.mktemp("gate")
    generator = np.random.default_rng(0)
    words = [f"w{i}" for i in range(60)]
    texts = [list(generator.choice(words, 8)) for _ in range(QUERIES)]
    rows = {
        "corpus.jsonl": [{"_id": f"d{i}", "text": " ".join(t)} for i, t in enumerate(texts)],
        "queries.jsonl": [
            {"_id": f"q{i}", "text": " ".join(generator.choice(t, 3))} for i, t in enumerate(texts)
        ],
    }
    for name, lines in rows.items():
        (root / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    (root / "qrels").mkdir()
    judged = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(QUERIES))]
    (root / "qrels" / "test.tsv").write_text("\n".join(judged) + "\n", encoding="utf-8")
    dataset = FolderDataset(root)
    results = Experiment(
        dataset,
        {"bm25": BM25Retriever(cache_dir=root / "cache")},
        {"none": NoReranker()},
        SweepSettings(depth=6),
        MeasureSettings(["nDCG@3", "P@1"]),
        BootstrapSettings(resamples=100),
    ).run()
    write_output(root / "out", results, dataset.queries, ExecutionLog())
    return root / "out"


@pytest.fixture
def outputs(finished, place) -> tuple[Path, Path]:
    """Two copies of it."""
    return tuple(shutil.copytree(finished, place / name) for name in ("base", "new"))


def lower(folder: Path, measure: str, by: float, share: float = 0.2) -> None:
    """Take values of a share of the queries away, so that the mean falls by `by`."""
    table = pq.read_table(folder / "per_query.parquet").to_pydict()
    rows = [i for i, name in enumerate(table["measure"]) if name == measure]
    values = np.array(table["value"])
    hit = [i for i in rows if values[i] > by / share][: int(share * len(rows))]
    assert len(hit) == int(share * len(rows))
    values[hit] -= by / share
    table["value"] = values
    pq.write_table(pa.table(table), folder / "per_query.parquet")


def edited(folder: Path, edit) -> None:
    path = folder / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def compared(cli, outputs, place, *more):
    base, new = outputs
    return cli("task=compare", f"base={base}", f"new={new}", f"hydra.run.dir={place}/gate", *more)


def content(place: Path) -> dict:
    return json.loads((place / "gate" / "compare.json").read_text(encoding="utf-8"))


def test_equal_outputs_pass(cli, outputs, place):
    code, out, err = compared(cli, outputs, place)
    assert (code, err) == (0, "")
    assert {path.name for path in (place / "gate").iterdir()} == {"compare.md", "compare.json"}
    found = content(place)
    assert [(c["measure"], c["verdict"]) for c in found["changes"]] == [
        ("nDCG@3", "holds"), ("P@1", ""),
    ]  # fmt: skip
    assert found["alarms"] == []
    markdown = (place / "gate" / "compare.md").read_text(encoding="utf-8")
    assert markdown.startswith("# evalkit: no regression shown\n")
    assert re.search(r"\| bm25 +\| NDCG@3 .*\| +0 / 300 / 0 \| holds", out)
    assert "over the 1 comparison" in out


def test_a_planted_fall_of_two_points_ends_with_exit_code_1(cli, outputs, place):
    lower(outputs[1], "nDCG@3", 0.02)
    code, out, err = compared(cli, outputs, place)
    assert code == 1
    assert re.fullmatch(
        r"evalkit: nDCG@3 of bm25 fell by 0\.0200 \(p=\S+\); see .*/gate/compare\.md\n", err
    )
    (change, _) = content(place)["changes"]
    assert change["difference"] == pytest.approx(-0.02)
    assert (change["wins"], change["losses"]) == (0, 60)
    assert "| worse" in out
    markdown = (place / "gate" / "compare.md").read_text(encoding="utf-8")
    assert markdown.startswith("# evalkit: worse than base\n\n- nDCG@3 of bm25 fell by 0.0200")
    assert re.search(r"- bm25, NDCG@3: q\d+ \(-0\.1000\)", markdown)
    assert compared(cli, outputs, place, "margin=0.03").code == 0
    # What is not gated may fall; the settings of significance are the gate's.
    assert compared(cli, outputs, place, "gate=[P@1]").code == 0
    assert compared(cli, outputs, place, "gate=[NDCG@3]").code == 1
    assert content(place)["gate"] == ["nDCG@3"]
    assert compared(cli, outputs, place, "significance.level=1e-30").code == 0


def test_latency_and_cost_rise(cli, outputs, place):
    for folder, p95, usd in zip(outputs, (100.0, 150.0), (0.2, 0.3), strict=True):
        stage = {"p95_ms": p95, "ci": {"p95_ms": [p95 - 5, p95 + 5]}}
        section = {
            "latency": {"systems": [{"system": "bm25", "stages": {"total": stage}}]},
            "cost": {"systems": [{"system": "bm25", "usd_per_1k": usd}]},
        }
        edited(folder, lambda c, s=section: c.update(efficiency=s))
    code, out, err = compared(cli, outputs, place)
    assert code == 1
    assert "p95 latency of bm25 rose from 100 to 150 ms" in err
    assert "cost of 1,000 queries of bm25 rose from 0.2 to 0.3 USD" in err
    assert "+50.0 %" in out
    code, _, err = compared(cli, outputs, place, "latency_margin=0.6", "cost_margin=0.6")
    assert (code, err) == (0, "")


def test_two_systems_of_different_names_are_compared(cli, outputs, place):
    def renamed(c):
        c["systems"][0].update(system="splade", retriever="splade", run="runs/splade.trec")

    edited(outputs[1], renamed)
    table = pq.read_table(outputs[1] / "per_query.parquet").to_pydict()
    table["system"] = ["splade"] * len(table["system"])
    pq.write_table(pa.table(table), outputs[1] / "per_query.parquet")
    (outputs[1] / "runs" / "bm25.trec").rename(outputs[1] / "runs" / "splade.trec")
    code, out, err = compared(cli, outputs, place, "base_system=bm25", "new_system=splade")
    assert (code, err) == (0, "")
    assert "bm25 → splade" in out


def test_what_does_not_compare_is_refused(cli, outputs, place, refused):
    given = ("task=compare", f"base={outputs[0]}", f"new={outputs[1]}")
    assert "margin=-1: expected 0 or more" in refused(*given, "margin=-1")
    assert "base_system=bm26: not in base (bm25)" in refused(*given, "base_system=bm26")
    assert "gate: 'R@7' is not measured" in refused(*given, "gate=[R@7]")
    assert "not a finished output folder" in refused(*given[:2], f"new={place}")
    assert "new has no value" in refused(*given[:2])
    edited(outputs[1], lambda c: c["dataset"].update(digest="other"))
    assert "allow_different_data=true" in refused(*given)
    code, out, _ = compared(cli, outputs, place, "allow_different_data=true")
    assert code == 0
    assert "Data differ: digest" in out


def test_baselines_are_checked_before_anything_runs(small, refused, cli, place):
    line = refused(*small, "significance.baselines=[bm52]")
    assert "significance.baselines: 'bm52' is no system of this experiment (bm25)." in line
    assert "significance.test" in refused(*small, "significance.test=wilcoxon")
