"""One system under load: a closed loop for each number of clients, an open loop for each rate.

The closed loop tells what the system can do at most; rates are shares of that, unless given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evalkit.efficiency.arrivals import ClosedLoop, OpenLoop, Source, poisson_arrivals
from evalkit.efficiency.load import Served, WallClock, Worker, serve_load
from evalkit.efficiency.load_summary import against_theory, summary
from evalkit.errors import ConfigError
from evalkit.types import Query

# A worker that was idle is slower at first: half as slow again was seen at a third of the load.
SLOWED = 2.0

# Answers all of these in one call.
ServeQueries = Callable[[Sequence[Query]], object]
# Makes the workers of one loop, given what serves the requests of these numbers.
MakeWorkers = Callable[[Callable[[Sequence[int]], object]], Sequence[Worker]]


@dataclass(frozen=True)
class LoadSettings:
    """clients: of the closed loops. utilisations: rates of the open loops, as shares of the most
    that the closed loops reached; rates: or the rates themselves, queries a second. seconds,
    most_requests: of each loop. workers: threads that serve. batch: the most waiting queries that
    one call serves. warmup: queries before all loops. resamples, level: of the intervals. seed: of
    arrivals, queries and resamples."""

    clients: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    utilisations: list[float] = field(default_factory=lambda: [0.3, 0.5, 0.7, 0.8, 0.9, 1.1])
    rates: list[float] | None = None
    seconds: float = 10.0
    most_requests: int = 20_000
    workers: int = 1
    batch: int = 1
    warmup: int = 20
    resamples: int = 500
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for key in ("seconds", "most_requests", "workers", "batch", "resamples"):
            if getattr(self, key) <= 0:
                raise ConfigError(f"{key}={getattr(self, key):g}: expected more than 0")
        for key in ("clients", "utilisations", "rates"):
            values = getattr(self, key) or []
            if any(value <= 0 for value in values):
                raise ConfigError(f"{key}={values}: expected values above 0")
        if self.warmup < 0 or not 0 < self.level < 1:
            raise ConfigError(
                f"warmup={self.warmup}, level={self.level:g}; expected 0 or more, and 0 < level < 1"
            )
        if not self.clients and not self.rates:
            raise ConfigError("clients is empty and so is rates; give one, such as clients=[1,2,4]")


def own_threads(workers: int) -> MakeWorkers:
    """So many workers that go by real time."""

    def make(serve: Callable[[Sequence[int]], object]) -> list[Worker]:
        clock = WallClock()
        return [Worker(clock, serve) for _ in range(workers)]

    return make


def measure_load(
    serve: ServeQueries,
    queries: Sequence[Query],
    settings: LoadSettings,
    make_workers: MakeWorkers | None = None,
) -> dict[str, Any]:
    """The closed loops, the open loops and where the system saturates; plain JSON data.

    make_workers: None for `settings.workers` in real time. "capacity_qps" is the highest rate of
    the closed loops, None without one.
    """
    make = make_workers or own_threads(settings.workers)
    drawn = draw(queries, settings)
    if settings.warmup:
        for number in range(settings.warmup):
            serve([drawn[number % len(drawn)]])

    def loop(source: Source) -> Served:
        workers = make(lambda numbers: serve([drawn[n % len(drawn)] for n in numbers]))
        return serve_load(source, workers, settings.batch)

    intervals = settings.resamples, settings.level, settings.seed
    closed = []
    for clients in settings.clients:
        served = loop(ClosedLoop(clients, settings.seconds, settings.most_requests))
        closed.append({"clients": clients, **summary(served, None, *intervals)})
    capacity = max((each["achieved_qps"] for each in closed), default=None)
    opened = []
    for i, (utilisation, rate) in enumerate(_rates(settings, capacity)):
        # Arrivals of their own, or a rate's queues would be those of the last one, stretched.
        arrivals = poisson_arrivals(
            rate, settings.seconds, settings.most_requests, settings.seed + i
        )
        served = loop(OpenLoop(arrivals))
        found = summary(served, rate, *intervals)
        theory = against_theory(served, found, settings.batch)
        opened.append({"share_of_capacity": utilisation, **found, "theory": theory})
        opened[-1]["service"]["times_closed"] = _slower(found, closed, settings)
    return {"capacity_qps": capacity, "closed_loop": closed, "open_loop": opened}


def _slower(
    found: Mapping[str, Any], closed: Sequence[Mapping[str, Any]], settings: LoadSettings
) -> float | None:
    """How many times as long a request was served as in the quickest closed loop.

    None without one, and where requests share a call or a machine with others by intent.
    """
    if not closed or settings.batch > 1 or settings.workers > 1:
        return None
    quickest = min(each["service"]["mean_ms"] for each in closed)
    return float(found["service"]["mean_ms"] / quickest)


def slowed(loops: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The open loops whose requests were served SLOWED times as long as alone: what they say of
    saturation is of a machine that was busy with something else, or of a system that slows down."""
    return [loop for loop in loops if (loop["service"].get("times_closed") or 0) >= SLOWED]


def _rates(settings: LoadSettings, capacity: float | None) -> list[tuple[float | None, float]]:
    """Of the open loops, ascending: the share of the capacity, and requests a second."""
    if settings.rates is not None:
        return [(rate / capacity if capacity else None, rate) for rate in sorted(settings.rates)]
    if capacity is None:
        return []
    return [(share, share * capacity) for share in sorted(settings.utilisations)]


def draw(queries: Sequence[Query], settings: LoadSettings) -> list[Query]:
    """The query of each request, drawn with replacement; none twice in what may be one call.

    ConfigError where a call serves more queries than there are.
    """
    # Requests that one call serves are neighbours, but for those that other workers hold.
    apart = settings.batch + settings.workers - 1 if settings.batch > 1 else 1
    if apart > len(queries):
        raise ConfigError(
            f"batch={settings.batch} with workers={settings.workers} needs {apart} different "
            f"queries, and the dataset has {len(queries)}; lower batch"
        )
    generator = np.random.default_rng(settings.seed)
    drawn: list[int] = []
    for first in generator.integers(0, len(queries), size=settings.most_requests).tolist():
        recent = drawn[-(apart - 1) :] if apart > 1 else []
        number = first
        while number in recent:
            number = (number + 1) % len(queries)
        drawn.append(number)
    return [queries[number] for number in drawn]
