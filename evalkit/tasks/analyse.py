"""task=analyse: an output looked at query by query. Writes analysis.md and analysis.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.errors import ConfigError
from evalkit.inspection.buckets import BucketResult, Grouping, bucket_results, groupings
from evalkit.inspection.holes import HoleBounds, has_bounds, hole_bounds
from evalkit.inspection.moves import Moves, rank_moves
from evalkit.inspection.subject import (
    chosen_baseline,
    chosen_system,
    difficulty_stage,
    measure_named,
    require_same_data,
)
from evalkit.io import write_json, write_text
from evalkit.progress import PLAIN, stdout, track
from evalkit.report.compare import Comparison, compare
from evalkit.report.layout import Table
from evalkit.report.names import cutoff_of, is_lower_better, synthetic_note
from evalkit.report.queries import (
    bucket_table,
    bucket_warning,
    extreme_queries,
    hole_table,
    move_tables,
)
from evalkit.report.render import to_markdown
from evalkit.report.wording import about_output
from evalkit.results import Results, SystemResult
from evalkit.saved import load_results
from evalkit.statistics.plain import plain
from evalkit.tasks import Job
from evalkit.tasks.shown import show
from evalkit.types import Dataset, grades_of


@dataclass(frozen=True)
class Settings:
    """The keys of conf/task/analyse.yaml, described there."""

    path: str
    system: str | None
    baseline: str | None
    measure: str | None
    difficulty: str | None
    bins: int
    shown: int
    n: int
    hole_grade: int | None


@dataclass(frozen=True)
class Analysis:
    """What was found. comparison, moves: None without a baseline. bounds: system → what its holes
    may change; empty for a measure whose holes cannot be filled. hole_grade: of a filled hole."""

    measure: str
    system: SystemResult
    comparison: Comparison | None
    buckets: Sequence[tuple[Grouping, Sequence[BucketResult]]]
    bounds: Mapping[str, HoleBounds]
    hole_grade: int
    moves: Moves | None

    @property
    def baseline_name(self) -> str | None:
        return self.comparison.base.system if self.comparison else None


def perform(settings: Settings, job: Job) -> None:
    if settings.bins < 2 or settings.shown < 1 or settings.n < 1:
        raise ConfigError(
            f"bins={settings.bins}, shown={settings.shown}, n={settings.n}; expected bins ≥ 2, "
            "shown ≥ 1, n ≥ 1"
        )
    folder = Path(settings.path).expanduser()
    results = load_results(folder)
    dataset = job.component("dataset")
    require_same_data(folder, results, dataset)
    found = analyse(settings, results, dataset)
    sections = _sections(settings, results, dataset, found)
    text = [f"Output: {folder}\n", f"{about_output(results)}\n"]
    for title, tables, note in sections:
        text += [f"## {title}\n", *map(to_markdown, tables), *([f"{note}\n"] if note else [])]
    write_text(job.folder / "analysis.md", "\n".join(text))
    write_json(job.folder / "analysis.json", plain(_as_json(folder, results, found)))
    stdout.print(about_output(results), **PLAIN)
    for title, tables, note in sections:
        stdout.print(f"\n{title}\n", **PLAIN)
        show(tables)
        if note:
            stdout.print(note, **PLAIN)
    stdout.print(f"Analysis: {job.folder}", **PLAIN)


def analyse(settings: Settings, results: Results, dataset: Dataset) -> Analysis:
    measure = measure_named(results, settings.measure)
    system = chosen_system(results, settings.system, measure)
    baseline = chosen_baseline(results, settings.baseline, system)
    difficulty = difficulty_stage(results, settings.difficulty)
    sorted_by = groupings(results, dataset, measure, difficulty, settings.bins)
    grade = _hole_grade(settings.hole_grade, dataset)
    systems = results.uncut if has_bounds(measure) else []
    qrels, runs = dataset.qrels, results.runs
    comparison = None if baseline is None else compare(results, system, baseline, measure)
    moves = None
    if baseline is not None and runs[baseline.run_name] is not runs[system.run_name]:
        before, after = (
            runs[each.run_name].select(results.query_ids) for each in (baseline, system)
        )
        level = dataset.relevance_level
        moves = rank_moves(before, after, grades_of(qrels), level, settings.n, settings.shown)
    return Analysis(
        measure,
        system,
        comparison,
        [(each, bucket_results(results, each, measure, system, baseline)) for each in sorted_by],
        {
            s.system: hole_bounds(runs[s.run_name], measure, qrels, grade)
            for s in track(systems, "Filling holes", len(systems))
        },
        grade,
        moves,
    )


def _hole_grade(given: int | None, dataset: Dataset) -> int:
    level = dataset.relevance_level
    if given is not None and given < level:
        raise ConfigError(
            f"hole_grade={given} is not relevant; expected at least {level}, the lowest relevant "
            f"grade of {dataset.dataset_id}"
        )
    highest = max(qrel.relevance for qrel in dataset.qrels)
    return max(highest, level) if given is None else given


def _sections(
    settings: Settings, results: Results, dataset: Dataset, found: Analysis
) -> list[tuple[str, list[Table], str]]:
    """Title, tables and a closing note of each part."""
    texts = {query.query_id: query.text for query in dataset.queries}
    system, baseline = found.system.system, found.baseline_name
    values = found.system.values[found.measure]
    queries = extreme_queries(
        results, found.comparison, system, found.measure, values, texts, settings.shown
    )
    sections = [("Best and worst queries", queries, "")] if queries else []
    buckets = [
        bucket_table(results, grouping, rows, found.measure, system, baseline)
        for grouping, rows in found.buckets
    ]
    if buckets:
        count = sum(len(rows) for _, rows in found.buckets)
        note = bucket_warning(count, results.level) if baseline else ""
        sections.append(("Buckets", buckets, note))
    if found.bounds:
        cut = cutoff_of(found.measure)
        table = hole_table(found.bounds, found.measure, cut, found.hole_grade)
        sections.append(("What nobody judged", [table], ""))
    if found.moves is not None and baseline is not None:
        sections.append(("Rank changes", move_tables(found.moves, baseline, system, texts), ""))
    mark = synthetic_note(results.dataset)
    return [
        (title, [replace(t, caption=f"{t.caption} {mark}".strip()) for t in tables], note)
        for title, tables, note in sections
    ]


def _as_json(folder: Path, results: Results, found: Analysis) -> dict[str, Any]:
    values = found.system.values[found.measure].tolist()
    base = found.comparison and found.comparison.base.values[found.measure].tolist()
    return {
        "schema": 1,
        "path": str(folder),
        "measure": found.measure,
        "lower_is_better": is_lower_better(found.measure),
        "system": found.system.system,
        "baseline": found.baseline_name,
        "queries": {
            query_id: {"system": values[i], **({"baseline": base[i]} if base else {})}
            for i, query_id in enumerate(results.query_ids)
        },
        "ci_level": results.level,
        "buckets": [
            {"name": each.name, "note": each.note, "buckets": [asdict(row) for row in rows]}
            for each, rows in found.buckets
        ],
        "hole_grade": found.hole_grade,
        "holes": {system: asdict(bounds) for system, bounds in found.bounds.items()},
        "moves": found.moves and _moves_as_json(found.moves),
    }


def _moves_as_json(moves: Moves) -> dict[str, Any]:
    listed = {key: getattr(moves, key) for key in ("promoted", "demoted", "intruders")}
    lists = {key: [move._asdict() for move in each] for key, each in listed.items()}
    return {"n": moves.n, "kinds": [asdict(kind) for kind in moves.kinds], **lists}
