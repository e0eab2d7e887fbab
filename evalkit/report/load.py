"""Systems under load for people: throughput by clients, and waiting and response by rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evalkit.efficiency.load_levels import SLOWED, slowed
from evalkit.efficiency.load_summary import LEAST_BEYOND, TOLERANCE
from evalkit.report.layout import MISSING, Cell, Column, Row, Table, percent, printable

# Below this, a row's mean waiting time may be off by its half.
FEW = 100
_PERCENTILES = ("p50_ms", "p95_ms", "p99_ms")


def load_tables(found: Mapping[str, Any]) -> list[Table]:
    """Of what task=load found: the closed loops, the open loops; either only if there are any."""
    return [
        table
        for table in (closed_table(found), open_table(found))
        if any(len(group) for group in table.groups)
    ]


def closed_table(found: Mapping[str, Any]) -> Table:
    """A row a number of clients, a group a system."""
    protocol = found["protocol"]
    groups = tuple(
        tuple(_closed_row(system["system"], loop) for loop in system["closed_loop"])
        for system in found["systems"]
    )
    columns = (
        Column("System", "left"), Column("Clients"), Column("QPS"), Column("Utilisation"),
        Column("Response p50, ms"), Column("p95, ms"), Column("p99, ms"), Column("Service, ms"),
    )  # fmt: skip
    caption = (
        f"Closed loop: each client asks again as soon as it is answered; {_servers(protocol)}, "
        f"{protocol['seconds']:g} s a row."
    )
    return Table(caption, columns, groups, (_intervals(protocol),))


def _closed_row(system: str, loop: Mapping[str, Any]) -> Row:
    return (
        Cell(printable(system)),
        Cell(str(loop["clients"])),
        Cell(_three(loop["achieved_qps"])),
        Cell(_share(loop["utilisation"])),
        *(_time(loop["response"], name) for name in _PERCENTILES),
        Cell(_three(loop["service"]["mean_ms"])),
    )


def open_table(found: Mapping[str, Any]) -> Table:
    """A row a rate, a group a system: latency against load."""
    protocol = found["protocol"]
    groups = tuple(
        tuple(_open_row(system["system"], loop) for loop in system["open_loop"])
        for system in found["systems"]
    )
    columns = (
        Column("System", "left"), Column("QPS offered"), Column("QPS achieved"),
        Column("Requests"), Column("Utilisation"), Column("Waiting mean, ms"),
        Column("Theory, ms"), Column("Measured", "left"), Column("Waiting p95, ms"),
        Column("Response p50, ms"), Column("p95, ms"), Column("p99, ms"),
    )  # fmt: skip
    caption = (
        f"Open loop: Poisson arrivals, counted from the intended arrival; {_servers(protocol)}, "
        f"{protocol['seconds']:g} s a row, seed {protocol['seed']}."
    )
    notes = (
        _intervals(protocol),
        _theory(protocol),
        f"{MISSING}: fewer than {LEAST_BEYOND} requests lie beyond the percentile, or, for theory, "
        "the queue has no limit.",
        *_few(found),
        *_slowed(found),
        *(_saturation(system) for system in found["systems"] if system["open_loop"]),
    )
    return Table(caption, columns, groups, notes)


def _open_row(system: str, loop: Mapping[str, Any]) -> Row:
    theory, waiting, response = loop["theory"], loop["waiting"], loop["response"]
    expected = theory["expected_waiting_ms"]
    return (
        Cell(printable(system)),
        Cell(_three(loop["offered_qps"])),
        Cell(_three(loop["achieved_qps"])),
        Cell(f"{loop['requests']:,}"),
        Cell(_share(loop["utilisation"])),
        _time(waiting, "mean_ms"),
        Cell(MISSING if expected is None else _three(expected)),
        Cell(_verdict(theory)),
        _time(waiting, "p95_ms"),
        *(_time(response, name) for name in _PERCENTILES),
    )


def _verdict(theory: Mapping[str, Any]) -> str:
    if theory["verdict"] != "departs":
        return str(theory["verdict"])
    return f"departs ({100 * theory['off_share']:+.0f} %)"


def _saturation(system: Mapping[str, Any]) -> str:
    """Where the system saturates, in a sentence."""
    name, capacity = printable(system["system"]), system["capacity_qps"]
    most = "" if capacity is None else f"at most {_three(capacity)} QPS in the closed loops; "
    behind = min((o["offered_qps"] for o in system["open_loop"] if o["saturated"]), default=None)
    held = [
        loop["offered_qps"]
        for loop in system["open_loop"]
        if behind is None or loop["offered_qps"] < behind
    ]
    if not held:
        return f"{name}: {most}it falls behind at every rate here."
    if behind is None:
        return f"{name}: {most}it keeps up with {_three(max(held))}, the highest offered."
    kept, lost = _three(max(held)), _three(behind)
    told = f"{name}: {most}it keeps up with {kept}, and falls behind at {lost}"
    if any(loop["offered_qps"] == behind for loop in slowed(system["open_loop"])):
        return f"{told}, where it was slower than in the closed loops: see above."
    return f"{told}."


def _slowed(found: Mapping[str, Any]) -> list[str]:
    """Of rows that do not tell what the system can do, or tell that it slows down."""
    rows = [
        f"{printable(system['system'])} at {_three(loop['offered_qps'])} "
        f"({loop['service']['times_closed']:.1f} times)"
        for system in found["systems"]
        for loop in slowed(system["open_loop"])
    ]
    if not rows:
        return []
    return [
        f"Served at least {SLOWED:g} times as slowly as in the closed loops: {', '.join(rows)}. "
        "The machine was busy with something else, or the system is slower under load; measure "
        "again before you go by these rows."
    ]


def _theory(protocol: Mapping[str, Any]) -> str:
    if protocol["batch"] > 1:
        return "Theory: none, as a call serves several requests and M/G/1 has one."
    model = (
        "mean waiting in M/G/1 (Pollaczek–Khinchine), with the machine's delay in waking an idle "
        "worker (Welch)"
        if protocol["workers"] == 1
        else f"mean waiting in M/G/{protocol['workers']}, approximated (Lee and Longton)"
    )
    return (
        f"Theory: {model}, from the service times and arrivals of the row. Measured agrees if the "
        f"interval of its mean holds that, or it is within {percent(TOLERANCE)}. It departs where "
        "service times hang together, as on a machine that is busy by turns, or depend on the "
        "load; and near saturation where a row is too short for its queue to reach its mean."
    )


def _few(found: Mapping[str, Any]) -> list[str]:
    counts = [loop["requests"] for s in found["systems"] for loop in s["open_loop"]]
    if min(counts, default=FEW) >= FEW:
        return []
    return [f"Rows with fewer than {FEW} requests say little; raise seconds."]


def _intervals(protocol: Mapping[str, Any]) -> str:
    return (
        f"Intervals ({percent(protocol['level'])}): moving-block bootstrap, as neighbouring "
        "requests wait in one queue."
    )


def _servers(protocol: Mapping[str, Any]) -> str:
    workers = protocol["workers"]
    served = f"{workers} worker{'' if workers == 1 else 's'}"
    return served if protocol["batch"] == 1 else f"{served}, up to {protocol['batch']} a call"


def _time(times: Mapping[str, Any], name: str) -> Cell:
    value = times[name]
    if value is None:
        return Cell(MISSING)
    low, high = times["ci"][name]
    return Cell(_three(value), interval=(low, high), digits=_decimals(value))


def _three(value: float) -> str:
    """Three significant digits and no exponent, such as 0.0123, 1.23 and 12300."""
    return f"{value:.{_decimals(value)}f}"


def _decimals(value: float) -> int:
    """Digits after the point that make three significant ones; at most four."""
    if value == 0:
        return 0
    return min(max(2 - math.floor(math.log10(abs(value))), 0), 4)


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"
