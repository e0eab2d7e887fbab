"""T(K) = a + b·K: the fit, how good it is, and what it says of other K."""

import numpy as np
import pytest
from scipy.stats import linregress

from evalkit.efficiency.percentiles import resampled
from evalkit.efficiency.timing_model import fitted_model


def fit(candidates, ms, predict=(), queries=None, level=0.95):
    candidates, ms = np.asarray(candidates, float), np.asarray(ms, float)
    return fitted_model(candidates, ms, resampled(ms.shape[1], 1000, 0), level, predict)


def of_sizes(sizes, queries):
    return np.repeat(np.array(sizes, dtype=float)[:, None], queries, axis=1)


def test_a_line_is_found_exactly():
    x = of_sizes([10, 20, 50], 8)
    found = fit(x, 7.5 + 0.25 * x, predict=[20, 100])
    assert found["a_ms"] == pytest.approx(7.5)
    assert found["b_ms"] == pytest.approx(0.25)
    assert found["r2"] == pytest.approx(1)
    assert found["largest_residual_ms"] == pytest.approx(0, abs=1e-9)
    inside, outside = found["predictions"]
    assert inside["mean_ms"] == pytest.approx(12.5)
    assert outside["mean_ms"] == pytest.approx(32.5)
    assert [each["extrapolated"] for each in found["predictions"]] == [False, True]
    assert all(each["predicted"] for each in found["predictions"])


def test_the_fit_is_scipys_of_the_means():
    generator = np.random.default_rng(0)
    x = of_sizes([10, 20, 50, 100], 30)
    ms = 12 + 0.8 * x + generator.normal(0, 6, x.shape)
    found, expected = fit(x, ms), linregress(x.mean(axis=1), ms.mean(axis=1))
    assert found["a_ms"] == pytest.approx(expected.intercept)
    assert found["b_ms"] == pytest.approx(expected.slope)
    assert found["r2"] == pytest.approx(expected.rvalue**2)
    for name, truth in (("a_ms", 12), ("b_ms", 0.8)):
        low, high = found["ci"][name]
        assert low < truth < high


def test_what_is_no_line_shows_in_the_residual():
    x = of_sizes([10, 20, 30], 5)
    found = fit(x, x**2)
    assert found["r2"] == pytest.approx(48 / 49)
    assert abs(found["largest_residual_ms"]) == pytest.approx(200 / 3)
    assert found["largest_residual_k"] == 20


def test_two_sizes_say_nothing_of_the_fit_and_one_makes_none():
    x = of_sizes([10, 50], 5)
    found = fit(x, 1 + x)
    assert (found["r2"], found["largest_residual_ms"]) == (None, None)
    assert found["b_ms"] == pytest.approx(1)
    assert fit(of_sizes([10], 5), of_sizes([3], 5)) is None
    assert fit(of_sizes([10, 10], 5), of_sizes([3, 4], 5)) is None


def test_k_is_what_the_reranker_was_given_not_what_the_sweep_asked_for():
    """At K=50 half of the queries find 10 docs: the mean is 30."""
    x = np.array([[10.0] * 6, [20.0] * 3 + [10.0] * 3, [50.0] * 3 + [10.0] * 3])
    found = fit(x, 2 + 3 * x)
    assert found["candidates"] == [10, 15, 30]
    assert found["b_ms"] == pytest.approx(3)
    assert found["a_ms"] == pytest.approx(2)
    assert found["ci"]["b_ms"] == pytest.approx([3, 3])


def test_a_few_queries_have_no_interval():
    found = fit(of_sizes([10, 20, 30], 4), of_sizes([10, 20, 30], 4), predict=[40])
    assert found["ci"] == {"a_ms": [None, None], "b_ms": [None, None]}
    assert found["predictions"][0]["ci"] == [None, None]


def test_a_line_that_falls_below_zero_predicts_no_time():
    x = of_sizes([10, 20], 6)
    inside, beyond = fit(x, 30 - x, predict=[25, 30])["predictions"]
    assert inside["mean_ms"] == pytest.approx(5)
    assert (beyond["mean_ms"], beyond["ci"], beyond["extrapolated"]) == (None, [None, None], True)
