"""The output folder: what other programs read. Each file is written whole; results.json comes last.

A folder with a file named INCOMPLETE holds a run that is going on, was interrupted or failed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.execution import ExecutionLog
from evalkit.io import (
    format_qrels,
    format_run,
    write_bytes,
    write_json,
    write_jsonl,
    write_parquet,
    write_text,
)
from evalkit.report.html import report_html
from evalkit.report.plots import plots
from evalkit.report.table import table_files
from evalkit.results import Results
from evalkit.saved import MARKER, QRELS
from evalkit.types import Query

WRITING = "results are being written"
LATENCY = "latency.parquet"


@contextmanager
def marked(folder: Path) -> Iterator[None]:
    """The folder carries the mark while the block runs, and after it was interrupted or failed.

    A user's mistake leaves no mark behind, and `write_output` takes it away.
    """
    mark(folder, "running")
    try:
        yield
    except EvalkitError:
        _unmark(folder)
        raise
    except KeyboardInterrupt:
        _mark_unfinished(folder, f"interrupted {time.strftime('%Y-%m-%d %H:%M:%S')}")
        raise
    except Exception:
        _mark_unfinished(folder, "failed")
        raise


def mark(folder: Path, state: str) -> None:
    """Say in the folder that its results are not complete, and why."""
    write_text(folder / MARKER, f"{state}\n")


def _unmark(folder: Path) -> None:
    """Take the mark away after a mistake; not if writing had begun: the folder is a mixture."""
    marker = folder / MARKER
    if marker.is_file() and marker.read_text(encoding="utf-8").strip() != WRITING:
        marker.unlink()


def _mark_unfinished(folder: Path, state: str) -> None:
    # Without the mark the results were complete before the trouble came, as in logging to MLflow.
    if (folder / MARKER).exists():
        mark(folder, state)


def write_output(
    folder: Path,
    results: Results,
    queries: Sequence[Query],
    execution: ExecutionLog,
    times: Mapping[str, Any] | None = None,
    draw: bool = True,
) -> None:
    """Write the whole output contract, then take the INCOMPLETE mark away.

    queries: their texts go into the report. times: the columns of latency.parquet, where latency
    was measured. draw: whether there are plots.
    """
    mark(folder, WRITING)
    _remove_stale(folder)
    for name, run in results.runs.items():
        write_text(folder / "runs" / f"{name}.trec", format_run(run, name))
    write_parquet(folder / "per_query.parquet", results.per_query())
    write_jsonl(folder / "queries.jsonl", _query_rows(results, queries))
    write_text(folder / QRELS, format_qrels(results.qrels))
    if times is not None:
        write_parquet(folder / LATENCY, dict(times))
    for name, text in table_files(results).items():
        write_text(folder / name, text)
    write_report(folder, results, {query.query_id: query.text for query in queries}, draw=draw)
    write_json(folder / "execution.json", vars(execution))
    write_json(folder / "results.json", results.as_json())
    (folder / MARKER).unlink(missing_ok=True)


def write_report(
    folder: Path, results: Results, texts: Mapping[str, str], draw: bool = True
) -> None:
    """Write plots/ and report.html; plots of other names, of an earlier report, go.

    texts: query_id → text, shown beside the queries. draw: False for a report without plots.
    """
    pictures = plots(results) if draw else {}
    for name, data in pictures.items():
        write_bytes(folder / "plots" / name, data)
    write_text(folder / "report.html", report_html(results, pictures, texts))
    for pattern in ("plots/*.png", "plots/*.svg"):
        for path in folder.glob(pattern):
            if path.name not in pictures:
                path.unlink()


def _query_rows(results: Results, queries: Sequence[Query]) -> Iterator[dict[str, Any]]:
    for query in queries:
        tags = results.tags.get(query.query_id)
        yield {"_id": query.query_id, "text": query.text, **({"tags": list(tags)} if tags else {})}


def _remove_stale(folder: Path) -> None:
    """Results of an earlier run in the same folder must not mix with this one's."""
    for pattern in (
        "results.json",
        LATENCY,
        "runs/*.trec",
        "tables/*.csv",
    ):
        for path in folder.glob(pattern):
            path.unlink()
