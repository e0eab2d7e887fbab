"""What a comparison of a language model's judgements with people's has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalkit.synthesis.kappa import Estimate
from evalkit.types import Qrel, grades_of


@dataclass(frozen=True)
class Agreement:
    """kappas: name → estimate. confusion: pairs by people's grade and the model's, int64, shape
    (levels, levels), both from 0. means: system → measure → mean under people's judgements and
    under the model's. taus: measure → Kendall's τ and τ_AP. qrels: the model's judgements. notes:
    what a reader must know. counts: pairs, malformed, queries, ..."""

    kappas: Mapping[str, Estimate]
    confusion: np.ndarray
    means: Mapping[str, Mapping[str, tuple[float, float]]]
    taus: Mapping[str, tuple[float, float]]
    qrels: Sequence[Qrel]
    notes: Sequence[str]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class GradedPairs:
    """Pairs graded by both. rows: the query's place; human, model: grades from 0; int64 all."""

    rows: np.ndarray
    human: np.ndarray
    model: np.ndarray
    queries: int

    @classmethod
    def joined(
        cls, own: Sequence[Qrel], qrels: Sequence[Qrel], count_unjudged: bool
    ) -> GradedPairs:
        human = grades_of(own)
        places = {query_id: place for place, query_id in enumerate(human)}
        columns = [
            (places[q.query_id], max(human[q.query_id].get(q.doc_id, 0), 0), q.relevance)
            for q in qrels
            if count_unjudged or q.doc_id in human[q.query_id]
        ]
        array = np.array(columns, dtype=np.int64).reshape(-1, 3)
        return cls(array[:, 0], array[:, 1], array[:, 2], len(places))


def as_json(found: Agreement) -> dict[str, Any]:
    """The content of agreement.json; what is not defined is null."""

    def number(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    return {
        "kappa": {
            name: {"value": number(e.value), "ci": [number(e.low), number(e.high)]}
            for name, e in found.kappas.items()
        },
        "confusion": found.confusion.tolist(),
        "systems": {
            name: {m: {"human": number(h), "model": number(g)} for m, (h, g) in values.items()}
            for name, values in found.means.items()
        },
        "tau": {
            name: {"kendall": number(tau), "ap": number(ap)}
            for name, (tau, ap) in found.taus.items()
        },
        "counts": dict(found.counts),
        "notes": list(found.notes),
    }
