"""What queueing theory expects of a load, from the moments of the service time.

Arrivals are Poisson, requests are served first come, first served, and service times are
independent of arrivals and of one another. Where a measured load departs from these figures, one of
the three does not hold. Kleinrock, Queueing Systems I, 1975, chapters 3 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ServiceMoments:
    """Of service times S: E[S] in seconds, E[S²] in seconds squared."""

    mean: float
    second: float

    @classmethod
    def of(cls, service: np.ndarray) -> ServiceMoments:
        """service: float64, shape (n,), in seconds, at least one."""
        return cls(float(service.mean()), float(np.square(service).mean()))

    @property
    def cv(self) -> float:
        """The coefficient of variation: 0 where all are equal, 1 of exponential service."""
        return float(np.sqrt(max(self.second / self.mean**2 - 1, 0.0)))


def offered_load(rate: float, service: ServiceMoments, servers: int = 1) -> float:
    """ρ = λ E[S] / c: the share of the servers' time that requests ask for; 1 and more is too much.

    rate: λ, requests a second.
    """
    return rate * service.mean / servers


def expected_waiting(rate: float, service: ServiceMoments, servers: int = 1) -> float:
    """The mean time in the queue in seconds; infinite where ρ ≥ 1.

    One server, M/G/1, exact (Pollaczek–Khinchine):  E[W] = λ E[S²] / (2 (1 − ρ)).
    Several, M/G/c, the approximation of Lee and Longton 1959:  (1 + cv²) / 2 × E[W of M/M/c].
    """
    rho = offered_load(rate, service, servers)
    if rho >= 1:
        return float("inf")
    if servers == 1:
        return rate * service.second / (2 * (1 - rho))
    of_exponential = delayed_share(servers, rho) * service.mean / (servers * (1 - rho))
    return (1 + service.cv**2) / 2 * of_exponential


def start_up_waiting(rate: float, delays: np.ndarray) -> float:
    """What start-up delays D add to the mean waiting time of M/G/1, in seconds.

    delays: float64, shape (m,), in seconds, one for each request that found the server idle, before
    its service begins. (2 E[D] + λ E[D²]) / (2 (1 + λ E[D])); Welch, Operations Research 1964.
    """
    if not len(delays):
        return 0.0
    mean, second = float(delays.mean()), float(np.square(delays).mean())
    return (2 * mean + rate * second) / (2 * (1 + rate * mean))


def delayed_share(servers: int, rho: float) -> float:
    """The share of requests that wait at all in M/M/c with ρ < 1 (Erlang C)."""
    load = servers * rho
    # Erlang's recursion for the share that M/M/c/c loses; no factorial to overflow.
    lost = 1.0
    for number in range(1, servers + 1):
        lost = load * lost / (number + load * lost)
    return lost / (1 - rho * (1 - lost))


def waiting_of(arrivals: np.ndarray, service: np.ndarray) -> np.ndarray:
    """The waiting times of one server, request by request: float64, shape (n,).

    Lindley's recursion W' = max(0, W + S − A), where A is the time between two arrivals; here in
    closed form, by the lowest point that the unfinished work has reached.
    """
    steps = service[:-1] - np.diff(arrivals)
    walk = np.concatenate([[0.0], np.cumsum(steps)])
    return walk - np.minimum.accumulate(walk)
