"""task=drift: are a system's scores distributed as they were? Two output folders, compared.

For two versions of a model, or of the data. Exit code 1 when a system drifted more than `alarm`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.drift import ALARM, BINS, PERCENTILES, ScoreDrift, score_drift
from evalkit.errors import Alarm, ConfigError, DataError
from evalkit.io import read_json, read_run, write_bytes, write_json, write_text
from evalkit.progress import PLAIN, stdout, track
from evalkit.report.drift import drift_table, quantile_plot, quantile_table
from evalkit.report.render import to_markdown
from evalkit.saved import require_complete
from evalkit.tasks import Job
from evalkit.tasks.shown import show


@dataclass(frozen=True)
class Settings:
    """base, new: finished output folders. alarm: the stability index above which the exit code is
    1. bins: of the index."""

    base: str
    new: str
    alarm: float = ALARM
    bins: int = BINS


def perform(settings: Settings, job: Job) -> None:
    """Compare, write drift.md, drift.json and quantiles.png, show the tables; then the Alarm."""
    if settings.bins < 2 or settings.alarm <= 0:
        raise ConfigError(
            f"bins={settings.bins}, alarm={settings.alarm:g}; expected bins ≥ 2, alarm > 0"
        )
    base, new = (Path(path).expanduser() for path in (settings.base, settings.new))
    systems = {folder: _systems(folder) for folder in (base, new)}
    alone = _alone(base, systems[base], new, systems[new])
    common = [name for name in systems[base] if name in systems[new]]
    drifts = [
        _drift(base, new, systems[base][name], settings.bins)
        for name in track(common, "Comparing scores", len(common))
    ]
    shown = [drift_table(drifts, alone), quantile_table(drifts)]
    write_bytes(job.folder / "quantiles.png", quantile_plot(drifts))
    heading = f"Base: {base}\nNew: {new}\n\n"
    write_text(job.folder / "drift.md", heading + "\n\n".join(map(to_markdown, shown)) + "\n")
    write_json(job.folder / "drift.json", _as_json(settings, drifts, alone))
    show(shown)
    stdout.print(f"Drift: {job.folder}", **PLAIN)
    over = [f"{d.system} ({d.psi:.3f})" for d in drifts if d.psi > settings.alarm]
    if over:
        raise Alarm(
            f"scores drifted: stability index above alarm={settings.alarm:g} for {', '.join(over)};"
            f" see {job.folder}/drift.md"
        )


def _systems(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Run file → its system, in the order of the tables; those cut to N are the same scores."""
    require_complete(folder)
    systems = read_json(folder / "results.json")["systems"]
    return {system["run"]: system for system in systems if system["n"] is None}


def _alone(
    base: Path, ours: Mapping[str, Any], new: Path, theirs: Mapping[str, Any]
) -> tuple[str, ...]:
    """A note for each folder's systems that the other one lacks; DataError where all do."""
    left, right = ([system["system"] for system in of.values()] for of in (ours, theirs))
    if not set(ours) & set(theirs):
        raise DataError(
            f"no system is in both {base} ({', '.join(left)}) and {new} ({', '.join(right)}); "
            "compare two runs of the same retrievers, rerankers and K"
        )
    notes = []
    for words, mine, other in (("base", left, right), ("new", right, left)):
        missing = [name for name in mine if name not in other]
        if missing:
            notes.append(f"Only in {words}: {', '.join(missing)}.")
    return tuple(notes)


def _drift(base: Path, new: Path, system: Mapping[str, Any], bins: int) -> ScoreDrift:
    """Of the docs that the reranker scored: below K a run file has made-up scores. First stages are
    cut to the depth that both have."""
    before, after = (read_run(folder / system["run"]) for folder in (base, new))
    depth = min(int(run.sizes.max()) for run in (before, after))
    cut = depth if system["k"] is None else system["k"]
    return score_drift(system["system"], before.top(cut).scores, after.top(cut).scores, bins)


def _as_json(
    settings: Settings, drifts: Sequence[ScoreDrift], alone: Sequence[str]
) -> dict[str, Any]:
    return {
        **vars(settings),
        "notes": list(alone),
        "percentiles": PERCENTILES.tolist(),
        "systems": [
            {
                "system": drift.system,
                "stability_index": drift.psi,
                "expected_by_chance": drift.chance,
                "alarm": drift.psi > settings.alarm,
                "base": {"scores": drift.num_base, "percentiles": drift.base.tolist()},
                "new": {"scores": drift.num_new, "percentiles": drift.new.tolist()},
            }
            for drift in drifts
        ],
    }
