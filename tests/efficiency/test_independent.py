"""Formulas against calculations of their own: numerical integration, simulation by event, brute
force. Nothing here calls what it checks to find out what to expect."""

import heapq
import statistics as stdlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, lognorm, multivariate_normal, norm

from evalkit.efficiency.cost import Hosting, break_even, month_at
from evalkit.efficiency.deadline import Samples, under_deadline
from evalkit.efficiency.load_summary import times
from evalkit.efficiency.percentiles import PERCENTILES, queries_needed, resampled, statistics
from evalkit.efficiency.queueing import ServiceMoments, expected_waiting, start_up_waiting

# Percentiles


@given(st.lists(st.floats(0.01, 1e4), min_size=2, max_size=60))
def test_percentiles_of_latency_are_the_standard_librarys_inclusive_ones(ms):
    found = statistics(np.array(ms)[:, None], resampled(len(ms), 10, 0), 0.95)
    cuts = stdlib.quantiles(ms, n=100, method="inclusive")
    for name, share in PERCENTILES.items():
        assert found[name] == pytest.approx(cuts[round(100 * share) - 1], rel=1e-9)


def test_percentiles_under_load_are_times_that_were_measured_by_nearest_rank():
    ms = np.random.default_rng(5).exponential(10, 1000)
    ordered, found = sorted(ms.tolist()), times(ms, 50, 0.95, 0)
    # The smallest time that so many of a hundred do not exceed.
    assert [found[p] for p in ("p50_ms", "p95_ms", "p99_ms")] == [
        ordered[rank - 1] for rank in (500, 950, 990)
    ]


def test_the_interval_of_a_median_is_as_wide_as_order_statistics_make_it():
    """Exact, of any continuous law: between the order statistics that the binomial law names."""
    ms = np.random.default_rng(6).lognormal(3, 0.6, 200)
    low, high = statistics(ms[:, None], resampled(200, 4000, 0), 0.95)["ci"]["p50_ms"]
    ranks = binom.ppf([0.025, 0.975], 200, 0.5).astype(int)
    expected = np.sort(ms)[ranks - [1, 0]]
    assert (low, high) == pytest.approx(expected.tolist(), rel=0.03)


@pytest.mark.parametrize("figure", PERCENTILES)
def test_the_queries_that_an_interval_needs_by_trying_each_number(figure):
    share = Fraction(PERCENTILES[figure]).limit_denominator(100)
    least = next(n for n in range(1, 1000) if share**n <= Fraction(1, 40))
    assert queries_needed(figure, 0.95) == least


# Queues


def waits(arrivals, service, start_ups=None):
    """One server by events, request by request: waiting times, and what an idle one took to start.

    start_ups: seconds that a request which finds the server idle waits for it to wake.
    """
    free, found = 0.0, []
    for i, (arrival, seconds) in enumerate(zip(arrivals, service, strict=True)):
        late = start_ups[i] if start_ups is not None and arrival >= free else 0.0
        begin = max(arrival, free) + late
        found.append(begin - arrival)
        free = begin + seconds
    return np.array(found)


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.8])
def test_waiting_of_a_queue_with_lognormal_service(rho):
    """Pollaczek–Khinchine by the law's own moments, not the sample's; and both by events."""
    law = lognorm(s=0.8, scale=0.02)
    rate = rho / law.mean()
    generator = np.random.default_rng(1)
    service = law.rvs(400_000, random_state=generator)
    arrivals = np.cumsum(generator.exponential(1 / rate, len(service)))
    # E[W] = ρ/(1 − ρ) · (1 + cv²)/2 · E[S], Kingman's form of it.
    expected = rho / (1 - rho) * (1 + law.var() / law.mean() ** 2) / 2 * law.mean()
    found = expected_waiting(rate, ServiceMoments(law.mean(), law.moment(2)))
    assert found == pytest.approx(expected)
    assert waits(arrivals, service).mean() == pytest.approx(found, rel=0.05)


def test_a_start_up_delay_that_varies():
    generator = np.random.default_rng(2)
    count, rate = 300_000, 5.0
    service, delays = generator.gamma(2, 0.05, count), generator.exponential(0.1, count)
    arrivals = np.cumsum(generator.exponential(1 / rate, count))
    with_delays = waits(arrivals, service, delays).mean()
    assert rate * service.mean() == pytest.approx(0.5, rel=0.01)
    added = start_up_waiting(rate, delays)  # those of the idle are drawn from the same law
    moments = ServiceMoments.of(service)
    assert with_delays == pytest.approx(expected_waiting(rate, moments) + added, rel=0.03)
    assert added > 0.4 * with_delays


def test_several_servers_with_any_service_are_an_approximation_to_within_a_tenth():
    generator = np.random.default_rng(3)
    service = generator.gamma(0.5, 2.0, 300_000)  # cv² = 2
    arrivals = np.cumsum(generator.exponential(1 / 2.4, len(service)))
    free, waited = [0.0] * 3, []
    for arrival, seconds in zip(arrivals.tolist(), service.tolist(), strict=True):
        begin = max(arrival, heapq.heappop(free))
        heapq.heappush(free, begin + seconds)
        waited.append(begin - arrival)
    found = expected_waiting(2.4, ServiceMoments(1.0, 3.0), servers=3)
    assert found == pytest.approx(np.mean(waited), rel=0.10)


# A deadline, with latency and quality that belong together

# ln T = 4 + 0.5 Z; a query's quality is Φ(0.5 + b Z), so that it rises or falls with its latency.
MEAN, SPREAD, LEVEL, DEADLINE = 4.0, 0.5, 0.5, 80.0


def expected_quality(bond, fallback_ms):
    """E[v; T ≤ d] + P(T > d ≥ F) · 0.3, F the same for all, by the normal law in two dimensions.

    E[Φ(a + bZ); Z ≤ z] = P(U ≤ a/√(1+b²), Z ≤ z) for a pair with the correlation −b/√(1+b²).
    """
    z, root = (np.log(DEADLINE) - MEAN) / SPREAD, np.sqrt(1 + bond**2)
    law = multivariate_normal(cov=[[1, -bond / root], [-bond / root, 1]])
    in_time = law.cdf([LEVEL / root, z])
    return in_time + (norm.sf(z) * 0.3 if fallback_ms <= DEADLINE else 0.0)


@pytest.mark.parametrize("bond", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("fallback_ms", [5.0, 500.0])
def test_the_quality_of_late_queries_that_are_better_or_worse_than_others(bond, fallback_ms):
    inside, trials, queries = 0, 200, 150
    truth = expected_quality(bond, fallback_ms)
    for seed in range(trials):
        z = np.random.default_rng(seed).standard_normal(queries)
        ms, rows = np.exp(MEAN + SPREAD * z), np.arange(queries)
        found = under_deadline(
            norm.cdf(LEVEL + bond * z), np.full(queries, 0.3), Samples(rows, ms),
            Samples(rows, np.full(queries, fallback_ms)), DEADLINE, resamples=300,
        )  # fmt: skip
        low, high = found.quality_interval
        inside += low <= truth <= high
    assert 0.89 <= inside / trials <= 0.99


def test_a_bond_of_latency_and_quality_is_worth_more_than_the_interval():
    """What the tests above would not see if it were small."""
    free = expected_quality(0.0, 5.0)
    assert abs(expected_quality(1.0, 5.0) - free) > 0.05
    assert abs(expected_quality(-1.0, 5.0) - free) > 0.02


# Money


@settings(max_examples=80)
@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 40), st.integers(2, 10))
def test_where_machines_pay_by_trying_loads(cents_an_hour, tenths_of_cent, tenths_qps, busy):
    """In exact fractions: an API of so many tenths of a cent a 1,000 queries; a machine that serves
    so many tenths of a query a second at most, of which a share of `busy` tenths is used."""
    api = Fraction(tenths_of_cent, 10) / 100 / 1000
    hourly, fastest = Fraction(cents_an_hour, 100), Fraction(tenths_qps, 10)
    capacity = fastest * busy / 10
    found = break_even(float(api), Hosting(float(hourly), float(1 / fastest), busy / 10))

    def own_is_dearer(load):
        machines = -(-load // capacity)
        return machines * hourly > load * 3600 * api

    # Own costs rise in steps, at multiples of the capacity; just after each is the worst place.
    after_step = [capacity * m * (1 + Fraction(1, 10**6)) for m in range(400)]
    dearer = [load for load in after_step if load == 0 or own_is_dearer(load)]
    if hourly > 3600 * api * capacity:
        assert (found.first, found.always) == (None, None)
        return
    assert found.first == pytest.approx(float(hourly / (3600 * api)))
    if found.always is None or len(dearer) == len(after_step):
        return  # so close to each other that no load tried here is large enough
    # Beyond the last step that does not pay at once, its machines pay from here on.
    machines = max(len(dearer), 1)
    assert found.always == pytest.approx(float(machines * hourly / (3600 * api)), rel=1e-5)


def test_a_month_by_counting_queries_and_machine_hours():
    # 20 queries a second for 30 days of 24 hours; 0.4 cents a query; machines of 2.50 an hour that
    # serve 6 a second: 4 of them.
    queries = 20 * 60 * 60 * 24 * 30
    month = month_at(20, 0.004, Hosting(2.50, 0.1, 0.6), 24 * 30)
    assert (month.machines, month.variable) == (4, pytest.approx(queries * 0.004))
    assert month.total == pytest.approx(207_360 + 7_200)
