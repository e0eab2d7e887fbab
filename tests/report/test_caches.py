"""The table of task=caches: what a reader is told of hits, and what they are taken to cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from evalkit.efficiency.cache_costs import CacheCosts, Spent
from evalkit.efficiency.caches import QualityServed, Served
from evalkit.report.caches import cache_table
from evalkit.report.render import to_markdown
from evalkit.results import Results, SystemResult
from evalkit.types import DatasetInfo

MEASURE = "nDCG@10"
QUALITY = QualityServed(0.5, 0.55, 0.05, (0.01, 0.09), 1.0)
SERVED = Served(
    np.array([0, 0, 1, 2]), np.array([0, 0, 0, 2]), np.array([False, True, True, False])
)


@dataclass(frozen=True)
class Row:
    size: int | None
    threshold: float | None
    spent: Spent
    served: Served = SERVED
    quality: QualityServed = QUALITY


def table(encoding=20.0, shared=False, usd=0.001, threshold=0.9):
    system = SystemResult("bm25", "none", None, None, {}, {MEASURE: 0.4}, {})
    info = DatasetInfo("sample", "d", 10, 3, 3, 1, False)
    results = Results(info, ["q0", "q1", "q2"], [MEASURE], [system], {}, {})
    encoder = None if encoding is None else "dense"
    costs = CacheCosts(Spent(2.0, usd), Spent(encoding, None), encoder, shared)
    semantic = Spent(None, None) if encoding is None else Spent(12.3456, usd)
    rows = [Row(None, None, Spent(1.0, usd and usd / 2)), Row(None, threshold, semantic)]
    return cache_table(results, system, MEASURE, rows, "a log", costs)


def test_a_semantic_caches_time_is_what_it_takes_with_its_encodings():
    text = to_markdown(table())
    exact, semantic = ([cell.text for cell in row] for row in table().groups[0])
    # Half of the requests are hits, and yet 12.3 ms are no half of 2.
    assert exact == ["all", "exact", "50.0", "25.0", "0.5000", "0.0500", "1", "0.0005"]
    assert semantic == ["all", "0.9", "50.0", "25.0", "0.5000", "0.0500", "12.3", "0.001"]
    assert "20 ms as measured for dense; a miss takes the system's time on top." in text
    assert "a miss goes on with that vector." in to_markdown(table(shared=True))


def test_quality_by_request_is_told_from_that_by_query():
    text = to_markdown(table())
    assert "NDCG@10 0.5500" in text
    assert "each once, NDCG@10 is 0.4000." in text


def test_what_was_not_measured_is_a_dash_with_what_to_do():
    assert [cell.text for cell in table(encoding=None).groups[0][1]][-2:] == ["–", "–"]
    text = to_markdown(table(encoding=None))
    assert "make the run with a retriever of this model, and latency=on" in text


@pytest.mark.parametrize("usd", [None, 0.001])
def test_money_is_a_column_where_it_is_known(usd):
    assert ("USD / 1,000" in to_markdown(table(usd=usd))) == (usd is not None)


def test_exact_caches_encode_nothing():
    assert "cosines" not in to_markdown(table(threshold=None))
