"""The population stability index: none without drift, more with more of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.drift import ALARM, NOTABLE, expected_by_chance, stability_index
from evalkit.errors import ConfigError, DataError


def normal(n, shift=0.0, scale=1.0, seed=0):
    return np.random.default_rng(seed).normal(shift, scale, n)


def test_the_index_by_hand():
    base, new = np.arange(1.0, 9.0), np.array([1.0, 2.0, 3.0, 8.0])
    # Two bins around the median 4.5: 4 and 4 of the base, 3 and 1 of the new, half added to each.
    p, q = np.array([4.5, 4.5]) / 9, np.array([3.5, 1.5]) / 5
    assert stability_index(base, new, bins=2) == pytest.approx(((q - p) * np.log(q / p)).sum())


def test_no_drift_is_what_chance_gives_and_a_shift_is_an_alarm():
    found = [stability_index(normal(500, seed=i), normal(400, seed=1000 + i)) for i in range(200)]
    assert np.mean(found) == pytest.approx(expected_by_chance(500, 400), rel=0.15)
    assert stability_index(normal(5000), normal(5000, seed=1)) < NOTABLE
    assert stability_index(normal(5000), normal(5000, 0.7, seed=1)) > ALARM
    assert stability_index(normal(5000), normal(5000, scale=2.0, seed=1)) > ALARM


def test_levels_of_a_discrete_score_are_told_apart():
    base = np.ones(100)
    assert stability_index(base, np.ones(80)) < 0.01
    assert stability_index(base, np.full(80, 2.0)) > ALARM
    assert stability_index(base, np.zeros(80)) > ALARM
    levels = np.repeat([0.0, 1.0, 2.0], 50)
    assert stability_index(levels, np.repeat([0.0, 1.0, 2.0], 40)) < 0.01
    assert stability_index(levels, np.repeat([0.0, 2.0], 60)) > ALARM


@given(
    base=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60),
    new=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60),
    bins=st.integers(2, 20),
)
def test_the_index_is_finite_never_negative_and_0_for_the_same_scores(base, new, bins):
    found = stability_index(np.array(base), np.array(new), bins)
    assert np.isfinite(found)
    assert found >= 0
    assert stability_index(np.array(base), np.array(base), bins) == 0


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="bins=1"):
        stability_index(np.ones(3), np.ones(3), bins=1)
    with pytest.raises(DataError, match="at least one each"):
        stability_index(np.ones(3), np.ones(0))
