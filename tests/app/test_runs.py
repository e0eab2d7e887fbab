"""Runs that succeed: what they write and where, and what a dry run does not write."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

CONTRACT = {
    "results.json", "per_query.parquet", "execution.json", "table.md", "table.tex", "report.html",
    "queries.jsonl", "qrels.txt", "runs", "plots", "tables",
}  # fmt: skip


def read(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_the_folder_holds_the_output_contract_and_nothing_else(cli, small, place):
    code, out, err = cli(*small, "plots=true", f"hydra.run.dir={place}/out")
    assert (code, err) == (0, "")
    assert {path.name for path in (place / "out").iterdir()} == CONTRACT
    assert {path.name for path in (place / "out" / "runs").iterdir()} == {"bm25.trec"}
    assert f"Results: {place}/out" in out
    assert "| bm25" in out


def test_plots_may_wait_for_task_report(cli, small, place):
    there = [
        "tracking=mlflow",
        f"tracking.uri=sqlite:///{place}/ml.db",
        f"hydra.run.dir={place}/out",
    ]
    code, _, err = cli(*small, *there)
    assert (code, err) == (0, "")
    assert {path.name for path in (place / "out").iterdir()} == CONTRACT - {"plots"}
    assert "<img" not in (place / "out" / "report.html").read_text(encoding="utf-8")
    assert cli("task=report", f"path={place}/out").code == 0
    assert any((place / "out" / "plots").glob("*.svg"))
    assert "<img" in (place / "out" / "report.html").read_text(encoding="utf-8")


def test_groups_of_several_take_one_name_without_brackets(cli, small, place):
    code, _, err = cli(*small, "retriever=bm25", "reranker=none", f"hydra.run.dir={place}/out")
    assert (code, err) == (0, "")


def test_a_number_is_taken_where_a_text_is_expected(cli, small, collection, place):
    (collection.path / "qrels" / "test.tsv").rename(collection.path / "qrels" / "2019.tsv")
    code, _, err = cli(*small, "dataset.split=2019", "name=7", f"hydra.run.dir={place}/out")
    assert (code, err) == (0, "")
    assert read(place / "out")["dataset"]["dataset_id"] == "tiny/2019"


def test_names_beyond_ascii_need_no_quotes(cli, small, collection, place):
    collection.path.rename(place / "我的 语料")
    code, _, err = cli(*small, "dataset.path=我的 语料", "name=größe", "hydra.run.dir=结果")
    assert (code, err) == (0, "")
    assert read(place / "结果")["dataset"]["dataset_id"] == "我的 语料/test"


def test_two_runs_in_one_second_have_two_folders(cli, small, place):
    assert cli(*small, "name=twins").code == 0
    assert cli(*small, "name=twins").code == 0
    folders = list((place / "outputs" / "twins").iterdir())
    assert len(folders) == 2
    assert all((folder / "results.json").is_file() for folder in folders)


def test_a_second_run_in_a_folder_replaces_the_first(cli, small, place, everything_in):
    there = ("plots=true", f"hydra.run.dir={place}/out")
    assert cli(*small, *there, "retriever=[bm25]", "sweep.n=[1,2]").code == 0
    first = everything_in(place / "out")
    run_file = place / "published.trec"
    run_file.write_bytes(first["runs/bm25.trec"])
    other = ("retriever=[run_file]", f"retriever.run_file.paths=[{run_file}]", "sweep.n=[]")
    assert cli(*small, *there, *other).code == 0
    second = everything_in(place / "out")
    assert "runs/bm25.trec" in first
    assert [name for name in second if name.startswith("runs/")] == ["runs/published.trec"]
    assert [s["system"] for s in read(place / "out")["systems"]] == ["published"]
    assert b"bm25" not in second["table.md"]
    assert {name for name in first if name.endswith("over_n.png")}
    assert not {name for name in second if name.endswith("over_n.png")}


def test_a_run_that_is_repeated_writes_the_same_numbers(cli, small, place, everything_in):
    assert cli(*small, f"hydra.run.dir={place}/a").code == 0
    assert cli(*small, f"hydra.run.dir={place}/b").code == 0
    first, second = read(place / "a"), read(place / "b")
    assert first["systems"] == second["systems"]
    assert everything_in(place / "a" / "runs") == everything_in(place / "b" / "runs")


@pytest.mark.parametrize("early", [True, False], ids=["-m first", "-m in between"])
def test_a_multirun_writes_a_folder_per_job(cli, small, place, early):
    swept = ("retriever.bm25.k1=0.9,1.2", f"hydra.sweep.dir={place}/many")
    arguments = ("-m", *small, *swept) if early else (*small, "-m", *swept)
    assert cli(*arguments).code == 0
    for job, k1 in (("0", 0.9), ("1", 1.2)):
        folder = place / "many" / job
        assert {path.name for path in folder.iterdir()} == CONTRACT - {"plots"}
        assert read(folder)["manifest"]["config"]["retriever"]["bm25"]["k1"] == k1


def test_a_dry_run_says_what_would_happen_and_writes_nothing(
    cli, small, place, tmp_path, tiny_model, everything_in
):
    arguments = (
        *small, "sweep.k=[1,3]", "sweep.n=[5]", "reranker=[none,cross_encoder]",
        f"reranker.cross_encoder.model={tiny_model('ce')}", f"cache_dir={tmp_path}/cache",
    )  # fmt: skip
    before = everything_in(tmp_path)
    code, out, err = cli(*arguments, "dry_run=true")
    assert (code, err) == (0, "")
    assert everything_in(tmp_path) == before
    # One retriever, uncut and N=5: two cells without a reranker, four with K = 1 and 3.
    assert "6 systems, 4 queries, 12 docs a query" in out
    assert "retriever bm25: index to build" in out
    assert "reranker cross_encoder: at most 12 pairs" in out

    assert cli(*arguments, "sweep.k=[1]").code == 0
    before = everything_in(tmp_path)
    code, out, err = cli(*arguments, "dry_run=true")
    assert (code, err) == (0, "")
    assert everything_in(tmp_path) == before
    assert "retriever bm25: index cached" in out
    pairs, fresh = map(int, re.search(r"cross_encoder: (\d+) pairs \((\d+) to score", out).groups())
    assert 4 < pairs <= 12
    assert fresh == pairs - 4


def test_a_dry_run_of_a_query_without_results_warns_and_writes_nothing(
    cli, small, collection, place, everything_in
):
    collection.add(collection.queries, '{"_id": "q5", "text": "zebra crossing"}')
    collection.add(collection.qrels, "q5\td1\t1")
    assert cli(*small, f"hydra.run.dir={place}/out").code == 0
    before = everything_in(place)
    code, _, err = cli(*small, "dry_run=true")
    assert code == 0
    assert "bm25 finds nothing for 1 quer" in err
    assert "Traceback" not in err
    assert everything_in(place) == before


def test_other_libraries_are_heard_only_when_they_warn(cli, small):
    assert cli(*small, "dry_run=true").code == 0
    assert not logging.getLogger("torch").isEnabledFor(logging.INFO)
    assert logging.getLogger("torch").isEnabledFor(logging.WARNING)
    assert logging.getLogger("evalkit.retrievers").isEnabledFor(logging.INFO)


def test_the_settings_can_be_shown(cli, small, place, everything_in):
    before = everything_in(place)
    code, out, err = cli(*small, "retriever.bm25.k1=0.7", "--cfg", "job")
    assert (code, err) == (0, "")
    assert "k1: 0.7" in out
    assert everything_in(place) == before


def test_the_command_works_from_any_folder(cli, small, tmp_path, place, monkeypatch):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, _, err = cli(*small, "dataset.path=../place/tiny", "hydra.run.dir=out")
    assert (code, err) == (0, "")
    assert {path.name for path in (elsewhere / "out").iterdir()} == CONTRACT - {"plots"}
    assert [path.name for path in place.iterdir()] == ["tiny"]


def test_a_mistake_leaves_the_folders_that_the_user_made(cli, small, place):
    (place / "keep" / "results").mkdir(parents=True)
    code, _, _ = cli(
        *small, "sweep.k=[0]", "reranker=[none]", f"hydra.run.dir={place}/keep/results/x"
    )
    assert code == 2
    assert (place / "keep" / "results").is_dir()
    assert not (place / "keep" / "results" / "x").exists()


def test_results_that_could_not_all_be_written_are_marked(cli, small, place):
    there = ("plots=true", f"hydra.run.dir={place}/out")
    assert cli(*small, *there).code == 0
    for picture in (place / "out" / "plots").iterdir():
        picture.unlink()
    (place / "out" / "plots").rmdir()
    (place / "out" / "plots").write_text("in the way")
    code, _, err = cli(*small, *there)
    assert code == 2
    assert "plots" in err
    assert (place / "out" / "INCOMPLETE").is_file()
