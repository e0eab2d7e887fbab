"""Where requests come from: an open loop of Poisson arrivals, or a closed loop of clients.

Open loop (Schroeder, Wierman and Harchol-Balter, NSDI 2006): requests arrive when they are meant
to, whatever the service does, so that a slow answer delays those behind it, and that shows. Each is
counted from its intended arrival; a generator that waits for answers would leave those moments out
("coordinated omission", Tene 2013).

Closed loop: each of c clients sends its next request as soon as its last one is answered.
"""

from __future__ import annotations

import heapq
import threading
from typing import NamedTuple, Protocol

import numpy as np

from evalkit.errors import ConfigError


class Request(NamedTuple):
    """A request's number, from 0, and its intended arrival in seconds since the run began."""

    number: int
    arrival: float


class Source(Protocol):
    """Gives requests to workers, first come, first served; safe for several threads."""

    def next(self) -> Request | None:
        """The next request, whose arrival may lie ahead; None once there will be no more."""
        ...

    def waiting(self, now: float, most: int) -> list[Request]:
        """At most so many further requests, of those that have arrived by `now`."""
        ...

    def answered(self, count: int, now: float) -> None:
        """So many of the requests that were given out were answered at `now`."""
        ...

    def stop(self) -> None:
        """There will be no more requests."""
        ...


def poisson_arrivals(rate: float, seconds: float, most: int, seed: int) -> np.ndarray:
    """Arrival times of a Poisson process: float64, ascending, in seconds; the same for a seed.

    rate: requests a second. It ends after `seconds`, or after `most` requests. ConfigError where
    that gives none.
    """
    if not (rate > 0 and seconds > 0 and most > 0):
        raise ConfigError(
            f"rate={rate:g}, seconds={seconds:g}, requests={most}; expected each above 0"
        )
    generator = np.random.default_rng(seed)
    # Six standard deviations beyond the expected number: enough, but for two in 10⁹ seeds.
    enough = int(min(most, np.ceil(rate * seconds + 6 * np.sqrt(rate * seconds) + 6)))
    times = np.cumsum(generator.exponential(1 / rate, size=enough))
    times = times[times <= seconds]
    if not len(times):
        raise ConfigError(
            f"no request arrives in {seconds:g} s at {rate:.3g} requests a second; raise seconds"
        )
    return times


class OpenLoop:
    """Requests at given times: float64, shape (n,), ascending, in seconds."""

    def __init__(self, arrivals: np.ndarray) -> None:
        self._arrivals: list[float] = arrivals.tolist()
        self._given = 0
        self._lock = threading.Lock()

    def next(self) -> Request | None:
        with self._lock:
            return self._give() if self._given < len(self._arrivals) else None

    def waiting(self, now: float, most: int) -> list[Request]:
        with self._lock:
            end = min(self._given + most, len(self._arrivals))
            taken: list[Request] = []
            while self._given < end and self._arrivals[self._given] <= now:
                taken.append(self._give())
            return taken

    def answered(self, count: int, now: float) -> None:
        """Whoever sends these requests does not wait for answers."""

    def stop(self) -> None:
        with self._lock:
            self._given = len(self._arrivals)

    def _give(self) -> Request:
        number = self._given
        self._given += 1
        return Request(number, self._arrivals[number])


class ClosedLoop:
    """`clients` that send, wait for the answer and send again, without a pause between.

    They stop sending after `seconds`, or after `most` requests of all together.
    """

    def __init__(self, clients: int, seconds: float, most: int) -> None:
        if clients < 1:
            raise ConfigError(f"clients={clients}: expected at least 1")
        self._seconds, self._most = seconds, most
        # Requests that were sent and not given out yet: each a moment, the earliest first.
        self._sent = [0.0] * min(clients, most)
        self._numbered, self._in_service = 0, 0
        self._change = threading.Condition()

    def next(self) -> Request | None:
        with self._change:
            # With every client's request in service, the next one comes with an answer.
            self._change.wait_for(lambda: self._sent or not self._in_service)
            return self._give() if self._sent else None

    def waiting(self, now: float, most: int) -> list[Request]:
        with self._change:
            taken: list[Request] = []
            while self._sent and self._sent[0] <= now and len(taken) < most:
                taken.append(self._give())
            return taken

    def answered(self, count: int, now: float) -> None:
        with self._change:
            self._in_service -= count
            room = self._most - self._numbered - len(self._sent)
            if now < self._seconds:
                for _ in range(min(count, room)):
                    heapq.heappush(self._sent, now)
            self._change.notify_all()

    def stop(self) -> None:
        with self._change:
            self._sent, self._most, self._in_service = [], 0, 0
            self._change.notify_all()

    def _give(self) -> Request:
        request = Request(self._numbered, heapq.heappop(self._sent))
        self._numbered += 1
        self._in_service += 1
        return request
