"""Figures of measured times: percentiles, their support, their intervals, and who is faster."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.efficiency.percentiles import (
    FIGURES,
    PERCENTILES,
    queries_needed,
    ranks,
    resampled,
    statistics,
)


def figures(ms, level=0.95, seed=0):
    ms = np.asarray(ms, dtype=float)
    return statistics(ms, resampled(len(ms), 500, seed), level)


def test_known_times_have_known_figures():
    found = figures(np.arange(1, 102, dtype=float)[:, None])
    assert [found[p] for p in PERCENTILES] == [51, 91, 96, 100]
    assert found["mean_ms"] == 51
    assert found["samples"] == 101
    assert found["cv"] == pytest.approx(np.arange(1, 102).std(ddof=1) / 51)
    assert found["repeat_cv"] is None
    assert found["unsupported"] == []


def test_injected_outliers_move_the_99th_percentile_and_not_the_median():
    generator = np.random.default_rng(1)
    usual = generator.normal(50, 1, (200, 2))
    with_outliers = usual.copy()
    with_outliers[:5, 0] += 1000  # 5 of 400 times
    plain, disturbed = figures(usual), figures(with_outliers)
    assert disturbed["p50_ms"] == pytest.approx(plain["p50_ms"], rel=0.002)
    assert disturbed["p95_ms"] == pytest.approx(plain["p95_ms"], rel=0.02)
    assert disturbed["p99_ms"] > 10 * plain["p99_ms"]
    assert disturbed["mean_ms"] == pytest.approx(plain["mean_ms"] + 12.5)


def test_a_percentile_that_the_sample_cannot_support_is_named():
    assert figures(np.ones((50, 1)))["unsupported"] == ["p99_ms"]
    assert figures(np.ones((50, 2)))["unsupported"] == []
    assert figures(np.ones((9, 1)))["unsupported"] == ["p90_ms", "p95_ms", "p99_ms"]


def test_intervals_cover_the_true_figures_about_as_often_as_they_say():
    generator = np.random.default_rng(2)
    covered = {"mean_ms": 0, "p50_ms": 0, "p90_ms": 0}
    truth = {"mean_ms": 10.0, "p50_ms": 10 * np.log(2), "p90_ms": 10 * np.log(10)}
    for seed in range(200):
        found = figures(generator.exponential(10, (80, 1)), level=0.9, seed=seed)
        for name in covered:
            low, high = found["ci"][name]
            covered[name] += low <= truth[name] <= high
    # 90 % of 200, within about three standard errors, a little less for the skew
    assert all(165 <= count <= 195 for count in covered.values()), covered


def test_repeats_of_one_query_are_no_further_queries():
    """The same time ten times over says no more than once: whole queries are resampled."""
    once = np.random.default_rng(3).normal(50, 10, (30, 1))
    one, ten = figures(once), figures(np.repeat(once, 10, axis=1))
    assert ten["ci"]["mean_ms"] == pytest.approx(one["ci"]["mean_ms"])
    assert ten["repeat_cv"] == pytest.approx(0)


def test_a_percentile_beyond_what_the_queries_bound_has_no_interval():
    """Of 50 queries the largest time lies below the true p95 in .95 ** 50 = 7.7 % of all samples:
    an interval that ends there would miss more often above than the 2.5 % that it may."""
    assert [queries_needed(p, 0.95) for p in PERCENTILES] == [6, 36, 72, 368]
    assert queries_needed("mean_ms", 0.95) == 5
    known = [p for p, ends in figures(exponentials(50))["ci"].items() if ends[0] is not None]
    assert known == ["mean_ms", "p50_ms", "p90_ms"]
    # Repeats are of the same queries, and bound nothing more.
    assert figures(np.repeat(exponentials(50), 8, axis=1))["ci"]["p95_ms"] == [None, None]
    assert None not in figures(exponentials(72))["ci"]["p95_ms"]


def test_the_interval_of_p95_misses_above_no_more_often_than_it_may_by_much():
    trials, truth = 300, 10 * np.log(20)
    missed = dict.fromkeys((25, 80), 0)
    for queries in missed:
        for seed in range(trials):
            ms = exponentials(queries, seed)
            resamples = ms[resampled(queries, 400, seed), 0]
            high = np.quantile(np.quantile(resamples, 0.95, axis=1), 0.975)
            missed[queries] += high < truth
    assert missed[25] / trials > 0.2  # the largest of 25 lies below it in 28 % of all samples
    assert missed[80] / trials < 0.1
    assert figures(exponentials(25))["ci"]["p95_ms"] == [None, None]


def exponentials(queries, seed=0):
    return np.random.default_rng(seed).exponential(10, (queries, 1))


@pytest.mark.parametrize("queries", [1, 2, 4])
def test_a_few_queries_have_no_interval(queries):
    found = figures([[1.0, 3.0]] * queries)
    assert found["mean_ms"] == 2
    assert set(map(tuple, found["ci"].values())) == {(None, None)}


@given(st.integers(5, 12), st.integers(1, 4), st.integers(0, 10_000))
def test_percentiles_rise_lie_in_the_sample_and_scale_with_it(queries, repeats, seed):
    ms = np.random.default_rng(seed).exponential(5, (queries, repeats)) + 0.01
    found, double = figures(ms), figures(2 * ms)
    values = [found[p] for p in PERCENTILES]
    assert values == sorted(values)
    assert ms.min() <= values[0]
    assert values[-1] <= ms.max()
    for name in FIGURES:
        assert double[name] == pytest.approx(2 * found[name])
        low, high = found["ci"][name]
        assert (low is None) == (high is None) == (queries < queries_needed(name, 0.95))
        assert low is None or low <= high
    assert double["cv"] == pytest.approx(found["cv"])


def test_systems_whose_intervals_overlap_are_not_ranked():
    found = ranks({"a": (1.0, 2.0), "b": (1.5, 3.0), "c": (2.5, 4.0), "d": (9.0, 9.5)})
    assert {name: each["rank"] for name, each in found.items()} == {
        "a": [1, 2], "b": [1, 3], "c": [2, 3], "d": [4, 4],
    }  # fmt: skip
    assert found["a"]["not_distinguishable_from"] == ["b"]
    assert found["b"]["not_distinguishable_from"] == ["a", "c"]
    assert found["d"]["not_distinguishable_from"] == []


def test_a_system_without_an_interval_is_told_from_no_other():
    found = ranks({"a": (1.0, 2.0), "b": None})
    assert found["a"] == {"rank": [1, 2], "not_distinguishable_from": ["b"]}
    assert found["b"] == {"rank": [1, 2], "not_distinguishable_from": ["a"]}
