"""Reading an output folder back: the `Results` that `evalkit.output` wrote.

What looks at results later (comparing, explaining, recommending, a notebook) begins here:

    results = load_results(Path("outputs/default/2026-11-21_10-00-00"))
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import DataError
from evalkit.io import read_json, read_jsonl, read_qrels, read_run
from evalkit.results import SCHEMA, Results, SystemResult
from evalkit.run import Run
from evalkit.types import DatasetInfo, Qrel

MARKER = "INCOMPLETE"
# Runs and judgements in TREC's formats: trec_eval measures them without this program.
QRELS = "qrels.txt"


def require_complete(folder: Path) -> None:
    """DataError unless the folder holds finished results of a schema that is known here."""
    state = folder / MARKER
    if state.is_file() or not (folder / "results.json").is_file():
        found = state.read_text(encoding="utf-8").strip() if state.is_file() else "no results.json"
        raise DataError(f"{folder}: not a finished output folder ({found}); run it again")
    schema = read_json(folder / "results.json").get("schema")
    if schema != SCHEMA:
        raise DataError(f"{folder}/results.json: schema {json.dumps(schema)}, expected {SCHEMA}")


def load_results(folder: Path) -> Results:
    """The results of a finished output folder; run files are read when they are asked for.

    Raises DataError for a folder that is not one, or whose files do not fit together.
    """
    require_complete(folder)
    saved = read_json(folder / "results.json")
    try:
        measures, systems = saved["measures"], saved["systems"]
        names = [system["system"] for system in systems]
        query_ids, values = _per_query(folder / "per_query.parquet", names, measures)
        bootstrap = saved["manifest"].get("config", {}).get("bootstrap", {})
        return Results(
            dataset=DatasetInfo(**saved["dataset"]),
            query_ids=query_ids,
            measure_names=measures,
            systems=[
                _system(system, {m: values[row, i] for i, m in enumerate(measures)})
                for row, system in enumerate(systems)
            ],
            runs=_Runs(folder, {s["run"] for s in systems}, query_ids),
            union_pairs=saved["union_pairs"],
            tags=_tags(folder / "queries.jsonl"),
            manifest=saved["manifest"],
            level=saved["ci_level"],
            details=saved["details"],
            efficiency=saved.get("efficiency", {}),
            significance=saved.get("significance", {}),
            qrels=_qrels(folder / QRELS),
            ceiling={
                retriever: {int(k): means for k, means in by_k.items()}
                for retriever, by_k in saved.get("ceiling", {}).items()
            },
            **{key: bootstrap[key] for key in ("resamples", "seed") if key in bootstrap},
            interval_method=bootstrap.get("method", "percentile"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder}/results.json: not what evalkit writes ({type(error).__name__}: {error}); "
            "run it again"
        ) from error


def query_texts(folder: Path) -> dict[str, str]:
    """query_id → text, of the queries that were evaluated."""
    return {row["_id"]: row["text"] for _, row in read_jsonl(folder / "queries.jsonl")}


def _qrels(path: Path) -> list[Qrel]:
    """The judgements; none for a folder of before they were saved."""
    return read_qrels(path) if path.is_file() else []


def _tags(path: Path) -> dict[str, Sequence[str]]:
    return {row["_id"]: row["tags"] for _, row in read_jsonl(path) if "tags" in row}


def _per_query(
    path: Path, systems: Sequence[str], measures: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """The queries, and the values as float64 of shape (systems, measures, queries)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({error}); run the experiment again") from error
    cells = len(systems) * len(measures)
    count = len(columns) // max(cells, 1)
    order = [(system, measure) for system in systems for measure in measures]
    heads = columns.take(np.arange(cells) * count) if count else columns
    found = list(zip(heads["system"].to_pylist(), heads["measure"].to_pylist(), strict=True))
    if count * cells != len(columns) or found != order:
        raise DataError(f"{path}: does not belong to the results.json beside it; run it again")
    query_ids = tuple(columns["query_id"].slice(0, count).to_pylist())
    values = columns["value"].to_numpy().reshape(len(systems), len(measures), count)
    return query_ids, values


def _system(saved: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> SystemResult:
    def number(value: float | None) -> float:
        return np.nan if value is None else value

    return SystemResult(
        retriever=saved["retriever"],
        reranker=saved["reranker"],
        k=saved["k"],
        n=saved["n"],
        values=values,
        measures={measure: number(value) for measure, value in saved["measures"].items()},
        ci={measure: (number(low), number(high)) for measure, (low, high) in saved["ci"].items()},
        tied_share=saved["tied_share"],
    )


class _Runs(Mapping[str, Run]):
    """Run name → Run, of a folder's run files; the last few that were read are kept."""

    _KEPT = 4

    def __init__(self, folder: Path, files: set[str], query_ids: Sequence[str]) -> None:
        self._files = {Path(file).name.removesuffix(".trec"): folder / file for file in files}
        self._query_ids = query_ids
        self._read: dict[str, Run] = {}

    def __getitem__(self, name: str) -> Run:
        run = self._read.pop(name, None)
        if run is None:
            # A query without results has no line in a run file.
            run = read_run(self._files[name]).select(self._query_ids)
        self._read[name] = run
        if len(self._read) > self._KEPT:
            del self._read[next(iter(self._read))]
        return run

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)
