"""What a load says: rates, utilisation, percentiles of waiting and response, the model beside them.

Times of neighbouring requests are alike, since they stood in one queue: intervals are those of the
moving-block bootstrap (Künsch 1989), which draws stretches of requests, not single ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from evalkit.efficiency.load import Served
from evalkit.efficiency.queueing import ServiceMoments, expected_waiting, start_up_waiting

PERCENTILES: Mapping[str, float] = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99}
# A percentile with fewer requests beyond it says more about those few than about the service.
LEAST_BEYOND = 5
# A bootstrap draws so many stretches: long enough to hold whole queues, and enough to vary.
_STRETCHES = 25
# Entries of one block of resampled weights: 32 MiB of float64.
_BLOCK = 1 << 22
# What a mean of correlated times may be off by before a departure from theory is one.
TOLERANCE = 0.10


def summary(
    served: Served, offered: float | None, resamples: int, level: float, seed: int
) -> dict[str, Any]:
    """Plain JSON data of one load; times in milliseconds, rates in requests a second.

    offered: the rate that was asked for; None for a closed loop, which has none.
    """
    moments = ServiceMoments.of(served.service)
    achieved = len(served.arrivals) / served.seconds
    found: dict[str, Any] = {
        "requests": len(served.arrivals),
        "calls": served.calls,
        "seconds": served.seconds,
        "achieved_qps": achieved,
        "utilisation": served.utilisation,
        "service": {"mean_ms": 1000 * moments.mean, "cv": moments.cv},
    }
    for name, seconds in (("waiting", served.waiting), ("response", served.response)):
        found[name] = times(1000 * seconds, resamples, level, seed)
    if offered is not None:
        # The work that came, over the time that it came in: at 1 the queue grows without end.
        asked = served.busy / (served.workers * float(served.arrivals.max()))
        found |= {"offered_qps": offered, "offered_utilisation": asked, "saturated": asked >= 1}
    return found


def times(ms: np.ndarray, resamples: int, level: float, seed: int) -> dict[str, Any]:
    """Mean and percentiles of n times in the order of their requests, and their intervals.

    A percentile with fewer than LEAST_BEYOND times beyond it is None, and so is its interval.
    """
    shares = [s for s in PERCENTILES.values() if len(ms) * (1 - s) >= LEAST_BEYOND]
    values = [float(ms.mean()), *np.quantile(ms, shares, method="inverted_cdf").tolist()]
    low, high = _interval(ms, shares, resamples, level, seed)
    names = ["mean_ms", *PERCENTILES]
    lacking = [None] * (len(names) - len(values))
    intervals = [[a, b] for a, b in zip(low, high, strict=True)]
    return {
        **dict(zip(names, [*values, *lacking], strict=True)),
        "ci": dict(zip(names, [*intervals, *lacking], strict=True)),
    }


def _interval(
    ms: np.ndarray, shares: list[float], resamples: int, level: float, seed: int
) -> tuple[list[float], list[float]]:
    """Bounds of the mean and of the quantiles at `shares`."""
    count = len(ms)
    length = max(count // _STRETCHES, 1)
    stretches = math.ceil(count / length)
    generator = np.random.default_rng(seed)
    order = np.argsort(ms, kind="stable")
    ranked = ms[order]
    found = []
    step = max(_BLOCK // count, 1)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        firsts = generator.integers(0, count - length + 1, size=(size, stretches))
        weights = _weights(firsts, length, count)[:, order]
        below = np.cumsum(weights, axis=1)
        total = below[:, -1]
        mean = weights @ ranked / total
        places = [np.argmax(below >= share * total[:, None], axis=1) for share in shares]
        found.append(np.stack([mean, *(ranked[place] for place in places)], axis=1))
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(found), [tail, 1 - tail], axis=0).tolist()
    return low, high


def _weights(firsts: np.ndarray, length: int, count: int) -> np.ndarray:
    """How often each request is in stretches from `firsts` on: float64, shape (rows, count)."""
    steps = np.zeros((len(firsts), count + 1))
    rows = np.arange(len(firsts))[:, None]
    np.add.at(steps, (rows, firsts), 1.0)
    np.add.at(steps, (rows, firsts + length), -1.0)
    return np.cumsum(steps[:, :-1], axis=1)


def against_theory(served: Served, found: Mapping[str, Any], batch: int) -> dict[str, Any]:
    """The mean waiting time that theory expects at this load, and whether what was measured agrees.

    From the service times and the arrivals of this load. expected_waiting_ms: M/G/1 with what the
    machine took to wake an idle worker, which is `wake_up_ms` of it. verdict: "agrees" where the
    expected mean is in the interval of the measured one, or within TOLERANCE of it; "departs";
    "saturated" where a queue has no limit; "no model" where calls serve several requests.
    """
    if batch > 1:
        return {"model": None, "expected_waiting_ms": None, "verdict": "no model"}
    alone = served.workers == 1
    model = "M/G/1 with start-up delays" if alone else f"M/G/{served.workers} (approximation)"
    if found["saturated"]:
        return {"model": model, "expected_waiting_ms": None, "verdict": "saturated"}
    rate = len(served.arrivals) / float(served.arrivals.max())
    queue = expected_waiting(rate, ServiceMoments.of(served.service), served.workers)
    wake_up = start_up_waiting(rate, served.wake_ups) if alone else 0.0
    expected = 1000 * (queue + wake_up)
    measured, (low, high) = found["waiting"]["mean_ms"], found["waiting"]["ci"]["mean_ms"]
    off = measured / expected - 1
    agrees = low <= expected <= high or abs(off) <= TOLERANCE
    return {
        "model": model,
        "expected_waiting_ms": expected,
        "wake_up_ms": 1000 * wake_up,
        "off_share": off,
        "verdict": "agrees" if agrees else "departs",
    }
