"""Agreement beyond chance: equal to scikit-learn's and scipy's, interval included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.synthesis.kappa import confusion, kappa, kappa_estimate, kendall_tau, tau_ap

GRADES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=60)


@pytest.mark.filterwarnings("ignore")
@given(GRADES)
def test_kappa_is_scikit_learn_s(pairs):
    from sklearn.metrics import cohen_kappa_score

    human, model = np.array(pairs).T
    counts = confusion(np.zeros(len(pairs), int), human, model, 1, 4)[0]
    assert counts.sum() == len(pairs)
    for weights, theirs in (("equal", None), ("quadratic", "quadratic")):
        expected = cohen_kappa_score(human, model, weights=theirs, labels=[0, 1, 2, 3])
        assert float(kappa(counts, weights)) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_interval_resamples_queries_not_pairs():
    rng = np.random.default_rng(0)
    human = rng.integers(0, 2, 400)
    model = np.where(rng.random(400) < 0.8, human, 1 - human)
    rows = np.arange(400) % 100
    one = kappa_estimate(confusion(rows, human, model, 100, 2), "equal", 2000, 0.95, 0)
    assert one.low < one.value < one.high
    assert one.high - one.low < 0.25
    # The same queries four times over say no more: pairs of a query go together.
    many = np.tile(human, 4), np.tile(model, 4)
    again = kappa_estimate(confusion(np.tile(rows, 4), *many, 100, 2), "equal", 2000, 0.95, 0)
    assert again == pytest.approx(one)
    assert kappa_estimate(confusion(rows, human, model, 100, 2), "equal", 2000, 0.95, 0) == one


def test_the_interval_is_the_percentiles_of_kappa_over_resampled_queries():
    rng = np.random.default_rng(1)
    human, model = rng.integers(0, 4, (2, 90))
    rows = np.repeat(np.arange(30), 3)
    counts = confusion(rows, human, model, 30, 4)
    found = kappa_estimate(counts, "quadratic", 300, 0.9, 7)
    draws = np.random.default_rng(7).multinomial(30, np.full(30, 1 / 30), size=300)
    values = [
        float(kappa(sum(n * c for n, c in zip(d, counts, strict=True)), "quadratic")) for d in draws
    ]
    assert (found.low, found.high) == pytest.approx(np.percentile(values, [5, 95]))
    assert found.value == float(kappa(counts.sum(axis=0), "quadratic"))


def test_kappa_that_is_not_defined_is_nan_and_has_no_interval():
    ones = np.ones(10, int)
    found = kappa_estimate(confusion(np.arange(10), ones, ones, 10, 2), "equal", 200, 0.95, 0)
    assert np.isnan(list(found)).all()


@given(st.permutations(range(6)))
def test_tau_is_scipy_s_and_tau_ap_its_definition(order):
    from scipy.stats import kendalltau

    reference, other = np.arange(6.0), np.array(order, dtype=float)
    assert kendall_tau(reference, other) == pytest.approx(kendalltau(reference, other)[0])
    # Yilmaz et al. 2008: the mean share of systems above each one that belong above it.
    ranked = sorted(range(6), key=lambda s: -other[s])
    shares = [
        sum(reference[above] > reference[ranked[i]] for above in ranked[:i]) / i
        for i in range(1, 6)
    ]
    assert tau_ap(reference, other) == pytest.approx(2 * sum(shares) / 5 - 1)


def test_tau_ap_minds_the_top_more():
    reference = np.array([4.0, 3, 2, 1])
    top, bottom = np.array([3.0, 4, 2, 1]), np.array([4.0, 3, 1, 2])
    assert kendall_tau(reference, top) == kendall_tau(reference, bottom)
    assert tau_ap(reference, top) < tau_ap(reference, bottom)
    assert np.isnan(tau_ap(reference, np.array([1.0, 1, 2, 3])))
    assert np.isnan(kendall_tau(reference[:1], top[:1]))
