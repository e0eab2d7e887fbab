"""Systems with and without a probe: the same components on the same queries, paired."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from evalkit.errors import ConfigError
from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.inspection.probes import Disturbance, Perturbed, Probe, disturbance
from evalkit.measures.bootstrap import bootstrap_intervals
from evalkit.progress import track
from evalkit.results import SystemResult
from evalkit.retrievers.remembering import inner
from evalkit.retrievers.run_file import RunFileRetriever
from evalkit.run import Run
from evalkit.second_stage import rerank_grid
from evalkit.settings import BootstrapSettings
from evalkit.types import Dataset

log = logging.getLogger(__name__)
Interval = tuple[float, float]


@dataclass(frozen=True)
class TargetMoves:
    """What became of the changed documents.

    rank_before, rank_after: medians; one that was not retrieved counts as one below the deepest.
    top_before, top_after: shares of them in the top N. scored: those that the system scored both
    times. shift: of these the mean change of the score, in standard deviations of the scores that
    the system gave the query's documents before, so that systems compare; with its bootstrap
    interval, None for fewer than two. fell: the share of these whose score fell. NaN for none.
    """

    rank_before: float
    rank_after: float
    top_before: float
    top_after: float
    scored: int
    shift: float
    shift_interval: Interval | None
    fell: float


@dataclass(frozen=True)
class Effect:
    """A probe's effect on one system, over the queries that it changed. before, after: means by
    measure; loss: before - after with its paired bootstrap interval, None for a single query.
    targets: None for a probe of queries."""

    system: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    loss: Mapping[str, tuple[float, Interval | None]]
    targets: TargetMoves | None


@dataclass(frozen=True)
class ProbeResult:
    """effects: a line a system; empty where there was nothing to change."""

    probe: Probe
    changed: Sequence[Perturbed]
    effects: Sequence[Effect]


Rankings = dict[str, tuple[SystemResult, Run]]


def check_probed(experiment: Experiment) -> None:
    """ConfigError for an experiment whose components cannot be given other texts."""
    experiment.check()
    if not experiment.dataset.has_texts:
        raise ConfigError(f"task=probe needs texts and {experiment.dataset.dataset_id} has none")
    for name, retriever in {**experiment.retrievers, **experiment.hidden}.items():
        if isinstance(inner(retriever), RunFileRetriever):
            raise ConfigError(
                f"retriever '{name}' is a run file, which answers alike whatever the texts say; "
                "probe retrievers that search"
            )


def probe_systems(
    experiment: Experiment, probes: Sequence[Probe], seed: int, n: int
) -> list[ProbeResult]:
    """Every system with each probe against itself without. n: the top that documents are counted
    in. Documents to change are chosen from the first retriever's candidates.

    After a kill the same command scores no pair again that the store holds, and builds no index
    again that is in the cache; the retrieval itself, and what no store keeps, is repeated.
    """
    measures = experiment.measure_set()
    depth = experiment.depth(measures)
    plain, candidates = _rankings(experiment, experiment.dataset, depth)
    found = []
    for number, probe in enumerate(track(probes, "Probing", len(probes)), start=1):
        began = time.perf_counter()
        made = disturbance(probe, experiment.dataset, candidates, seed)
        disturbed = _rankings(experiment, made.dataset, depth)[0] if made.changed else {}
        effects = [
            _effect(experiment, made, plain[name], disturbed[name], measures.query_ids, depth, n)
            for name in disturbed
        ]
        found.append(ProbeResult(probe, made.changed, effects))
        log.info(
            "probe %d of %d, %s: %d queries, %.1f s",
            number, len(probes), probe.name, len(made.changed), time.perf_counter() - began,
        )  # fmt: skip
    return found


def _rankings(experiment: Experiment, dataset: Dataset, depth: int) -> tuple[Rankings, Run]:
    """System → its values and ranking on this dataset; and the first retriever's candidates."""
    probed = replace(experiment, dataset=dataset)
    measures, execution = probed.measure_set(), ExecutionLog()
    candidates = probed.retrieve(depth, execution)
    found: Rankings = {}
    for name, reranker in probed.rerankers.items():
        cells, _ = rerank_grid(name, reranker, dataset, candidates, experiment.sweep, execution)
        for (retriever, k), (run, ties) in cells.items():
            system = probed.measure(measures, retriever, name, k, run, ties)[0]
            found[system.system] = system, run
    return found, next(iter(candidates.values()))


def _effect(
    experiment: Experiment,
    made: Disturbance,
    plain: tuple[SystemResult, Run],
    disturbed: tuple[SystemResult, Run],
    query_ids: Sequence[str],
    depth: int,
    n: int,
) -> Effect:
    positions = {query_id: i for i, query_id in enumerate(query_ids)}
    at = np.array([positions[line.query_id] for line in made.changed])
    before, after = ({m: v[at] for m, v in each[0].values.items()} for each in (plain, disturbed))
    losses = np.stack([before[m] - after[m] for m in before], axis=1)
    settings = experiment.bootstrap
    ends = _intervals(losses, settings)
    targets = None
    if made.probe.changes != "query":
        targets = _target_moves(made.changed, plain, disturbed, depth, n, settings)
    return Effect(
        plain[0].system,
        {m: float(v.mean()) for m, v in before.items()},
        {m: float(v.mean()) for m, v in after.items()},
        {m: (float(losses[:, i].mean()), ends[i]) for i, m in enumerate(before)},
        targets,
    )


def _intervals(values: np.ndarray, settings: BootstrapSettings) -> list[Interval | None]:
    """Of the means of columns; None for fewer than two rows."""
    bounds = bootstrap_intervals(
        values, settings.resamples, settings.level, settings.seed, settings.method
    )
    return [None if np.isnan(low) else (float(low), float(high)) for low, high in bounds.tolist()]


def _target_moves(
    changed: Sequence[Perturbed],
    plain: tuple[SystemResult, Run],
    disturbed: tuple[SystemResult, Run],
    depth: int,
    n: int,
    settings: BootstrapSettings,
) -> TargetMoves:
    before, after = (_places(changed, *each) for each in (plain, disturbed))
    ranks = [np.array([place.rank or depth + 1 for place in each]) for each in (before, after)]
    shifts = np.array([
        (new.score - old.score) / old.spread
        for old, new in zip(before, after, strict=True)
        if old.score is not None and new.score is not None and old.spread > 0
    ])  # fmt: skip
    known = len(shifts) > 0
    return TargetMoves(
        rank_before=float(np.median(ranks[0])),
        rank_after=float(np.median(ranks[1])),
        top_before=float(np.mean(ranks[0] <= n)),
        top_after=float(np.mean(ranks[1] <= n)),
        scored=len(shifts),
        shift=float(shifts.mean()) if known else np.nan,
        shift_interval=_intervals(shifts[:, None], settings)[0] if known else None,
        fell=float(np.mean(shifts < 0)) if known else np.nan,
    )


class _Place(NamedTuple):
    """Rank, from 1, and score of a changed document; None where a ranking lacks it, the score also
    below the reranker's K. spread: standard deviation of the query's scores, above K."""

    rank: int | None = None
    score: float | None = None
    spread: float = 0.0


def _places(changed: Sequence[Perturbed], system: SystemResult, run: Run) -> list[_Place]:
    wanted = {line.query_id: line.doc_id for line in changed}
    found: dict[str, _Place] = {}
    for row, (query_id, docs) in enumerate(run):
        doc_id = wanted.get(query_id)
        if doc_id is None or doc_id not in docs:
            continue
        at = docs.index(doc_id)
        scores = run.scores[run.offsets[row] : run.offsets[row + 1]][: system.k]
        own = float(scores[at]) if at < len(scores) else None
        found[query_id] = _Place(at + 1, own, float(scores.std(dtype=np.float64)))
    return [found.get(line.query_id, _Place()) for line in changed]
