"""Precision and coverage over thresholds, and the least one that a precision asks for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.calibration.thresholds import coverage, least_threshold, threshold_interval
from evalkit.errors import ConfigError, DataError

SCORES = np.array([0.9, 0.8, 0.8, 0.6, 0.4, 0.2])
LABELS = np.array([1, 1, 0, 1, 0, 0], dtype=bool)
QUERIES = np.array([0, 0, 1, 1, 2, 3])


def test_precision_and_coverage_by_hand():
    found = coverage(SCORES, LABELS, QUERIES, 4, np.array([0.0, 0.5, 0.8, 0.85, 0.95]))
    assert found.threshold.tolist() == [0.0, 0.5, 0.8, 0.85]  # nothing reaches 0.95
    assert found.precision == pytest.approx([3 / 6, 3 / 4, 2 / 3, 1])
    assert found.docs == pytest.approx([1, 4 / 6, 3 / 6, 1 / 6])
    assert found.queries == pytest.approx([1, 2 / 4, 2 / 4, 1 / 4])
    assert found.relevant == pytest.approx([1, 1, 2 / 3, 1 / 3])
    assert len(coverage(SCORES, LABELS, QUERIES, 4, np.array([2.0])).precision) == 0


def test_the_least_threshold_by_hand():
    assert least_threshold(SCORES, LABELS, 0.5) == 0.2
    assert least_threshold(SCORES, LABELS, 0.7) == 0.6
    assert least_threshold(SCORES, LABELS, 0.76) == 0.9
    assert least_threshold(SCORES, ~LABELS & (SCORES < 0.8), 0.9) == float("inf")


@given(
    pairs=st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40),
    wanted=st.floats(0.05, 1),
)
def test_the_least_threshold_is_that_of_a_search_over_all(pairs, wanted):
    scores, labels = (np.array(column) for column in zip(*pairs, strict=True))
    reaching = [t for t in np.unique(scores) if labels[scores >= t].mean() >= wanted]
    assert least_threshold(scores, labels, wanted) == min(reaching, default=float("inf"))


def test_an_interval_is_of_queries_not_of_docs():
    """Docs that say the same thing ten times over make it no narrower."""
    generator = np.random.default_rng(0)
    scores = generator.random(60)
    labels = generator.random(60) < scores
    once = threshold_interval(scores, labels, np.arange(60), 0.8, 400)
    repeated = [np.repeat(column, 10) for column in (scores, labels, np.arange(60))]
    assert threshold_interval(*repeated, 0.8, 400) == once
    low, high = once
    assert low <= least_threshold(scores, labels, 0.8) <= high
    apart = threshold_interval(*repeated[:2], np.arange(600), 0.8, 400)
    assert apart[1] - apart[0] < high - low


def test_an_interval_covers_the_true_threshold():
    """Relevant with probability score, scores uniform: precision above t is (1 + t) / 2."""
    hits = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        scores = generator.random(2000)
        labels = generator.random(2000) < scores
        low, high = threshold_interval(scores, labels, np.arange(2000) // 10, 0.8, 200, seed=seed)
        hits += low <= 0.6 <= high
    assert hits >= 33


def test_an_end_is_infinite_where_resamples_never_reach_the_precision():
    labels = np.array([True, False, False, False])
    low, high = threshold_interval(np.arange(4.0)[::-1], labels, np.arange(4), 0.9, 200)
    assert (low, high) == (3.0, float("inf"))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="above 0, at most 1"):
        least_threshold(SCORES, LABELS, 0.0)
    with pytest.raises(DataError, match="at least one"):
        least_threshold(SCORES[:0], LABELS[:0], 0.5)
