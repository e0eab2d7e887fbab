"""The tests against scipy's, against their definitions, and at the level that they promise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evalkit.errors import ConfigError
from evalkit.measures.bootstrap import resample_counts
from evalkit.statistics.paired import is_exact, paired_differences, paired_test

ALTERNATIVES = ["two-sided", "less", "greater"]
TESTS = ["t", "randomisation", "bootstrap"]


def systems(queries: int, columns: int, seed: int = 0, shift: float = 0.0) -> tuple:
    """Two systems of the same strength, on queries that are hard or easy for both: nDCG-like
    values, equal on some queries."""
    generator = np.random.default_rng(seed)
    hardness = generator.normal(0, 1.5, (queries, columns))
    one, two = (
        1 / (1 + np.exp(-hardness - generator.normal(0, 0.7, (queries, columns)) - by))
        for by in (shift, 0.0)
    )
    same = generator.random((queries, columns)) < 0.2
    return np.where(same, two, one).round(3), two.round(3)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("queries", [2, 5, 60, 400])
def test_t_equals_scipy(queries, alternative):
    one, two = systems(queries, 20)
    ours = paired_test(paired_differences(one, two), "t", alternative)
    theirs = scipy.stats.ttest_rel(one, two, alternative=alternative).pvalue
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("queries", [2, 7, 10])
def test_randomisation_of_few_queries_equals_scipys_exact_test(queries, alternative):
    one, two = systems(queries, 8, seed=3)
    ours = paired_test(paired_differences(one, two), "randomisation", alternative)
    theirs = scipy.stats.permutation_test(
        (one, two), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples",
        n_resamples=np.inf, alternative=alternative, vectorized=True,
    ).pvalue  # fmt: skip
    assert is_exact("randomisation", queries, 10_000)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_drawn_randomisation_is_near_scipys(alternative):
    one, two = systems(60, 6, seed=5, shift=0.1)
    ours = paired_test(paired_differences(one, two), "randomisation", alternative, 20_000)
    theirs = scipy.stats.permutation_test(
        (one, two), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples",
        n_resamples=20_000, alternative=alternative, vectorized=True,
        rng=np.random.default_rng(1),
    ).pvalue  # fmt: skip
    assert not is_exact("randomisation", 60, 20_000)
    # Both are Monte Carlo: four standard errors of their difference.
    np.testing.assert_array_less(
        np.abs(ours - theirs), 4 * np.sqrt(2 * theirs * (1 - theirs) / 20_000) + 2e-4
    )


def test_the_exact_test_starts_where_all_patterns_fit():
    assert is_exact("randomisation", 13, 10_000)
    assert not is_exact("randomisation", 14, 10_000)
    assert not is_exact("t", 5, 10_000)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_bootstrap_is_the_test_of_its_definition(alternative):
    one, two = systems(30, 4, seed=7, shift=0.2)
    differences = paired_differences(one, two)
    ours = paired_test(differences, "bootstrap", alternative, resamples=600, seed=9)
    counts = np.concatenate(list(resample_counts(30, 600, 9)))
    for column, found in zip(differences.T, ours, strict=True):
        observed = scipy.stats.ttest_1samp(column, 0).statistic
        moved = column - column.mean()
        drawn = [scipy.stats.ttest_1samp(np.repeat(moved, c), 0).statistic for c in counts]
        extreme = {
            "two-sided": np.abs(drawn) >= abs(observed),
            "less": np.array(drawn) <= observed,
            "greater": np.array(drawn) >= observed,
        }[alternative]
        assert found == pytest.approx((extreme.sum() + 1) / 601)


@pytest.mark.parametrize("test", TESTS)
def test_false_positives_on_a_thousand_pairs_of_equal_systems_are_as_promised(test):
    one, two = systems(50, 1000, seed=11)
    rejected = (paired_test(paired_differences(one, two), test, resamples=2000) < 0.05).sum()
    low, high = scipy.stats.binom.interval(0.95, 1000, 0.05)
    assert low <= rejected <= high


@pytest.mark.parametrize("test", TESTS)
def test_a_real_difference_is_found(test):
    one, two = systems(300, 20, shift=0.3)
    assert (paired_test(paired_differences(one, two), test, resamples=2000) < 0.05).all()
    falls = paired_test(paired_differences(two, one), test, "less", resamples=2000)
    rises = paired_test(paired_differences(two, one), test, "greater", resamples=2000)
    assert (falls < 0.05).all()
    assert (rises > 0.95).all()


@pytest.mark.parametrize("test", TESTS)
def test_equal_systems_and_rounding_are_no_difference(test):
    values = np.random.default_rng(0).random((40, 2))
    differences = paired_differences(values + 1e-16, values - 1e-12)
    assert (differences == 0).all()
    np.testing.assert_array_equal(paired_test(differences, test), [1, 1])


def test_differences_without_spread():
    differences = np.full((30, 1), 0.1 + 0.2) - 0.2
    assert paired_test(differences, "t") < 1e-12
    assert paired_test(differences, "t", "less") == 1
    for test in ("randomisation", "bootstrap"):
        assert paired_test(differences, test, resamples=999)[0] == pytest.approx(1 / 1000)


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("queries", [8, 40])  # all patterns of signs, and some of them
def test_a_value_that_is_not_defined_is_no_evidence(test, queries):
    differences = paired_differences(*systems(queries, 3, seed=1))
    differences[2, 1] = np.nan
    p = paired_test(differences, test, resamples=500)
    assert np.isnan(p[1])
    others = paired_test(differences[:, [0, 2]], test, resamples=500)
    np.testing.assert_allclose(p[[0, 2]], others)


@pytest.mark.parametrize("test", TESTS)
def test_one_query_decides_nothing(test):
    assert np.isnan(paired_test(np.array([[0.3, 0.0]]), test)).all()


@pytest.mark.parametrize("test", ["randomisation", "bootstrap"])
def test_a_seed_gives_one_answer_and_a_column_does_not_depend_on_others(test):
    differences = paired_differences(*systems(40, 5, seed=2))
    first = paired_test(differences, test, resamples=500, seed=3)
    np.testing.assert_array_equal(first, paired_test(differences, test, resamples=500, seed=3))
    alone = paired_test(differences[:, 2:3], test, resamples=500, seed=3)
    np.testing.assert_allclose(first[2:3], alone)
    assert (first != paired_test(differences, test, resamples=500, seed=4)).any()


def test_an_unknown_test_is_refused():
    with pytest.raises(ConfigError, match="test=wilcoxon: expected one of t, randomisation"):
        paired_test(np.zeros((3, 1)), "wilcoxon")


VALUES = hnp.arrays(np.float64, st.tuples(st.integers(2, 9), st.integers(1, 3)),
                    elements=st.floats(-1, 1).map(lambda x: round(x, 2)))  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(VALUES, st.sampled_from(TESTS))
def test_sides_mirror_and_p_is_a_probability(differences, test):
    less, greater = (
        paired_test(part, test, side, resamples=200)
        for part, side in ((differences, "less"), (-differences, "greater"))
    )
    np.testing.assert_allclose(less, greater)
    both = paired_test(differences, test, resamples=200)
    assert ((both > 0) | (test == "t")).all()
    assert ((both >= 0) & (both <= 1)).all()
    np.testing.assert_allclose(both, paired_test(4 * differences, test, resamples=200), rtol=1e-9)
