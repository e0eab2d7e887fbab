"""What a load says: percentiles, intervals that know of queues, the verdict on theory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.efficiency.arrivals import ClosedLoop, OpenLoop, poisson_arrivals
from evalkit.efficiency.load import SimulatedClock, Worker, serve_load
from evalkit.efficiency.load_levels import LoadSettings, draw, measure_load, slowed
from evalkit.efficiency.load_summary import against_theory, summary, times
from evalkit.errors import ConfigError
from evalkit.types import Query

QUERIES = [Query(f"q{i}", f"text {i}") for i in range(20)]
INTERVALS = (200, 0.95, 0)


def test_figures_of_known_times():
    found = times(np.arange(1.0, 1001.0), 200, 0.95, 0)
    assert found["mean_ms"] == 500.5
    assert (found["p50_ms"], found["p95_ms"], found["p99_ms"]) == (500, 950, 990)
    low, high = found["ci"]["mean_ms"]
    assert low < 500.5 < high


def test_a_percentile_needs_requests_beyond_it():
    found = times(np.arange(499.0), 200, 0.95, 0)
    assert found["p99_ms"] is None
    assert found["ci"]["p99_ms"] is None
    assert found["p95_ms"] is not None
    assert times(np.arange(500.0), 200, 0.95, 0)["p99_ms"] is not None
    assert times(np.ones(1), 200, 0.95, 0)["ci"]["mean_ms"] == [1.0, 1.0]


def width(ms):
    low, high = times(ms, 1000, 0.95, 0)["ci"]["mean_ms"]
    return high - low


def test_intervals_know_that_neighbours_are_alike():
    generator = np.random.default_rng(0)
    alone = generator.normal(10, 1, size=5000)
    assert width(alone) == pytest.approx(2 * 1.96 / np.sqrt(5000), rel=0.3)
    # A hundred in a row alike: as much is known as of fifty requests.
    alike = np.repeat(generator.normal(10, 1, size=50), 100)
    assert width(alike) == pytest.approx(2 * 1.96 / np.sqrt(50), rel=0.35)


def served_at(rho, service, seed=3):
    count = len(service)
    arrivals = poisson_arrivals(rho / service.mean(), 2 * count * service.mean() / rho, count, seed)
    seconds, clock = service.tolist(), SimulatedClock()
    worker = Worker(clock, lambda numbers: clock.advance(seconds[numbers[0]]))
    return serve_load(OpenLoop(arrivals), [worker])


def judged(rho, service):
    served = served_at(rho, service)
    found = summary(served, rho / service.mean(), *INTERVALS)
    return against_theory(served, found, batch=1), found


def test_theory_agrees_with_service_that_is_independent():
    theory, found = judged(0.6, np.random.default_rng(1).exponential(1.0, 20_000))
    assert theory["verdict"] == "agrees"
    assert theory["expected_waiting_ms"] == pytest.approx(1500, rel=0.1)
    assert found["utilisation"] == pytest.approx(0.6, rel=0.05)
    assert found["achieved_qps"] == pytest.approx(0.6, rel=0.05)
    assert not found["saturated"]


def test_theory_departs_where_service_times_hang_together():
    # The same times, slow ones in long rows, as on a machine that is busy by turns.
    service = np.tile(np.repeat([0.25, 1.75], 500), 20)
    theory, _ = judged(0.6, service)
    assert theory["verdict"] == "departs"
    assert theory["off_share"] > 1


def test_more_than_can_be_served_is_saturated():
    theory, found = judged(1.2, np.ones(3000))
    assert found["saturated"]
    assert theory["verdict"] == "saturated"
    assert theory["expected_waiting_ms"] is None
    assert found["achieved_qps"] == pytest.approx(1.0, rel=0.01)


def machine(seconds):
    """Workers by the simulated clock, whose calls take `seconds` each."""

    def make(serve):
        clock = SimulatedClock()

        def timed(numbers):
            serve(numbers)
            clock.advance(seconds)

        return [Worker(clock, timed)]

    return make


def test_levels_of_a_known_system():
    settings = LoadSettings(
        clients=[1, 4], utilisations=[0.8, 0.5, 1.2], seconds=200.0, resamples=100, warmup=3
    )
    asked = []
    found = measure_load(asked.extend, QUERIES, settings, machine(0.05))
    assert found["capacity_qps"] == pytest.approx(20.0)
    assert [loop["clients"] for loop in found["closed_loop"]] == [1, 4]
    assert found["closed_loop"][1]["response"]["p50_ms"] == pytest.approx(200.0)
    offered = [loop["offered_qps"] for loop in found["open_loop"]]
    assert offered == pytest.approx([10.0, 16.0, 24.0])
    assert [loop["saturated"] for loop in found["open_loop"]] == [False, False, True]
    # M/D/1 at a half: a quarter of the service time... times ρ / (1 − ρ) = 1, over two.
    assert found["open_loop"][0]["waiting"]["mean_ms"] == pytest.approx(25.0, rel=0.15)
    again = []
    assert measure_load(again.extend, QUERIES, settings, machine(0.05)) == found
    assert asked == again


def test_a_machine_that_grows_slow_is_not_taken_for_a_system_that_saturates_unsaid():
    """20 requests a second at most, and 10 asked for: all would be well, but for the machine."""
    loops = iter([0.05, 0.05, 0.05, 0.2])

    def make(serve):
        return machine(next(loops))(serve)

    asked = LoadSettings(
        clients=[1, 4], utilisations=[0.3, 0.5], seconds=100.0, resamples=100, warmup=0
    )
    found = measure_load(lambda queries: None, QUERIES, asked, make)
    quick, slow = found["open_loop"]
    assert (quick["saturated"], slow["saturated"]) == (False, True)
    assert quick["service"]["times_closed"] == pytest.approx(1.0)
    assert slow["service"]["times_closed"] == pytest.approx(4.0)
    assert slowed(found["open_loop"]) == [slow]
    # Calls that are shared, and rates without a closed loop, have nothing to be held to.
    for change in ({"batch": 4}, {"clients": [], "rates": [4.0]}):
        loops = iter([0.05] * 4)
        (first, *_) = measure_load(lambda queries: None, QUERIES, replace(asked, **change), make)[
            "open_loop"
        ]
        assert first["service"]["times_closed"] is None


def test_rates_may_be_given():
    settings = LoadSettings(clients=[], rates=[15.0, 5.0], seconds=20.0, resamples=100)
    found = measure_load(lambda queries: None, QUERIES, settings, machine(0.05))
    assert found["capacity_qps"] is None
    assert [loop["offered_qps"] for loop in found["open_loop"]] == [5.0, 15.0]
    assert [loop["share_of_capacity"] for loop in found["open_loop"]] == [None, None]


def test_a_batch_serves_more_and_no_query_twice_in_a_call():
    calls = []
    settings = LoadSettings(
        clients=[8], utilisations=[0.8], seconds=50.0, batch=4, resamples=100, warmup=0
    )
    found = measure_load(calls.append, QUERIES[:5], settings, machine(0.05))
    assert found["capacity_qps"] == pytest.approx(80.0, rel=0.05)
    assert max(map(len, calls)) == 4
    assert all(len(set(call)) == len(call) for call in calls)
    assert found["open_loop"][0]["theory"]["verdict"] == "no model"
    with pytest.raises(ConfigError, match="needs 6 different queries"):
        draw(QUERIES[:5], LoadSettings(batch=6))


@pytest.mark.parametrize(
    "wrong",
    [{"seconds": 0.0}, {"workers": 0}, {"batch": 0}, {"clients": [0]}, {"utilisations": [-0.1]},
     {"level": 1.0}, {"warmup": -1}, {"clients": []}],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LoadSettings(**wrong)


def test_a_closed_loop_offers_no_rate():
    clock = SimulatedClock()
    served = serve_load(
        ClosedLoop(2, 50.0, 1000), [Worker(clock, lambda numbers: clock.advance(1.0))]
    )
    assert "offered_qps" not in summary(served, None, *INTERVALS)
