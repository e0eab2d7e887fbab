"""task=recommend: the best system of an output within a budget, and what a deadline does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evalkit.efficiency.budget import Budget
from evalkit.efficiency.deadline import (
    LargestK,
    Samples,
    UnderDeadline,
    largest_k,
    under_deadline,
)
from evalkit.efficiency.fronts import judged_by
from evalkit.efficiency.latencies import interval_of, read_samples, statistic
from evalkit.efficiency.recommend import as_json, recommend
from evalkit.errors import ConfigError, nearest
from evalkit.io import write_json, write_text
from evalkit.measures.kinds import is_quality
from evalkit.progress import PLAIN, stdout
from evalkit.report.deadline import deadline_table, largest_k_table
from evalkit.report.efficiency_notes import passing_over
from evalkit.report.layout import Table
from evalkit.report.names import synthetic_note
from evalkit.report.recommend import evidence_table, in_words, markdown_lines
from evalkit.report.render import to_markdown, to_rich
from evalkit.results import NO_RERANKER, Results, SystemResult
from evalkit.saved import load_results
from evalkit.settings import checked
from evalkit.tasks import Job

_FIRST_STAGE = "first_stage"


@dataclass(frozen=True)
class Settings:
    """path: a finished output folder. measure: None for its first of which more is better. budget:
    see `Budget`.

    deadline_ms, fallback, cached_share: see `under_deadline`; fallback is "first_stage", the
    system's own, or the name of a system.
    """

    path: str
    measure: str | None = None
    budget: dict[str, Any] = field(default_factory=dict)
    deadline_ms: float | None = None
    fallback: str = _FIRST_STAGE
    cached_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.cached_share <= 1:
            raise ConfigError(f"cached_share={self.cached_share}: expected a share, 0 to 1")
        if self.deadline_ms is not None and self.deadline_ms <= 0:
            raise ConfigError(f"deadline_ms={self.deadline_ms}: expected milliseconds above 0")


def perform(settings: Settings, job: Job) -> None:
    """Choose, write recommendation.md and recommendation.json, show both."""
    folder = Path(settings.path).expanduser()
    budget = checked(Budget, settings.budget, "budget")
    results = load_results(folder)
    measure = _measure(results, settings.measure)
    found = recommend(results, budget, measure)
    lines = [
        synthetic_note(results.dataset),
        *in_words(found, results.level),
        *passing_over(results),
    ]
    lines = [line for line in lines if line]
    shown = [evidence_table(found)]
    told = as_json(found)
    if budget.p95_ms is not None:
        sizes = _largest_ks(results, budget.p95_ms)
        shown += [largest_k_table(sizes)] if sizes else []
        told["largest_k"] = [
            {"retriever": retriever, "reranker": reranker, **asdict(one)}
            for (retriever, reranker), one in sizes.items()
        ]
    if settings.deadline_ms is not None:
        late = _under_deadline(results, settings, measure, read_samples(folder, results.query_ids))
        shown.append(deadline_table(results, measure, late))
        told["deadline"] = [
            {"system": name, "fallback_system": fallback, **_plain(one)}
            for name, (one, fallback) in late.items()
        ]
    heading = f"# Recommendation\n\nOf {folder}\n\n{markdown_lines(lines)}\n\n"
    text = heading + "\n\n".join(map(to_markdown, shown)) + "\n"
    write_text(job.folder / "recommendation.md", text)
    write_json(job.folder / "recommendation.json", told)
    for line in lines:
        stdout.print(line, **PLAIN)
    for table in shown:
        _show(table)
    stdout.print(f"Recommendation: {job.folder}", **PLAIN)


def _measure(results: Results, asked: str | None) -> str:
    best = judged_by(results)
    if best is None:
        raise ConfigError(
            f"the output has {', '.join(results.measure_names)}, of which none says that more is "
            "better; run again with another measure, such as measures=[nDCG@10]"
        )
    if asked is None:
        return best
    if asked not in results.measure_names:
        raise ConfigError(
            f"measure={asked}: the output has {', '.join(results.measure_names)}."
            f"{nearest(asked, results.measure_names)}"
        )
    if not is_quality(asked):
        raise ConfigError(
            f"measure={asked}: more of it is no better ranking; choose another, such as {best}"
        )
    return asked


def _largest_ks(results: Results, target_ms: float) -> dict[tuple[str, str], LargestK]:
    """(retriever, reranker) → the largest K that meets the target."""
    curves: dict[tuple[str, str], list[SystemResult]] = {}
    for system in results.uncut:
        if system.k is not None and statistic(results.efficiency, system.run_name, "p95_ms"):
            curves.setdefault((system.retriever, system.reranker), []).append(system)
    found = {}
    for pipeline, systems in curves.items():
        p95: dict[int, float] = {}
        upper: dict[int, float] = {}
        for system in systems:
            k, name = system.k or 0, system.run_name
            p95[k] = statistic(results.efficiency, name, "p95_ms") or 0.0
            bounds = interval_of(results.efficiency, name, "p95_ms")
            upper |= {k: bounds[1]} if bounds is not None else {}
        found[pipeline] = largest_k(p95, target_ms, upper)
    return found


def _under_deadline(
    results: Results, settings: Settings, measure: str, samples: Mapping[str, Samples]
) -> dict[str, tuple[UnderDeadline, str]]:
    """Run name → what its users get, and what late queries get; of systems with a fallback."""
    by_name = {system.run_name: system for system in results.uncut}
    if settings.fallback != _FIRST_STAGE and settings.fallback not in by_name:
        raise ConfigError(
            f"fallback={settings.fallback}: expected {_FIRST_STAGE}, or a system of the output "
            f"({', '.join(by_name)}).{nearest(settings.fallback, by_name)}"
        )
    found = {}
    for name, system in by_name.items():
        own = settings.fallback == _FIRST_STAGE
        fallback = by_name.get(system.retriever if own else settings.fallback)
        if fallback is None or fallback is system:
            continue
        if name not in samples or fallback.run_name not in samples:
            continue
        if system.reranker == NO_RERANKER and own:
            continue
        found[name] = (
            under_deadline(
                system.values[measure], fallback.values[measure], samples[name],
                samples[fallback.run_name], settings.deadline_ms or 0.0, settings.cached_share,
                results.resamples, results.level, results.seed, results.interval_method,
            ),
            fallback.run_name,
        )  # fmt: skip
    if not found:
        raise ConfigError(
            "deadline_ms: no system has a fallback whose quality and latency are in the output; "
            "run with reranker=[none,...] and latency=on, or name one with fallback=SYSTEM"
        )
    return found


def _plain(found: UnderDeadline) -> dict[str, Any]:
    """JSON data; an interval that is not defined is null."""
    values = asdict(found)
    for key in ("quality_interval", "degraded_interval"):
        values[key] = [None if end != end else end for end in values[key]]
    return values


def _show(table: Table) -> None:
    if stdout.is_terminal:
        stdout.print(to_rich(table))
    else:
        stdout.print(to_markdown(table), **PLAIN)
