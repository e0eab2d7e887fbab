"""Training data: groups, digest, files; rows that no trainer could use are refused."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import DataError, ScoreError
from evalkit.io import write_parquet
from evalkit.training.data import TrainingData

COLUMNS = {
    "query_id": ["q1", "q1", "q2", "q2", "q3"],
    "query": ["one", "one", "二", "二", "three"],
    "doc_id": ["a", "b", "b", "c", "a"],
    "doc": ["text a", "text b", "text b", "文档", "text a"],
    "label": [2, 0, 1, 0, 1],
    "role": ["positive", "negative", "positive", "random", "positive"],
    "source": ["qrels", "bm25", "qrels", "random", "qrels"],
    "rank": [0, 3, 0, 0, 0],
    "split": ["train", "train", "validation", "validation", "train"],
}


def made(**changed):
    return TrainingData.from_columns({**COLUMNS, **changed}, {"settings": {"num": 1}})


def test_groups_are_the_rows_of_each_query_of_a_split():
    assert [rows.tolist() for rows in made().groups("train")] == [[0, 1], [4]]
    assert [rows.tolist() for rows in made().groups("validation")] == [[2, 3]]
    with pytest.raises(DataError, match="split 'test': expected train or validation"):
        made().groups("test")


def test_queries_and_columns():
    data = made()
    assert [(q.query_id, q.text) for q in data.queries] == [
        ("q1", "one"), ("q2", "二"), ("q3", "three"),
    ]  # fmt: skip
    assert list(data.columns) == [*COLUMNS, "teacher"]
    assert np.isnan(data.teacher).all()
    assert data.label.dtype == np.float32


def test_saved_and_loaded_is_the_same(tmp_path):
    data = made().with_teacher(np.array([1.5, -2, 0, 3, 4]))
    data.save(tmp_path)
    again = TrainingData.load(tmp_path)
    assert again.digest == data.digest
    for name, column in data.columns.items():
        np.testing.assert_array_equal(again.columns[name], column)
    assert again.origin["settings"] == {"num": 1}
    assert again.origin["rows"] == 5


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        made().save(tmp_path / name)
    for file in ("data.parquet", "data.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_loaded_one_can_be_saved_again(tmp_path):
    made().save(tmp_path / "one")
    TrainingData.load(tmp_path / "one").save(tmp_path / "two")
    text = [(tmp_path / name / "data.json").read_text() for name in ("one", "two")]
    assert text[0] == text[1]


def test_anybody_can_open_the_file(tmp_path):
    made().save(tmp_path)
    rows = pq.read_table(tmp_path / "data.parquet").to_pylist()
    assert rows[3]["doc"] == "文档"
    assert rows[1]["rank"] == 3


def test_the_digest_is_pinned():
    # The same on every machine; change it only with the rules of the digest.
    assert made().digest == "be89b88ad662dac259a8abbf984c6569"


@pytest.mark.parametrize("name", [*COLUMNS, "teacher"])
def test_every_column_is_in_the_digest(name):
    data = made().with_teacher(np.zeros(5))
    other = {"label": 3, "rank": 9, "teacher": 0.5}.get(name, "other")
    column = data.columns[name].copy()
    column[4] = other
    changed = TrainingData(**{**data.columns, name: column})
    assert changed.digest != data.digest


def test_texts_that_join_alike_have_another_digest():
    parts = made(doc=["ab", "c", "d", "e", "f"]), made(doc=["a", "bc", "d", "e", "f"])
    assert parts[0].digest != parts[1].digest


def test_no_two_bit_patterns_of_one_number_differ():
    plain = TrainingData(**made().columns)
    zeros = TrainingData(**{**made().columns, "label": np.array([2, -0.0, 1, -0.0, 1], "<f4")})
    assert zeros.digest == plain.digest
    odd = plain.teacher.view("<u4").copy() | np.uint32(1)
    assert np.isnan(odd.view("<f4")).all()
    assert TrainingData(**{**plain.columns, "teacher": odd.view("<f4")}).digest == plain.digest


def test_what_was_changed_since_is_refused(tmp_path):
    made().save(tmp_path)
    columns = {**made().columns, "label": np.ones(5, np.float32)}
    write_parquet(tmp_path / "data.parquet", columns)
    with pytest.raises(DataError, match=r"data\.parquet: digest .* expected .*mine again"):
        TrainingData.load(tmp_path)


def test_what_is_missing_or_damaged_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"data\.json: cannot be read"):
        TrainingData.load(tmp_path)
    made().save(tmp_path)
    file = tmp_path / "data.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"data\.parquet: cannot be read .*mine again"):
        TrainingData.load(tmp_path)
    (tmp_path / "data.json").write_text(json.dumps({"schema": 2}))
    with pytest.raises(DataError, match="no description of training data"):
        TrainingData.load(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split": ["train", "train", "test", "test", "train"]}, "split 'test'; expected"),
        ({"role": ["best", "negative", "positive", "random", "positive"]}, "role 'best'"),
        ({"doc_id": ["a", "a", "b", "c", "a"]}, "query 'q1', doc 'a' a second time"),
        ({"query": ["one", "two", "二", "二", "three"]}, "query 'q1' has two texts"),
        ({"split": ["train"] * 3 + ["validation", "train"]}, "query 'q2' .* in two splits"),
        ({"label": [2, 0, np.nan, 0, 1]}, "a label is no grade"),
        ({"label": [2, -1, 1, 0, 1]}, "a label is no grade"),
        ({"rank": [0, 1]}, r"rank \(2\)"),
        ({"score": [0] * 5}, r"score \(5\)"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(changed, message):
    with pytest.raises(DataError, match=message):
        made(**changed)


def test_teacher_scores_must_be_one_finite_number_a_row():
    with pytest.raises(ScoreError, match=r"shape \(2,\) for 5 rows"):
        made().with_teacher(np.zeros(2))
    with pytest.raises(ScoreError, match="teacher score nan for query 'q1', doc 'b'"):
        made().with_teacher(np.array([0, np.nan, 0, 0, 0]))
    # Rows for validation are measured by their labels.
    assert np.isnan(made().with_teacher(np.array([0, 0, 0, np.nan, 0])).teacher).sum() == 1
    assert np.isnan(made().teacher).all()


def test_queries_can_be_left_out_and_are_named(tmp_path):
    data = made().without_queries(["q2", "unknown"]).without_queries(["q3"])
    assert data.query_id.tolist() == ["q1", "q1"]
    data.save(tmp_path)
    assert TrainingData.load(tmp_path).origin["left_out_queries"] == ["q2", "q3"]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=6))
def test_any_text_survives_the_file(tmp_path_factory, texts):
    size = len(texts)
    data = TrainingData.from_columns(
        {
            "query_id": ["q"] * size, "query": [texts[0]] * size, "doc": texts,
            "doc_id": [f"d{i}" for i in range(size)], "label": [0] * size,
            "role": ["random"] * size, "source": ["random"] * size, "rank": [0] * size,
            "split": ["train"] * size,
        },
        {},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("data")
    data.save(folder)
    assert TrainingData.load(folder).doc.tolist() == texts
