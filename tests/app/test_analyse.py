"""task=analyse: what it writes and shows, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SYSTEMS = ("retriever=[bm25]", "reranker=[none,bi_encoder]", "sweep.k=[4]", "measures=[nDCG@3,R@1]")


@pytest.fixture
def output(cli, small, place, tmp_path) -> Path:
    """A finished run of BM25, and of a reranker with random weights on it."""
    from tiny import save_bi_encoder

    model = save_bi_encoder(tmp_path / "model")
    code, _, err = cli(
        *small, *SYSTEMS, f"reranker.bi_encoder.model={model}", f"hydra.run.dir={place}/out"
    )
    assert (code, err) == (0, "")
    return place / "out"


def analysed(cli, output, collection, place, *more):
    return cli(
        "task=analyse", f"path={output}", "dataset=folder", f"dataset.path={collection.path}",
        f"hydra.run.dir={place}/found", *more,
    )  # fmt: skip


def test_what_is_written_and_shown(cli, output, collection, place):
    reranked = "bm25+bi_encoder+k4"
    code, out, err = analysed(cli, output, collection, place, f"system={reranked}")
    assert (code, err) == (0, "")
    written = {path.name for path in (place / "found").iterdir()}
    assert written == {"analysis.md", "analysis.json"}
    markdown = (place / "found" / "analysis.md").read_text(encoding="utf-8")
    for text in (out, markdown):
        for part in ("Largest losses of", "by relevant documents", "Holes", "Rank changes"):
            assert part in text
    found = json.loads((place / "found" / "analysis.json").read_text(encoding="utf-8"))
    assert (found["system"], found["baseline"], found["measure"]) == (reranked, "bm25", "nDCG@3")
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    means = {s["system"]: s["measures"]["nDCG@3"] for s in results["systems"]}
    assert {name: holes["none"] for name, holes in found["holes"].items()} == pytest.approx(means)
    values = [query["system"] for query in found["queries"].values()]
    assert sum(values) / len(values) == pytest.approx(means[reranked])
    (relevant,) = (each for each in found["buckets"] if each["name"] == "Relevant documents")
    assert [(row["label"], row["num_queries"]) for row in relevant["buckets"]] == [
        ("1", 3),
        ("2", 1),
    ]
    total = sum(row["difference"] * row["num_queries"] for row in relevant["buckets"])
    assert total / 4 == pytest.approx(means[reranked] - means["bm25"])


def test_system_baseline_and_measure_can_be_named(cli, output, collection, place):
    code, out, _ = analysed(
        cli, output, collection, place, "system=bm25", "baseline=bm25+bi_encoder+k4",
        "measure=Recall@1", "shown=1",
    )  # fmt: skip
    assert code == 0
    assert "gains of bm25 over bm25+bi_encoder+k4 in Recall@1" in out


def test_a_single_system_is_looked_at_alone(cli, small, collection, place):
    assert cli(*small, f"hydra.run.dir={place}/out").code == 0
    code, out, err = analysed(cli, place / "out", collection, place)
    assert (code, err) == (0, "")
    assert "Worst queries of bm25 in NDCG@10" in out
    assert "Rank changes" not in out
    found = json.loads((place / "found" / "analysis.json").read_text(encoding="utf-8"))
    assert (found["baseline"], found["moves"]) == (None, None)


def test_other_data_are_refused(cli, output, collection, place):
    collection.add(collection.corpus, '{"_id": "d13", "text": "one more"}')
    code, _, err = analysed(cli, output, collection, place)
    assert code == 2
    assert "was made of tiny/test" in err
    assert f"dataset.path={collection.path}" in err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("bins=1", "expected bins ≥ 2"),
        ("system=bm52", "Did you mean 'bm25'?"),
        ("measure=P@5", "it has nDCG@3, R@1"),
        ("hole_grade=0", "hole_grade=0 is not relevant"),
        ("difficulty=dense", "is no first stage"),
    ],
)
def test_mistakes_are_one_line(cli, output, collection, place, setting, words):
    code, _, err = analysed(cli, output, collection, place, setting)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
