"""Fusion by hand and against a slow reference in plain Python."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import ConfigError, ScoreError
from evalkit.fusion import normalised, rrf, weighted_sum
from evalkit.run import Run

QUERIES = ("q1", "q2")
RESULTS = st.fixed_dictionaries(
    dict.fromkeys(QUERIES, st.dictionaries(st.sampled_from("abcdefg"), st.integers(-3, 3)))
)
SOME_RESULTS = st.lists(RESULTS, min_size=1, max_size=4)
WEIGHT = st.sampled_from([0.0, 0.25, 1.0, 3.0])


def as_runs(results) -> list[Run]:
    return [Run.from_dict(r, QUERIES) for r in results]


def assert_scores(run: Run, query_id: str, expected: dict[str, float]) -> None:
    assert dict(run[query_id]) == pytest.approx(expected, abs=1e-6)


def test_rrf_by_hand():
    first = Run.from_dict({"q1": {"a": 9.0, "b": 5.0, "c": 1.0}, "q2": {"x": 1.0}}, QUERIES)
    second = Run.from_dict({"q1": {"d": 0.9, "b": 0.8}}, QUERIES)
    fused = rrf([first, second])
    # b is second twice: 2/62 = .03226; a and d lead once: 1/61 = .01639, the higher id first;
    # c is third once: 1/63.
    assert [d for d, _ in fused["q1"]] == ["b", "d", "a", "c"]
    assert_scores(fused, "q1", {"b": 2 / 62, "a": 1 / 61, "d": 1 / 61, "c": 1 / 63})
    assert_scores(fused, "q2", {"x": 1 / 61})
    # With k = 0 a single lead (1/1) equals two second places (1/2 + 1/2).
    assert_scores(rrf([first, second], k=0), "q1", {"b": 1, "a": 1, "d": 1, "c": 1 / 3})
    weighted = rrf([first, second], weights=[1.0, 2.0])
    expected = {"b": 1 / 62 + 2 / 62, "a": 1 / 61, "d": 2 / 61, "c": 1 / 63}
    assert_scores(weighted, "q1", expected)


def test_rrf_ranks_tied_docs_in_canonical_order():
    tied = Run.from_dict({"q1": {"a": 1.0, "b": 1.0}, "q2": {}}, QUERIES)
    assert_scores(rrf([tied]), "q1", {"b": 1 / 61, "a": 1 / 62})


@given(SOME_RESULTS, st.sampled_from([0.0, 1.0, 60.0]), st.data())
def test_rrf_against_a_slow_reference(results, k, data):
    weights = data.draw(st.lists(WEIGHT, min_size=len(results), max_size=len(results)))
    fused = rrf(as_runs(results), k, weights)
    for query_id in QUERIES:
        expected: dict[str, float] = {}
        for result, weight in zip(results, weights, strict=True):
            ranked = sorted(result[query_id], key=lambda d: (result[query_id][d], d), reverse=True)
            for rank, doc_id in enumerate(ranked, start=1):
                expected[doc_id] = expected.get(doc_id, 0.0) + weight / (k + rank)
        assert_scores(fused, query_id, expected)


def test_min_max_by_hand():
    run = Run.from_dict({"q1": {"a": 10.0, "b": 6.0, "c": 2.0}, "q2": {"x": -4.0, "y": -4.0}})
    # q1: (6 - 2) / (10 - 2) = .5; q2 is flat: each doc is the best.
    assert normalised(run, "min_max").tolist() == [1.0, 0.5, 0.0, 1.0, 1.0]
    assert normalised(Run.from_dict({"q": {"a": -3.0}}), "min_max").tolist() == [1.0]
    assert normalised(Run.from_dict({}, QUERIES), "min_max").tolist() == []


def test_z_score_by_hand():
    run = Run.from_dict({"q1": {"a": 10.0, "b": 6.0, "c": 2.0}, "q2": {"x": 0.1, "y": 0.1}})
    # q1: mean 6, variance (16 + 0 + 16) / 3; q2 is flat: 0.
    high = 4 / math.sqrt(32 / 3)
    np.testing.assert_allclose(normalised(run, "z_score"), [high, 0, -high, 0, 0], atol=1e-12)
    assert normalised(Run.from_dict({"q": {"a": -3.0}}), "z_score").tolist() == [0.0]
    assert normalised(Run.from_dict({}, QUERIES), "z_score").tolist() == []


@pytest.mark.parametrize("score", [0.1, 1e-8, 123456.7, -3.3e7])
@pytest.mark.parametrize("count", [2, 3, 7, 100])
def test_flat_scores_have_no_spread_whatever_their_size(score, count):
    run = Run.from_dict({"q": {f"d{i}": score for i in range(count)}})
    assert set(normalised(run, "z_score").tolist()) == {0.0}
    assert set(normalised(run, "min_max").tolist()) == {1.0}


def test_a_missing_doc_counts_with_the_lowest_score():
    first = Run.from_dict({"q1": {"a": 10.0, "b": 6.0, "c": 2.0}})
    second = Run.from_dict({"q1": {"b": 1.0, "d": 0.0}})
    # min_max: d is missing in the first (0) and last in the second (0).
    expected = {"a": 1.0, "b": 0.5 + 1.0, "c": 0.0, "d": 0.0}
    assert_scores(weighted_sum([first, second]), "q1", expected)
    assert [d for d, _ in weighted_sum([first, second])["q1"]] == ["b", "a", "d", "c"]
    weighted = weighted_sum([first, second], weights=[0.25, 2.0])
    assert_scores(weighted, "q1", {"a": 0.25, "b": 0.125 + 2.0, "c": 0.0, "d": 0.0})
    # z_score: the lowest are -1.2247 in the first and -1 in the second.
    high = 4 / math.sqrt(32 / 3)
    expected = {"a": high - 1, "b": 0 + 1, "c": -high - 1, "d": -high - 1}
    assert_scores(weighted_sum([first, second], normalisation="z_score"), "q1", expected)


def test_a_query_that_one_run_has_nothing_for():
    first = Run.from_dict({"q1": {"a": 2.0, "b": 1.0}})
    nothing = Run.from_dict({}, ["q1"])
    assert_scores(weighted_sum([first, nothing]), "q1", {"a": 1.0, "b": 0.0})
    z_scores = weighted_sum([first, nothing], normalisation="z_score")
    assert_scores(z_scores, "q1", {"a": 1.0, "b": -1.0})
    assert_scores(rrf([nothing, first]), "q1", {"a": 1 / 61, "b": 1 / 62})
    assert rrf([nothing, nothing])["q1"] == []


def slow_normalised(scores: dict[str, float], method: str) -> dict[str, float]:
    if not scores:
        return {}
    values = list(scores.values())
    if method == "min_max":
        low, span = min(values), max(values) - min(values)
        return {d: (s - low) / span if span else 1.0 for d, s in scores.items()}
    mean, spread = statistics.fmean(values), statistics.pstdev(values)
    return {d: (s - mean) / spread if spread else 0.0 for d, s in scores.items()}


@given(SOME_RESULTS, st.sampled_from(["min_max", "z_score"]), st.data())
def test_weighted_sum_against_a_slow_reference(results, method, data):
    weights = data.draw(st.lists(WEIGHT, min_size=len(results), max_size=len(results)))
    fused = weighted_sum(as_runs(results), weights, method)
    for query_id in QUERIES:
        expected = dict.fromkeys((d for r in results for d in r[query_id]), 0.0)
        for result, weight in zip(results, weights, strict=True):
            theirs = slow_normalised(result[query_id], method)
            missing = 0.0 if method == "min_max" else min(theirs.values(), default=0.0)
            for doc_id in expected:
                expected[doc_id] += weight * theirs.get(doc_id, missing)
        assert_scores(fused, query_id, expected)


@given(SOME_RESULTS, st.randoms(use_true_random=False))
def test_fusing_does_not_depend_on_the_order_of_the_docs(results, random):
    def shuffled(result):
        return {q: dict(random.sample(list(r.items()), len(r))) for q, r in result.items()}

    again = as_runs([shuffled(r) for r in results])
    for fuse in (rrf, weighted_sum, lambda r: weighted_sum(r, normalisation="z_score")):
        one, two = fuse(as_runs(results)), fuse(again)
        assert [one[q] for q in QUERIES] == [two[q] for q in QUERIES]


def test_mistakes():
    run = Run.from_dict({"q1": {"a": 1.0}})
    with pytest.raises(ConfigError, match="3 fusion weights for 2 runs"):
        rrf([run, run], weights=[1, 2, 3])
    with pytest.raises(ConfigError, match="1 fusion weights for 2 runs"):
        weighted_sum([run, run], weights=[1])
    with pytest.raises(ConfigError, match=r"'softmax' is unknown.*min_max"):
        weighted_sum([run], normalisation="softmax")
    with pytest.raises(ScoreError, match="select"):
        rrf([run, Run.from_dict({"q2": {"a": 1.0}})])
