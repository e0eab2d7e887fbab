"""task=explain: why a query's documents are where they are. Writes explain.md, .html and .json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import ConfigError
from evalkit.inspection.explanation import Explanation, explain
from evalkit.inspection.highlights import excerpt
from evalkit.inspection.subject import chosen_system, lexical_view, require_same_data
from evalkit.io import write_json, write_text
from evalkit.progress import PLAIN, stdout
from evalkit.report.explain import (
    NO_TEXT,
    Piece,
    explanation_html,
    explanation_markdown,
    explanation_rich,
    explanation_text,
    pieces,
)
from evalkit.saved import load_results
from evalkit.statistics.plain import plain
from evalkit.tasks import Job


@dataclass(frozen=True)
class Settings:
    """The keys of conf/task/explain.yaml, described there."""

    path: str
    query_id: str
    system: str | None
    docs: int
    doc_chars: int


def perform(settings: Settings, job: Job) -> None:
    if settings.docs < 1 or settings.doc_chars < 1:
        raise ConfigError(
            f"docs={settings.docs}, doc_chars={settings.doc_chars}; expected at least 1 of each"
        )
    folder = Path(settings.path).expanduser()
    results = load_results(folder)
    dataset = job.component("dataset")
    require_same_data(folder, results, dataset)
    if not dataset.has_texts:
        raise ConfigError(f"task=explain needs texts and {dataset.dataset_id} has none")
    system = chosen_system(results, settings.system, results.measure_names[0])
    lexical = lexical_view(results, dataset, job.cache_dir)
    found = explain(results, dataset, lexical, settings.query_id, system, settings.docs)
    shown = [_excerpt(found, i, settings.doc_chars) for i in range(len(found.docs))]
    write_text(job.folder / "explain.md", explanation_markdown(found, shown))
    write_text(job.folder / "explain.html", explanation_html(found))
    write_json(job.folder / "explain.json", plain(_as_json(folder, found)))
    if stdout.is_terminal:
        for part in explanation_rich(found, shown):
            stdout.print(part)
    else:
        stdout.print(explanation_text(found, shown), **PLAIN)
    stdout.print(f"Page: {job.folder / 'explain.html'}", **PLAIN)


def _excerpt(found: Explanation, at: int, size: int) -> list[Piece]:
    doc = found.docs[at]
    return [(NO_TEXT, False)] if doc.text is None else pieces(*excerpt(doc.text, doc.spans, size))


def _as_json(folder: Path, found: Explanation) -> dict[str, Any]:
    return {
        "schema": 1,
        "path": str(folder),
        "query_id": found.query.query_id,
        "query": found.query.text,
        "system": found.system,
        "measures": dict(found.measures),
        "relevant": found.num_relevant,
        "missed": found.num_missed,
        "bm25": found.bm25,
        "query_terms": dict(found.query_terms),
        "docs": [
            {
                "doc_id": doc.doc_id,
                "grade": doc.grade,
                "relevant": doc.is_relevant,
                "missed": doc.is_missed,
                "stages": {
                    stage: {"rank": at.rank, "score": at.score}
                    for stage, at in doc.standings.items()
                },
                "bm25_score": doc.bm25_score,
                "terms": dict(doc.terms),
                "matches": [doc.text[s.start : s.end] for s in doc.spans] if doc.text else [],
            }
            for doc in found.docs
        ],
    }
