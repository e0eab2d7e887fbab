"""From docs to a judged collection: what is kept, what is dropped, what the folder holds."""

from __future__ import annotations

import json

import pytest
from oracle import oracle
from tiny import OracleModel

from evalkit.datasets.folder import FolderDataset
from evalkit.datasets.unjudged import UnjudgedCorpus
from evalkit.errors import ConfigError, DataError, OutputError
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.synthesis.cost import costs
from evalkit.synthesis.judge import Judge
from evalkit.synthesis.making import Synthesis
from evalkit.synthesis.output import new_folder, write_corpus, write_judged
from evalkit.synthesis.queries import QueryWriter
from evalkit.synthesis.source import read_source, sampled


@pytest.fixture
def prepared(docs_folder, tmp_path):
    source = read_source(docs_folder(), passage_words=200)
    folder = tmp_path / "staged"
    corpus = UnjudgedCorpus(write_corpus(folder, source.docs()), source.name)
    return source, corpus, sampled(source, None, 0, 5, 300)


def synthesis(tmp_path, rule=oracle, **settings):
    llm = OracleModel(rule)
    given = {"retrievers": {"bm25": BM25Retriever(cache_dir=tmp_path)}, "keep_rank": 2, "depth": 3}
    writer = QueryWriter(["question"], "auto", 64, 300)
    return Synthesis(llm, writer, Judge(llm), **(given | settings))


def test_the_story(prepared, tmp_path):
    _, corpus, sample = prepared
    assert (sample.num_docs, sample.too_short, len(sample.docs)) == (6, 1, 5)
    maker = synthesis(tmp_path)
    made = maker.make(corpus, sample.docs)
    asked = {draft.doc.doc_id: draft.text for draft in made.drafts}
    assert asked == {
        "guide/merge.md": "when is a shard merged with its neighbour",
        "guide/cache.md": "how long does the cache keep answers",
        "缓存.md": "缓存条目什么时候失效",
    }
    assert made.about["dropped"] == {"refers_to_doc": 1, "empty": 1}
    grades = {(q.query_id, q.doc_id): q.relevance for q in made.qrels}
    own = {d.query_id: grades[d.query_id, d.doc.doc_id] for d in made.drafts}
    assert min(own.values()) >= 2
    assert made.about["pairs"] == made.about["judgements"] + made.about["malformed"]
    assert not any(doc_id == "limits.txt" for _, doc_id in grades)  # the judge is unsure there
    assert sum(made.about["grades"].values()) == len(made.qrels)
    assert made.about["own_doc_found"] == {"bm25": {"top_1": 1.0, "top_10": 1.0}}
    # What was said to cost at most is no less than what it cost.
    writing, judging = costs(maker, sample)
    assert writing.requests == 5
    assert made.about["pairs"] <= judging.requests == 5 * 4
    assert maker.llm.work["requests"] <= writing.requests + judging.requests


def test_a_query_whose_doc_no_retriever_finds_is_dropped_unless_all_are_kept(prepared, tmp_path):
    _, corpus, sample = prepared

    def rule(text):
        hidden = "Document: Merging" in text
        return "zebras and giraffes" if hidden else oracle(text)

    dropped = synthesis(tmp_path, rule).make(corpus, sample.docs).about["dropped"]
    assert dropped == {"refers_to_doc": 1, "empty": 1, "own_doc_not_found": 1}
    kept = synthesis(tmp_path, rule, keep_rank=None).make(corpus, sample.docs).about
    assert kept["dropped"] == {"refers_to_doc": 1, "empty": 1, "own_doc_no_answer": 1}
    kept = synthesis(tmp_path, rule, keep_rank=None, least_source_grade=0)
    made = kept.make(corpus, sample.docs)
    # The doc that a query was written for is judged even where no retriever found it.
    assert ("zebras and giraffes", 0) in {
        (d.text, q.relevance)
        for d in made.drafts
        for q in made.qrels
        if (q.query_id, q.doc_id) == (d.query_id, d.doc.doc_id)
    }


def test_found_by_any_of_the_retrievers_is_found(prepared, tmp_path):
    _, corpus, sample = prepared

    class Blind(BM25Retriever):
        def retrieve(self, queries, k):
            return super().retrieve([q._replace(text="zebra") for q in queries], k)

    blind = Blind(cache_dir=tmp_path)
    with pytest.raises(DataError, match=r"no query is left of 5 .*own_doc_not_found 3"):
        synthesis(tmp_path, retrievers={"blind": blind}).make(corpus, sample.docs)
    both = {"blind": blind, "bm25": BM25Retriever(cache_dir=tmp_path)}
    assert len(synthesis(tmp_path, retrievers=both).make(corpus, sample.docs).drafts) == 3


def test_a_model_that_says_nothing_of_use_is_told_of_with_the_reasons(prepared, tmp_path):
    _, corpus, sample = prepared
    with pytest.raises(DataError, match=r"no query is left of 5 asked for \(empty 5; .*larger"):
        synthesis(tmp_path, lambda text: "").make(corpus, sample.docs)


def test_a_judge_that_gives_no_grade_leaves_no_query(prepared, tmp_path):
    _, corpus, sample = prepared

    def unsure(text):
        return "It depends." if "Passage:" in text or "段落：" in text else oracle(text)

    with pytest.raises(DataError, match="own_doc_no_answer 3"):
        synthesis(tmp_path, unsure).make(corpus, sample.docs)
    with pytest.raises(DataError, match="own_doc_no_answer 3"):
        synthesis(tmp_path, unsure, least_source_grade=0).make(corpus, sample.docs)


def test_the_folder_is_a_collection_that_says_what_it_is(prepared, tmp_path):
    source, corpus, sample = prepared
    made = synthesis(tmp_path).make(corpus, sample.docs)
    out = tmp_path / "made" / "new"
    with new_folder(out) as folder:
        write_corpus(folder, source.docs())
        write_judged(folder, made, "synthetic queries and judgements (oracle)", made.about)
        assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == ["new"]
    dataset = FolderDataset(out, relevance_level=2)
    assert dataset.synthetic == "synthetic queries and judgements (oracle)"
    assert dataset.docs_digest == corpus.docs_digest
    assert {q.text for q in dataset.queries} == {d.text for d in made.drafts}
    assert set(dataset.qrels) == set(made.qrels)
    assert set(dataset.tags.values()) == {("question", "en"), ("question", "zh")}
    assert list(dataset.warnings) == []
    lines = (out / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["source_doc"] for line in lines} == {d.doc.doc_id for d in made.drafts}


def test_nothing_is_written_over_and_a_failure_leaves_nothing(tmp_path):
    out = tmp_path / "new"
    out.mkdir()
    (out / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match="exists already; give another out=DIR"), new_folder(out):
        pass
    with pytest.raises(DataError), new_folder(tmp_path / "other") as folder:  # noqa: PT012
        (folder / "half.txt").write_text("x")
        raise DataError("trouble")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


def test_sources(docs_folder, tmp_path, beir_like):
    folder = docs_folder()
    source = read_source(folder, 12)
    ids = [doc.doc_id for doc in source.docs()]
    assert "guide/merge.md#1" in ids
    assert "short.txt" in ids
    assert source.about["passages"] == len(ids) > source.about["files"] == 6
    for path in (beir_like, beir_like / "corpus.jsonl"):
        assert [doc.doc_id for doc in read_source(path, 12).docs()] == ["x", "y"]
    with pytest.raises(DataError, match="no such folder or file; give path=FOLDER"):
        read_source(tmp_path / "absent", 12)
    with pytest.raises(ConfigError, match="passage_words=0"):
        read_source(folder, 0)
    with pytest.raises(DataError, match="has least_words=99 words; set it lower"):
        sampled(source, None, 0, 99, None)


@pytest.fixture
def beir_like(tmp_path):
    folder = tmp_path / "beir"
    folder.mkdir()
    rows = [{"_id": "x", "text": "one " * 40}, {"_id": "y", "title": "t", "text": "two"}]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_a_draw_is_the_same_each_time_and_another_seed_draws_others(docs_folder):
    source = read_source(docs_folder(), 200)
    drawn = [[d.doc_id for d in sampled(source, 2, seed, 5, None).docs] for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len({tuple(each) for each in drawn}) > 1
    every = [d.doc_id for d in sampled(source, None, 0, 5, None).docs]
    assert every[:2] == drawn[0]  # more docs keep those that were asked about before
    assert len(every) == 5


@pytest.mark.parametrize("settings", [{"depth": 0}, {"keep_rank": 0}, {"longest_query": 0}])
def test_settings_that_cannot_be_are_refused(tmp_path, settings):
    with pytest.raises(ConfigError, match="expected at least 1"):
        synthesis(tmp_path, **settings)
    with pytest.raises(ConfigError, match="no retriever"):
        synthesis(tmp_path, retrievers={})
