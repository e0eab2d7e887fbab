"""Calibration error, Brier score and reliability, against the formulas by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.calibration.reliability import brier_score, calibration_error, reliability_curve
from evalkit.errors import DataError

P = np.array([0.05, 0.15, 0.15, 0.9, 0.95, 1.0])
Y = np.array([0, 0, 1, 1, 1, 0], dtype=bool)


def test_expected_calibration_error_by_hand():
    # Bins [0, .5) and [.5, 1]: means 0.35/3 and 2.85/3, shares 1/3 and 2/3.
    expected = 0.5 * abs(1 / 3 - 0.35 / 3) + 0.5 * abs(2 / 3 - 2.85 / 3)
    assert calibration_error(P, Y, bins=2) == pytest.approx(expected)
    assert calibration_error(P, Y, bins=2, by="mass") == pytest.approx(expected)
    # One bin each: |label - probability|.
    each = abs(Y - P)
    each[1:3] = abs(0.5 - 0.15)
    assert calibration_error(P, Y, bins=10, by="mass") == pytest.approx(each.mean())


def test_brier_score_by_hand():
    assert brier_score(P, Y) == pytest.approx(np.mean((P - Y) ** 2))
    assert brier_score(np.full(4, 0.5), np.array([0, 1, 0, 1], dtype=bool)) == 0.25


def test_a_reliability_curve_has_the_bins_that_hold_anything():
    curve = reliability_curve(P, Y, bins=10)
    assert curve.docs.tolist() == [1, 2, 3]
    assert curve.probability == pytest.approx([0.05, 0.15, 2.85 / 3])
    assert curve.relevant == pytest.approx([0, 0.5, 2 / 3])
    # Wilson's interval of 1 of 2 and 2 of 3 at 95 %, from its closed form.
    z = 1.959964
    for k, n, low, high in (
        (1, 2, curve.low[1], curve.high[1]),
        (2, 3, curve.low[2], curve.high[2]),
    ):
        centre = (k / n + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(k / n * (1 - k / n) / n + z**2 / (4 * n**2))
        assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-5)
    assert curve.as_json()["docs"] == [1, 2, 3]


def test_bins_of_equal_mass_see_what_equal_width_hides():
    """Small probabilities share one bin of equal width, where an error up and one down cancel."""
    p = np.repeat([0.01, 0.05], 1000)
    y = np.concatenate([np.arange(1000) < 50, np.arange(1000) < 10])
    assert calibration_error(p, y, bins=10) < 1e-12
    assert calibration_error(p, y, bins=10, by="mass") == pytest.approx(0.04)


def test_true_probabilities_have_next_to_no_error_and_others_have_it():
    generator = np.random.default_rng(3)
    p = generator.random(50_000)
    y = generator.random(50_000) < p
    assert calibration_error(p, y) < 0.01
    assert calibration_error(p**3, y) > 0.15
    assert brier_score(p, y) < brier_score(p**3, y)


@pytest.mark.parametrize(
    ("p", "message"), [([], "no docs"), ([0.5, 1.2], "expected 0 to 1"), ([np.nan, 0.1], "0 to 1")]
)
def test_what_is_no_probability_is_refused(p, message):
    with pytest.raises(DataError, match=message):
        calibration_error(np.array(p), np.zeros(len(p), dtype=bool))


@given(
    pairs=st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60),
    bins=st.integers(1, 20),
    by=st.sampled_from(["width", "mass"]),
)
def test_every_doc_is_in_one_bin_whatever_their_order(pairs, bins, by):
    p, y = (np.array(column) for column in zip(*pairs, strict=True))
    curve = reliability_curve(p, y, bins, by)
    assert curve.docs.sum() == len(p)
    assert len(curve.docs) <= bins
    assert (curve.docs * curve.relevant).sum() == pytest.approx(y.sum())
    assert (curve.docs * curve.probability).sum() == pytest.approx(p.sum())
    assert ((curve.low <= curve.relevant + 1e-9) & (curve.relevant <= curve.high + 1e-9)).all()
    turned = reliability_curve(p[::-1], y[::-1], bins, by)
    assert turned.docs.tolist() == curve.docs.tolist()
    assert 0 <= calibration_error(p, y, bins, by) <= 1
