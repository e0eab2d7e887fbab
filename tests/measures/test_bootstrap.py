"""Percentile intervals against scipy's, and that they cover what they say."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.stats

from evalkit.measures import MeasureSet, bootstrap, parse_measures
from evalkit.measures.bootstrap import bootstrap_intervals
from evalkit.run import Run
from evalkit.types import Qrel


def skewed(queries: int, columns: int = 1, seed: int = 0) -> np.ndarray:
    """Values like nDCG's: many zeros, some ones."""
    values = np.random.default_rng(seed).beta(0.6, 0.8, (queries, columns))
    return np.where(values < 0.15, 0.0, values)


@pytest.mark.parametrize("queries", [10, 50, 300])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_equals_scipy(queries, level):
    values = skewed(queries)
    ours = bootstrap_intervals(values, resamples=10_000, level=level)[0]
    theirs = scipy.stats.bootstrap(
        (values[:, 0],), np.mean, n_resamples=10_000, confidence_level=level,
        method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    # Both are Monte Carlo: the ends agree to a few percent of the width.
    width = theirs.high - theirs.low
    np.testing.assert_allclose(ours, theirs, atol=0.05 * width)


def test_is_deterministic_by_seed():
    values = skewed(40, columns=3)
    one, two = (bootstrap_intervals(values, 1000, seed=7) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert (one != bootstrap_intervals(values, 1000, seed=8)).any()


def test_columns_share_the_resamples():
    # A column's interval does not depend on what stands beside it, and a shift shifts it.
    values = skewed(40)
    beside = bootstrap_intervals(np.hstack([values, values + 1, 2 * values]), 1000)
    alone = bootstrap_intervals(values, 1000)[0]
    np.testing.assert_allclose(beside, [alone, alone + 1, 2 * alone], rtol=1e-12)


def test_a_number_of_resamples_that_is_no_multiple_of_a_block():
    assert bootstrap_intervals(skewed(20), resamples=501).shape == (1, 2)
    assert (bootstrap_intervals(skewed(20), 3)[0] > 0).all()


@pytest.mark.parametrize("queries", [0, 1])
def test_too_few_queries_have_no_interval(queries):
    intervals = bootstrap_intervals(np.full((queries, 2), 0.5))
    assert intervals.shape == (2, 2)
    assert np.isnan(intervals).all()


def test_no_spread_is_a_point():
    np.testing.assert_allclose(bootstrap_intervals(np.full((5, 1), 0.25)), [[0.25, 0.25]])


@pytest.fixture(scope="module")
def all_queries() -> dict[str, np.ndarray]:
    """Measure → its values on a generated run: all the queries that there are, hard and easy."""
    generator = np.random.default_rng(3)
    qrels: list[Qrel] = []
    ranking: dict[str, dict[str, float]] = {}
    for i, hardness in enumerate(generator.normal(1.0, 1.5, 4000)):
        query = f"q{i}"
        docs = [f"d{j}" for j in range(12)]
        relevant = docs[: generator.integers(1, 4)]
        noise = generator.normal(0, 1, len(docs))
        scores = [x - hardness * (doc not in relevant) for x, doc in zip(noise, docs, strict=True)]
        ranking[query] = dict(zip(docs, scores, strict=True))
        qrels += [Qrel(query, doc, int(generator.integers(1, 4))) for doc in relevant]
    measures = MeasureSet(parse_measures(["nDCG@10", "RR@10", "P@1"]), qrels, None)
    return measures.at_depths(Run.from_dict(ranking), [None])[0]


@pytest.mark.parametrize("measure", ["nDCG@10", "RR@10", "P@1"])
@pytest.mark.parametrize("queries", [50, 100, 300])
def test_covers_the_truth_of_generated_runs_as_often_as_it_says(all_queries, measure, queries):
    values = all_queries[measure]
    trials = 4000  # a standard error of .0034 at .95
    drawn = np.random.default_rng(queries).choice(values, (queries, trials))
    low, high = bootstrap_intervals(drawn, resamples=1000).T
    truth = values.mean()
    covered = float(np.mean((low <= truth) & (truth <= high)))
    assert covered == pytest.approx(0.95, abs=0.015)


def test_expanded_intervals_are_quantiles_as_far_out_as_students_t():
    values = skewed(8)
    plain = bootstrap_intervals(values, 5000, method="percentile")[0]
    expanded = bootstrap_intervals(values, 5000, method="expanded")[0]
    t = scipy.stats.t.ppf(0.975, 7)
    level = 1 - 2 * scipy.stats.norm.cdf(-np.sqrt(8 / 7) * t)
    np.testing.assert_allclose(expanded, bootstrap_intervals(values, 5000, level)[0], rtol=1e-9)
    assert expanded[0] < plain[0] < plain[1] < expanded[1]


@pytest.mark.parametrize("queries", [10, 20])
def test_with_few_queries_expanded_intervals_cover_where_plain_ones_do_not(all_queries, queries):
    values = all_queries["nDCG@10"]
    drawn = np.random.default_rng(queries).choice(values, (queries, 4000))
    covered = {}
    for method in ("percentile", "expanded"):
        low, high = bootstrap_intervals(drawn, resamples=1000, method=method).T
        covered[method] = float(np.mean((low <= values.mean()) & (values.mean() <= high)))
    assert covered["percentile"] < 0.94
    assert covered["expanded"] == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("resamples", [3, 500, 1201])
@pytest.mark.parametrize("allowed", [bootstrap._BYTES, 40_000])
def test_each_interval_is_that_of_the_resamples_of_its_seed(monkeypatch, resamples, allowed):
    # With little memory allowed, resamples are drawn again for every few columns.
    monkeypatch.setattr(bootstrap, "_BYTES", allowed)
    values = skewed(60, columns=9)
    # A seed's resamples are kept: another's must not be taken for them.
    for seed in (4, 5, 4):
        generator = np.random.default_rng(seed)
        means = np.empty((9, resamples))
        for i in range(resamples):
            counts = generator.multinomial(60, [1 / 60] * 60)
            means[:, i] = [np.mean(np.repeat(column, counts)) for column in values.T]
        expected = np.quantile(means, [0.05, 0.95], axis=1).T
        found = bootstrap_intervals(values, resamples, level=0.9, seed=seed)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(("queries", "columns"), [(200, 3000), (20_000, 3)])
def test_memory_is_bounded(monkeypatch, queries, columns):
    values = skewed(queries, columns)
    monkeypatch.setattr(bootstrap, "_BYTES", 2**20)
    tracemalloc.start()
    try:
        bootstrap_intervals(values, 400)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All means at once would be 10 MB, all counts of the other 64.
    assert peak < 6 * 2**20


def test_no_columns_have_no_intervals():
    assert bootstrap_intervals(np.empty((5, 0))).shape == (0, 2)
