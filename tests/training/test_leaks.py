"""The leak check: test queries in training are found, however written, and refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import WORDS

from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError, DataError
from evalkit.similarities import shingles
from evalkit.testing import TextDataset
from evalkit.training import leaks
from evalkit.training.data import TrainingData
from evalkit.training.leaks import find_leaks
from evalkit.training.near_duplicates import THRESHOLD, NearDuplicates
from evalkit.types import Doc, Qrel, Query

EVALUATION = TextDataset(
    docs=[
        Doc("e1", "", "An index is merged when a shard is full, and not before."),
        Doc("e2", "", "缓存命中时不再计算分词结果，索引合并在后台进行。"),
        Doc("e3", "", "Nothing of this is relevant to anything."),
    ],
    queries=[Query("t1", "When is an index merged?"), Query("t2", "缓存命中时还要分词吗")],
    qrels=[Qrel("t1", "e1", 1), Qrel("t2", "e2", 2), Qrel("t2", "e3", 0)],
    dataset_id="held-out/test",
)


def training(*rows, settings=None):
    """Rows (query id, query, doc id, doc, role)."""
    query_id, query, doc_id, doc, role = map(list, zip(*rows, strict=True))
    size = len(rows)
    columns = {
        "query_id": query_id, "query": query, "doc_id": doc_id, "doc": doc, "role": role,
        "label": [float(each == "positive") for each in role], "source": ["qrels"] * size,
        "rank": [0] * size, "split": ["train"] * size,
    }  # fmt: skip
    return TrainingData.from_columns(columns, {"settings": settings} if settings else {})


CLEAN = ("a", "how fast is a rollback", "x", "A rollback takes a second.", "positive")


def test_clean_training_data_passes():
    report = find_leaks(training(CLEAN), EVALUATION)
    report.require(allow_queries=False)
    assert report.exact_queries == report.near_queries == report.pairs == ()
    assert report.training_query_ids == ()
    assert (report.docs.docs, report.docs.exact, report.docs.near) == (3, 0, 0)
    assert report.docs.relevant == 2


@pytest.mark.parametrize(
    ("query_id", "written"),
    [
        ("t1", "When is an index merged?"),
        ("t1", "  WHEN is — an   index\u00a0merged ???"),
        ("t1", "Ｗhen is an index merged"),
        ("t2", "缓存命中时还要分词吗？"),
        ("t2", "缓存命中时 还要分词吗"),
    ],
)
def test_a_test_query_slipped_in_is_refused(query_id, written):
    slipped = ("b", written, "x", "A rollback takes a second.", "positive")
    report = find_leaks(training(CLEAN, slipped), EVALUATION)
    (match,) = report.exact_queries
    assert (match.evaluation_id, match.training_id, match.exact) == (query_id, "b", True)
    assert report.training_query_ids == ("b",)
    assert report.near_queries == ()
    with pytest.raises(DataError, match=rf"1 of the 2 queries .*'{query_id}'.*test_queries=drop"):
        report.require(allow_queries=False)
    report.require(allow_queries=True)


def test_left_out_the_check_passes():
    data = training(CLEAN, ("b", "when is an index merged", "x", "Nothing.", "positive"))
    rest = data.without_queries(find_leaks(data, EVALUATION).training_query_ids)
    assert rest.query_id.tolist() == ["a"]
    find_leaks(rest, EVALUATION).require(allow_queries=False)


def test_an_id_in_common_is_no_leak():
    report = find_leaks(training(("t1", *CLEAN[1:])), EVALUATION)
    report.require(allow_queries=False)


def test_nearly_the_same_query_is_reported_and_allowed():
    long = "how many shards does an index have when it is merged for the third time in a day"
    evaluation = replace(EVALUATION, queries=[Query("t1", long)], qrels=[Qrel("t1", "e1", 1)])
    rows = ("b", long.replace("a day", "a week"), *CLEAN[2:]), ("c", long[:40], *CLEAN[2:])
    report = find_leaks(training(*rows), evaluation)
    (match,) = report.near_queries
    assert (match.training_id, match.exact) == ("b", False)
    assert THRESHOLD <= match.similarity < 1
    report.require(allow_queries=False)
    assert report.training_query_ids == ()


def test_docs_and_relevant_pairs_in_common_are_counted():
    whole, part = "an index is merged when a shard is full — and not before", "An index is merged!"
    chinese = "缓存命中时不再计算分词结果 索引合并在后台进行"
    data = training(
        ("a", CLEAN[1], "x", whole, "negative"),
        ("b", "when is an index merged", "y", part, "positive"),
        ("c", "缓存命中时还要分词吗", "z", chinese, "positive"),
    )
    report = find_leaks(data, EVALUATION)
    docs = report.docs
    assert (docs.exact, docs.relevant_exact, docs.relevant_positive) == (2, 2, 1)
    # e1 is no positive of b: what b has is a part of it.
    assert [tuple(pair) for pair in report.pairs] == [("t2", "e2", "c", "z")]
    assert [match.evaluation_id for match in docs.examples] == ["e1", "e2"]


def test_docs_nearly_the_same_are_counted_apart():
    words = [f"{WORDS[i % 20]}{i}" for i in range(60)]
    evaluation = replace(EVALUATION, docs=[Doc("e1", "", " ".join(words))])
    data = training((*CLEAN[:2], "x", " ".join([*words[:-1], "other"]), "positive"))
    docs = find_leaks(data, evaluation).docs
    assert (docs.exact, docs.near, docs.relevant_near, docs.relevant_positive) == (0, 1, 1, 1)


def test_a_window_is_found_in_its_doc():
    words = [f"{WORDS[i % 20]}{i}" for i in range(100)]
    evaluation = replace(EVALUATION, docs=[Doc("e1", "Its title", " ".join(words))])
    window = (*CLEAN[:2], "x", " ".join(["Its title", *words[20:60]]), "positive")
    settings = {"passages": "windows", "passage_words": 40, "doc_template": "{title} {text}"}
    assert find_leaks(training(window, settings=settings), evaluation).docs.exact == 1
    assert find_leaks(training(window), evaluation).docs.exact == 0


def test_a_large_corpus_is_searched_for_near_repetitions_of_relevant_docs_only(monkeypatch):
    words = [f"{WORDS[i % 20]}{i}" for i in range(60)]
    docs = [Doc("e1", "", " ".join(words)), Doc("e9", "", " ".join(words[::-1]))]
    evaluation = replace(EVALUATION, docs=docs)
    data = training(
        (*CLEAN[:2], "x", " ".join([*words[:-1], "other"]), "positive"),
        (*CLEAN[:2], "y", " ".join([*words[::-1][:-1], "other"]), "negative"),
    )
    assert find_leaks(data, evaluation).docs.near == 2
    monkeypatch.setattr(leaks, "_LARGE_CORPUS", 1)
    report = find_leaks(data, evaluation)
    assert (report.docs.near, report.docs.near_among) == (1, "relevant")
    assert "among the relevant" in report.lines()[1]


def test_the_report_is_plain_data_with_short_examples():
    long = "what " * 200
    evaluation = replace(EVALUATION, queries=[Query("t1", long)], qrels=[Qrel("t1", "e1", 1)])
    report = find_leaks(training(("b", long, *CLEAN[2:])), evaluation)
    found = json.loads(json.dumps(report.as_dict()))
    assert found["exact_queries"] == 1
    assert found["docs"]["docs"] == 3
    assert len(found["examples"]["exact_queries"][0]["text"]) < 130
    assert report.lines()[0].startswith("queries: 1 of the 1 of held-out/test are in training")


def test_an_evaluation_without_texts_cannot_be_checked():
    with pytest.raises(ConfigError, match="has no texts"):
        find_leaks(training(CLEAN), replace(EVALUATION, has_texts=False))


@given(st.integers(0, 2**32), st.integers(8, 60), st.integers(0, 6))
def test_near_duplicates_are_those_of_the_true_coefficient(seed, size, changes):
    generator = np.random.default_rng(seed)
    text = [f"w{i}" for i in generator.integers(0, 10_000, size)]
    other = list(text)
    for at in generator.integers(0, size, changes):
        other[at] = "changed"
    mine, theirs = shingles(" ".join(text)), shingles(" ".join(other))
    expected = len(mine & theirs) / len(mine | theirs)
    unrelated = " ".join(f"v{i}" for i in range(size))
    (found,) = NearDuplicates([unrelated, " ".join(other)]).find([" ".join(text)])
    assert found == ([(1, expected)] if expected >= THRESHOLD else [])


def test_more_texts_than_a_batch_are_all_found():
    texts = [" ".join(f"w{i}x{j}" for j in range(5)) for i in range(4100)]
    found = list(NearDuplicates(texts).find(texts))
    assert [each[0].position for each in found] == list(range(4100))
    assert {each[0].similarity for each in found} == {1.0}


def test_scifact_trains_on_two_of_its_test_claims(shared_data):
    """The collection itself holds them; no outsider's list was needed to find them."""
    test = FolderDataset(shared_data / "beir" / "scifact", split="test")
    train = test.with_split("train")
    rows = [(q.query_id, q.text, *CLEAN[2:]) for q in train.queries]
    report = find_leaks(training(*rows), replace_docs(test))
    assert {(m.evaluation_id, m.training_id) for m in report.exact_queries} == {
        ("870", "871"), ("1292", "1291"),
    }  # fmt: skip
    assert len(report.near_queries) == 5


def replace_docs(dataset):
    """The queries alone: comparing all docs takes seconds, and other tests do it."""
    return TextDataset(
        docs=EVALUATION.docs, queries=dataset.queries, qrels=dataset.qrels, dataset_id="scifact"
    )
