"""A ranking under probabilities keeps the order of its raw scores, whatever is tied."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evalkit.calibration.order import in_order_of
from evalkit.run import Run


def ranking(scores, sizes):
    """A run of queries of these sizes; doc ids fall as ids rise, so that ties show."""
    rows = np.repeat(np.arange(len(sizes)), sizes)
    docs = [f"d{i:03d}" for i in range(len(rows))]
    return Run.from_columns([f"q{i}" for i in range(len(sizes))], rows, docs, scores[: len(rows)])


def test_level_stretches_keep_the_raw_order_and_tied_scores_stay_tied():
    run = ranking(np.array([5.0, 4.0, 3.0, 3.0, 1.0, 9.0, 8.0]), [5, 2])
    found = in_order_of(run, np.array([0.7, 0.7, 0.7, 0.7, 0.2, 0.7, 0.0]))
    assert dict(found) == dict(run)
    tied = found.scores[:5]
    assert tied[0] > tied[1] > tied[2] == tied[3] > tied[4]
    assert tied[3] == np.float32(0.7)
    assert found.scores[5] == np.float32(0.7)
    assert found.tied_share() == run.tied_share() == 1 / 7


def test_what_reaches_a_threshold_still_does_and_certainty_stays_below_1():
    run = ranking(np.arange(200.0), [200])
    half = in_order_of(run, np.full(200, 0.5))
    assert (half.scores >= 0.5).all()
    assert half.scores.max() < 0.5001
    for level in (0.0, 1.0):
        found = in_order_of(run, np.full(200, level))
        assert dict(found) == dict(run)
        assert found.scores.min() > 0
        assert found.scores.max() <= 1
        assert abs(found.scores - level).max() < 2e-5


def test_an_empty_ranking_stays_empty():
    run = Run.from_dict({"q": {}})
    assert len(in_order_of(run, np.empty(0))) == 0


@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=5).filter(sum),
    levels=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_any_non_decreasing_map_keeps_the_order(sizes, levels, seed):
    generator = np.random.default_rng(seed)
    run = ranking(generator.integers(-6, 6, sum(sizes)).astype(np.float32), sizes)
    steps = np.sort(levels)
    place = np.searchsorted(np.linspace(-6, 6, len(steps)), run.scores).clip(0, len(steps) - 1)
    found = in_order_of(run, steps[place])
    assert dict(found) == dict(run)
    assert found.tied_share() == run.tied_share()
    assert np.allclose(found.scores, steps[place], atol=2e-6)
