"""Measures of diversity, for queries that are judged per subtopic.

alpha_nDCG (Clarke et al., SIGIR 2008), ERR_IA, AP_IA and P_IA (Agrawal et al., WSDM 2009; Chapelle
et al., CIKM 2009), NRBP (Clarke et al., ICTIR 2009) and StRecall, the share of subtopics that are
covered (Zhai et al., SIGIR 2003). ir_measures computes them by pyndeval, TREC's own ndeval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from evalkit.errors import ConfigError
from evalkit.types import Qrel, has_subtopics

if TYPE_CHECKING:
    from ir_measures import Measure, Metric

# ndeval looks no deeper.
DEEPEST = 20
_INSTEAD = "redundancy@10 needs none: it compares the texts of what was found"


def is_diversity(measure: Measure) -> bool:
    import ir_measures

    return measure.NAME in {known.NAME for known in ir_measures.pyndeval.SUPPORTED_MEASURES}


def check_diversity(measure: Measure) -> None:
    """ConfigError for a measure that ndeval cannot compute, or where pyndeval is missing."""
    import ir_measures

    if not ir_measures.pyndeval.is_available():
        raise ConfigError(
            f"measure '{measure}' needs pyndeval: pip install \"evalkit[diversity]\"; {_INSTEAD}"
        )
    if measure.params.get("judged_only"):
        raise ConfigError(f"measure '{measure}': judged_only is not possible with subtopics")
    takes_cutoff = "cutoff" in measure.SUPPORTED_PARAMS
    if takes_cutoff and not 1 <= int(measure.params.get("cutoff", 0)) <= DEEPEST:
        raise ConfigError(
            f"measure '{measure}': expected a cutoff of at most {DEEPEST}, as in {measure.NAME}@10"
        )


class DiversityEvaluator:
    """Computes these measures on every run; ConfigError if no query has several subtopics."""

    def __init__(self, measures: Sequence[Measure], qrels: Iterable[Qrel]) -> None:
        import ir_measures

        qrels = list(qrels)
        if not has_subtopics(qrels):
            raise ConfigError(
                f"measure '{measures[0]}' needs queries that are judged on several subtopics (the "
                f"second column of TREC qrels), these are not; {_INSTEAD}"
            )
        named = [ir_measures.Qrel(q.query_id, q.doc_id, q.relevance, q.subtopic) for q in qrels]
        self._evaluator = ir_measures.evaluator(measures, named)

    def iter_calc(self, ranked: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]:
        """A value per measure and query, 0 where ndeval defines none, as without a relevant doc."""
        for metric in self._evaluator.iter_calc(ranked):
            yield metric._replace(value=0.0) if math.isnan(metric.value) else metric
