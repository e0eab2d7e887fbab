"""task=reproduce: does evalkit still give the figures that were published?

It runs the experiment of the config, or reads finished output folders, and compares. Exit code 1
when a figure is off by more than its tolerance, or when none could be checked.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.assembly import Parts, connected_rerankers, connected_retrievers
from evalkit.errors import Alarm, ConfigError, ModelNotFound
from evalkit.io import write_json, write_text
from evalkit.progress import PLAIN, stdout
from evalkit.report.layout import Table
from evalkit.report.render import to_markdown
from evalkit.report.reproduce import (
    Check,
    Published,
    check_figures,
    counts_of,
    read_published,
    reproduction_table,
)
from evalkit.results import Results
from evalkit.saved import load_results
from evalkit.tasks import Job, run
from evalkit.tasks.shown import show
from evalkit.types import Dataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """path: finished output folders, one or several; None runs the experiment of the config."""

    path: list[str] | str | None = None


class Reproduction(NamedTuple):
    """An experiment's name, its results, and its figures beside them."""

    name: str
    folder: Path
    results: Results
    checks: Sequence[Check]

    @property
    def table(self) -> Table:
        return reproduction_table(self.name, self.results, self.checks)


def perform(settings: Settings, job: Job) -> None:
    """Compare, write reproduction.md and reproduction.json, show the tables; then the Alarm."""
    published = read_published(job.config["published"])
    if settings.path is not None:
        paths = [settings.path] if isinstance(settings.path, str) else settings.path
        if not paths:
            raise ConfigError("path=[] names no output folder; give one, or leave path out")
        found = [_of_folder(Path(path).expanduser(), published) for path in paths]
    else:
        _require_figures(published, "the experiment of this config")
        left_out = _run_what_can_be(published, job)
        if job.dry_run:
            return
        results = load_results(job.folder)
        checks = check_figures(published, results, left_out)
        found = [Reproduction(job.config["name"], job.folder, results, checks)]
    _write(job.folder, found)
    show(reproduction.table for reproduction in found)
    stdout.print(f"Reproduction: {job.folder}", **PLAIN)
    _raise_alarm(found)


def _require_figures(published: Published, where: str) -> None:
    if not published.figures:
        raise ConfigError(
            f"{where} has no published figures to compare with; choose one that has: "
            "+experiment=scifact"
        )


def _of_folder(folder: Path, published: Published) -> Reproduction:
    """A finished output beside the figures of the config, or its own where the config has none."""
    results = load_results(folder)
    config = results.manifest.get("config", {})
    if not published.figures:
        published = read_published(config.get("published", {}), f"{folder}: published")
    _require_figures(published, str(folder))
    published.check_collection(counts_of(results), str(folder))
    name = str(config.get("name", folder.name))
    return Reproduction(name, folder, results, check_figures(published, results))


def _run_what_can_be(published: Published, job: Job) -> dict[str, str]:
    """Run the experiment without the components whose models are not here: name → why."""
    parts = job.parts()
    dataset: Dataset = parts.dataset
    counts = {
        "docs": dataset.num_docs,
        "queries": len(dataset.queries),
        "qrels": len(dataset.qrels),
    }
    published.check_collection(counts, dataset.dataset_id)
    missing = _missing_models(parts)
    left_out = {**missing.retrievers, **missing.rerankers}
    for name, error in left_out.items():
        log.warning("%s is left out: %s", name, error)
    run.perform(run.Settings(), replace(job, parts=lambda: _without(job.parts(), missing)))
    return {name: f"the model of {name} is not available" for name in left_out}


class _Missing(NamedTuple):
    """Components whose model's name resolves to nothing: name → what was raised."""

    retrievers: Mapping[str, ModelNotFound]
    rerankers: Mapping[str, ModelNotFound]


def _missing_models(parts: Parts) -> _Missing:
    """The components without their model, and those made of such a one."""
    retrievers = connected_retrievers(parts.retrievers)
    rerankers = connected_rerankers(parts.dataset, retrievers, parts.rerankers)
    return _Missing(_lacking(retrievers, parts.retrievers), _lacking(rerankers, parts.rerankers))


def _lacking(components: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, ModelNotFound]:
    """The ModelNotFound itself where nothing would be left to run."""
    lacking: dict[str, ModelNotFound] = {}
    for name, component in components.items():
        try:
            _ = component.fingerprint
        except ModelNotFound as error:
            lacking[name] = error
    # A choice may stand for several components, such as fused with its weights.
    unnamed = [name for name in lacking if name not in chosen]
    if lacking and (unnamed or len(lacking) == len(components)):
        raise lacking[next(iter([*unnamed, *lacking]))]
    return lacking


def _without(parts: Parts, missing: _Missing) -> Parts:
    gone = {*missing.retrievers, *missing.rerankers}
    return replace(
        parts,
        retrievers={n: part for n, part in parts.retrievers.items() if n not in missing.retrievers},
        rerankers={n: part for n, part in parts.rerankers.items() if n not in missing.rerankers},
        hidden=[name for name in parts.hidden if name not in gone],
    )


def _write(folder: Path, found: Sequence[Reproduction]) -> None:
    tables = [f"Output: {each.folder}\n\n{to_markdown(each.table)}" for each in found]
    write_text(folder / "reproduction.md", "\n".join(tables))
    write_json(
        folder / "reproduction.json",
        [
            {
                "experiment": each.name,
                "output": str(each.folder),
                "dataset": each.results.dataset._asdict(),
                "figures": [check.as_json() for check in each.checks],
            }
            for each in found
        ],
    )


def _raise_alarm(found: Sequence[Reproduction]) -> None:
    """Alarm where a figure is off, or where nothing of an experiment was checked."""
    off = [
        f"{each.name}: {check.figure.system} {check.figure.measure} {check.measured:.4f}, "
        f"published {check.figure.value:.4f} ± {check.figure.tolerance:g}"
        for each in found
        for check in each.checks
        if check.verdict == "off"
    ]
    if off:
        raise Alarm(f"not reproduced: {'; '.join(off)}")
    for each in found:
        if all(check.verdict == "not checked" for check in each.checks):
            reasons = "; ".join(dict.fromkeys(check.reason for check in each.checks))
            raise Alarm(f"{each.name}: no published figure could be checked ({reasons})")
