"""Run against a slow reference: Python dicts and sorts, one query at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import ScoreError
from evalkit.measures import MeasureSet, parse_measures
from evalkit.run import Run, union
from evalkit.types import Qrel

# Ids that sort differently as text, as numbers and as case-folded text, up to the astral planes.
IDS = ["1", "2", "10", "d1", "D1", "é", "文档", "￿", "𠀀", "🙂", "d1\u0301"]
DOC_ID = st.sampled_from(IDS)
SCORE = st.integers(-2, 2)


def runs(query_ids: tuple[str, ...] = ("q1", "q2", "查询")) -> st.SearchStrategy[Run]:
    """Small runs, full of ties, with empty rankings, over fixed queries."""
    ranking = st.dictionaries(DOC_ID, SCORE, max_size=len(IDS))
    results = st.fixed_dictionaries(dict.fromkeys(query_ids, ranking))
    return results.map(lambda r: Run.from_dict(r, query_ids))


def as_dict(run: Run) -> dict[str, dict[str, float]]:
    return {query_id: dict(run[query_id]) for query_id in run.query_ids}


def ordered(results: dict[str, float]) -> list[tuple[str, float]]:
    """trec_eval's order: score descending, then doc id descending."""
    return sorted(results.items(), key=lambda item: (item[1], item[0]), reverse=True)


def assert_is(run: Run, expected: dict[str, list[tuple[str, float]]]) -> None:
    """The run holds these rankings in this order, and its arrays are consistent."""
    assert {query_id: run[query_id] for query_id in run.query_ids} == expected
    assert dict(run) == {q: [doc_id for doc_id, _ in r] for q, r in expected.items()}
    assert run.sizes.tolist() == [len(r) for r in expected.values()]
    assert run.rows.tolist() == [i for i, r in enumerate(expected.values()) for _ in r]
    assert run.ranks.tolist() == [rank for r in expected.values() for rank in range(len(r))]
    assert len(run) == sum(run.sizes)
    assert run.scores.dtype == np.float32


@given(st.dictionaries(st.sampled_from(["q2", "q1", "q10"]), st.dictionaries(DOC_ID, SCORE)))
def test_canonical_order_is_score_then_doc_id_both_descending(results):
    assert_is(Run.from_dict(results), {q: ordered(r) for q, r in results.items()})


@given(runs(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(run, random):
    order = list(range(len(run)))
    random.shuffle(order)
    again = Run.from_columns(run.query_ids, run.rows[order], run.doc_ids[order], run.scores[order])
    assert as_dict(again) == as_dict(run)
    assert list(again) == list(run)


def test_scores_equal_in_float32_tie():
    # 1 + 1e-9 is above 1 in float64 only; "a" would win there.
    run = Run.from_dict({"q": {"a": 1.0 + 1e-9, "b": 1.0}})
    assert run["q"] == [("b", 1.0), ("a", 1.0)]
    # One float32 step apart is no tie.
    apart = Run.from_dict({"q": {"a": np.nextafter(np.float32(1), np.float32(2)), "b": 1.0}})
    assert [d for d, _ in apart["q"]] == ["a", "b"]
    # Whole numbers above 2**24 collapse too, as in a file of learned sparse scores.
    large = Run.from_dict({"q": {"a": 2.0**24 + 1, "b": 2.0**24}})
    assert [d for d, _ in large["q"]] == ["b", "a"]


def test_positive_and_negative_zero_tie():
    run = Run.from_dict({"q": {"a": 0.0, "b": -0.0}})
    assert [d for d, _ in run["q"]] == ["b", "a"]


def test_nan_is_refused_and_named():
    with pytest.raises(ScoreError, match=r"NaN score for query 'q2', doc 'b' \(1 of 3 scores\)"):
        Run.from_dict({"q1": {"a": 1.0}, "q2": {"a": 1.0, "b": float("nan")}})


def test_a_duplicate_doc_is_refused_and_named():
    with pytest.raises(ScoreError, match=r"doc 'b' occurs twice for query 'q2'"):
        Run.from_columns(["q1", "q2"], np.array([0, 1, 1, 1]), ["b", "b", "a", "b"], [4, 3, 2, 1])


def test_as_many_scores_as_docs():
    with pytest.raises(ScoreError, match="2 docs for 1 scores"):
        Run.from_columns(["q"], np.array([0, 0]), ["a", "b"], [1.0])


def test_queries_keep_the_order_asked_for_and_may_be_empty():
    run = Run.from_dict({"q1": {"a": 1.0}, "q2": {"b": 1.0}}, ["q9", "q2", "q1"])
    assert_is(run, {"q9": [], "q2": [("b", 1.0)], "q1": [("a", 1.0)]})
    assert_is(Run.from_dict({}, ["q1"]), {"q1": []})
    assert_is(Run.from_dict({}), {})


@given(runs(), st.integers(0, len(IDS) + 1))
def test_top(run, k):
    assert_is(run.top(k), {q: ordered(r)[:k] for q, r in as_dict(run).items()})


@given(runs(("q1", "d1", "文档")))
def test_without_self(run):
    expected = {q: ordered({d: s for d, s in r.items() if d != q}) for q, r in as_dict(run).items()}
    assert_is(run.without_self(), expected)


@given(runs(), st.permutations(["q1", "q2", "查询", "q4"]), st.integers(0, 4))
def test_select(run, query_ids, count):
    results = as_dict(run)
    wanted = query_ids[:count]
    assert_is(run.select(wanted), {q: ordered(results.get(q, {})) for q in wanted})


@given(st.lists(runs(), min_size=1, max_size=3))
def test_union(some):
    expected = {q: ordered({d: 0.0 for run in some for d, _ in run[q]}) for q in some[0].query_ids}
    assert_is(union(some), expected)


def test_union_needs_the_same_queries():
    with pytest.raises(ScoreError, match="select"):
        union([Run.from_dict({}, ["q1", "q2"]), Run.from_dict({}, ["q2", "q1"])])


@given(runs(), runs())
def test_scores_in(run, other):
    theirs = as_dict(other)
    expected = [
        theirs[q].get(d, float("nan")) for q in run.query_ids for d, _ in ordered(dict(run[q]))
    ]
    found = run.scores_in(other)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.asarray(expected, dtype=np.float32))


def test_scores_in_needs_the_same_queries():
    run = Run.from_dict({"q1": {"a": 1.0}})
    with pytest.raises(ScoreError, match="select"):
        run.scores_in(Run.from_dict({"q2": {"a": 1.0}}))


@given(runs(), st.data())
def test_with_scores(run, data):
    scores = data.draw(st.lists(SCORE, min_size=len(run), max_size=len(run)))
    pairs = list(zip(run.rows.tolist(), run.doc_ids.tolist(), scores, strict=True))
    expected = {
        q: ordered({d: s for row, d, s in pairs if row == i}) for i, q in enumerate(run.query_ids)
    }
    assert_is(run.with_scores(np.asarray(scores, dtype=np.float32)), expected)


@given(runs(), st.integers(0, 5), st.data())
def test_reranked_keeps_the_tail_below_in_its_old_order(run, k, data):
    first = run.top(k)
    scores = data.draw(st.lists(SCORE, min_size=len(first), max_size=len(first)))
    head = first.with_scores(np.asarray(scores, dtype=np.float32))
    kept = run.reranked(head)
    for query_id, docs in run:
        of_head = [d for d, _ in head[query_id]]
        assert [d for d, _ in kept[query_id]] == of_head + docs[k:]
        assert kept[query_id][: len(of_head)] == head[query_id]
        border = [s for _, s in kept[query_id][max(len(of_head) - 1, 0) :]]
        assert border == sorted(set(border), reverse=True)
    assert_is(run.reranked(head, tail="drop"), {q: ordered(r) for q, r in as_dict(head).items()})


@pytest.mark.parametrize("low", [1e8, 1e-8, -1e6, 0.0, -0.0, -1e-30, 3e30, -3e30, 65504.0])
@pytest.mark.parametrize("tail", [1, 1000])
def test_scores_descend_strictly_at_the_border_and_below(low, tail):
    deep = Run.from_dict({"q": {f"d{i:04}": float(-i) for i in range(5 + tail)}})
    head = deep.top(5).with_scores(np.full(5, low, dtype=np.float32))
    kept = deep.reranked(head)
    scores = kept.scores.astype(np.float64)
    assert np.isfinite(scores).all()
    assert (np.diff(scores[4:]) < 0).all()
    assert [d for d, _ in kept["q"]][5:] == [f"d{i:04}" for i in range(5, 5 + tail)]


def test_reranked_takes_any_query_order_of_the_head_and_queries_without_candidates():
    run = Run.from_dict({"q1": {"a": 3, "b": 2, "c": 1}, "q2": {}, "q3": {"a": 1, "x": 0}})
    head = Run.from_dict({"q3": {"a": 7.0}, "q1": {"a": 1.0, "b": 2.0}})
    assert dict(run.reranked(head)) == {"q1": ["b", "a", "c"], "q2": [], "q3": ["a", "x"]}
    assert dict(run.reranked(head, "drop")) == {"q1": ["b", "a"], "q2": [], "q3": ["a"]}


def test_recall_at_depth_does_not_move_with_k_when_the_tail_is_kept():
    generator = np.random.default_rng(0)
    scores = {f"q{q}": {f"d{i}": generator.normal() for i in range(100)} for q in range(5)}
    run = Run.from_dict(scores)
    relevant = [Qrel(q, docs[i], 1) for q, docs in run for i in (3, 40, 99)]
    measures = MeasureSet(parse_measures(["R@100"]), relevant)
    for k in (5, 50, 100):
        first = run.top(k)
        head = first.with_scores(generator.normal(size=len(first)).astype(np.float32))
        kept = measures.per_query(run.reranked(head))
        assert kept["R@100"].tolist() == [1.0] * 5
        dropped = measures.per_query(run.reranked(head, "drop"))
        expected = {5: 1 / 3, 50: 2 / 3, 100: 1.0}[k]
        np.testing.assert_allclose(dropped["R@100"], expected)


def test_tied_share():
    assert Run.from_dict({}, ["q"]).tied_share() == 0.0
    # q1: b = a, one of three follows an equal score; q2's first equals q1's last, which is no tie.
    run = Run.from_dict({"q1": {"a": 2.0, "b": 2.0, "c": 1.0}, "q2": {"a": 1.0}})
    assert run.tied_share() == 1 / 4
