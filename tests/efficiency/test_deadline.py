"""Quality under a deadline against closed forms; the largest K."""

import math

import numpy as np
import pytest

from evalkit.efficiency.deadline import Samples, largest_k, under_deadline
from evalkit.errors import DataError

QUERIES = 400


def exponential(generator, count):
    return generator.exponential(100.0, count), np.exp(-1.5)


def lognormal(generator, count):
    # The normal distribution's upper tail, by the complementary error function.
    late = math.erfc((math.log(150.0) - 4.6) / 0.5 / math.sqrt(2)) / 2
    return generator.lognormal(4.6, 0.5, count), late


@pytest.mark.parametrize("law", [exponential, lognormal])
def test_the_closed_form_is_in_the_interval_as_often_as_the_level_says(law):
    # Quality .8, fallback .5 on average, no bond with latency: (1 - P(T > d)) .8 + P(T > d) .5.
    quality_inside = share_inside = 0
    trials, queries, repeats = 300, 120, 3
    rows = np.repeat(np.arange(queries), repeats)
    for seed in range(trials):
        generator = np.random.default_rng(seed)
        values, fallback = generator.beta(8, 2, queries), generator.beta(5, 5, queries)
        ms, late = law(generator, len(rows))
        found = under_deadline(
            values, fallback, Samples(rows, ms), at_once(rows), 150.0, resamples=400
        )
        low, high = found.quality_interval
        quality_inside += low <= (1 - late) * 0.8 + late * 0.5 <= high
        low, high = found.degraded_interval
        share_inside += low <= late <= high
    # 95 % ± three standard errors of 300 trials, and a point for the few queries.
    assert 0.90 <= quality_inside / trials <= 0.99
    assert 0.90 <= share_inside / trials <= 0.99


@pytest.mark.parametrize("share", [0.005, 0.995])
def test_none_or_all_late_of_a_few_queries_is_no_certainty(share):
    rows, inside, trials = np.arange(60), 0, 200
    for seed in range(trials):
        ms = np.where(np.random.default_rng(seed).random(60) < share, 90.0, 10.0)
        values = np.linspace(0, 1, 60)
        found = under_deadline(values, values, Samples(rows, ms), at_once(rows), 50.0)
        low, high = found.degraded_interval
        inside += low <= share <= high
    assert inside / trials >= 0.95  # a bootstrap of equal values held it in a quarter
    # (1 − p) ** 60 = .025 at p = .0596
    never = under_deadline(values, values, at_once(rows), at_once(rows), 50.0, cached_share=0.5)
    assert never.degraded_interval == pytest.approx((0, 0.0596 / 2), abs=1e-4)


def test_slow_queries_that_gain_the_most_are_not_taken_as_independent():
    # The slow half gains .6 by reranking, the quick half nothing: the deadline costs all of it.
    gain = np.where(np.arange(QUERIES) % 2, 0.6, 0.0)
    samples = Samples(np.arange(QUERIES), np.where(np.arange(QUERIES) % 2, 200.0, 50.0))
    found = under_deadline(0.2 + gain, np.full(QUERIES, 0.2), samples, at_once(samples.rows), 100.0)
    assert found.quality == pytest.approx(0.2)
    assert found.degraded == 0.5
    assert found.without_deadline == pytest.approx(0.5)


def test_a_cache_serves_its_share_of_the_late_queries():
    samples = Samples(np.arange(4), np.array([10.0, 10.0, 90.0, 90.0]))
    values, fallback = np.ones(4), np.zeros(4)
    quick = at_once(samples.rows)
    assert under_deadline(values, fallback, samples, quick, 50.0).quality == 0.5
    found = under_deadline(values, fallback, samples, quick, 50.0, cached_share=0.5)
    assert (found.quality, found.degraded) == (0.75, 0.25)


def test_a_deadline_is_met_by_the_query_that_takes_just_as_long():
    samples = Samples(np.array([0, 0, 1]), np.array([50.0, 51.0, 50.0]))
    found = under_deadline(np.ones(3), np.zeros(3), samples, at_once(samples.rows), 50.0)
    assert found.degraded == 0.25  # half of one query's repeats, of two queries
    assert found.num_queries == 2  # the third was never measured


def test_without_samples_there_is_nothing_to_say():
    nothing = Samples(np.empty(0, dtype=np.int64), np.empty(0))
    with pytest.raises(DataError, match="latency=on"):
        under_deadline(np.ones(2), np.ones(2), nothing, nothing, 10.0)
    some = Samples(np.array([0, 1]), np.array([1.0, 1.0]))
    with pytest.raises(DataError, match="same queries"):
        under_deadline(np.ones(2), np.ones(2), some, Samples(np.array([0]), np.ones(1)), 10.0)


def test_equal_values_have_no_interval_of_no_width():
    # Each query was late in one of two repeats: .5 of each, of which nothing can be drawn.
    rows = np.repeat(np.arange(6), 2)
    samples = Samples(rows, np.resize([10.0, 90.0], 12))
    found = under_deadline(np.ones(6), np.ones(6), samples, at_once(rows), 50.0)
    assert (found.degraded, found.quality) == (0.5, 1.0)
    assert np.isnan([*found.degraded_interval, *found.quality_interval]).all()


def test_a_fallback_that_is_late_itself_answers_nothing():
    # Of four queries the first is answered in time, the second gets its fallback, the third has
    # half of its repeats' fallbacks in time, the last neither.
    rows = np.repeat(np.arange(4), 2)
    samples = Samples(rows, np.array([10.0, 10, 90, 90, 90, 90, 90, 90]))
    fallback = Samples(rows, np.array([5.0, 5, 5, 5, 60, 5, 60, 60]))
    found = under_deadline(np.ones(4), np.full(4, 0.4), samples, fallback, 50.0)
    assert found.degraded == 0.75
    assert found.unanswered == pytest.approx((0.5 + 1) / 4)
    assert found.quality == pytest.approx((1 + 0.4 + 0.2 + 0) / 4)
    cached = under_deadline(np.ones(4), np.full(4, 0.4), samples, fallback, 50.0, cached_share=0.5)
    assert cached.quality == pytest.approx((1 + 0.7 + 0.6 + 0.5) / 4)


def at_once(rows):
    """What a fallback takes that is always in time."""
    return Samples(rows, np.full(len(rows), 1.0))


def test_the_largest_k_that_meets_a_target():
    p95 = {10: 20.0, 50: 60.0, 100: 110.0}
    upper = {10: 22.0, 50: 75.0, 100: 130.0}
    found = largest_k(p95, 70.0, upper)
    assert (found.measured, found.surely, found.has_intervals) == (50, 10, True)
    assert not largest_k(p95, 70.0).has_intervals
    assert found.between == 60  # 60 + 10 of 50 ms over 50 docs: 1 ms each
    assert largest_k(p95, 5.0).measured is None
    assert largest_k(p95, 5.0).between is None
    assert largest_k(p95, 500.0).between == 100


def test_a_lucky_k_above_one_that_misses_does_not_count():
    assert largest_k({10: 20.0, 50: 90.0, 100: 60.0}, 70.0).measured == 10
