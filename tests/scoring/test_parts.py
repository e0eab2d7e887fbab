"""Parts hold every item once and cost about the same; packing loses nothing."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evalkit.scoring.parts import pack, parts_of, unpack

COSTS = st.lists(st.integers(0, 10_000), max_size=60).map(np.array)


@given(COSTS, st.integers(1, 20))
def test_parts(costs, count):
    parts = parts_of(costs, count)
    assert len(parts) <= count
    order = np.concatenate([*parts, np.empty(0, dtype=np.int64)])
    assert sorted(order.tolist()) == list(range(len(costs)))
    assert (np.diff(costs[order]) <= 0).all()
    assert all(len(part) for part in parts)
    if len(costs):
        fair = costs.sum() / count + costs.max()
        assert max(costs[part].sum() for part in parts) <= fair * (1 + 1e-9)


def test_an_item_that_costs_nothing_is_no_part_of_its_own():
    assert [part.tolist() for part in parts_of(np.array([0, 1]), 1)] == [[1, 0]]


def test_parts_of_like_and_of_unlike_costs():
    assert [len(part) for part in parts_of(np.full(100, 7), 4)] == [25, 25, 25, 25]
    assert [len(part) for part in parts_of(np.zeros(8), 4)] == [2, 2, 2, 2]
    assert [part.tolist() for part in parts_of(np.array([1, 6, 1, 1, 3]), 2)] == [[1], [4, 0, 2, 3]]


ARRAYS = st.lists(st.integers(0, 200), max_size=5).map(lambda x: np.array(x, dtype=np.uint8))
ITEMS = st.one_of(
    st.lists(ARRAYS, max_size=8),
    st.lists(st.tuples(ARRAYS, ARRAYS), max_size=8),
    st.lists(st.tuples(st.text("aé文\ud800", max_size=2), st.text("a", max_size=2)), max_size=8),
    st.lists(
        st.one_of(ARRAYS, st.tuples(ARRAYS), st.tuples(), st.text(), st.integers()), max_size=8
    ),
)


@given(ITEMS)
def test_packing_loses_nothing(items):
    rows = np.arange(len(items))[::-1]
    back = unpack(pickle.loads(pickle.dumps(pack(items, rows))))
    assert len(back) == len(items)
    for item, found in zip(items[::-1], back, strict=True):
        assert type(found) is type(item)
        np.testing.assert_equal(found, item)
        assert getattr(found, "dtype", None) == getattr(item, "dtype", None)


def test_a_text_travels_once_however_many_copies_there_are():
    query, doc = "which index", "a doc of some length " * 50
    pairs = [("query: " + query + str(i % 2), "passage: " + doc) for i in range(100)]
    packed = pickle.dumps(pack(pairs, np.arange(100)))
    assert len(packed) < 2 * len(doc) + 3000
    back = unpack(pickle.loads(packed))
    assert back == pairs
    assert len({id(text) for _, text in back}) == 1  # and is hashed once where it arrives


def test_dtypes_and_shapes_that_do_not_fit_one_column():
    for items in (
        [np.ones(2, np.int32), np.ones(2, np.int64)],
        [np.ones((2, 2)), np.ones((2, 2))],
        [np.array(["a", None], dtype=object)],
        [(np.ones(1), "text"), (np.ones(1), "more")],
    ):
        back = unpack(pickle.loads(pickle.dumps(pack(items, np.arange(len(items))))))
        np.testing.assert_equal(back, items)
        assert str(back) == str(items)
