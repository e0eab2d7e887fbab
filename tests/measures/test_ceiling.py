"""The oracle's values: by hand, against every order of the same docs, and in an experiment."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.measures import MeasureSet, ceilings, parse_measures
from evalkit.measures.ceiling import has_ceiling, oracle
from evalkit.run import Run
from evalkit.types import Qrel

QRELS = [Qrel("q1", "b", 1), Qrel("q1", "d", 2), Qrel("q1", "x", 1), Qrel("q2", "a", 1)]
RUN = Run.from_dict({"q1": {"a": 4, "b": 3, "c": 2, "d": 1}, "q2": {"c": 2, "b": 1}, "q3": {}})


def measures(names, qrels=QRELS, gains="linear"):
    return MeasureSet(parse_measures(names, [10], [5], 1, gains, max_grade=2), qrels)


def docs(run, query_id):
    return [doc_id for doc_id, _ in run[query_id]]


def test_the_oracle_sorts_the_first_k_by_grade_and_keeps_the_order_of_equals():
    heads = oracle(RUN, QRELS, [4, 2, 1])
    assert docs(heads[1], "q1") == ["a"]
    assert docs(heads[2], "q1") == ["b", "a"]
    assert docs(heads[4], "q1") == ["d", "b", "a", "c"]
    assert docs(heads[4], "q2") == ["c", "b"]
    assert list(heads) == [1, 2, 4]


def test_the_ceiling_by_hand():
    run = RUN.select(["q1", "q2"])
    found = ceilings(measures(["RR@10", "R@2", "P@1"]), QRELS, {"r": run}, [1, 2, 4], "keep")
    # q2's relevant doc was not found: it counts 0 whatever the order.
    assert found["r"][1] == {"RR@10": 0.25, "R@2": pytest.approx(1 / 6), "P@1": 0}
    assert found["r"][2] == {"RR@10": 0.5, "R@2": pytest.approx(1 / 6), "P@1": 0.5}
    assert found["r"][4] == {"RR@10": 0.5, "R@2": pytest.approx(2 / 6), "P@1": 0.5}


def test_what_is_below_k_stays_or_goes():
    run, wanted = RUN.select(["q1", "q2"]), measures(["R@4"])
    kept = ceilings(wanted, QRELS, {"r": run}, [2], "keep")["r"][2]["R@4"]
    dropped = ceilings(wanted, QRELS, {"r": run}, [2], "drop")["r"][2]["R@4"]
    assert (kept, dropped) == (pytest.approx(2 / 6), pytest.approx(1 / 6))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-1, 2), min_size=2, max_size=5), st.integers(1, 5))
def test_no_order_of_the_candidates_is_above_the_ceiling(grades, k):
    ids = [f"d{i}" for i in range(len(grades))]
    qrels = [Qrel("q", d, g) for d, g in zip(ids, grades, strict=True)] + [Qrel("q", "z", 1)]
    run = Run.from_dict({"q": {d: -i for i, d in enumerate(ids)}})
    names = ["nDCG@3", "RR@10", "AP@10", "P@2", "R@2", "R(rel=2)@2", "Rprec", "Success@1"]
    wanted = measures(names, qrels, gains="exponential")
    top = ceilings(wanted, qrels, {"r": run}, [k], "keep")["r"][k]
    assert set(top) == set(wanted.names)
    best = dict.fromkeys(wanted.names, 0.0)
    for order in permutations(ids[:k]):
        head = Run.from_dict({"q": {d: -i for i, d in enumerate(order)}})
        for name, values in wanted.per_query(run.reranked(head)).items():
            best[name] = max(best[name], float(values[0]))
    for name in wanted.names:
        assert top[name] == pytest.approx(best[name], abs=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nDCG@10", True),
        ("AP", True),
        ("Judged@10", False),
        ("SetP", False),
        ("nDCG(gains={1:3,2:1})@10", False),
        ("P(judged_only=True)@5", False),
    ],
)
def test_measures_that_an_order_by_grade_does_not_maximise_have_no_ceiling(name, expected):
    parsed = parse_measures([name], [10], [5], 1, "linear", max_grade=2)
    assert has_ceiling(parsed[0]) is expected


def test_nothing_to_reach_is_no_ceiling():
    run = RUN.select(["q1", "q2"])
    assert ceilings(measures(["Judged@10"]), QRELS, {"r": run}, [2], "keep") == {}
    assert ceilings(measures(["P@1"]), QRELS, {"r": run}, [], "keep") == {}
    empty = Run.from_dict({}, ["q1", "q2"])
    assert ceilings(measures(["P@1"]), QRELS, {"r": empty}, [2], "keep")["r"][2] == {"P@1": 0}
    assert np.isfinite(ceilings(measures(["AP"]), QRELS, {"r": run}, [9], "drop")["r"][9]["AP"])
