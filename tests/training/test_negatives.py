"""Mining: no relevant doc among the negatives, ranks, margin, balance, repeatable to the row."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import WORDS, ListReranker

from evalkit.analysis import Analyzer
from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError, DataError
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.run import Run
from evalkit.testing import TextDataset
from evalkit.training import negatives
from evalkit.training.candidates import suspected
from evalkit.training.corpus import Corpus
from evalkit.training.drawing import Pool, drawn
from evalkit.training.negatives import NegativeSettings, mine
from evalkit.training.passages import BestPassages, passages_of
from evalkit.training.splitting import sampled, validation_queries
from evalkit.types import Doc, Qrel, Query

PLAIN = NegativeSettings(num=3, validation_share=0, max_score_ratio=None, passages="whole")


class GivenRetriever:
    """Returns the scores that it was given; counts the calls."""

    def __init__(self, results, name="given"):
        self.results, self.fingerprint, self.calls = results, name, 0

    def is_cached(self, dataset):
        return True

    def index(self, dataset):
        pass

    def retrieve(self, queries, k):
        self.calls += 1
        found = {q.query_id: self.results.get(q.query_id, {}) for q in queries}
        return Run.from_dict(found).top(k)


def corpus_of(*texts, **settings):
    """Docs d0, d1, ... of these texts; queries q0 and q1, whose relevant docs are d0 and d1."""
    docs = [Doc(f"d{i}", "", text) for i, text in enumerate(texts)]
    settings = {
        "queries": [Query("q0", "first question"), Query("q1", "second question")],
        "qrels": [Qrel("q0", "d0", 1), Qrel("q1", "d1", 1)],
        "split": "train",
        **settings,
    }
    return TextDataset(docs=docs, **settings)


def ten(**settings):
    return corpus_of(*(f"text number {i}" for i in range(10)), **settings)


def falling(first=20.0, docs=10):
    """d0 first, scores first, first - 1, ..."""
    return {f"d{i}": first - i for i in range(docs)}


def negatives_of(data, query_id="q0"):
    """(doc id, role, source, rank) of a query's negatives."""
    rows = np.flatnonzero((data.query_id == query_id) & (data.role != "positive"))
    columns = (data.doc_id, data.role, data.source, data.rank)
    return [tuple(column[row] for column in columns) for row in rows]


@pytest.fixture
def toy(tmp_path):
    """200 docs and 30 queries, judged by the words they share; some docs repeat others."""
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, size=12)) for _ in range(200)]
    texts[150:160] = texts[:10]
    docs = [Doc(f"d{i}", "", text) for i, text in enumerate(texts)]
    queries = [
        Query(f"q{i}", " ".join(texts[i].split()[:3]) + f" {i}") for i in range(30)
    ]  # q0..q9 have a relevant doc that stands twice in the corpus, judged once
    qrels = [Qrel(f"q{i}", f"d{i}", 2) for i in range(30)]
    qrels += [Qrel(f"q{i}", f"d{i + 30}", 1) for i in range(30)]
    return TextDataset(docs=docs, queries=queries, qrels=qrels, split="train", docs_digest="toy")


def both(tmp_path):
    return {
        "bm25": BM25Retriever(cache_dir=tmp_path),
        "flat": BM25Retriever(k1=3.0, b=0.0, cache_dir=tmp_path),
    }


def test_a_group_is_positives_and_negatives_with_their_ranks(tmp_path):
    found = GivenRetriever({"q0": falling()})
    data = mine(ten(), {"given": found}, replace(PLAIN, sampling="top"), cache_dir=tmp_path)
    rows = np.flatnonzero(data.query_id == "q0")
    assert data.role[rows].tolist() == ["positive", *["negative"] * 3]
    assert data.doc_id[rows].tolist() == ["d0", "d1", "d2", "d3"]
    assert data.rank[rows].tolist() == [0, 2, 3, 4]
    assert data.source[rows].tolist() == ["qrels", "given", "given", "given"]
    assert data.label[rows].tolist() == [1, 0, 0, 0]
    assert data.doc[rows[0]] == "text number 0"
    assert set(data.query[rows].tolist()) == {"first question"}


def test_negatives_come_from_the_range_of_ranks(tmp_path):
    found = {"given": GivenRetriever({"q0": falling(), "q1": falling()})}
    settings = replace(PLAIN, min_rank=4, max_rank=8, num=4)
    data = mine(ten(), found, settings, cache_dir=tmp_path)
    ranks = [rank for _, _, _, rank in negatives_of(data)]
    assert len(ranks) == 4
    assert set(ranks) <= {4, 5, 6, 7, 8}
    # q1's relevant doc is at rank 2, so that ranks 4 to 8 hold five candidates, too.
    assert all(role == "negative" for _, role, _, _ in negatives_of(data, "q1"))


def test_random_draws_differ_from_the_top_and_by_seed(tmp_path):
    found = {"given": GivenRetriever({"q0": falling(docs=60)})}
    dataset = corpus_of(*(f"text number {i}" for i in range(60)))
    drawn_docs = {
        tuple(n[0] for n in negatives_of(mine(dataset, found, replace(PLAIN, seed=seed))))
        for seed in range(4)
    }
    assert len(drawn_docs) == 4


def test_no_relevant_doc_nor_its_repetition_is_a_negative(toy, tmp_path):
    data = mine(toy, both(tmp_path), replace(PLAIN, num=8, random_share=0.5), cache_dir=tmp_path)
    texts = {}
    for qrel in toy.qrels:
        texts.setdefault(qrel.query_id, set()).add(toy.lookup([qrel.doc_id])[qrel.doc_id].text)
    bad = data.role != "positive"
    assert bad.sum() == 30 * 8
    pairs = zip(data.query_id[bad], data.doc[bad], strict=True)
    assert not [1 for query_id, text in pairs if text in texts[query_id]]


def test_docs_of_a_low_grade_are_neither_positive_nor_negative(tmp_path):
    dataset = ten(
        relevance_level=2,
        qrels=[Qrel("q0", "d0", 2), Qrel("q0", "d1", 1), Qrel("q0", "d2", 0), Qrel("q1", "d1", 1)],
    )
    data = mine(dataset, {"given": GivenRetriever({"q0": falling()})}, replace(PLAIN, num=9))
    assert data.query_id.tolist() == ["q0"] * 9  # q1 has no relevant doc
    assert data.doc_id[data.role == "positive"].tolist() == ["d0"]
    assert "d1" not in data.doc_id
    assert data.label[data.doc_id == "d0"] == 2


def test_empty_docs_and_the_querys_own_are_never_taken(tmp_path):
    texts = ["relevant", "the first question itself", "", " … ", "another"]
    dataset = corpus_of(
        *texts,
        queries=[Query("d1", "the first question itself")],
        qrels=[Qrel("d1", "d0", 1), Qrel("d1", "d2", 1), Qrel("d1", "d1", 1)],
        exclude_self=True,
    )
    data = mine(dataset, {"given": GivenRetriever({"d1": falling(docs=5)})}, PLAIN)
    # A doc of signs alone has words of its own, and an empty one none.
    assert data.doc_id.tolist()[0] == "d0"
    assert sorted(data.doc_id.tolist()[1:]) == ["d3", "d4"]
    assert data.origin["counts"]["queries_short_of_negatives"] == 1


def test_candidates_close_to_the_relevant_docs_score_are_left_out(tmp_path):
    scores = {"d0": 10.0, "d2": 11.0, "d3": 9.6, "d4": 9.4, "d5": 5.0, "d6": 4.0}
    found = {"given": GivenRetriever({"q0": scores})}
    settings = replace(PLAIN, max_score_ratio=0.95)
    data = mine(ten(), found, settings)
    assert sorted(n[0] for n in negatives_of(data)) == ["d4", "d5", "d6"]
    counts = data.origin["counts"]
    assert (counts["candidates"], counts["likely_false_negatives"]) == (5, 2)
    assert counts["likely_false_negative_share"] == 0.4


def test_what_was_left_out_does_not_come_back_at_random(tmp_path):
    # Every doc but d9 outranks the relevant one.
    found = {"given": GivenRetriever({"q0": {**falling(), "d0": 11.5}})}
    data = mine(ten(), found, replace(PLAIN, num=4, max_score_ratio=1.0))
    assert negatives_of(data) == [("d9", "negative", "given", 10)]
    assert data.origin["counts"]["queries_short_of_negatives"] == 1


def test_the_margin_spares_what_is_judged_not_relevant(tmp_path):
    scores = {"d0": 10.0, "d2": 11.0, "d3": 9.9, "d5": 5.0}
    dataset = ten(qrels=[Qrel("q0", "d0", 1), Qrel("q0", "d2", 0), Qrel("q1", "d1", 1)])
    settings = replace(PLAIN, num=2, max_score_ratio=0.95)
    data = mine(dataset, {"given": GivenRetriever({"q0": scores})}, settings)
    assert sorted(n[0] for n in negatives_of(data)) == ["d2", "d5"]


def test_a_relevant_doc_below_the_depth_bounds_by_the_last_score(tmp_path):
    found = {"given": GivenRetriever({"q0": {"d2": 11.0, "d3": 10.5, "d4": 10.0, "d5": 9.5}})}
    data = mine(ten(), found, replace(PLAIN, max_rank=3, max_score_ratio=1.0))
    # d0 scores at most 10: d2 and d3 may be relevant, d4 is as good as it at best.
    assert [n for n in negatives_of(data) if n[1] == "negative"] == [("d4", "negative", "given", 3)]
    assert data.origin["counts"]["filled_at_random"] == 2 + 3  # two of q0, all of q1


def test_of_several_relevant_docs_the_lowest_score_decides(tmp_path):
    scores = {"d0": 10.0, "d2": 9.0, "d1": 8.0, "d3": 7.0}
    dataset = ten(qrels=[Qrel("q0", "d0", 1), Qrel("q0", "d1", 1), Qrel("q1", "d1", 1)])
    settings = replace(PLAIN, num=1, max_score_ratio=1.0)
    data = mine(dataset, {"given": GivenRetriever({"q0": scores})}, settings)
    assert negatives_of(data) == [("d3", "negative", "given", 4)]


@given(
    st.floats(-10, 10, width=32), st.floats(-10, 10, width=32), st.sampled_from([0.5, 0.95, 1.0])
)
def test_the_margin_is_as_wide_below_zero(score, positive, ratio):
    (out,) = suspected(np.array([score], np.float32), np.array([positive], np.float32), ratio)
    assert out == (positive - score < (1 - ratio) * abs(positive) or score > positive)


class LengthScorer:
    """Scores a doc by its number of words; the guard's view of relevance in these tests."""

    fingerprint = "length"

    def score(self, pairs):
        return np.array([len(doc.split()) for _, doc in pairs], dtype=np.float32)


def test_a_guard_decides_in_place_of_the_retriever(tmp_path):
    dataset = corpus_of("one two three", "x", "a b c d", "a b c", "a b", "a")
    found = {"given": GivenRetriever({"q0": falling(docs=6)})}
    guard = PointwiseReranker(LengthScorer(), cache_dir=tmp_path)
    settings = replace(PLAIN, guard="length", max_score_ratio=0.9)
    data = mine(dataset, found, settings, rerankers={"length": guard})
    # By the retriever's own scores only d1 to d5 below 18 would stay, which are d3 to d5.
    assert sorted(n[0] for n in negatives_of(data) if n[1] == "negative") == ["d1", "d4", "d5"]
    assert data.origin["guard"] == {"length": guard.fingerprint}


def test_guards_that_cannot_serve_are_refused(tmp_path):
    retrievers, settings = {"given": GivenRetriever({})}, replace(
        PLAIN, guard="lists", max_score_ratio=0.9
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"guard=lists: .*each doc on its own"):
        mine(ten(), retrievers, settings, rerankers={"lists": ListReranker()})
    with pytest.raises(ConfigError, match=r"guard=lists: not among .*\(list\).*Did you mean"):
        mine(ten(), retrievers, settings, rerankers={"list": ListReranker()})


def test_retrievers_take_turns(toy, tmp_path):
    data = mine(toy, both(tmp_path), replace(PLAIN, num=3), cache_dir=tmp_path)
    found = Counter(data.source.tolist())
    # Three draws for two retrievers: each begins for about half of the queries.
    assert found["bm25"] + found["flat"] == 90
    assert 36 <= found["bm25"] <= 54
    for query in toy.queries:
        each = Counter(source for _, _, source, _ in negatives_of(data, query.query_id))
        assert set(each.values()) == {1, 2}
    assert set(data.origin["retrievers"]) == {"bm25", "flat"}


def test_what_one_retriever_lacks_the_other_gives(tmp_path):
    few = GivenRetriever({"q0": {"d5": 1.0}})
    many = GivenRetriever({"q0": falling()})
    data = mine(ten(), {"few": few, "many": many}, replace(PLAIN, num=5))
    assert Counter(n[2] for n in negatives_of(data)) == {"few": 1, "many": 4}


def test_the_random_share_holds_on_average():
    docs = Corpus(np.array([f"d{i:04}" for i in range(3000)]), np.arange(3000), -1)
    pool = Pool([f"d{i:04}" for i in range(50)], range(1, 51), range(50))
    settings = replace(PLAIN, num=4, random_share=0.1)
    found = [drawn(f"q{i}", {"r": pool}, {7}, (), docs, settings) for i in range(2000)]
    random = sum(n.role == "random" for each in found for n in each.negatives)
    assert all(len(each.negatives) == 4 and each.filled == 0 for each in found)
    # A binomial of 2,000 × .4, whose standard deviation is 22.
    assert abs(random - 800) < 80
    assert not [1 for each in found for n in each.negatives if n.doc_id == "d0007"]


def test_random_docs_come_from_everywhere_in_a_large_corpus():
    docs = Corpus(np.array([f"d{i:05}" for i in range(10_000)]), np.arange(10_000), -1)
    settings = replace(PLAIN, num=2)
    found = [n.doc_id for i in range(1000) for n in drawn(f"q{i}", {}, (), (), docs, settings)[0]]
    tenths = Counter(doc_id[2] for doc_id in found)
    assert len(tenths) == 10
    assert min(tenths.values()) > 140


def test_the_draws_are_pinned():
    # The same on every machine and Python; change it only with the rules of drawing.
    docs = Corpus(np.array([f"d{i:05}" for i in range(10_000)]), np.arange(10_000), -1)
    pool = Pool(["a", "b", "c", "d"], [1, 2, 3, 4], [20_000, 20_001, 20_002, 20_003])
    found = drawn("q", {"r": pool}, (), (), docs, replace(PLAIN, num=3, random_share=0.4))
    assert [n.doc_id for n in found.negatives] == ["b", "d00605", "d06899"]


def test_the_same_settings_give_the_same_data_however_it_is_cut(toy, tmp_path, monkeypatch):
    settings = replace(PLAIN, random_share=0.3, validation_share=0.2, max_score_ratio=0.9)
    whole = mine(toy, both(tmp_path), settings, cache_dir=tmp_path)
    monkeypatch.setattr(negatives, "_CHUNK", 7)
    again = mine(toy, both(tmp_path), settings, cache_dir=tmp_path / "other")
    assert again.digest == whole.digest
    assert dict(again.origin) == dict(whole.origin)
    other = mine(toy, both(tmp_path), replace(settings, seed=1), cache_dir=tmp_path)
    assert other.digest != whole.digest


def test_a_querys_rows_do_not_depend_on_the_others(toy, tmp_path):
    all_of_them = mine(toy, both(tmp_path), PLAIN, cache_dir=tmp_path)
    some = mine(toy, both(tmp_path), replace(PLAIN, max_queries=5), cache_dir=tmp_path)
    assert len(some.queries) == 5
    for query in some.queries:
        assert negatives_of(some, query.query_id) == negatives_of(all_of_them, query.query_id)


def test_samples_are_nested_and_in_order():
    queries = [Query(f"q{i}", "text") for i in range(100)]
    small, large = sampled(queries, 10, seed=3), sampled(queries, 40, seed=3)
    assert len(small) == 10
    assert set(small) < set(large)
    assert large == [query for query in queries if query in large]
    assert sampled(queries, 10, seed=4) != small
    assert sampled(queries, None, 0) == sampled(queries, 100, 0) == queries


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 30)), min_size=2, max_size=40),
    st.integers(0, 3),
)
def test_no_doc_nor_text_is_on_both_sides(made, seed):
    queries = [Query(f"q{i}", f"text {text}") for i, (text, _) in enumerate(made)]
    docs = {f"q{i}": [doc] for i, (_, doc) in enumerate(made)}
    try:
        chosen = validation_queries(queries, docs, 0.3, seed)
    except DataError:
        return
    assert 0 < len(chosen) <= max(round(0.3 * len(queries)), 1)
    for of in (lambda q: q.text, lambda q: docs[q.query_id][0]):
        sides = [{of(q) for q in queries if (q.query_id in chosen) == side} for side in (0, 1)]
        assert not sides[0] & sides[1]


def test_queries_that_differ_in_signs_only_are_on_one_side():
    # Twins, each with a doc of its own: "Question 3?" and "question 3".
    queries = [Query(f"{n}{i}", text) for i in range(20) for n, text in pairs_of(i)]
    docs = {query.query_id: [place] for place, query in enumerate(queries)}
    chosen = validation_queries(queries, docs, 0.3, seed=0)
    assert len(chosen) == 12
    assert {each[1:] for each in chosen if each[0] == "a"} == {
        each[1:] for each in chosen if each[0] == "b"
    }


def pairs_of(i):
    return [("a", f"Question {i}?"), ("b", f"question {i}")]


def test_validation_is_split_by_query_and_its_share_holds(toy, tmp_path):
    data = mine(toy, both(tmp_path), replace(PLAIN, validation_share=0.2), cache_dir=tmp_path)
    # Queries i and i + 30 share no doc here: every query is a group of its own.
    assert len(data.groups("validation")) == 6
    assert len(data.groups("train")) == 24
    assert data.origin["counts"]["validation_queries"] == 6


def test_validation_lists_are_longer_and_training_is_as_without_them(toy, tmp_path):
    split = replace(PLAIN, validation_share=0.2)
    short, long = (
        mine(toy, both(tmp_path), replace(split, validation_num=num), cache_dir=tmp_path)
        for num in (None, 12)
    )
    for data, count in ((short, 3), (long, 12)):
        labels = [data.label[rows] for rows in data.groups("validation")]
        assert [int((grades <= 0).sum()) for grades in labels] == [count] * 6
    (before, after) = (data.where(data.split == "train") for data in (short, long))
    assert len(before)
    assert before.digest == after.digest
    assert short.origin["counts"]["filled_at_random"] == long.origin["counts"]["filled_at_random"]


def test_queries_that_all_share_a_doc_cannot_be_split(tmp_path):
    dataset = ten(qrels=[Qrel("q0", "d0", 1), Qrel("q1", "d0", 1)])
    retrievers = {"given": GivenRetriever({})}
    with pytest.raises(DataError, match=r"smallest group .* has 2; .*validation_share=0"):
        mine(dataset, retrievers, replace(PLAIN, validation_share=0.5))


def test_the_best_positives_are_kept(tmp_path):
    qrels = [Qrel("q0", f"d{i}", 1 + (i == 5)) for i in range(8)] + [Qrel("q1", "d1", 1)]
    data = mine(ten(qrels=qrels), {"given": GivenRetriever({})}, replace(PLAIN, max_positives=2))
    rows = (data.query_id == "q0") & (data.role == "positive")
    assert data.label[rows].tolist() == [2, 1]
    assert data.doc_id[rows][0] == "d5"


def test_relevant_docs_that_the_corpus_lacks_are_passed_over(tmp_path):
    dataset = ten(qrels=[Qrel("q0", "d0", 1), Qrel("q0", "gone", 1), Qrel("q1", "lost", 1)])
    data = mine(dataset, {"given": GivenRetriever({})}, PLAIN)
    assert {q.query_id for q in data.queries} == {"q0"}
    with pytest.raises(DataError, match="nothing to train on"):
        mine(ten(qrels=[Qrel("q1", "lost", 1)]), {"given": GivenRetriever({})}, PLAIN)


def test_a_split_is_chosen_by_name(tmp_path):
    folder = tmp_path / "folder"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "\n".join(f'{{"_id": "d{i}", "text": "text number {i}"}}' for i in range(9))
    )
    queries = '{"_id": "q0", "text": "one"}\n{"_id": "q1", "text": "two"}'
    (folder / "queries.jsonl").write_text(queries)
    (folder / "qrels" / "test.trec").write_text("q0 0 d0 1")
    (folder / "qrels" / "train.trec").write_text("q1 0 d1 1")
    data = mine(FolderDataset(folder), {"given": GivenRetriever({})}, PLAIN)
    assert {q.query_id for q in data.queries} == {"q1"}
    assert data.origin["dataset"]["dataset_id"] == "folder/train"


LONG = Doc("long", "Title", " ".join(["filler"] * 300 + ["the", "answer", "here"] + ["end"] * 300))


def test_windows_cover_a_doc_and_overlap_by_half():
    windows = passages_of(LONG, "{title}: {text}", 100)
    assert all(window.startswith("Title: ") for window in windows)
    bodies = [window.removeprefix("Title: ").split() for window in windows]
    words = LONG.text.split()
    assert [len(body) for body in bodies[:-1]] == [100] * (len(bodies) - 1)
    assert all(body == words[50 * i : 50 * i + 100] for i, body in enumerate(bodies))
    assert bodies[-1][-1] == words[-1]
    assert passages_of(LONG, "{text}", None) == [LONG.text]
    assert passages_of(LONG, "{text}", len(words)) == [LONG.text]


def test_chinese_is_cut_by_characters():
    doc = Doc("zh", "", "缓存命中时不再计算，分词结果" * 20)
    windows = passages_of(doc, "{text}", 30)
    assert len(windows) > 1
    assert all(window in doc.text for window in windows)
    assert len(windows[0]) == 30


def test_the_window_that_fits_the_query_is_read(tmp_path):
    idf = {"filler": 0.1, "answer": 5.0}.get
    passages = BestPassages(100, "{text}", Analyzer("en"), lambda term: idf(term, 0.0))
    assert "answer" in passages.best("where is the answer, filler", LONG)
    assert passages.best("filler", LONG) == passages_of(LONG, "{text}", 100)[0]
    assert passages.best("nothing of it", LONG) == passages_of(LONG, "{text}", 100)[0]


def test_positives_and_negatives_are_read_in_windows(tmp_path):
    texts = [LONG.text, "short", LONG.text.replace("answer", "answer not")]
    dataset = corpus_of(*texts, queries=[Query("q0", "answer")], qrels=[Qrel("q0", "d0", 1)])
    settings = replace(PLAIN, passages="windows", passage_words=64, num=1)
    found = {"given": GivenRetriever({"q0": {"d0": 2.0, "d2": 1.0}})}
    data = mine(dataset, found, settings, cache_dir=tmp_path)
    assert data.doc_id.tolist() == ["d0", "d2"]
    assert ["answer" in text and len(text.split()) == 64 for text in data.doc] == [True, True]


@pytest.mark.parametrize(
    "wrong",
    [
        {"num": 0}, {"min_rank": 0}, {"min_rank": 9, "max_rank": 8}, {"sampling": "best"},
        {"random_share": 1.5}, {"max_score_ratio": 0.0}, {"max_score_ratio": 1.1},
        {"guard": "x", "max_score_ratio": None}, {"max_positives": 0}, {"max_queries": 1},
        {"validation_num": 0},
        {"validation_share": 1.0}, {"passages": "first"}, {"passage_words": 1},
    ],
)  # fmt: skip
def test_wrong_settings_are_named(wrong):
    name = next(iter(wrong))
    with pytest.raises(ConfigError, match=rf"training\.negatives: {name}=.*expected"):
        NegativeSettings(**wrong)


def test_what_cannot_be_mined_is_refused():
    with pytest.raises(ConfigError, match="no retriever"):
        mine(ten(), {}, PLAIN)
    with pytest.raises(ConfigError, match="no texts"):
        mine(ten(has_texts=False), {"given": GivenRetriever({})}, PLAIN)


def test_mining_scifact_with_bm25(shared_data, tmp_path):
    dataset = FolderDataset(shared_data / "beir" / "scifact", split="train")
    settings = NegativeSettings(max_queries=60, validation_share=0.1)
    bm25 = {"bm25": BM25Retriever(language="en", cache_dir=tmp_path)}
    data = mine(dataset, bm25, settings, cache_dir=tmp_path)
    counts = data.origin["counts"]
    assert [counts[key] for key in ("queries_judged", "queries", "validation_queries")] == [
        809,
        60,
        6,
    ]
    judged = {(q.query_id, q.doc_id) for q in dataset.qrels if q.relevance > 0}
    positives = data.role == "positive"
    assert set(zip(data.query_id[positives], data.doc_id[positives], strict=True)) <= judged
    assert 0.05 < counts["likely_false_negative_share"] < 0.4
    assert max(len(text.split()) for text in data.doc) < 128 + 60  # a window under its title
