"""task=probe: the selected systems on texts that were tampered with.

Writes probe.md, probe.json and changed.jsonl, every changed text as it was and is, at the end. A
line is logged a probe. Killed before, the same command takes the scores from the store and the
indexes from the cache; only the retrieval is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from evalkit.assembly import assemble
from evalkit.errors import ConfigError, nearest
from evalkit.experiment import Experiment, dataset_info
from evalkit.inspection.probes import PROBES, Probe
from evalkit.inspection.robustness import Effect, ProbeResult, check_probed, probe_systems
from evalkit.io import write_json, write_jsonl, write_text
from evalkit.progress import PLAIN, stdout
from evalkit.remote.key import missing_keys
from evalkit.report.names import synthetic_note
from evalkit.report.probe import probe_tables, unchanged_note
from evalkit.report.render import to_markdown
from evalkit.statistics.plain import plain
from evalkit.tasks import Job
from evalkit.tasks.run import show_plan
from evalkit.tasks.shown import show


@dataclass(frozen=True)
class Settings:
    """The keys of conf/task/probe.yaml, described there."""

    probes: list[str]
    seed: int
    n: int


def perform(settings: Settings, job: Job) -> None:
    probes = _chosen(settings)
    parts = job.parts()
    experiment = assemble(parts)
    if job.dry_run:
        with missing_keys():  # show_plan says which
            check_probed(experiment)
        show_plan(parts)
        return
    check_probed(experiment)
    found = probe_systems(experiment, probes, settings.seed, settings.n)
    measure, info = experiment.measure_set().names[0], dataset_info(experiment.dataset)
    mark = synthetic_note(info)
    tables = probe_tables(found, measure, settings.n, experiment.bootstrap.level)
    shown = [replace(table, caption=f"{table.caption} {mark}".strip()) for table in tables]
    note = unchanged_note(found)
    heading = f"Probes of {info.dataset_id}, seed {settings.seed}. {note}".strip()
    write_jsonl(
        job.folder / "changed.jsonl",
        ({"probe": each.probe.name, **line._asdict()} for each in found for line in each.changed),
    )
    write_text(job.folder / "probe.md", "\n\n".join([heading, *map(to_markdown, shown)]))
    document = _as_json(settings, experiment, info._asdict(), found)
    write_json(job.folder / "probe.json", plain(document))
    show(shown)
    if note:
        stdout.print(note, **PLAIN)
    stdout.print(f"Probes: {job.folder}", **PLAIN)


def _chosen(settings: Settings) -> list[Probe]:
    """The probes of these names; ConfigError for another, or for none."""
    for name in settings.probes:
        if name not in PROBES:
            raise ConfigError(
                f"probes: '{name}' is none.{nearest(name, PROBES)} There are {', '.join(PROBES)}"
            )
    if not settings.probes or settings.n < 1:
        raise ConfigError(
            f"probes={settings.probes}, n={settings.n}; expected at least one probe, and n ≥ 1"
        )
    return [PROBES[name] for name in dict.fromkeys(settings.probes)]


def _as_json(
    settings: Settings, experiment: Experiment, info: dict[str, Any], found: Sequence[ProbeResult]
) -> dict[str, Any]:
    return {
        "schema": 1,
        "dataset": info,
        "seed": settings.seed,
        "n": settings.n,
        "ci_level": experiment.bootstrap.level,
        "fingerprints": experiment.manifest.get("fingerprints", {}),
        "probes": [
            {
                **asdict(result.probe),
                "queries": len(result.changed),
                "systems": [_effect_as_json(effect) for effect in result.effects],
            }
            for result in found
        ],
    }


def _effect_as_json(effect: Effect) -> dict[str, Any]:
    return {
        "system": effect.system,
        "measures": {
            name: {
                "before": effect.before[name],
                "after": effect.after[name],
                "loss": effect.loss[name][0],
                "ci": effect.loss[name][1],
            }
            for name in effect.before
        },
        "documents": effect.targets and asdict(effect.targets),
    }
