"""The regression gate for latency and cost, where both outputs measured them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalkit.statistics.gate import Matched

Interval = tuple[float, float]


@dataclass(frozen=True)
class Rise:
    """What a query of a system takes in base and in new, in `unit`. rose: by more than the margin,
    and by more than chance where the figures have intervals."""

    what: str
    unit: str
    base_system: str
    new_system: str
    base: float
    new: float
    base_ci: Interval | None
    new_ci: Interval | None
    rose: bool

    @property
    def share(self) -> float:
        """The rise as a share of the base; infinity from nothing to something."""
        if self.base == 0:
            return np.inf if self.new else 0.0
        return self.new / self.base - 1.0


def latency_rises(found: Matched, margin: float) -> tuple[list[Rise], list[str]]:
    """p95 of the total, and notes on what is not compared.

    It rose when it is higher by more than `margin`, a share of the base's, and the two intervals
    do not overlap; for two runs at different times that is stricter than a test at their level.
    """
    sections = [of.efficiency.get("latency") for of in (found.base, found.new)]
    devices = [of.manifest.get("device") for of in (found.base, found.new)]
    if not all(sections):
        return [], _lacking("Latency", sections, "latency=on")
    if devices[0] != devices[1]:
        return [], [f"Latency is not compared: base ran on {devices[0]}, new on {devices[1]}."]
    base, new = (
        {system["system"]: system["stages"]["total"] for system in section["systems"]}
        for section in sections
        if section
    )
    rises, notes = [], []
    for ours, theirs in found.pairs:
        names = ours.system, theirs.system
        old, now = base.get(ours.run_name), new.get(theirs.run_name)
        ends = [_interval(total) for total in (old, now)]
        if old is None or now is None or ends[0] is None or ends[1] is None:
            notes.append(
                f"Latency of {theirs.system} is not compared: an output lacks it, or its interval."
            )
            continue
        figures = float(old["p95_ms"]), float(now["p95_ms"])
        apart = ends[1][0] > ends[0][1]
        rose = apart and figures[1] > (1 + margin) * figures[0]
        rises.append(Rise("p95 latency", "ms", *names, *figures, ends[0], ends[1], rose))
    return rises, notes


def _interval(total: Mapping[str, Any] | None) -> Interval | None:
    low, high = (total or {}).get("ci", {}).get("p95_ms") or (None, None)
    return None if low is None or high is None else (float(low), float(high))


def cost_rises(found: Matched, margin: float) -> tuple[list[Rise], list[str]]:
    """Cost of 1,000 queries, and notes; it rose when it is higher by more than `margin`, a share
    of the base's."""
    sections = [of.efficiency.get("cost") for of in (found.base, found.new)]
    if not all(sections):
        return [], _lacking("Cost", sections, "prices (cost=...)")
    base, new = (_per_thousand(section) for section in sections if section)
    rises, notes = [], []
    for ours, theirs in found.pairs:
        old, now = base.get(ours.run_name), new.get(theirs.run_name)
        if old is None or now is None:
            notes.append(f"Cost of {theirs.system} is not compared: an output lacks it.")
            continue
        names = ours.system, theirs.system
        rose = now > (1 + margin) * old
        rises.append(Rise("cost of 1,000 queries", "USD", *names, old, now, None, None, rose))
    return rises, notes


def _per_thousand(section: Mapping[str, Any]) -> dict[str, float | None]:
    """Run name → US dollars for 1,000 queries."""
    return {system["system"]: system.get("usd_per_1k") for system in section.get("systems", ())}


def _lacking(what: str, sections: list[Any], remedy: str) -> list[str]:
    """A note where one output has the section; none where neither has: nobody asked for it."""
    have = [bool(section) for section in sections]
    if have[0] == have[1]:
        return []
    lacking = "new" if have[0] else "base"
    return [f"{what} is not compared: {lacking} has none; run it with {remedy}."]
