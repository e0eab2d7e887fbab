"""Published runs as first stages: what is read, what is left out, and what the user is told."""

from __future__ import annotations

import logging

import pytest

from evalkit.errors import ConfigError, DataError
from evalkit.retrievers.run_file import RunFileRetriever, RunFiles
from evalkit.types import Query

LINES = [
    "q2 Q0 d1 1 0.5 tag",
    "q2 Q0 d2 2 0.5 tag",
    "q1 Q0 d3 1 9.0 tag",
    "q1 Q0 d1 2 8.0 tag",
    "q1 Q0 d2 3 7.0 tag",
    "unjudged Q0 d1 1 1.0 tag",
]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "system.trec"
    file.write_text("\n".join(LINES))
    return file


@pytest.fixture
def dataset(collection):
    return collection({"d1": "text"}, {"q1": "one", "missing": "nowhere", "q2": "two"})


def test_the_rankings_are_the_files(path, dataset):
    retriever = RunFileRetriever(path)
    assert retriever.is_cached(dataset)
    retriever.index(dataset)
    run = retriever.retrieve(dataset.queries, 10)
    # In the dataset's order; ties by doc id; the unjudged query gone, the missing one empty.
    assert dict(run) == {"q1": ["d3", "d1", "d2"], "missing": [], "q2": ["d2", "d1"]}
    assert run["q1"][0] == ("d3", 9.0)
    assert dict(retriever.retrieve([Query("q2", "")], 1)) == {"q2": ["d2"]}


@pytest.mark.parametrize(("depth", "k", "found"), [(None, 2, 2), (1, 2, 1), (3, 2, 2), (2, 9, 2)])
def test_depth(path, dataset, depth, k, found):
    run = RunFileRetriever(path, depth).retrieve(dataset.queries, k)
    assert len(run["q1"]) == found


@pytest.mark.parametrize(
    ("queries", "told"),
    [
        (
            ["q1", "missing", "q2"],
            {
                "INFO": "1 queries without qrels are left out",
                "WARNING": "no results for 1 of 3 judged queries; they count 0",
            },
        ),
        (["q1"], {"INFO": "2 queries without qrels are left out"}),
        (
            ["q1", "q2", "unjudged", "m1", "m2"],
            {"WARNING": "no results for 2 of 5 judged queries; they count 0"},
        ),
        (["q1", "q2", "unjudged"], {}),
    ],
)
def test_missing_and_unjudged_queries_are_counted(path, collection, caplog, queries, told):
    dataset = collection({"d1": "text"}, dict.fromkeys(queries, "text"))
    with caplog.at_level(logging.INFO):
        RunFileRetriever(path).index(dataset)
    found = {r.levelname: r.getMessage() for r in caplog.records if r.name.startswith("evalkit")}
    assert found == {level: f"{path}: {text}" for level, text in told.items()}


def test_a_run_of_other_queries(path, collection):
    with pytest.raises(DataError, match=r"none of its 3 queries \(e\.g\. 'q2'\) is judged in"):
        RunFileRetriever(path).index(collection({"d1": "text"}, {"q9": "another"}))


def test_a_broken_line_is_named(path, dataset):
    path.write_text("\n".join([*LINES, "q3 Q0 d1 1 tag"]))
    with pytest.raises(DataError) as caught:
        RunFileRetriever(path).index(dataset)
    assert str(caught.value).startswith(f"{path}, line 7: 5 columns, expected 6")


def test_a_file_that_is_not_there(tmp_path, dataset):
    retriever = RunFileRetriever(tmp_path / "no.trec")
    with pytest.raises(DataError, match=r"no\.trec: cannot be read"):
        retriever.index(dataset)
    with pytest.raises(DataError, match=r"no\.trec: cannot be read"):
        retriever.fingerprint  # noqa: B018


def test_the_fingerprint_is_of_the_content_and_the_depth(path, tmp_path):
    copy = tmp_path / "copy.trec"
    copy.write_bytes(path.read_bytes())
    assert RunFileRetriever(path).fingerprint == RunFileRetriever(copy).fingerprint
    assert RunFileRetriever(path).fingerprint != RunFileRetriever(path, 5).fingerprint
    copy.write_text("\n".join(LINES[:-1]))
    assert RunFileRetriever(path).fingerprint != RunFileRetriever(copy).fingerprint


def test_run_files_are_named_by_their_stem():
    paths = ["runs/bm25.trec", "splade-pp.v2.run.gz", "x/dense.txt", "plain"]
    assert list(RunFiles(paths).retrievers) == ["bm25", "splade-pp.v2", "dense", "plain"]
    assert list(RunFiles("one.trec").retrievers) == ["one"]
    assert RunFiles(["a.trec"], depth=7).retrievers["a"].depth == 7


def test_mistakes_in_the_settings():
    with pytest.raises(ConfigError, match=r"retriever\.run_file\.paths is empty"):
        RunFiles([])
    with pytest.raises(ConfigError, match="two files are named 'bm25'"):
        RunFiles(["a/bm25.trec", "b/bm25.run"])
    with pytest.raises(ConfigError, match="white space in its name"):
        RunFiles(["a/my run.trec"])
    with pytest.raises(ConfigError, match="depth=0"):
        RunFileRetriever("a.trec", depth=0)


def test_queries_of_another_split_are_an_error_not_an_empty_ranking(tmp_path):
    path = tmp_path / "bm25.trec"
    path.write_text("q1 Q0 d1 1 2.0 x\n", encoding="utf-8")
    retriever = RunFileRetriever(path)
    assert len(retriever.retrieve([Query("q1", "a"), Query("t1", "b")], 5)) == 1
    with pytest.raises(DataError, match=r"none of the 1 queries asked for \(e\.g\. 't1'\)"):
        retriever.retrieve([Query("t1", "b")], 5)
