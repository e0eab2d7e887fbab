"""How far reranking could go: the measures of an oracle that reranks the first K candidates.

The oracle sorts them by grade. What is missing above its value the retriever has not found; what a
reranker misses below it, the reranker has lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from evalkit.measures.evaluate import MeasureSet
from evalkit.run import Run, Tail
from evalkit.types import Qrel, grades_of

if TYPE_CHECKING:
    from ir_measures import Measure

# Retriever → K → measure name → mean over queries.
Ceilings = dict[str, dict[int, dict[str, float]]]
_BEST_BY_GRADE = frozenset({"AP", "P", "R", "RR", "Rprec", "Success", "nDCG"})


def has_ceiling(measure: Measure) -> bool:
    """Whether no other order of the same docs has a higher value than that by grade.

    Not so for measures of diversity, for shares of judged docs, for measures that skip docs without
    a judgement, and where gains fall as grades rise.
    """
    gains = [gain for _, gain in sorted(measure.params.get("gains", {}).items())]
    rising = gains == sorted(gains)
    return measure.NAME in _BEST_BY_GRADE and rising and not measure.params.get("judged_only")


def ceilings(
    measure_set: MeasureSet,
    qrels: Sequence[Qrel],
    candidates: Mapping[str, Run],
    ks: Sequence[int],
    tail: Tail,
) -> Ceilings:
    """The means of the measures that have a ceiling, for every retriever and K.

    candidates: retriever → its run. tail: what becomes of the docs below K, as for the rerankers.
    Empty where no measure has a ceiling, or without any K.
    """
    kept = [measure for measure in measure_set.measures if has_ceiling(measure)]
    if not kept or not ks:
        return {}
    judged = MeasureSet(kept, qrels)
    return {
        retriever: {
            k: {
                name: float(values.mean())
                for name, values in judged.per_query(run.reranked(head, tail)).items()
            }
            for k, head in oracle(run, qrels, ks).items()
        }
        for retriever, run in candidates.items()
    }


def oracle(run: Run, qrels: Sequence[Qrel], ks: Sequence[int]) -> dict[int, Run]:
    """K → the first K results of every query by grade, highest first.

    A doc without a judgement has grade 0; docs of one grade keep their order.
    """
    known = grades_of(qrels)
    perfect = Run.from_dict({q: known.get(q, {}) for q in run.query_ids})
    grades = np.nan_to_num(run.scores_in(perfect), nan=0.0)
    heads = {}
    for k in sorted(set(ks)):
        head = run.top(k)
        order = np.lexsort((head.ranks, -grades[run.ranks < k], head.rows))
        places = np.empty(len(head), dtype=np.int64)
        # `order` keeps queries in their rows: the ranks of the rows are those of the new order.
        places[order] = head.ranks
        heads[k] = head.with_scores(-places)
    return heads
