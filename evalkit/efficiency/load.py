"""Requests through workers, first come, first served: who waited how long, and was served how long.

A worker takes the next request, waits for its intended arrival, serves it, and takes the next. So
no thread stands between arrivals and workers, and c workers are exactly a queue with c servers. The
clock is a parameter: with `SimulatedClock` the same code is a discrete-event simulation.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from evalkit.efficiency.arrivals import Request, Source

# The kernel may wake a sleeper that much later than asked; the rest of a wait is spent spinning.
_WAKE_S = 0.0005

# Serves the requests of these numbers in one call.
Serve = Callable[[Sequence[int]], object]


class Clock(Protocol):
    """Seconds since a run began."""

    def now(self) -> float: ...

    def wait_until(self, moment: float) -> None:
        """Return at `moment`, or at once if it has passed."""
        ...


class WallClock:
    """Real time, from when this was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def now(self) -> float:
        return time.perf_counter() - self._start

    def wait_until(self, moment: float) -> None:
        left = moment - self.now() - _WAKE_S
        if left > 0:
            time.sleep(left)
        while self.now() < moment:
            pass


class SimulatedClock:
    """A clock that only moves when it is told to; each simulated worker has its own."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def wait_until(self, moment: float) -> None:
        self._now = max(self._now, moment)

    def advance(self, seconds: float) -> None:
        self._now += seconds


class Worker(NamedTuple):
    """What serves requests, one call at a time, and the clock that it goes by."""

    clock: Clock
    serve: Serve


@dataclass(frozen=True)
class Served:
    """n requests by arrival, in seconds since the run began: float64, shape (n,).

    service is that of the whole call: requests that were served together share it. calls: how many
    calls there were. busy: the seconds of all calls together. workers: how many there were.
    wake_ups: float64, shape (m,), by how much each call of a worker that had been idle began after
    the intended arrival: what the machine takes to wake it, which is no queue.
    """

    arrivals: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    calls: int
    busy: float
    workers: int
    wake_ups: np.ndarray

    @property
    def waiting(self) -> np.ndarray:
        """From the intended arrival until service begins."""
        return self.starts - self.arrivals

    @property
    def service(self) -> np.ndarray:
        return self.ends - self.starts

    @property
    def response(self) -> np.ndarray:
        """From the intended arrival until the answer."""
        return self.ends - self.arrivals

    @property
    def seconds(self) -> float:
        """From the run's begin, when nothing has arrived, to the last answer."""
        return float(self.ends.max())

    @property
    def utilisation(self) -> float:
        """The share of the workers' time that they served."""
        return self.busy / (self.workers * self.seconds)


class _Call(NamedTuple):
    taken: list[Request]
    start: float
    end: float
    was_idle: bool


def serve_load(source: Source, workers: Sequence[Worker], batch: int = 1) -> Served:
    """Serve all requests of a source. batch: the most waiting requests that one call serves.

    One worker runs in this thread; several run in a thread each, unless their clocks are simulated.
    What `serve` raises ends the run and is raised here.
    """
    simulated = all(isinstance(worker.clock, SimulatedClock) for worker in workers)
    if simulated or len(workers) == 1:
        logged = _in_turn(source, workers, batch)
    else:
        logged = _in_threads(source, workers, batch)
    rows = [(r.arrival, call.start, call.end) for call in logged for r in call.taken]
    times = np.asarray(rows, dtype=np.float64).reshape(-1, 3)
    arrivals, starts, ends = times[np.argsort(times[:, 0], kind="stable")].T
    busy = sum(call.end - call.start for call in logged)
    late = [call.start - call.taken[0].arrival for call in logged if call.was_idle]
    wake_ups = np.asarray(late, dtype=np.float64)
    return Served(arrivals, starts, ends, len(logged), busy, len(workers), wake_ups)


def _serve_next(source: Source, worker: Worker, batch: int) -> _Call | None:
    """One call of a worker; None when there are no more requests."""
    clock = worker.clock
    first = source.next()
    if first is None:
        return None
    was_idle = clock.now() < first.arrival
    clock.wait_until(first.arrival)
    taken = [first]
    if batch > 1:
        taken += source.waiting(clock.now(), batch - 1)
    start = clock.now()
    worker.serve([request.number for request in taken])
    end = clock.now()
    source.answered(len(taken), end)
    return _Call(taken, start, end, was_idle)


def _in_turn(source: Source, workers: Sequence[Worker], batch: int) -> list[_Call]:
    """Always the worker whose clock is behind all others': it is free first."""
    logged: list[_Call] = []
    free = [(worker.clock.now(), i) for i, worker in enumerate(workers)]
    while free:
        _, i = free[0]
        served = _serve_next(source, workers[i], batch)
        if served is None:
            heapq.heappop(free)
        else:
            logged.append(served)
            heapq.heapreplace(free, (served.end, i))
    return logged


def _in_threads(source: Source, workers: Sequence[Worker], batch: int) -> list[_Call]:
    def work(worker: Worker) -> list[_Call]:
        logged: list[_Call] = []
        while (served := _serve_next(source, worker, batch)) is not None:
            logged.append(served)
        return logged

    with ThreadPoolExecutor(len(workers)) as pool:
        futures = [pool.submit(work, worker) for worker in workers]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # After a failure or an interrupt the others must not serve the rest first.
            source.stop()
    return [served for future in futures for served in future.result()]
