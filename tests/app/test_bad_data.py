"""Broken collections and run files: file and line where they stop a run, else a count."""

from __future__ import annotations

import json

import pytest

SPOILED = {
    "corpus line that is not JSON": ("corpus", '{"_id": "d13", "text"', "line 13: not JSON"),
    "corpus line that is a list": ("corpus", '["d13"]', "line 13: a list, expected an object"),
    "doc without an id": ("corpus", '{"text": "x"}', 'line 13: no "_id"'),
    "doc without a text": ("corpus", '{"_id": "d13"}', 'line 13: no "text"'),
    "doc id twice": ("corpus", '{"_id": "d1", "text": "x"}', "line 13: doc id 'd1' a second time"),
    "id with a space": ("corpus", '{"_id": "d 13", "text": "x"}', "line 13: id 'd 13' holds white"),
    "query id twice": ("queries", '{"_id": "q1", "text": "x"}', "line 5: query id 'q1' a second"),
    "empty query": (
        "queries",
        '{"_id": "q5", "text": " "}',
        "line 5: query 'q5' has an empty text",
    ),
    "query line that is not JSON": ("queries", "q5 text", "line 5: not JSON"),
    "qrels line with four columns": ("qrels", "q1\td2\t1\t1", "line 7: 4 columns, expected 3"),
    "qrels line with spaces": (
        "qrels",
        "q1 d2 1",
        "line 7: 1 columns, expected 3 (query-id<TAB>corpus-id<TAB>score); separate them by tabs",
    ),
    "grade that is a word": ("qrels", "q1\td2\tyes", "line 7: relevance 'yes' is not a whole"),
    "pair judged twice": ("qrels", "q1\td1\t0", "line 7: query 'q1', doc 'd1' is judged twice"),
}


@pytest.mark.parametrize(("file", "line", "said"), SPOILED.values(), ids=SPOILED)
def test_a_broken_line_is_named(refused, small, collection, file, line, said):
    path = getattr(collection, file)
    collection.add(path, line)
    assert f"{path}, {said}" in refused(*small)


def test_files_that_are_missing_or_empty_are_named(refused, small, collection):
    header = "query-id\tcorpus-id\tscore\n"
    for content in (header, "", "\n\n"):
        collection.qrels.write_text(content, encoding="utf-8")
        assert f"{collection.qrels}: no judgements" in refused(*small)
    collection.qrels.unlink()
    assert "no qrels/test.tsv; no split is here" in refused(*small)
    collection.qrels.write_text(header + "other\td1\t1\n", encoding="utf-8")
    assert "none of the 1 judged queries (e.g. 'other')" in refused(*small)
    collection.corpus.unlink()
    assert "no corpus.jsonl" in refused(*small)


def test_a_corpus_without_a_word_in_it_is_refused(refused, small, collection):
    collection.corpus.write_text('{"_id": "d1", "text": "..."}\n', encoding="utf-8")
    collection.qrels.write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n", encoding="utf-8")
    assert "no document has an index term" in refused(*small, "sweep.k=[1]", "sweep.n=[]")


@pytest.fixture
def measured(cli, small, place):
    """Runs a command that must succeed; what it said on stderr, and results.json."""

    def run(*arguments):
        code, _, err = cli(*small, f"hydra.run.dir={place}/out", *arguments)
        assert code == 0, err
        assert "Traceback" not in err
        return err, json.loads((place / "out" / "results.json").read_text(encoding="utf-8"))

    return run


def test_a_clean_run_says_nothing_on_stderr(measured):
    err, results = measured()
    assert err == ""
    assert results["systems"][0]["measures"]["RR@10"] == 1.0


def test_judged_docs_that_the_corpus_lacks_are_counted(measured, collection):
    collection.add(collection.qrels, "q1\tgone1\t1\nq1\tgone2\t1")
    err, results = measured()
    assert "WARNING: qrels name 2 docs not in the corpus (e.g. 'gone1')" in err
    assert results["systems"][0]["measures"]["R@2"] < 1.0
    assert any("2 docs not in the corpus" in line for line in results["manifest"]["warnings"])


def test_judged_queries_that_do_not_exist_are_counted_and_dropped(measured, collection):
    collection.add(collection.qrels, "gone\td1\t1\ngone\td2\t1")
    err, results = measured()
    assert "WARNING: qrels name 1 query not among the collection's queries (e.g. 'gone')" in err
    assert "2 judgements are dropped" in err
    assert results["dataset"]["num_queries"] == 4
    assert results["systems"][0]["measures"]["RR@10"] == 1.0


def test_empty_docs_are_counted_and_kept(measured, collection):
    collection.add(collection.corpus, '{"_id": "d13", "title": "", "text": " "}')
    err, results = measured()
    assert "WARNING: 1 doc with neither title nor text (e.g. 'd13')" in err
    assert results["dataset"]["num_docs"] == 13


def test_a_query_without_results_counts_zero(measured, collection):
    collection.add(collection.queries, '{"_id": "q5", "text": "zebra crossing"}')
    collection.add(collection.qrels, "q5\td1\t1")
    err, results = measured()
    assert "WARNING: bm25 finds nothing for 1 quer" in err
    assert "count" in err
    assert results["systems"][0]["num_queries"] == 5
    assert results["systems"][0]["measures"]["RR@10"] == pytest.approx(4 / 5)


BROKEN_RUNS = {
    "five columns": ("q1 Q0 d2 2 0.5", "line 2: 5 columns, expected 6"),
    "score that is a word": ("q1 Q0 d2 2 high run", "line 2: score 'high' is not a number"),
    "NaN": ("q1 Q0 d2 2 nan run", "line 2: score 'nan' is not a finite"),
    "doc twice": ("q1 Q0 d1 2 0.5 run", "line 2: doc 'd1' a second time for query 'q1'"),
}


@pytest.mark.parametrize(("line", "said"), BROKEN_RUNS.values(), ids=BROKEN_RUNS)
def test_a_broken_run_file_is_named_with_its_line(refused, small, place, line, said):
    file = place / "a.trec"
    file.write_text(f"q1 Q0 d1 1 0.9 run\n{line}\n", encoding="utf-8")
    runs = ("retriever=[run_file]", f"retriever.run_file.paths=[{file}]")
    assert f"{file}, {said}" in refused(*small, *runs)


def test_a_run_for_other_queries_is_refused_and_one_for_more_is_cut(
    measured, refused, place, small
):
    file = place / "a.trec"
    runs = ("retriever=[run_file]", f"retriever.run_file.paths=[{file}]")
    file.write_text("other Q0 d1 1 0.9 run\n", encoding="utf-8")
    assert "none of its 1 queries (e.g. 'other') is judged" in refused(*small, *runs)
    file.write_text("other Q0 d1 1 0.9 run\nq1 Q0 d1 1 0.9 run\n", encoding="utf-8")
    err, results = measured(*runs)
    assert "1 queries without qrels are left out" in err
    assert "no results for 3 of 4 judged queries" in err
    assert results["systems"][0]["measures"]["RR@10"] == pytest.approx(1 / 4)


def test_a_model_that_scores_nan_stops_the_run(refused, small, tmp_path, tiny_model):
    model = tiny_model("nan", nan=True)
    arguments = ("reranker=[none,cross_encoder]", f"reranker.cross_encoder.model={model}")
    line = refused(*small, *arguments, f"cache_dir={tmp_path}/cache")
    assert "scored NaN for 8 of 8 pairs" in line
    assert "dtype=float32" in line
