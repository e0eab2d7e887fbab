"""The experiment: retrieve once, score every pair once, slice the whole grid from those scores.

    retrieve at the deepest K per retriever  →  union of all candidates  →  score each pair of the
    union once per reranker  →  every retriever × reranker × K × N is a slice  →  measures

Exact for pointwise rerankers, whose scores do not depend on K. Rerankers that depend on the list
are run for each K and retriever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evalkit.efficiency.index_side import build_index
from evalkit.errors import ConfigError
from evalkit.execution import ExecutionLog
from evalkit.first_stage import first_stage
from evalkit.measures import MeasureSet, bootstrap_intervals, ceilings, parse_measures
from evalkit.measures.names import deepest_rank
from evalkit.progress import track
from evalkit.results import NO_RERANKER, Results, SystemResult
from evalkit.run import Run
from evalkit.second_stage import rerank_grid
from evalkit.settings import (
    BootstrapSettings,
    MeasureSettings,
    SignificanceSettings,
    SweepSettings,
)
from evalkit.statistics.section import check_baselines, significance_section
from evalkit.types import Dataset, DatasetInfo, Reranker, Retriever


@dataclass(frozen=True)
class Experiment:
    """Everything an experiment consists of; `run` gives its Results.

    hidden: retrievers that are only parts of others; what they spend and say is reported.
    """

    dataset: Dataset
    retrievers: Mapping[str, Retriever]
    rerankers: Mapping[str, Reranker]
    sweep: SweepSettings
    measures: MeasureSettings
    bootstrap: BootstrapSettings = field(default_factory=BootstrapSettings)
    significance: SignificanceSettings = field(default_factory=SignificanceSettings)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    hidden: Mapping[str, Retriever] = field(default_factory=dict)

    def check(self) -> None:
        """ConfigError for settings that do not fit together; called before anything is computed."""
        if not self.retrievers:
            raise ConfigError("no retriever; select one, for instance retriever=[bm25]")
        if not self.rerankers:
            raise ConfigError("no reranker; use reranker=[none] for the first stage alone")
        real = self._real_rerankers()
        if real and not self.dataset.has_texts:
            raise ConfigError(
                f"reranker '{real[0]}' needs texts and {self.dataset.dataset_id} has none; use "
                "reranker=[none], or dataset=folder / dataset=ir_datasets"
            )
        if real and not self.sweep.k:
            raise ConfigError("sweep.k is empty; give the candidate sizes, such as sweep.k=[10,50]")
        self._check_sweep(reranks=bool(real))
        check_baselines(self._uncut_systems(), self.significance.baselines)
        depth = self.depth(self.measure_set())
        for component in (*self.retrievers.values(), *self.rerankers.values()):
            check = getattr(component, "check", None)
            if check is not None:
                check(depth)

    def _real_rerankers(self) -> list[str]:
        return [name for name in self.rerankers if name != NO_RERANKER]

    def _uncut_systems(self) -> list[str]:
        """The names that the systems of this grid will have, uncut."""
        cells = [
            (retriever, reranker, k)
            for reranker in self.rerankers
            for retriever in self.retrievers
            for k in ([None] if reranker == NO_RERANKER else sorted(set(self.sweep.k)))
        ]
        return [SystemResult(*cell, None, {}, {}, {}).system for cell in cells]

    def _check_sweep(self, reranks: bool) -> None:
        size = self.dataset.num_docs
        for key, values in (("k", self.sweep.k), ("n", self.sweep.n)):
            for value in values:
                if value < 1:
                    raise ConfigError(f"sweep.{key}={value}: expected at least 1")
                if self.dataset.has_texts and value > size and (reranks or key == "n"):
                    fitting = ",".join(str(v) for v in values if v <= size) or str(size)
                    raise ConfigError(
                        f"sweep.{key}={value} is above the corpus of {size} docs; "
                        f"set sweep.{key}=[{fitting}]"
                    )
        least = max(self.sweep.k, default=1) if reranks else 1
        if self.sweep.depth is not None and self.sweep.depth < least:
            raise ConfigError(
                f"sweep.depth={self.sweep.depth}: expected at least {least}, the largest K; "
                "raise it, or leave it out"
            )

    def measure_set(self) -> MeasureSet:
        qrels = self.dataset.qrels
        parsed = parse_measures(
            self.measures.measures,
            self.sweep.k,
            self.sweep.n,
            self.dataset.relevance_level,
            self.measures.gains,
            max_grade=max((qrel.relevance for qrel in qrels), default=1),
        )
        return MeasureSet(parsed, qrels, self.dataset)

    def depth(self, measure_set: MeasureSet) -> int:
        """Docs retrieved a query: enough for every K, every N and every measure's cutoff."""
        if self.sweep.depth is not None:
            wanted = self.sweep.depth
        else:
            reranked = self.sweep.k if self._real_rerankers() else []
            wanted = max([deepest_rank(measure_set.measures), *reranked, *self.sweep.n])
        return min(wanted, self.dataset.num_docs) if self.dataset.has_texts else wanted

    def run(self, execution: ExecutionLog | None = None) -> Results:
        execution = execution or ExecutionLog()
        self.check()
        measure_set = self.measure_set()
        candidates = self.retrieve(self.depth(measure_set), execution)
        runs: dict[str, Run] = {}
        systems: list[SystemResult] = []
        union_pairs: dict[str, int] = {}
        for reranker_name, reranker in self.rerankers.items():
            with execution.timed(f"rerank {reranker_name}"):
                cells, pairs = rerank_grid(
                    reranker_name, reranker, self.dataset, candidates, self.sweep, execution
                )
            if reranker_name != NO_RERANKER:
                union_pairs[reranker_name] = pairs
            with execution.timed(f"measure {reranker_name}"):
                for (retriever_name, k), (ranking, ties) in track(
                    cells.items(), "Measuring", len(cells)
                ):
                    measured = self.measure(
                        measure_set, retriever_name, reranker_name, k, ranking, ties
                    )
                    runs[measured[0].run_name] = ranking
                    systems.extend(measured)
        for name, retriever in {**self.retrievers, **self.hidden}.items():
            execution.add_work(f"retriever.{name}", getattr(retriever, "work", {}))
        with execution.timed("bootstrap"):
            systems = self.with_intervals(systems, measure_set.names)
        with execution.timed("ceiling"):
            ceiling = ceilings(
                measure_set, self.dataset.qrels, candidates, self.sweep.k, self.sweep.tail
            )
        results = Results(
            dataset=dataset_info(self.dataset),
            query_ids=measure_set.query_ids,
            measure_names=measure_set.names,
            systems=systems,
            runs=runs,
            union_pairs=union_pairs,
            level=self.bootstrap.level,
            resamples=self.bootstrap.resamples,
            seed=self.bootstrap.seed,
            interval_method=self.bootstrap.method,
            tags=self.dataset.tags,
            details=self._details(),
            ceiling=ceiling,
            qrels=self.dataset.qrels,
            manifest=self._manifest_with(execution.warnings),
        )
        with execution.timed("significance"):
            tested = significance_section(results, self.significance)
        return replace(results, significance=tested)

    def _details(self) -> dict[str, Mapping[str, Any]]:
        """What retrievers and rerankers say about themselves, by "retriever.NAME" and the like."""
        stages = {**self.retrievers, **self.hidden}
        named: dict[str, Any] = {f"retriever.{name}": part for name, part in stages.items()}
        named |= {f"reranker.{name}": part for name, part in self.rerankers.items()}
        return {
            name: details
            for name, part in named.items()
            if (details := _without_empty(getattr(part, "details", {})))
        }

    def _manifest_with(self, warnings: list[str]) -> dict[str, Any]:
        before = list(self.manifest.get("warnings", ()))
        return {**self.manifest, "warnings": [*before, *warnings]}

    def retrieve(self, depth: int, execution: ExecutionLog) -> dict[str, Run]:
        """Each retriever's candidates, `depth` docs a query, the query's own doc left out."""
        candidates: dict[str, Run] = {}
        for name, retriever in self.retrievers.items():
            with execution.timed(f"index {name}"):
                build_index(name, {**self.retrievers, **self.hidden}, self.dataset)
            with execution.timed(f"retrieve {name}"):
                candidates[name] = first_stage(retriever, self.dataset, depth)
            empty = int((candidates[name].sizes == 0).sum())
            if empty:
                queries = f"{empty} {'query' if empty == 1 else 'queries'}"
                execution.warn(f"{name} finds nothing for {queries}; they count 0")
        return candidates

    def measure(
        self,
        measure_set: MeasureSet,
        retriever: str,
        reranker: str,
        k: int | None,
        ranking: Run,
        ties: float,
    ) -> list[SystemResult]:
        """One ranking, uncut and cut to each N; intervals follow for all systems together."""
        depths = [None, *sorted(set(self.sweep.n))]
        cells = []
        for n, values in zip(depths, measure_set.at_depths(ranking, depths), strict=True):
            means = {name: float(column.mean()) for name, column in values.items()}
            cells.append(SystemResult(retriever, reranker, k, n, values, means, {}, ties))
        return cells

    def with_intervals(
        self, systems: Sequence[SystemResult], names: Sequence[str]
    ) -> list[SystemResult]:
        """The systems with bootstrap intervals; all share the same resamples of queries."""
        columns = np.stack([s.values[name] for s in systems for name in names], axis=1)
        settings = self.bootstrap
        bounds = bootstrap_intervals(
            columns, settings.resamples, settings.level, settings.seed, settings.method
        )
        each = iter(bounds.tolist())
        return [
            SystemResult(**{**vars(s), "ci": {name: tuple(next(each)) for name in names}})
            for s in systems
        ]


def _without_empty(details: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without mappings that hold nothing."""
    nested = {
        key: _without_empty(value) if isinstance(value, Mapping) else value
        for key, value in details.items()
    }
    return {key: value for key, value in nested.items() if value != {}}


def dataset_info(dataset: Dataset) -> DatasetInfo:
    return DatasetInfo(
        dataset_id=dataset.dataset_id,
        digest=dataset.digest,
        num_docs=dataset.num_docs,
        num_queries=len(dataset.queries),
        num_qrels=len(dataset.qrels),
        relevance_level=dataset.relevance_level,
        exclude_self=dataset.exclude_self,
        synthetic=getattr(dataset, "synthetic", ""),
    )
