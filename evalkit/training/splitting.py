"""Which queries to mine, and which of them to watch the training by: drawn by seed, from texts.

A draw is a digest of seed and id, so that it is the same on every machine and in every version of
a library, and the queries of a small sample are among those of a larger one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from evalkit.errors import DataError
from evalkit.similarities import wording
from evalkit.types import Query


def sampled(queries: Sequence[Query], count: int | None, seed: int) -> list[Query]:
    """`count` of the queries, or all, in the order given."""
    if count is None or count >= len(queries):
        return list(queries)
    drawn = sorted(draw("sample", seed, query.query_id) for query in queries)[count]
    return [query for query in queries if draw("sample", seed, query.query_id) < drawn]


def validation_queries(
    queries: Sequence[Query],
    docs: Mapping[str, Collection[int]],
    share: float,
    seed: int,
) -> set[str]:
    """The ids of about `share` of the queries; DataError where no such part can be split off.

    docs: query_id → numbers of its relevant docs. Queries that share a doc, or a text but for case,
    signs and white space, are on one side, and so are those connected over others. A group larger
    than what is still wanted stays in training.
    """
    if share == 0:
        return set()
    wanted = min(max(round(share * len(queries)), 1), len(queries) - 1)
    groups: dict[int, list[Query]] = {}
    for query, group in zip(queries, _connected(queries, docs).tolist(), strict=True):
        groups.setdefault(group, []).append(query)
    order = sorted(
        groups.values(), key=lambda group: min(draw("group", seed, q.query_id) for q in group)
    )
    chosen: set[str] = set()
    for group in order:
        if len(chosen) + len(group) <= wanted:
            chosen |= {query.query_id for query in group}
    if not chosen:
        least = min(map(len, groups.values()))
        raise DataError(
            f"validation_share={share:g} of {len(queries)} queries is {wanted}, and the smallest "
            f"group of queries that share relevant docs or a text has {least}; raise the share, "
            "take more queries, or set validation_share=0 and train without validation"
        )
    return chosen


def _connected(queries: Sequence[Query], docs: Mapping[str, Collection[int]]) -> np.ndarray:
    """Each query's group: int, shape (Q,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes: dict[bytes | int, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    for row, query in enumerate(queries):
        touched: list[bytes | int] = [wording(query.text), *docs.get(query.query_id, ())]
        for node in touched:
            rows.append(row)
            columns.append(len(queries) + nodes.setdefault(node, len(nodes)))
    size = len(queries) + len(nodes)
    edges = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
    return connected_components(edges, directed=False)[1][: len(queries)]


def draw(purpose: str, seed: int, item_id: str) -> str:
    """64 hex digits that look random: the same for the same three."""
    return hashlib.sha256(f"{purpose}\0{seed}\0{item_id}".encode()).hexdigest()
