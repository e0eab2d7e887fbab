"""Why a document is on top: stages, exact term contributions, the relevant one that was missed."""

from __future__ import annotations

import json

import pytest

from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError
from evalkit.inspection.explanation import explain
from evalkit.inspection.subject import lexical_view
from evalkit.retrievers.bm25 import BM25Retriever

DOCS = {
    "d1": "running cats run from a dog",
    "d2": "the dog sleeps",
    "d3": "缓存失效时热点 key 会失效",
    "d4": "a cat, a run, <b>a markup</b>",
    "d5": "nothing of it",
}
QUERIES = {"q1": "cats that run, cats", "q2": "热点 key 失效"}
QRELS = [
    "q1 0 d1 1", "q1 0 d5 3", "q1 0 d2 3", "q1 0 gone 2", "q1 0 d4 0", "q2 0 d3 1", "q2 0 d1 0",
]  # fmt: skip


@pytest.fixture
def dataset(tmp_path) -> FolderDataset:
    folder = tmp_path / "collection"
    (folder / "qrels").mkdir(parents=True)
    for file, texts in (("corpus.jsonl", DOCS), ("queries.jsonl", QUERIES)):
        rows = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / file).write_text("\n".join(rows), encoding="utf-8")
    (folder / "qrels" / "test.trec").write_text("\n".join(QRELS), encoding="utf-8")
    return FolderDataset(folder)


@pytest.fixture
def explained(dataset, output, tmp_path):
    """`explained(query_id, docs)` of BM25's run, and of a reranker's on its first two."""
    bm25 = BM25Retriever(cache_dir=tmp_path / "cache")
    bm25.index(dataset)
    run = bm25.retrieve(dataset.queries, 10)
    first = {query_id: dict(run[query_id]) for query_id in run.query_ids}
    reranked = {
        "q1": {"d4": 9.0, "d1": 8.0, "d2": -1.0},
        "q2": dict.fromkeys(first["q2"], 1.0),
    }
    config = {
        "retriever": {
            "words": {"_target_": "evalkit.retrievers.bm25.BM25Retriever", "k1": 1.2, "b": 0.75}
        }
    }
    rankings = {("words", "none", None): first, ("words", "fake", 2): reranked}
    results = output(dataset, rankings, manifest={"config": config})
    lexical = lexical_view(results, dataset, str(tmp_path / "cache"))

    def call(query_id="q1", docs=2, system=1):
        return explain(results, dataset, lexical, query_id, results.systems[system], docs)

    return call


def test_contributions_sum_to_the_bm25_score(explained):
    for query_id in QUERIES:
        for doc in explained(query_id, 5).docs:
            at = doc.standings.get("words")
            expected = 0.0 if at is None or at.score is None else at.score
            assert doc.bm25_score == pytest.approx(expected, rel=1e-6)
            assert list(doc.terms.values()) == sorted(doc.terms.values(), reverse=True)
    assert set(explained().docs[1].terms) == {"cat", "run"}


def test_a_term_that_the_query_repeats_counts_as_often(dataset, tmp_path):
    bm25 = BM25Retriever(cache_dir=tmp_path / "cache")
    bm25.index(dataset)
    once, twice = (bm25.contributions(q, ["d1"])["d1"]["cat"] for q in ("cat", "cat cats"))
    assert twice == pytest.approx(2 * once)
    assert bm25.contributions("zebra", ["d1", "unknown"]) == {"d1": {}, "unknown": {}}


def test_ranks_and_scores_of_each_stage(explained):
    found = explained()
    assert found.stages == ("words", "words+fake+k2")
    d4, d1, _ = found.docs
    assert (d4.doc_id, d4.standings["words+fake+k2"].rank) == ("d4", 1)
    assert (d1.standings["words+fake+k2"].rank, d1.standings["words+fake+k2"].score) == (2, 8.0)
    assert (d4.grade, d4.is_relevant) == (0, False)
    assert d1.is_relevant
    assert not d4.is_missed


def test_the_best_missed_document_has_the_highest_grade_then_rank(explained):
    found = explained()
    missed = found.docs[-1]
    # d2 and d5 have grade 3; d2 is ranked third, d5 nowhere.
    assert (missed.doc_id, missed.grade, missed.is_missed) == ("d2", 3, True)
    # Below the two documents that the reranker saw, a run file's score is made up.
    assert missed.standings["words+fake+k2"].rank == 3
    assert missed.standings["words+fake+k2"].score is None
    assert (found.num_relevant, found.num_missed) == (4, 3)


def test_nothing_is_missed_where_all_is_on_top(explained):
    found = explained("q2", 5, system=0)
    assert found.num_missed == 0
    assert not any(doc.is_missed for doc in found.docs)


def test_highlights_are_stemmed_and_chinese(explained):
    _, d1, _ = explained().docs
    assert [d1.text[s.start : s.end] for s in d1.spans] == ["running", "cats", "run"]
    d3 = explained("q2").docs[0]
    assert [d3.text[s.start : s.end] for s in d3.spans] == ["失效", "热点", "key", "失效"]
    query = explained().query
    words = [query.text[s.start : s.end] for s in explained().query_spans]
    assert words == ["cats", "run", "cats"]
    assert explained().query_terms == {"cat": "cats", "run": "run"}


def test_a_judged_document_that_the_corpus_lacks_has_no_text(explained):
    found = explained("q1", 5)
    missed = found.docs[-1]
    assert missed.doc_id == "d5"
    shown = {doc.doc_id: doc.text for doc in found.docs}
    assert "gone" not in shown


def test_an_unknown_query_is_refused(explained):
    with pytest.raises(ConfigError, match=r"query_id=q3 is no judged query of .* Did you mean 'q"):
        explained("q3")
