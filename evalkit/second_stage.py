"""Reranking the whole grid of a reranker, retriever × K, from one scoring pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from evalkit.errors import ScoreError
from evalkit.execution import ExecutionLog
from evalkit.results import NO_RERANKER
from evalkit.run import Run, union
from evalkit.settings import SweepSettings
from evalkit.types import Dataset, Reranker, for_retriever


class Cell(NamedTuple):
    """One retriever and K: the ranking, and the share of the reranker's scores that are tied."""

    ranking: Run
    ties: float


def rerank_grid(
    name: str,
    reranker: Reranker,
    dataset: Dataset,
    candidates: Mapping[str, Run],
    sweep: SweepSettings,
    execution: ExecutionLog,
) -> tuple[dict[tuple[str, int | None], Cell], int]:
    """The cells by (retriever, K), and the number of pairs in the union of all candidates.

    One call on that union serves every cell, unless the reranker depends on the list: then one
    call a cell. The reranker "none" has one cell a retriever, with K None, and no pairs.
    ScoreError for a reranker that adds or drops candidates and is no filter.
    """
    if name == NO_RERANKER:
        return {(r, None): Cell(run, run.tied_share()) for r, run in candidates.items()}, 0
    ks = sorted(set(sweep.k))
    pool = union([run.top(ks[-1]) for run in candidates.values()])
    heads: dict[tuple[str, int], Run] = {}
    if reranker.depends_on_list:
        for retriever_name, run in candidates.items():
            fitted = for_retriever(reranker, retriever_name)
            named = getattr(fitted, "at_k", None)
            # The largest K first: what a store keeps serves the others.
            for k in reversed(ks):
                if named is not None:
                    named(k)
                heads[retriever_name, k] = fitted.rerank(dataset.queries, dataset, run.top(k))
                execution.add_work(f"reranker.{name}", getattr(fitted, "work", {}))
    else:
        scored = reranker.rerank(dataset.queries, dataset, pool)
        execution.add_work(f"reranker.{name}", getattr(reranker, "work", {}))
        for retriever_name, run in candidates.items():
            for k in ks:
                given = run.top(k)
                heads[retriever_name, k] = given.with_scores(given.scores_in(scored))
    filters = getattr(reranker, "filters", False)
    # What a filter dropped must not come back below it.
    tail = "drop" if filters else sweep.tail
    cells: dict[tuple[str, int | None], Cell] = {}
    for retriever_name, run in candidates.items():
        for k in ks:
            head = heads[retriever_name, k]
            # Heads sliced from a pointwise reranker's scores hold the candidates as they are.
            if reranker.depends_on_list:
                _require_same(name, head, run.top(k), filters)
            cells[retriever_name, k] = Cell(run.reranked(head, tail), head.tied_share())
    return cells, len(pool)


def _require_same(name: str, head: Run, given: Run, filters: bool) -> None:
    """ScoreError where a reranker gave back other docs than it was given."""
    added = np.isnan(head.scores_in(given)).any()
    if added or (len(head) != len(given) and not filters):
        raise ScoreError(f"reranker '{name}' added or dropped candidates; expected the same")
