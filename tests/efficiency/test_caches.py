"""Caches against the analytic hit rates of a Zipf log, and near hits on planted vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from tiny import toy_dataset

from evalkit.efficiency.cached_quality import values_of_pairs
from evalkit.efficiency.caches import (
    Neighbours,
    log_of_lines,
    quality_served,
    simulate,
    zipf_log,
)
from evalkit.errors import ConfigError
from evalkit.measures import MeasureSet, parse_measures
from evalkit.run import Run

COUNT, REQUESTS = 500, 60_000


def shares(exponent):
    weights = np.arange(1, COUNT + 1, dtype=float) ** -exponent
    return weights / weights.sum()


@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.2])
def test_an_unlimited_cache_misses_each_query_once(exponent):
    # Expected distinct queries: Σ 1 - (1 - p)^n; every one is a miss once.
    log = zipf_log(COUNT, 3_000, exponent, seed=3)
    distinct = (1 - (1 - shares(exponent)) ** 3_000).sum()
    found = simulate(log).hit_rate
    assert found == pytest.approx(1 - distinct / 3_000, abs=0.01)
    assert found == pytest.approx(1 - len(np.unique(log)) / 3_000)


@pytest.mark.parametrize("exponent", [0.8, 1.2])
@pytest.mark.parametrize("size", [10, 50, 200])
def test_an_lru_cache_of_a_zipf_log_has_the_hit_rate_of_ches_formula(exponent, size):
    # The cache holds a query for the time t in which `size` others are asked: Σ 1 - e^(-p t) =
    # size; the hit rate is Σ p (1 - e^(-p t)).
    p = shares(exponent)
    t = brentq(lambda t: (1 - np.exp(-p * t)).sum() - size, 1, 1e9)
    expected = (p * (1 - np.exp(-p * t))).sum()
    found = simulate(zipf_log(COUNT, REQUESTS, exponent, seed=1), size).hit_rate
    assert found == pytest.approx(expected, abs=0.01)


def test_the_least_recently_asked_is_dropped():
    served = simulate(np.array([0, 1, 0, 2, 1, 0]), size=2)
    # 0 1 miss, 0 hit, 2 drops 1, 1 drops 0, 0 is gone.
    assert served.hit.tolist() == [False, False, True, False, False, False]


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60))
def test_a_larger_lru_cache_never_hits_less(log):
    rates = [simulate(np.array(log), size).hit_rate for size in (1, 2, 4, 8, None)]
    assert rates == sorted(rates)


def planted():
    """Vectors of four queries: 0 and 1 at cosine .9, 2 at .6 from both or so, 3 opposite."""
    angles = np.array([0.0, np.arccos(0.9), np.arccos(0.6), np.pi])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_near_hits_follow_the_threshold():
    near, log = Neighbours(planted(), 0.5), np.array([0, 1, 2, 3, 1])
    assert simulate(log, None, near, 0.95).hit.tolist() == [False] * 4 + [True]
    served = simulate(log, None, near, 0.85)
    assert served.by.tolist() == [0, 0, 2, 3, 0]  # 1 is served by 0, and is never stored
    assert served.near.tolist() == [False, True, False, False, True]
    assert served.near_pairs() == [(1, 0)]
    assert simulate(log, None, near, 0.55).by.tolist() == [0, 0, 0, 3, 0]


def test_a_query_at_the_threshold_is_served():
    same = Neighbours(np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32), 0.5)
    assert simulate(np.array([0, 1, 2]), None, same, 1.0).by.tolist() == [0, 0, 2]


def test_the_most_similar_of_those_held_serves():
    near = Neighbours(planted(), 0.5)
    assert simulate(np.array([0, 2, 1]), None, near, 0.99).hit_rate == 0
    # Held: 0 (cosine .9 to 1) and 2 (cosine .89): the nearer one serves.
    assert simulate(np.array([2, 0, 1]), None, near, 0.88).by.tolist() == [2, 0, 0]


def test_a_threshold_below_what_was_computed_is_refused():
    with pytest.raises(ConfigError, match=r"down to 0\.5"):
        simulate(np.array([0]), None, Neighbours(planted(), 0.5), 0.4)
    with pytest.raises(ConfigError, match="size=0"):
        simulate(np.array([0]), 0)
    with pytest.raises(ConfigError, match="exponent=-1"):
        zipf_log(5, 5, -1)


def test_quality_is_weighted_by_requests_and_unjudged_ones_are_left_out():
    near = Neighbours(planted(), 0.5)
    served = simulate(np.array([0, 1, 1, 1, 3]), None, near, 0.85)
    values = np.array([0.8, 0.6, 0.5, np.nan])
    found = quality_served(served, values, {(1, 0): 0.2}, 200, 0.95, 0)
    assert found.without == pytest.approx((0.8 + 3 * 0.6) / 4)
    assert found.served == pytest.approx((0.8 + 3 * 0.2) / 4)
    assert found.lost == pytest.approx(3 * 0.4 / 4)
    assert found.judged == pytest.approx(4 / 5)
    low, high = found.lost_interval
    assert low == 0  # only query 0 drawn
    assert high == pytest.approx(0.4)  # only query 1


def test_a_near_hit_is_measured_under_the_querys_own_judgements(tmp_path):
    dataset = toy_dataset(tmp_path / "toy", docs=30, queries=6)
    generator = np.random.default_rng(0)
    queries = [query.query_id for query in dataset.queries]
    docs = [f"d{i}" for i in range(30)]
    run = Run.from_dict({q: {d: float(generator.random()) for d in docs} for q in queries})
    pairs = [(0, 1), (0, 2), (3, 1), (5, 0)]
    found = values_of_pairs(pairs, run, dataset, "nDCG@10")
    measures = MeasureSet(parse_measures(["nDCG@10"], [], []), dataset.qrels)
    for query, other in pairs:
        lent = Run.from_dict({queries[query]: dict(run[queries[other]])})
        row = measures.query_ids.index(queries[query])
        assert found[query, other] == measures.per_query(lent)["nDCG@10"][row]
    assert len(set(found.values())) == 4


def test_a_log_of_ids_texts_and_strangers():
    log, new = log_of_lines(["q1", "what", "who?", "q2", "who?"], {"q1": 0, "what": 1, "q2": 1})
    assert log.tolist() == [0, 1, 2, 1, 2]
    assert new == ["who?"]
