"""Batches hold every sequence once, longest first, and no more tokens than the budget."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.scoring.batches import batches


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 200), st.booleans())
def test_every_sequence_once_longest_first_within_the_budget(lengths, budget, padded):
    lengths = np.array(lengths, dtype=np.int64)
    parts = list(batches(lengths, budget, padded))
    order = np.concatenate([np.empty(0, np.int64), *parts])
    assert sorted(order) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) <= 0).all()

    def cost(rows):
        return len(rows) * lengths[rows].max() if padded else lengths[rows].sum()

    for part, following in zip_longest(parts, parts[1:]):
        assert len(part) == 1 or cost(part) <= budget
        if following is not None:  # and not fewer than fit
            assert cost(np.append(part, following[0])) > budget


@pytest.mark.parametrize("padded", [True, False])
def test_equal_lengths_keep_their_order(padded):
    parts = list(batches(np.full(6, 10), 40, padded))
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3], [4, 5]]
