"""A pipeline's queries as a table that MLflow shows, and compares between runs.

MLflow previews a JSON file as a table, and sets those of several runs side by side, query by query,
where the run's tag mlflow.loggedArtifacts names the file. Of the measures the table holds the
primary one, at every K; per_query.parquet has all of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evalkit.report.names import display_name
from evalkit.results import Results
from evalkit.saved import load_results, query_texts

QUERY_TABLE = "per_query.json"
# The tag by which MLflow's UI finds tables, and what it holds.
TABLES_TAG = "mlflow.loggedArtifacts"
TABLES = json.dumps([{"path": QUERY_TABLE, "type": "table"}])
_READ = ("per_query.parquet", "queries.jsonl")
# Means of differences are looked at to four digits; six keep a query's value beyond doubt.
_DIGITS = 6


class QueryTable(NamedTuple):
    """values: float64, shape (queries, columns), nan where a value is not defined."""

    query_ids: Sequence[str]
    texts: Sequence[str]
    columns: Sequence[str]
    values: np.ndarray

    def as_json(self) -> str:
        """As `mlflow.log_table` writes it; a value that is not defined is null."""
        rows = [
            [query_id, *(None if np.isnan(v) else round(v, _DIGITS) for v in values), text]
            for query_id, text, values in zip(
                self.query_ids, self.texts, self.values.tolist(), strict=True
            )
        ]
        # MLflow groups by the first column and compares the second until it is told otherwise.
        columns = ["query_id", *self.columns, "query"]
        return json.dumps({"columns": columns, "data": rows}, ensure_ascii=False)


def query_tables(folder: Path) -> dict[str, QueryTable]:
    """Pipeline → its table; empty for a folder without values or texts of single queries.

    All have the same columns, as MLflow compares equal ones: one for each K of the sweep, in all of
    which a pipeline without a reranker has the same value.
    """
    if not all((folder / name).is_file() for name in _READ):
        return {}
    results, texts = load_results(folder), query_texts(folder)
    measure = results.measure_names[0]
    sweep = sorted({s.k for s in results.uncut if s.k is not None})
    name = display_name(measure)
    columns = [f"{name}, K={k}" for k in sweep] or [name]
    rows = [texts.get(query_id, "") for query_id in results.query_ids]
    return {
        pipeline: QueryTable(results.query_ids, rows, columns, values)
        for pipeline, values in _values(results, measure, sweep).items()
    }


def _values(results: Results, measure: str, sweep: Sequence[int]) -> dict[str, np.ndarray]:
    """Pipeline → float64 of shape (queries, K of the sweep, at least one)."""
    tables: dict[str, np.ndarray] = {}
    width = max(len(sweep), 1)
    for system in results.uncut:
        table = tables.setdefault(system.pipeline, np.full((len(results.query_ids), width), np.nan))
        columns = range(width) if system.k is None else [sweep.index(system.k)]
        table[:, columns] = system.values[measure][:, None]
    return tables
