"""Effect sizes, intervals, power and corrections against scipy, statsmodels and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from scipy.optimize import brentq
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from evalkit.errors import ConfigError
from evalkit.statistics.correction import corrected
from evalkit.statistics.effects import counts, effect_size, mean_interval
from evalkit.statistics.paired import paired_test
from evalkit.statistics.power import detectable, power_of, queries_needed


def differences(queries: int = 40, columns: int = 5, mean: float = 0.05, seed: int = 0):
    return np.random.default_rng(seed).normal(mean, 0.2, (queries, columns))


def test_d_and_hedges_g_are_those_of_their_formulas():
    given = np.array([0.1, 0.3, -0.1, 0.2, 0.0])
    found = effect_size(given[:, None])
    assert found.d[0] == pytest.approx(0.1 / np.sqrt(0.1 / 4))
    # Hedges' usual approximation 1 - 3/(4·4 - 1) is 0.8; exact is gamma(2)/(√2·gamma(1.5)).
    assert found.hedges[0] / found.d[0] == pytest.approx(0.797885, abs=1e-6)


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_the_interval_of_d_is_the_noncentral_ts(level):
    given = differences()
    found = effect_size(given, level)
    t = scipy.stats.ttest_1samp(given, 0).statistic
    for i, statistic in enumerate(t):
        for end, share in ((found.low[i], (1 + level) / 2), (found.high[i], (1 - level) / 2)):
            nc = brentq(lambda nc: scipy.stats.nct.cdf(statistic, 39, nc) - share, -30, 30)  # noqa: B023
            assert end == pytest.approx(nc / np.sqrt(40), abs=1e-6)


def test_the_interval_of_d_covers_the_truth():
    found = effect_size(differences(25, 4000, mean=0.1))
    covered = ((found.low <= 0.5) & (found.high >= 0.5)).mean()
    assert 0.935 <= covered <= 0.965


def test_the_interval_of_the_mean_equals_scipys_and_agrees_with_the_t_test():
    given = differences(30, 200, mean=0.07)
    ends = mean_interval(given, 0.95)
    theirs = scipy.stats.ttest_1samp(given, 0).confidence_interval(0.95)
    np.testing.assert_allclose(ends, np.stack(theirs, axis=1), rtol=1e-9)
    outside = (ends[:, 0] > 0) | (ends[:, 1] < 0)
    np.testing.assert_array_equal(outside, paired_test(given, "t") < 0.05)
    assert 0 < outside.sum() < 200


def test_the_interval_of_the_mean_covers_with_few_queries_of_which_many_are_equal():
    generator = np.random.default_rng(5)
    given = generator.normal(0.02, 0.15, (10, 4000)) * (generator.random((10, 4000)) < 0.5)
    low, high = mean_interval(given).T
    covered = ((low <= 0.01) & (high >= 0.01)).mean()
    # The percentile bootstrap covers 86 % here.
    assert 0.935 <= covered <= 0.975


def test_no_spread_and_one_query_have_no_effect_size():
    assert all(np.isnan(part).all() for part in effect_size(np.zeros((4, 2))))
    assert all(np.isnan(part).all() for part in effect_size(np.ones((1, 2))))
    np.testing.assert_array_equal(mean_interval(np.full((4, 1), 0.25)), [[0.25, 0.25]])
    assert np.isnan(mean_interval(np.ones((1, 2)))).all()
    assert np.isnan(effect_size(np.array([[0.1], [0.2]])).hedges[0])
    assert effect_size(np.array([[0.1], [0.2]])).d[0] == pytest.approx(0.15 / np.sqrt(0.005))


def test_wins_ties_and_losses():
    found = counts(np.array([[0.1, 0.0], [-0.2, 0.0], [0.0, 0.0], [0.3, -0.1]]))
    assert [part.tolist() for part in found] == [[2, 0], [1, 3], [1, 1]]


@pytest.mark.parametrize("power", [0.8, 0.95])
def test_queries_needed_equal_statsmodels(power):
    sds = np.array([0.05, 0.11, 0.3, 1.7])
    found = queries_needed(0.02, sds, power, 0.05)
    for sd, needed in zip(sds, found, strict=True):
        exact = TTestPower().solve_power(effect_size=0.02 / sd, power=power, alpha=0.05)
        assert needed == np.ceil(exact)


def test_a_query_without_a_value_is_no_tie():
    found = counts(np.array([[0.1], [np.nan], [0.0], [-0.1], [0.2]]))
    assert (int(found.above[0]), int(found.equal[0]), int(found.below[0])) == (2, 1, 1)


def test_queries_needed_of_what_is_unknown_tiny_or_hopeless():
    found = queries_needed(0.02, np.array([np.nan, 0.0, 1e-6, 1000.0]))
    assert np.isnan(found[:2]).all()
    assert found[2] == 2
    assert np.isinf(found[3])


def test_so_many_queries_do_find_the_difference():
    sd, difference = 0.15, 0.03
    needed = int(queries_needed(difference, np.array([sd]))[0])
    drawn = np.random.default_rng(2).normal(difference, sd, (needed, 4000))
    found = (paired_test(drawn, "t") < 0.05).mean()
    # Four standard errors of 4,000 trials.
    assert found == pytest.approx(0.8, abs=0.026)


def test_the_detectable_difference_is_the_one_that_power_of_finds():
    least = detectable(np.array([0.1, 0.3]), 50)
    assert least[0] == pytest.approx(0.1 * TTestPower().solve_power(nobs=50, power=0.8, alpha=0.05))
    np.testing.assert_allclose(power_of(least, np.array([0.1, 0.3]), 50), 0.8, atol=1e-6)
    assert queries_needed(1.0001 * least[0], np.array([0.1])) == 50
    assert queries_needed(0.9999 * least[0], np.array([0.1])) == 51
    assert np.isnan(detectable(np.array([0.1]), 1)).all()


P = np.array([0.01, 0.04, 0.03, 0.005, 0.6])


@pytest.mark.parametrize(
    ("correction", "expected"),
    [
        ("bonferroni", [0.05, 0.2, 0.15, 0.025, 1.0]),
        ("holm", [0.04, 0.09, 0.09, 0.025, 0.6]),
        ("bh", [0.025, 0.05, 0.05, 0.025, 0.6]),
        ("none", P),
    ],
)
def test_corrections_by_hand(correction, expected):
    np.testing.assert_allclose(corrected(P, correction), expected)


@pytest.mark.parametrize(
    ("correction", "name"), [("holm", "holm"), ("bonferroni", "bonferroni"), ("bh", "fdr_bh")]
)
def test_corrections_equal_statsmodels_and_leave_out_what_is_not_defined(correction, name):
    p = np.random.default_rng(0).random(30) ** 3
    theirs = multipletests(p, method=name)[1]
    np.testing.assert_allclose(corrected(p, correction), theirs)
    with_gap = corrected(np.insert(p, 4, np.nan), correction)
    assert np.isnan(with_gap[4])
    np.testing.assert_allclose(np.delete(with_gap, 4), theirs)
    assert np.isnan(corrected(np.array([np.nan]), correction)).all()


def test_an_unknown_correction_is_refused():
    with pytest.raises(ConfigError, match="correction=sidak: expected one of holm, bonferroni"):
        corrected(P, "sidak")


def test_holm_bounds_the_chance_of_any_false_positive():
    families = differences(40, 20 * 500, mean=0.0, seed=8)
    p = paired_test(families, "t").reshape(500, 20)
    wrong = sum((corrected(family, "holm") < 0.05).any() for family in p)
    uncorrected = sum((family < 0.05).any() for family in p)
    assert wrong <= scipy.stats.binom.ppf(0.999, 500, 0.05)
    assert uncorrected > 250
