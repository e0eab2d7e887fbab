"""What a request takes and costs behind a cache: an encoded query is never free."""

import numpy as np
import pytest

from evalkit.efficiency.cache_costs import cache_costs
from evalkit.efficiency.caches import Served
from evalkit.results import Results, SystemResult
from evalkit.types import DatasetInfo

MODEL = "some/encoder"
# retriever → the mean of its whole time, of its encoding (None: it has none), in milliseconds
TIMES = {"bm25": (2.0, None), "dense": (25.0, 20.0), "hybrid": (30.0, 21.0)}
NODES = {
    "bm25": {"k1": 1.2},
    "dense": {"model": MODEL},
    "hybrid": {"components": None},
    "lexical": {"components": ["bm25"]},
}


def planted(only=tuple(TIMES), machine_usd=0.001, nodes=NODES):
    """machine_usd: of a query's whole time; None where no machine is priced."""
    systems, times, priced = [], [], []
    for name in only:
        whole, encoding = TIMES[name]
        systems.append(SystemResult(name, "none", None, None, {}, {}, {}))
        stages = {"total": {"mean_ms": whole}}
        if encoding is not None:
            stages["query_encoding"] = {"mean_ms": encoding}
        times.append({"system": name, "stages": stages})
        each = None if machine_usd is None else machine_usd
        priced.append(
            {
                "system": name, "usd_per_1k": None if each is None else 1000 * each + 2,
                "machine_ms": None if each is None else whole, "machine_usd_per_query": each,
            }
        )  # fmt: skip
    efficiency = {"latency": {"systems": times}, "cost": {"systems": priced}}
    return Results(
        DatasetInfo("planted", "d", 10, 5, 3, 1, False), ["q"], ["nDCG@10"], systems, {}, {},
        manifest={"config": {"retriever": nodes}}, efficiency=efficiency,
    )  # fmt: skip


def of(results, name):
    (system,) = (s for s in results.systems if s.run_name == name)
    return cache_costs(results, system, MODEL)


# Ten requests: five exact hits, two near ones, three misses.
SERVED = Served(
    log=np.arange(10), by=np.array([0, 1, 2, 3, 4, 0, 0, 7, 8, 9]), hit=np.arange(10) < 7
)


def test_an_exact_cache_saves_the_whole_of_a_hit():
    found = of(planted(), "bm25").of(SERVED, semantic=False)
    # Seven hits; that two of them are near ones is not asked here.
    assert found.mean_ms == pytest.approx(3 * 2 / 10)
    assert found.usd_per_1k == pytest.approx(3 * 3.0 / 10)


def test_a_semantic_cache_encodes_every_request_that_is_no_exact_hit():
    costs = of(planted(), "bm25")
    assert (costs.encoder, costs.shared) == ("dense", False)
    found = costs.of(SERVED, semantic=True)
    assert found.mean_ms == pytest.approx((3 * 2 + 5 * 20) / 10)
    # Dearer than no cache at all, which is the point: 2 ms became 10.6.
    assert found.mean_ms > costs.whole.mean_ms
    # 2 ms of the machine are 1 dollar a thousand: 20 ms are 10.
    assert found.usd_per_1k == pytest.approx((3 * 3 + 5 * 10) / 10)


@pytest.mark.parametrize(("name", "whole"), [("dense", 25.0), ("hybrid", 30.0)])
def test_a_miss_is_not_encoded_twice_where_the_system_encodes_anyway(name, whole):
    costs = of(planted(), name)
    assert costs.shared
    assert costs.of(SERVED, semantic=True).mean_ms == pytest.approx((3 * whole + 2 * 20) / 10)


def test_a_fusion_of_others_shares_nothing():
    nodes = {**NODES, "hybrid": {"components": ["bm25"]}}
    assert not of(planted(nodes=nodes), "hybrid").shared


def test_without_an_encoder_in_the_output_a_semantic_caches_time_is_not_known():
    costs = of(planted(only=["bm25"]), "bm25")
    found = costs.of(SERVED, semantic=True)
    assert (costs.encoder, found.mean_ms, found.usd_per_1k) == (None, None, None)
    assert costs.of(SERVED, semantic=False).mean_ms == pytest.approx(0.6)


def test_money_needs_a_machines_price_and_a_machine_may_be_free():
    unpriced = of(planted(machine_usd=None), "bm25").of(SERVED, semantic=True)
    assert (unpriced.mean_ms, unpriced.usd_per_1k) == (pytest.approx(10.6), None)
    free = planted(machine_usd=0.0)
    for one in free.efficiency["cost"]["systems"]:
        one["machine_ms"] = 0.0  # as `cost.machine=paid_for` has it
    assert of(free, "bm25").of(SERVED, semantic=True).usd_per_1k == pytest.approx(3 * 2 / 10)
