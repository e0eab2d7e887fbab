"""task=caches: result caches over a query log, exact and semantic, of several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.efficiency.cache_costs import CacheCosts, Spent, cache_costs
from evalkit.efficiency.cached_quality import own_values, values_of_pairs
from evalkit.efficiency.caches import (
    Neighbours,
    QualityServed,
    Served,
    log_of_lines,
    quality_served,
    simulate,
    zipf_log,
)
from evalkit.errors import ConfigError, DataError, nearest
from evalkit.io import lines_of, write_json, write_text
from evalkit.progress import PLAIN, stdout
from evalkit.report.caches import cache_table
from evalkit.report.compare import best_of
from evalkit.report.render import to_markdown, to_rich
from evalkit.results import Results, SystemResult
from evalkit.saved import load_results, query_texts
from evalkit.tasks import Job
from evalkit.types import Dataset


@dataclass(frozen=True)
class Settings:
    """path: a finished output folder. system: a run name. log: a file with a request a line; None
    draws `requests` by Zipf's law. sizes: queries held, None for no limit. thresholds: cosines of
    semantic caches. model: the bi-encoder that compares queries."""

    path: str
    model: str
    system: str | None = None
    measure: str | None = None
    log: str | None = None
    requests: int = 10_000
    exponent: float = 1.0
    seed: int = 0
    sizes: list[int | None] = field(default_factory=lambda: [None])
    thresholds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ConfigError("sizes is empty; give at least one, null for no limit: sizes=[null]")
        if any(not -1 <= threshold <= 1 for threshold in self.thresholds):
            raise ConfigError(f"thresholds={self.thresholds}: expected cosines, -1 to 1")


@dataclass(frozen=True)
class Row:
    """One cache. threshold: None for an exact one. spent: by a request that meets it."""

    size: int | None
    threshold: float | None
    served: Served
    quality: QualityServed
    spent: Spent


@dataclass(frozen=True)
class Requests:
    """A log: positions of queries, int64, shape (n,), those that are judged first; all their texts,
    judged or not; and what it is, in words."""

    log: np.ndarray
    texts: Sequence[str]
    described: str


def perform(settings: Settings, job: Job) -> None:
    """Simulate, write caches.md and caches.json, show the table."""
    folder = Path(settings.path).expanduser()
    results = load_results(folder)
    system = _system(results, settings)
    measure = settings.measure or results.measure_names[0]
    dataset: Dataset = job.component("dataset")
    if dataset.digest != results.dataset.digest:
        raise ConfigError(
            f"dataset: {dataset.dataset_id} is not what the output was measured on "
            f"({results.dataset.dataset_id}, or another version of it); give the same dataset=..."
        )
    texts = query_texts(folder)
    requests = _requests(settings, results.query_ids, texts)
    costs = cache_costs(results, system, settings.model)
    rows = _simulated(settings, job, results, system, measure, dataset, requests, costs)
    table = cache_table(results, system, measure, rows, requests.described, costs)
    write_text(job.folder / "caches.md", to_markdown(table) + "\n")
    write_json(job.folder / "caches.json", _as_json(settings, system, measure, rows, costs))
    if stdout.is_terminal:
        stdout.print(to_rich(table))
    else:
        stdout.print(to_markdown(table), **PLAIN)
    stdout.print(f"Caches: {job.folder}", **PLAIN)


def _system(results: Results, settings: Settings) -> SystemResult:
    if settings.measure is not None and settings.measure not in results.measure_names:
        raise ConfigError(
            f"measure={settings.measure}: the output has {', '.join(results.measure_names)}."
            f"{nearest(settings.measure, results.measure_names)}"
        )
    systems = {system.run_name: system for system in results.uncut}
    if settings.system is None:
        return best_of(list(systems.values()), settings.measure or results.measure_names[0])[0]
    if settings.system not in systems:
        raise ConfigError(
            f"system={settings.system}: the output has {', '.join(systems)}."
            f"{nearest(settings.system, systems)}"
        )
    return systems[settings.system]


def _requests(settings: Settings, query_ids: Sequence[str], texts: dict[str, str]) -> Requests:
    if settings.log is None:
        log = zipf_log(len(query_ids), settings.requests, settings.exponent, settings.seed)
        # Whatever the exponent: of a service's queries many are asked once, and here none are.
        words = (
            f"drawn by Zipf's law, exponent {settings.exponent:g}, from the evaluated queries "
            "alone; a service's log has others that are asked once, and so fewer hits"
        )
        return Requests(log, [texts[query_id] for query_id in query_ids], words)
    path = Path(settings.log).expanduser()
    lines = [line.strip() for _, line in lines_of(path)]
    if not lines:
        raise DataError(f"{path}: no requests; expected a query's id or text a line")
    # Two queries may have one text; a log of texts then means the first.
    known = {texts[query_id]: i for i, query_id in reversed(list(enumerate(query_ids)))}
    known |= {query_id: i for i, query_id in enumerate(query_ids)}
    log, new = log_of_lines(lines, known)
    if int(log.min()) >= len(query_ids):
        raise DataError(
            f"{path}: none of its {len(lines):,} requests is a query of the output; expected ids "
            f"such as '{query_ids[0]}', or texts such as '{texts[query_ids[0]]}'"
        )
    return Requests(log, [*(texts[q] for q in query_ids), *new], path.name)


def _simulated(
    settings: Settings,
    job: Job,
    results: Results,
    system: SystemResult,
    measure: str,
    dataset: Dataset,
    requests: Requests,
    costs: CacheCosts,
) -> list[Row]:
    near = None
    if settings.thresholds:
        near = Neighbours(_vectors(settings.model, job, requests.texts), min(settings.thresholds))
    run = results.runs[system.run_name].select(results.query_ids)
    own = own_values(run, results.query_ids, system.values[measure], len(requests.texts))
    caches: list[tuple[int | None, float | None]] = [
        (size, threshold)
        for size in settings.sizes
        for threshold in (None, *sorted(settings.thresholds, reverse=True))
    ]
    served = [
        simulate(requests.log, size)
        if threshold is None
        else simulate(requests.log, size, near, threshold)
        for size, threshold in caches
    ]
    pairs = sorted({pair for one in served for pair in one.near_pairs()})
    worth = values_of_pairs(pairs, run, dataset, measure)
    how = (results.resamples, results.level, results.seed)
    return [
        Row(
            size,
            threshold,
            one,
            quality_served(one, own, worth, *how),
            costs.of(one, semantic=threshold is not None),
        )
        for (size, threshold), one in zip(caches, served, strict=True)
    ]


def _vectors(model: str, job: Job, texts: Sequence[str]) -> np.ndarray:
    """float32, shape (len(texts), h)."""
    from evalkit.encoders import TextEncoder

    encoder = TextEncoder(model, device=job.config["device"], cache_dir=job.cache_dir)
    return encoder.encode(texts, "query")


def _as_json(
    settings: Settings,
    system: SystemResult,
    measure: str,
    rows: Sequence[Row],
    costs: CacheCosts,
) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    return {
        **vars(settings),
        "system": system.run_name,
        "measure": measure,
        "without_cache": vars(costs.whole),
        "encoding": {
            **vars(costs.encoding),
            "measured_on": costs.encoder,
            "shared_with_the_system": costs.shared,
        },
        "caches": [
            {
                "size": row.size,
                "threshold": row.threshold,
                "hit_rate": row.served.hit_rate,
                "near_hit_rate": row.served.near_rate,
                "quality": number(row.quality.served),
                "quality_without": number(row.quality.without),
                "quality_lost": number(row.quality.lost),
                "quality_lost_ci": [number(end) for end in row.quality.lost_interval],
                "judged_share": row.quality.judged,
                **vars(row.spent),
            }
            for row in rows
        ],
    }
