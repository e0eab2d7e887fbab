"""The store on real files: what comes back, who sees it, what it costs."""

from __future__ import annotations

import json
import os
import stat
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import SCORER, filled, pairs, segments_in

from evalkit.errors import OutputError, ScoreError
from evalkit.scoring.keys import text_digests
from evalkit.scoring.store import ScoreStore
from evalkit.scoring.upkeep import compact


@pytest.mark.parametrize("reopened", [False, True])
def test_what_was_added_comes_back(tmp_path, reopened):
    store = filled(tmp_path, segments=3)
    if reopened:
        store = ScoreStore(tmp_path, SCORER)
    order = np.random.default_rng(0).permutation(40)
    query, doc = pairs(40)
    found = store.lookup(query[order], doc[order])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.where(order < 30, order, np.nan).astype(np.float32))
    assert len(store) == 30


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from(["first", "second"]), st.sets(st.integers(0, 30), min_size=1)
            ),
            st.sampled_from(["compact", "reopen"]),
        ),
        max_size=8,
    )
)
@settings(max_examples=40)
def test_the_store_is_a_dict_on_disk(tmp_path_factory, steps):
    # Two processes' stores on one folder, in any order; a pair has one score, as a scorer gives it.
    folder = tmp_path_factory.mktemp("store")
    stores = {name: ScoreStore(folder, SCORER) for name in ("first", "second")}
    query, doc = pairs(31)
    added: set[int] = set()
    for step in steps:
        if step == "compact":
            compact(folder, SCORER)
        elif step == "reopen":
            stores["second"] = ScoreStore(folder, SCORER)
        else:
            who, docs = step
            rows = sorted(docs)
            stores[who].add(query[rows], doc[rows], np.asarray(rows) * 1.5)
            added |= docs
        for store in stores.values():
            expected = [i * 1.5 if i in added else np.nan for i in range(31)]
            np.testing.assert_array_equal(store.lookup(query, doc), np.float32(expected))


def test_scores_keep_every_bit_of_a_float32(tmp_path):
    scores = np.array([1e-45, -0.0, np.pi, 3.4028235e38, -np.inf, -1e-8], dtype=np.float32)
    query, doc = pairs(len(scores))
    ScoreStore(tmp_path, SCORER).add(query, doc, scores)
    found = ScoreStore(tmp_path, SCORER).lookup(query, doc)
    assert found.tobytes() == scores.tobytes()


def test_a_score_that_stands_for_none_is_refused(tmp_path):
    with pytest.raises(ScoreError, match=r"1 of 2 scores to store are NaN"):
        ScoreStore(tmp_path, SCORER).add(*pairs(2), np.array([1.0, np.nan]))
    assert segments_in(tmp_path) == []


def test_an_empty_store_and_an_empty_question(tmp_path):
    store = ScoreStore(tmp_path, SCORER)
    assert np.isnan(store.lookup(*pairs(3))).all()
    assert store.lookup(*pairs(0)).shape == (0,)
    store.add(*pairs(0), np.empty(0))
    assert segments_in(tmp_path) == []
    assert filled(tmp_path).lookup(*pairs(0)).shape == (0,)


def test_a_changed_text_misses(tmp_path):
    store = ScoreStore(tmp_path, SCORER)
    store.add(text_digests(["query"]), text_digests(["doc"]), np.array([1.5]))

    def found(query: str, doc: str) -> float:
        return float(store.lookup(text_digests([query]), text_digests([doc]))[0])

    assert found("query", "doc") == 1.5
    for query, doc in [("query", "doc "), ("query", "Doc"), ("Query", "doc"), ("doc", "query")]:
        assert np.isnan(found(query, doc))


def test_another_scorer_sees_none_of_it(tmp_path):
    filled(tmp_path)
    assert np.isnan(ScoreStore(tmp_path, "another").lookup(*pairs(10))).all()


def test_equal_texts_share_one_score(tmp_path):
    # Two docs of a corpus with the same text: one pair, scored once, found for both.
    store = ScoreStore(tmp_path, SCORER)
    texts = ["same text", "other", "same text"]
    query = text_digests(["q"] * 3)
    store.add(query[:2], text_digests(texts[:2]), np.array([7.0, 1.0]))
    assert store.lookup(query, text_digests(texts)).tolist() == [7.0, 1.0, 7.0]


def test_of_two_scores_for_a_pair_the_older_counts_and_stays(tmp_path):
    # Two processes scored it at once, in batches of other sizes: the last bits differ.
    older, newer = ScoreStore(tmp_path, SCORER), ScoreStore(tmp_path, SCORER)
    older.add(*pairs(1), np.array([7.0]))
    newer.add(*pairs(1), np.array([7.5]))
    assert older.lookup(*pairs(1)).tolist() == [7.0]
    assert newer.lookup(*pairs(1)).tolist() == [7.5]  # what it has used, it goes on using
    assert ScoreStore(tmp_path, SCORER).lookup(*pairs(1)).tolist() == [7.0]
    assert (len(older), len(newer)) == (1, 1)


def test_another_writer_is_seen_without_reopening(tmp_path):
    store = filled(tmp_path)
    query, doc = pairs(20)
    assert np.isnan(store.lookup(query, doc)[10:]).all()
    ScoreStore(tmp_path, SCORER).add(query[10:], doc[10:], np.arange(10, 20))
    np.testing.assert_array_equal(store.lookup(query, doc), np.arange(20))


def test_a_segment_is_read_once(tmp_path, monkeypatch):
    from evalkit.scoring import segment_folder

    filled(tmp_path, segments=3)
    read: list[Path] = []

    def counting(path: Path):
        read.append(path)
        return real(path)

    real = segment_folder.read_segment
    monkeypatch.setattr(segment_folder, "read_segment", counting)
    store = ScoreStore(tmp_path, SCORER)
    for _ in range(3):
        store.lookup(*pairs(30))
        store.add(*pairs(5, "other"), np.zeros(5))
    assert sorted(read) == sorted(set(read))
    assert len(read) == 3


def test_a_million_keys(tmp_path):
    generator = np.random.default_rng(0)
    query, doc = (generator.integers(0, 2**64, (1_000_000, 2), dtype=np.uint64) for _ in "qd")
    scores = generator.normal(size=1_000_000).astype(np.float32)
    ScoreStore(tmp_path, SCORER).add(query, doc, scores)
    store = ScoreStore(tmp_path, SCORER)
    order = generator.permutation(1_000_000)
    np.testing.assert_array_equal(store.lookup(query[order], doc[order]), scores[order])
    assert np.isnan(store.lookup(query, doc[::-1])).all()


def test_a_stored_pair_takes_forty_bytes_of_memory_at_most(tmp_path):
    count, size = 200_000, 20_000
    generator = np.random.default_rng(0)
    query, doc = (generator.integers(0, 2**64, (count, 2), dtype=np.uint64) for _ in "qd")
    for start in range(0, count, size):
        rows = slice(start, start + size)
        ScoreStore(tmp_path, SCORER).add(query[rows], doc[rows], np.zeros(size))
    store = ScoreStore(tmp_path, SCORER)
    tracemalloc.start()
    try:
        assert not np.isnan(store.lookup(query, doc)).any()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 28 * count <= taken <= 40 * count


def test_a_description_is_written_once_and_only_with_scores(tmp_path):
    path = tmp_path / SCORER / "scorer.json"
    store = ScoreStore(tmp_path, SCORER, {"model": "first", "max_length": 512})
    store.lookup(*pairs(1))
    assert not path.exists()
    store.add(*pairs(1), np.zeros(1))
    ScoreStore(tmp_path, SCORER, {"model": "second"}).add(*pairs(1, "other"), np.zeros(1))
    assert json.loads(path.read_text("utf-8")) == {"model": "first", "max_length": 512}


def test_a_segment_follows_the_umask_and_leaves_no_temporary_file(tmp_path):
    before = os.umask(0o027)
    try:
        filled(tmp_path)
    finally:
        os.umask(before)
    (name,) = os.listdir(tmp_path / SCORER)
    assert name.endswith(".parquet")
    assert stat.S_IMODE((tmp_path / SCORER / name).stat().st_mode) == 0o640


def test_a_cache_that_cannot_be_written_is_the_users_to_put_right(tmp_path):
    (tmp_path / SCORER).write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        filled(tmp_path)
