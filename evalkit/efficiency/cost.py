"""What queries cost: variable (a price for each query) plus fixed (machines, by the month).

    by the month = QPS × seconds × variable + machines × price an hour × hours

A machine of one's own serves a query at a time, so that one that is busy for a share `utilisation`
of its time serves utilisation / service time queries a second; a higher load needs more machines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.efficiency.prices import Price

_SECONDS_AN_HOUR = 3600.0
# A load that a machine serves exactly must not round up to one more machine.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Usage:
    """What one component spends of one priced unit.

    per_query: units, the mean over the queries. build: units spent once, to build an index.
    counted: how the units are known, in words.
    """

    component: str
    price: Price
    per_query: float
    build: float = 0.0
    counted: str = ""

    @property
    def cost_per_query(self) -> float:
        return self.per_query * self.price.each

    @property
    def build_cost(self) -> float:
        return self.build * self.price.each

    def as_json(self) -> dict[str, Any]:
        return {
            "component": self.component,
            "model": self.price.model,
            "unit": self.price.unit,
            "per_query": self.per_query,
            "build": self.build,
            "counted": self.counted,
            "usd_per_query": self.cost_per_query,
            "build_usd": self.build_cost,
            **self.price.as_json(),
        }


@dataclass(frozen=True)
class Hosting:
    """A machine that serves queries one at a time.

    hourly: what it costs an hour. service_s: seconds a query keeps it busy, the measured mean.
    """

    hourly: float
    service_s: float
    utilisation: float = 0.5

    @property
    def capacity(self) -> float:
        """Queries a second that one machine serves at its utilisation."""
        return math.inf if self.service_s == 0 else self.utilisation / self.service_s

    @property
    def cost_per_query(self) -> float:
        """Of a machine that has as much to do as its utilisation says."""
        return self.hourly / _SECONDS_AN_HOUR * self.service_s / self.utilisation

    def machines(self, qps: float) -> int:
        """How many a load needs: one at least."""
        return max(1, math.ceil(qps / self.capacity - _ROUNDING))


@dataclass(frozen=True)
class Month:
    """One month at one load; variable, fixed: money."""

    qps: float
    machines: int
    variable: float
    fixed: float

    @property
    def total(self) -> float:
        return self.variable + self.fixed

    def as_json(self) -> dict[str, Any]:
        return {
            "qps": self.qps,
            "machines": self.machines,
            "variable_usd": self.variable,
            "fixed_usd": self.fixed,
            "usd": self.total,
        }


@dataclass(frozen=True)
class BreakEven:
    """Loads at which a machine of one's own becomes cheaper than an API.

    first: queries a second at which the first machine costs what the API does. always: from here on
    no load is cheaper by API, each further machine counted. None, both: the machine is full before
    it pays.
    """

    first: float | None
    always: float | None


def month_at(qps: float, cost_per_query: float, hosting: Hosting | None, hours: float) -> Month:
    """A month of `hours` at `qps` queries a second; cost_per_query: what is paid by the query."""
    variable = qps * _SECONDS_AN_HOUR * hours * cost_per_query
    if hosting is None:
        return Month(qps, 0, variable, 0.0)
    machines = hosting.machines(qps)
    return Month(qps, machines, variable, machines * hosting.hourly * hours)


def break_even(api_per_query: float, hosting: Hosting) -> BreakEven:
    """Where self-hosting and an API that is paid by the query cost the same.

    With x = hourly / (3600 × API price) and a machine's capacity c, one machine pays from x on if
    x ≤ c. The m-th machine comes at (m - 1)·c and pays from the start if m·x ≤ (m - 1)·c.
    """
    if api_per_query == 0:
        return BreakEven(None, None) if hosting.hourly else BreakEven(0.0, 0.0)
    first = hosting.hourly / (_SECONDS_AN_HOUR * api_per_query)
    capacity = hosting.capacity
    if first > capacity:
        return BreakEven(None, None)
    if math.isinf(capacity):
        return BreakEven(first, first)
    if first == capacity:
        return BreakEven(first, None)
    # The first machine that pays from its start: the ones before it cost more at first.
    paying = math.ceil(capacity / (capacity - first) - _ROUNDING)
    return BreakEven(first, first if paying <= 1 else max(first, (paying - 1) * first))


def total_per_query(usages: Sequence[Usage], hosting: Hosting | None) -> float:
    """What a query costs: all that is paid by the query, and its share of the machine."""
    own = 0.0 if hosting is None else hosting.cost_per_query
    return sum(usage.cost_per_query for usage in usages) + own
