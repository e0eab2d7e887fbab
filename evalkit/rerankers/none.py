"""No second stage: the first stage's order is the answer."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.run import Run
from evalkit.types import Dataset, Query, fingerprint


class NoReranker:
    """Leaves candidates as they are; the baseline that every reranker has to beat."""

    depends_on_list = False
    fingerprint = fingerprint("NoReranker")

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        return candidates
