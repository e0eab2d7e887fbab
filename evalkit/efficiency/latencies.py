"""Reading results.efficiency["latency"] and the samples behind it (latency.parquet)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.efficiency.deadline import Samples
from evalkit.errors import ConfigError, DataError

TOTAL = "total"
FILE = "latency.parquet"


def measured(efficiency: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Run name → stages of every system whose latency was measured."""
    section = efficiency.get("latency") or {}
    return {one["system"]: one["stages"] for one in section.get("systems", [])}


def mean_ms(efficiency: Mapping[str, Any], system: str, stage: str = TOTAL) -> float | None:
    """A system's mean milliseconds; None where they were not measured."""
    return statistic(efficiency, system, "mean_ms", stage)


def statistic(
    efficiency: Mapping[str, Any], system: str, name: str, stage: str = TOTAL
) -> float | None:
    """Such as "p95_ms"; None where it was not measured, or the sample is too small for it."""
    return measured(efficiency).get(system, {}).get(stage, {}).get(name)


def why_not_measured(efficiency: Mapping[str, Any], system: str) -> str:
    """To follow "was not measured": the reason that the protocol gives, or the run to make."""
    section = efficiency.get("latency") or {}
    skipped = section.get("protocol", {}).get("skipped", [])
    reasons = {one["system"]: f": {one['reason']}" for one in skipped}
    return reasons.get(system, "; run with latency=on")


def unsupported(efficiency: Mapping[str, Any], system: str) -> list[str]:
    """Percentiles of the whole that were measured too few times to be told from the largest."""
    return list(measured(efficiency).get(system, {}).get(TOTAL, {}).get("unsupported", ()))


def interval_of(
    efficiency: Mapping[str, Any], system: str, name: str, stage: str = TOTAL
) -> tuple[float, float] | None:
    """The interval of a statistic, None where there is none."""
    stages = measured(efficiency).get(system, {})
    low, high = (stages.get(stage, {}).get("ci") or {}).get(name) or (None, None)
    return None if low is None or high is None else (float(low), float(high))


def read_samples(folder: Path, query_ids: Sequence[str]) -> dict[str, Samples]:
    """Run name → the total latencies that were measured, by the query's position in `query_ids`.

    Raises ConfigError for an output without them, DataError for one that does not fit.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / FILE
    if not path.is_file():
        raise ConfigError(f"{folder} has no latencies; make the run with latency=on")
    try:
        table = pq.read_table(path, columns=["system", "query_id", "stage", "ms"])
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DataError(f"{path}: cannot be read ({error}); run the experiment again") from error
    position = {query_id: i for i, query_id in enumerate(query_ids)}
    rows: dict[str, list[int]] = {}
    times: dict[str, list[float]] = {}
    for system, query_id, stage, ms in zip(*table.to_pydict().values(), strict=True):
        if stage != TOTAL:
            continue
        if query_id not in position:
            raise DataError(f"{path}: query '{query_id}' is not in results.json; run it again")
        rows.setdefault(system, []).append(position[query_id])
        times.setdefault(system, []).append(ms)
    return {
        system: Samples(np.array(found, dtype=np.int64), np.array(times[system]))
        for system, found in rows.items()
    }
