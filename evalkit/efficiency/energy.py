"""Joules of answering queries, from the machine's own counters; said to be unknown without them.

Read by tirex-tracker (TIREx Tracker, SIGIR 2025): RAPL for the first processor's cores and memory,
NVML for the first NVIDIA GPU, each of the whole machine and in whole joules. Nothing is estimated
from a processor's rated power.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from evalkit.types import Query

# Whole joules are counted: below ten of them a figure is off by more than a tenth.
_LEAST_JOULES = 10
# Until a counter has moved, or is known not to be there; NVML updates every tenth of a second.
_PROBE_S = 0.3
# The tracker looks so often whether counters have overflowed.
_POLL_MS = 100

_COUNTERS = {
    "cpu": ("CPU_ENERGY_SYSTEM_JOULES", "cores of the first processor (RAPL)"),
    "memory": ("RAM_ENERGY_SYSTEM_JOULES", "memory of the first processor (RAPL)"),
    "gpu": ("GPU_ENERGY_SYSTEM_JOULES", "first NVIDIA GPU (NVML)"),
}


@dataclass
class Reading:
    """joules: counter → what it counted, those that cannot be read left out."""

    joules: dict[str, float] = field(default_factory=dict)


# Counts while its block runs; the reading is filled in at the end.
Meter = Callable[[], Any]


def energy_section(
    systems: Mapping[str, Callable[[Query], object]],
    queries: Sequence[Query],
    seconds: float,
    meter: Meter | None = None,
) -> dict[str, Any]:
    """Joules a query of each system, with the idle machine's share in it; plain JSON data.

    systems: run name → what answers a query. Each answers `queries` over and over for `seconds`,
    after as long a rest, whose joules tell what the idle machine takes. meter: None for
    `counters`. {"available": False, "reason": ...} where no counter can be read.
    """
    count = meter or counters
    try:
        with count() as probe:
            time.sleep(_PROBE_S)
    except ImportError as error:
        reason = f'{error}; run: pip install "evalkit[energy]"'
        return {"available": False, "reason": f"the package tirex-tracker is missing ({reason})"}
    if not probe.joules:
        return {
            "available": False,
            "reason": "no energy counter can be read here: RAPL (/sys/class/powercap, often for "
            "the administrator alone, seldom in containers and virtual machines) or NVML",
        }
    with count() as idle:
        time.sleep(seconds)
    return {
        "available": True,
        "tool": "tirex-tracker",
        "seconds": seconds,
        "counters": {name: _COUNTERS[name][1] for name in probe.joules},
        "idle_watts": {name: joules / seconds for name, joules in idle.joules.items()},
        "systems": [
            {"system": name, **_of_system(serve, queries, seconds, count)}
            for name, serve in systems.items()
        ],
    }


def _of_system(
    serve: Callable[[Query], object], queries: Sequence[Query], seconds: float, count: Meter
) -> dict[str, Any]:
    serve(queries[0])
    answered = 0
    with count() as reading:
        start = time.perf_counter()
        while (taken := time.perf_counter() - start) < seconds:
            serve(queries[answered % len(queries)])
            answered += 1
    total = sum(reading.joules.values())
    found: dict[str, Any] = {
        "queries": answered,
        "seconds": taken,
        "joules": reading.joules,
        "joules_per_query": total / answered if total >= _LEAST_JOULES else None,
    }
    if total < _LEAST_JOULES:
        found["note"] = f"below {_LEAST_JOULES} J in all; measure for longer"
    return found


@contextmanager
def counters() -> Iterator[Reading]:
    """What this machine's counters count while the block runs. ImportError without the package."""
    import tirex_tracker

    measures = {name: tirex_tracker.Measure[key] for name, (key, _) in _COUNTERS.items()}
    # By itself it writes what it finds to the terminal.
    tirex_tracker.set_log_callback(lambda level, component, message: None)
    reading = Reading()
    tracking = tirex_tracker.start_tracking(measures.values(), poll_intervall_ms=_POLL_MS)
    try:
        yield reading
    finally:
        found = tirex_tracker.stop_tracking(tracking)
        values = {name: found.get(measure) for name, measure in measures.items()}
        reading.joules = {
            name: float(joules)
            for name, entry in values.items()
            if entry is not None and (joules := json.loads(entry.value)) is not None
        }
