"""What a query is worth with another query's ranking, under its own judgements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.errors import ConfigError
from evalkit.measures import MeasureSet, parse_measures
from evalkit.run import Run
from evalkit.types import Dataset


def values_of_pairs(
    pairs: Sequence[tuple[int, int]], run: Run, dataset: Dataset, measure: str
) -> dict[tuple[int, int], float]:
    """(query, other) → the measure of the other's ranking under the query's qrels.

    pairs: positions in `run.query_ids`. Pairs of a query that the run has not, or that is not
    judged, are left out.
    """
    parsed = parse_measures([measure], [], [], dataset.relevance_level)
    judged = MeasureSet(parsed, dataset.qrels, dataset)
    if judged.names != [measure]:
        raise ConfigError(
            f"measure={measure}: read again it is {judged.names[0]}; choose another measure"
        )
    rows = {query_id: row for row, query_id in enumerate(judged.query_ids)}
    names = run.query_ids
    known = [
        (query, other)
        for query, other in pairs
        if max(query, other) < len(names) and names[query] in rows
    ]
    wanted = {other for _, other in known}
    ranking = {row: docs for row, (_, docs) in enumerate(run) if row in wanted}
    found: dict[tuple[int, int], float] = {}
    for layer in _layers(known):
        lent = Run.from_dict(
            {
                names[query]: {doc: -float(rank) for rank, doc in enumerate(ranking[other])}
                for query, other in layer
            },
            judged.query_ids,
        )
        values = judged.per_query(lent.without_self() if dataset.exclude_self else lent)[measure]
        found |= {(query, other): float(values[rows[names[query]]]) for query, other in layer}
    return found


def _layers(pairs: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """The pairs in lists that hold each query once: a run has one ranking a query."""
    layers: list[list[tuple[int, int]]] = []
    met: dict[int, int] = {}
    for query, other in pairs:
        depth = met.get(query, 0)
        met[query] = depth + 1
        if depth == len(layers):
            layers.append([])
        layers[depth].append((query, other))
    return layers


def own_values(run: Run, query_ids: Sequence[str], values: np.ndarray, total: int) -> np.ndarray:
    """The measure by position, float64, shape (total,): nan for queries that only a log has.

    values: in the order of `query_ids`, those of `run`, which come first.
    """
    if tuple(run.query_ids) != tuple(query_ids):
        raise ConfigError("the run's queries are not those of its results; run it again")
    return np.concatenate([values, np.full(total - len(values), np.nan)])
