"""What an experiment produced: one `SystemResult` per cell of retriever × reranker × K × N."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evalkit.run import Run
from evalkit.types import DatasetInfo, IntervalMethod, Qrel

SCHEMA = 1
NO_RERANKER = "none"


@dataclass(frozen=True)
class SystemResult:
    """One cell of the grid.

    k: candidates reranked (None without a reranker). n: the ranking is cut to its first n docs
    before it is measured (None: not cut). values: measure name → float64, shape (Q,), in the
    order of `Results.query_ids`. measures: their means. ci: bootstrap intervals of the means,
    (nan, nan) where there are too few queries for one; their level is `Results.level`.
    """

    retriever: str
    reranker: str
    k: int | None
    n: int | None
    values: Mapping[str, np.ndarray]
    measures: Mapping[str, float]
    ci: Mapping[str, tuple[float, float]]
    tied_share: float = 0.0

    @property
    def pipeline(self) -> str:
        """Retriever and reranker, such as "bm25+cross_encoder", or "bm25" alone."""
        bare = self.reranker == NO_RERANKER
        return self.retriever if bare else f"{self.retriever}+{self.reranker}"

    @property
    def run_name(self) -> str:
        """The name of the uncut ranking: the pipeline, and its K; the stem of its run file."""
        return self.pipeline if self.k is None else f"{self.pipeline}+k{self.k}"

    @property
    def system(self) -> str:
        """The name of this cell, unique in an experiment, fit for a file name."""
        return self.run_name if self.n is None else f"{self.run_name}+n{self.n}"


@dataclass(frozen=True)
class Results:
    """A finished experiment.

    measure_names: ir_measures' names, in the order they were asked for; the first is the primary.
    runs: run_name → uncut ranking. union_pairs: reranker → distinct (query, doc) pairs that its
    grid needs. tags: query_id → tags, where the collection has them. manifest: where the numbers
    come from (config, fingerprints, versions, device), plain JSON data. level, resamples, seed,
    interval_method: of the bootstrap intervals. details: component, such as "reranker.ltr" → what
    it learned or met, plain JSON data. efficiency: what `evalkit.efficiency` measured (latency,
    load, index, energy, cost), plain JSON data; empty where nothing was. significance: what
    `evalkit.statistics` tested (its section.py), plain JSON data; empty where nothing was. ceiling:
    retriever → K → measure → the mean that an oracle reaches by reranking the first K candidates by
    their grades. qrels: the judgements that the measures were computed from; empty for an output of
    before they were saved.
    """

    dataset: DatasetInfo
    query_ids: Sequence[str]
    measure_names: Sequence[str]
    systems: Sequence[SystemResult]
    runs: Mapping[str, Run]
    union_pairs: Mapping[str, int]
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    level: float = 0.95
    resamples: int = 10_000
    seed: int = 0
    interval_method: IntervalMethod = "percentile"
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    efficiency: Mapping[str, Any] = field(default_factory=dict)
    significance: Mapping[str, Any] = field(default_factory=dict)
    ceiling: Mapping[str, Mapping[int, Mapping[str, float]]] = field(default_factory=dict)
    qrels: Sequence[Qrel] = ()

    @property
    def uncut(self) -> list[SystemResult]:
        """The systems whose ranking is not cut to N."""
        return [s for s in self.systems if s.n is None]

    def as_json(self) -> dict[str, Any]:
        """The content of results.json (schema 1); a number that is not defined is null."""

        def number(x: float) -> float | None:
            return None if np.isnan(x) else float(x)

        systems = [
            {
                "system": s.system,
                "retriever": s.retriever,
                "reranker": s.reranker,
                "k": s.k,
                "n": s.n,
                "run": f"runs/{s.run_name}.trec",
                "measures": {m: number(v) for m, v in s.measures.items()},
                "ci": {m: [number(lo), number(hi)] for m, (lo, hi) in s.ci.items()},
                "num_queries": len(self.query_ids),
                "tied_share": s.tied_share,
            }
            for s in self.systems
        ]
        return {
            "schema": SCHEMA,
            "dataset": self.dataset._asdict(),
            "measures": list(self.measure_names),
            "ci_level": self.level,
            "union_pairs": dict(self.union_pairs),
            "details": dict(self.details),
            **({"efficiency": dict(self.efficiency)} if self.efficiency else {}),
            **({"significance": dict(self.significance)} if self.significance else {}),
            **({"ceiling": self._ceiling()} if self.ceiling else {}),
            "systems": systems,
            "manifest": dict(self.manifest),
        }

    def _ceiling(self) -> dict[str, dict[str, dict[str, float]]]:
        return {
            retriever: {str(k): dict(means) for k, means in by_k.items()}
            for retriever, by_k in self.ceiling.items()
        }

    def per_query(self) -> dict[str, Any]:
        """The columns of per_query.parquet: query_id, system, measure, value."""
        cells = [(s, m) for s in self.systems for m in self.measure_names]
        count = len(self.query_ids)
        return {
            "query_id": list(self.query_ids) * len(cells),
            "system": [s.system for s, _ in cells for _ in range(count)],
            "measure": [m for _, m in cells for _ in range(count)],
            "value": np.concatenate([s.values[m] for s, m in cells] or [np.empty(0)]),
        }
