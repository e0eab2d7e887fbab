"""Dominated systems and the knee, on data with planted answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.efficiency.knee import knee
from evalkit.efficiency.pareto import standings


def planted(means, queries=200, noise=0.02, seed=0):
    """Values by query whose differences are known: shape (Q, S)."""
    generator = np.random.default_rng(seed)
    common = generator.normal(0.5, 0.2, (queries, 1))
    noisy = generator.normal(0, noise, (queries, len(means)))
    noisy -= noisy.mean(axis=0)
    return common - common.mean() + np.array(means) + noisy


def test_dominated_and_dominated_beyond_the_interval():
    quality = planted([0.50, 0.60, 0.40, 0.5995])
    spent = np.array([10.0, 20.0, 30.0, 25.0])
    bounds = np.stack([spent - 1, spent + 1], axis=1)
    cheap, best, bad, near = standings(quality, spent, bounds)
    assert not cheap.dominated
    assert not best.dominated
    assert (bad.dominated, bad.by, bad.beyond) == (True, 1, True)
    # .0005 worse is no difference that shows.
    assert (near.dominated, near.by, near.beyond) == (True, 1, False)


def test_latencies_that_overlap_are_not_beyond_the_interval():
    quality, spent = planted([0.6, 0.4]), np.array([20.0, 22.0])
    wide = np.stack([spent - 5, spent + 5], axis=1)
    assert standings(quality, spent, wide)[1].dominated
    assert not standings(quality, spent, wide)[1].beyond
    assert standings(quality, spent)[1].beyond


def test_equal_systems_do_not_dominate_each_other():
    quality = np.repeat(planted([0.5]), 2, axis=1)
    assert not any(s.dominated for s in standings(quality, np.array([5.0, 5.0])))


def test_a_system_is_spared_only_what_no_interval_shows():
    quality, spent = np.repeat(planted([0.6]), 3, axis=1), np.array([20.0, 19.0, 18.0])
    spared = np.zeros((3, 3), dtype=bool)
    spared[1, 0] = spared[2, 0] = True
    first, second, third = standings(quality, spent, spared=spared)
    assert (first.dominated, third.dominated) == (False, False)
    assert (second.dominated, second.by) == (True, 2)
    better = quality + np.array([0.0, 0.0, 0.1])
    assert standings(better, spent, spared=spared)[0].by == 2
    # Spared by the frontier alone, it is dominated by what is not on it.
    spared[1, 0] = False
    assert standings(quality, spent, spared=spared)[0].by == 1


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_marks_follow_the_definition(points):
    quality = np.array([[q for q, _ in points]] * 2, dtype=float)
    spent = np.array([c for _, c in points], dtype=float)
    for (q, c), standing in zip(points, standings(quality, spent, resamples=100), strict=True):
        over = [(a, b) for a, b in points if a >= q and b <= c and (a, b) != (q, c)]
        assert standing.dominated == bool(over)
        if standing.by is not None:
            assert points[standing.by] in over
            assert not standings(quality, spent, resamples=100)[standing.by].dominated


def curve(means, **more):
    return dict(zip((0, 10, 20, 50, 100), planted(means, **more).T, strict=True))


def test_the_knee_of_a_planted_curve():
    found = knee(curve([0.40, 0.50, 0.55, 0.551, 0.5505]))
    assert found.k == 20
    assert [gain.k for gain in found.gains] == [0, 10, 20, 50]
    assert found.gains[1].interval[0] > 0 >= found.gains[2].interval[0]


def test_small_steps_that_add_up_are_a_gain():
    # Each step of .003 is inside the noise, three of them are not.
    noisy = curve([0.500, 0.503, 0.506, 0.509, 0.512], noise=0.045)
    steps = [knee({k: noisy[k], larger: noisy[larger]}).k for k, larger in ((0, 10), (10, 20))]
    assert steps == [0, 10]
    assert knee(noisy).k != 0


def test_reranking_that_gains_nothing_has_its_knee_at_the_first_stage():
    assert knee(curve([0.5, 0.5001, 0.4999, 0.5, 0.3])).k == 0


def test_a_curve_that_still_rises_has_no_knee():
    assert knee(curve([0.1, 0.2, 0.3, 0.4, 0.5])).k is None


@pytest.mark.parametrize("values", [{}, {10: np.ones(5)}, {10: np.ones(1), 20: np.ones(1)}])
def test_too_little_to_tell(values):
    assert knee(values).k is None
