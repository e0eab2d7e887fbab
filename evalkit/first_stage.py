"""A first stage's candidates as every stage after it sees them."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.run import Run
from evalkit.types import Dataset, Query, Retriever


def first_stage(
    retriever: Retriever, dataset: Dataset, depth: int, queries: Sequence[Query] | None = None
) -> Run:
    """The best `depth` docs of each query (None: of the dataset's), the query's own doc left out
    where the dataset says so. The index must be there: call `retriever.index(dataset)` before."""
    own = 1 if dataset.exclude_self else 0
    found = retriever.retrieve(dataset.queries if queries is None else queries, depth + own)
    return (found.without_self() if own else found).top(depth)
