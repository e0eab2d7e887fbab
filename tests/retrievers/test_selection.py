"""The partial sort against the full one, with ties at the border."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.retrievers.selection import order_of, top_k


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 35), st.data())
def test_equals_a_full_sort(scores, k, data):
    order = data.draw(st.permutations(range(len(scores))))
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], -order[i]))[:k]
    found = top_k(np.array(scores, dtype=np.float32), k, np.array(order))
    assert found.tolist() == expected


@pytest.mark.parametrize("k", [1, 5, 999, 1000, 2000])
def test_among_equal_scores_the_highest_ids_win(k):
    order = np.random.default_rng(0).permutation(1000)
    found = top_k(np.zeros(1000, dtype=np.float32), k, order)
    assert order[found].tolist() == list(range(999, max(999 - k, -1), -1))


@given(st.lists(st.text(), unique=True))
def test_order_of_ids(ids):
    assert order_of(np.array(ids, dtype=object)).tolist() == [sorted(ids).index(i) for i in ids]
