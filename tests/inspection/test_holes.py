"""Bounds by hand, and against every choice of relevant holes."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.inspection.holes import has_bounds, hole_bounds
from evalkit.measures import MeasureSet, parse_measures
from evalkit.run import Run
from evalkit.types import Qrel


def ranked(docs, query_id="q"):
    return Run.from_dict({query_id: {doc: float(-i) for i, doc in enumerate(docs)}})


def test_precision_by_hand():
    qrels = [Qrel("q", "a", 1), Qrel("q", "b", 0)]
    found = hole_bounds(ranked(["a", "x", "b", "y", "z"]), "P@4", qrels, 1)
    assert (found.judged, found.holes) == (0.5, 2)  # z is below the cutoff
    assert (found.none, found.all, found.lowest, found.highest) == (0.25, 0.75, 0.25, 0.75)


def test_ndcg_may_fall_when_a_hole_is_relevant():
    # One relevant doc on top: 1. Were the hole at rank 3 relevant, it should have been second.
    found = hole_bounds(
        ranked(["a", "b", "x"]), "nDCG@10", [Qrel("q", "a", 1), Qrel("q", "b", 0)], 1
    )
    ideal = 1 + 1 / 1.5849625007211562
    assert found.none == found.highest == 1
    assert found.all == found.lowest == pytest.approx(1.5 / ideal)


def test_means_are_over_all_judged_queries_those_without_results_too():
    qrels = [Qrel("q", "a", 1), Qrel("r", "a", 1)]
    found = hole_bounds(ranked(["x", "a"]), "RR@10", qrels, 1)
    assert (found.judged, found.none, found.highest) == (0.25, 0.25, 0.5)


def test_judged_and_what_is_no_measure_of_grades_has_no_bounds():
    assert has_bounds("nDCG@10")
    assert has_bounds("AP(rel=2)@100")
    assert not has_bounds("Judged@10")
    assert not has_bounds("alpha_nDCG@10")


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([None, 0, 1, 2]), min_size=1, max_size=6),
    st.integers(0, 2),
    st.sampled_from(["nDCG@4", "AP@5", "RR@4", "P@3", "R@4", "Rprec"]),
    st.integers(1, 2),
)
def test_bounds_are_those_of_every_choice(grades, unretrieved, measure, grade):
    docs = [f"d{i}" for i in range(len(grades))]
    qrels = [Qrel("q", d, g) for d, g in zip(docs, grades, strict=True) if g is not None]
    qrels += [Qrel("q", f"u{i}", 1) for i in range(unretrieved)]
    if not qrels:
        qrels = [Qrel("q", "elsewhere", 0)]
    cutoff = int(measure.partition("@")[2] or len(docs))
    holes = [d for d, g in list(zip(docs, grades, strict=True))[:cutoff] if g is None]
    values = []
    for choice in product([False, True], repeat=len(holes)):
        filled = [
            Qrel("q", d, grade) for d, is_relevant in zip(holes, choice, strict=True) if is_relevant
        ]
        measured = MeasureSet(parse_measures([measure]), [*qrels, *filled]).per_query(ranked(docs))
        values.append(float(measured[str(parse_measures([measure])[0])][0]))
    found = hole_bounds(ranked(docs), measure, qrels, grade)
    assert found.lowest == pytest.approx(min(values))
    assert found.highest == pytest.approx(max(values))
    assert found.none == pytest.approx(values[0])
    assert found.all == pytest.approx(values[-1])
