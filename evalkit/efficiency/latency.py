"""results.efficiency["latency"]: protocol, a record a system, a timing model a pipeline."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.efficiency.machine import load_average, threads
from evalkit.efficiency.percentiles import (
    FIGURES,
    queries_needed,
    ranks,
    resampled,
    statistics,
)
from evalkit.efficiency.protocol import Samples, take
from evalkit.efficiency.resident import places
from evalkit.efficiency.stages import POST_PROCESSING, RERANK, RETRIEVAL, STAGES, TOTAL, Pipeline
from evalkit.efficiency.timing_model import fitted_model
from evalkit.measured import Clock
from evalkit.settings import LatencySettings

if TYPE_CHECKING:
    from evalkit.experiment import Experiment

# The figure by which systems are ranked: its interval is the narrowest of a skewed distribution.
RANKED_BY = "p50_ms"
_NOTES = (
    "one query at a time, in one process; no ranking, score, answer, query vector or query token "
    "that was kept is used, and none is kept",
    "at hand, as in a service with an index: postings, doc vectors, doc tokens and doc texts; what "
    "a first stage searches is in memory, what a reranker reads of its candidates (texts, tokens, "
    "vectors) is where the component keeps it, as a rule in files that the system has cached",
    "rerank holds everything that the reranker does: looking up the candidates' texts, encoding "
    "the query where it does, scoring and sorting; a query that retriever and reranker both encode "
    "is encoded twice, even by one model",
    "a stage that a component does not tell apart is part of the stage that it runs in: a dense "
    "retriever's tokens are made in query_encoding, and what is not listed for a retriever is in "
    "its retrieval",
    "total is read from the clock on its own; the stages add up to it but for a system's own "
    "steps between them",
)


def latency_section(
    experiment: Experiment,
    pipelines: Sequence[Pipeline],
    settings: LatencySettings,
    clock: Clock,
) -> tuple[dict[str, Any], Samples]:
    """The section, plain JSON data, and the samples that it is of."""
    before, was_on = load_average(), gc.isenabled()
    samples, taking = take(pipelines, experiment.dataset.queries, settings, clock)
    level = experiment.bootstrap.level
    draws = resampled(max(len(samples.queries), 1), settings.resamples, settings.seed)
    measured = [pipeline for pipeline in pipelines if pipeline.system in samples.ms]
    systems = _systems(measured, samples, draws, level)
    protocol = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "queries": len(samples.queries),
        "queries_wanted": min(settings.queries, len(experiment.dataset.queries)),
        "queries_of_dataset": len(experiment.dataset.queries),
        "repeats": settings.repeats,
        "warmup_queries": taking.warmup_queries,
        "seconds": round(taking.seconds, 3),
        "budget_s": settings.budget_s,
        "seed": settings.seed,
        "resamples": settings.resamples,
        "ci_level": level,
        "interval_queries": {figure: queries_needed(figure, level) for figure in FIGURES},
        "order": "queries and, for each query and repeat, systems in random order",
        "garbage_collector": {
            "before": "on" if was_on else "off",
            "while_measuring": "off; collected before and between queries, existing objects frozen",
        },
        "threads": threads(),
        "load_average": {"before": before, "after": load_average()},
        "ranked_by": RANKED_BY,
        "skipped": taking.skipped,
        "doc_vectors": places({**experiment.retrievers, **experiment.hidden}),
        "notes": [*_NOTES, *_of_retrievers(measured, samples)],
    }
    return {
        "protocol": protocol,
        "systems": systems,
        "models": _models(measured, samples, settings, draws, level),
    }, samples


def _systems(
    pipelines: Sequence[Pipeline], samples: Samples, draws: np.ndarray, level: float
) -> list[dict[str, Any]]:
    records = {
        pipeline.system: {
            "system": pipeline.system,
            "retriever": pipeline.retriever,
            "reranker": pipeline.reranker,
            "k": pipeline.k,
            "depth": pipeline.depth,
            "candidates": float(samples.candidates[pipeline.system].mean()),
            "stages": {
                stage: statistics(ms, draws, level)
                for stage, ms in samples.ms[pipeline.system].items()
            },
        }
        for pipeline in pipelines
    }
    placed = ranks({name: _interval(record) for name, record in records.items()})
    return [{**record, **placed[name]} for name, record in records.items()]


def _interval(record: Mapping[str, Any]) -> tuple[float, float] | None:
    low, high = record["stages"][TOTAL]["ci"][RANKED_BY]
    return None if low is None else (low, high)


def _models(
    pipelines: Sequence[Pipeline],
    samples: Samples,
    settings: LatencySettings,
    draws: np.ndarray,
    level: float,
) -> list[dict[str, Any]]:
    """T(K) of each retriever and reranker: of the whole answer; under "rerank", of that stage."""
    by_name: dict[tuple[str, str], list[Pipeline]] = {}
    for pipeline in pipelines:
        if pipeline.k is not None:
            by_name.setdefault((pipeline.retriever, pipeline.reranker), []).append(pipeline)
    found = []
    for (retriever, reranker), sizes in by_name.items():
        candidates = np.stack([samples.candidates[each.system] for each in sizes])
        fits = {}
        for stage in (TOTAL, RERANK):
            ms = np.stack([samples.ms[each.system][stage].mean(axis=1) for each in sizes])
            fits[stage] = fitted_model(candidates, ms, draws, level, settings.predict_k)
        whole = fits[TOTAL]
        if whole is not None:
            names = {"retriever": retriever, "reranker": reranker}
            found.append({**names, **whole, RERANK: fits[RERANK]})
    return found


def _of_retrievers(pipelines: Sequence[Pipeline], samples: Samples) -> list[str]:
    """A line a retriever: which of its stages are told apart."""
    lines = {}
    for pipeline in pipelines:
        stages = samples.ms[pipeline.system]
        own = [s for s in STAGES if s in stages and s not in (RETRIEVAL, RERANK, POST_PROCESSING)]
        told = f"{' and '.join(own)} apart from its retrieval" if own else "retrieval as a whole"
        kind = type(pipeline.searcher).__name__
        lines[pipeline.retriever] = f"{pipeline.retriever} ({kind}) tells {told}"
    return list(lines.values())
