"""The grid's values are ir_measures' own, which sees every cut ranking as a run of its own."""

from __future__ import annotations

import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.io import read_qrels, read_run
from evalkit.measures import MeasureSet, parse_measures
from evalkit.measures.grid import Grid, in_grid
from evalkit.measures.judged import Judgements
from evalkit.run import Run
from evalkit.types import Qrel, grades_of

Grades = dict[str, dict[str, int]]

CUT = ["nDCG", "RR", "P", "R", "AP", "Success", "Judged", "nDCG(gains={0:1,1:2,2:0,3:9})"]
LEVELS = ["RR(rel=2)", "P(rel=2)", "R(rel=3)", "AP(rel=2)", "Success(rel=2)"]
WHOLE = ["nDCG", "RR", "AP", "Rprec", "Judged", "SetP", "SetR", "AP(rel=2)", "Rprec(rel=2)"]
WHOLE += ["SetP(rel=2)", "SetR(rel=3)", "nDCG(gains={1:1,2:3,3:7})"]
CUTOFFS = [1, 2, 3, 5, 8, 30]
NAMES = [f"{name}@{cutoff}" for name in CUT + LEVELS for cutoff in CUTOFFS] + WHOLE


def as_qrels(grades: Grades) -> list[Qrel]:
    return [Qrel(q, d, g) for q, judged in grades.items() for d, g in judged.items()]


def of_ir_measures(measures, grades: Grades, run: Run) -> dict[str, list[float]]:
    """Measure → a value a judged query, from an evaluator for each measure.

    One evaluator for nDCG with gains and without computes, now and then, both by the same gains.
    Grades of queries with negative ones alone are made 0: trec_eval reads freed memory there.
    """
    sound = {
        q: judged if max(judged.values()) >= 0 else dict.fromkeys(judged, 0)
        for q, judged in grades.items()
    }
    ranked = {q: {d: len(docs) - i for i, d in enumerate(docs)} for q, docs in run if docs}
    values = {}
    for measure in measures:
        found = {
            m.query_id: m.value for m in ir_measures.evaluator([measure], sound).iter_calc(ranked)
        }
        values[str(measure)] = [found[query_id] for query_id in grades]
    return values


def assert_equal_to_ir_measures(names, grades: Grades, run: Run, depths) -> None:
    measures = parse_measures(names)
    assert all(in_grid(measure) for measure in measures)
    cells = MeasureSet(measures, as_qrels(grades)).at_depths(run, depths, True)
    judged = run.select([q for q in run.query_ids if q in grades])
    for depth, found in zip(depths, cells, strict=True):
        expected = of_ir_measures(measures, grades, judged if depth is None else judged.top(depth))
        assert list(found) == list(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(
                found[name], values, rtol=0, atol=1e-9, err_msg=f"{name} cut to {depth}"
            )


# -------------------------------------------------------------------------------- the same values

DOCS = [f"{'dé文'[i % 3]}{i}" for i in range(14)]
grades_of_a_query = st.dictionaries(st.sampled_from(DOCS), st.integers(-2, 4), min_size=1)
# Few scores, so that most docs are tied.
results_of_a_query = st.dictionaries(
    st.sampled_from([*DOCS, "never judged, and longer than any judged doc"]),
    st.sampled_from([-1.0, 0.0, 0.1, 0.1 + 1e-10, 7.0]),
)
query_ids = st.sampled_from([f"q{i}" for i in range(6)])


@settings(max_examples=60, deadline=None)
@given(
    grades=st.dictionaries(query_ids, grades_of_a_query, min_size=1),
    # In an order of its own; without some judged queries, with some that are not judged.
    scores=st.dictionaries(query_ids, results_of_a_query),
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=12, unique=True),
    depths=st.lists(st.sampled_from([None, 1, 2, 4, 10, 50]), min_size=1, unique=True),
)
def test_any_run_any_measure_any_cutoff_any_n(grades, scores, names, depths):
    assert_equal_to_ir_measures(names, grades, Run.from_dict(scores), depths)


def test_every_measure_at_every_cutoff_and_n_on_many_queries():
    generator = np.random.default_rng(5)
    docs = [f"d{i}" for i in range(60)]
    grades: Grades = {}
    scores = {}
    for q in generator.permutation(80):
        judged = generator.choice(docs, size=generator.integers(1, 40), replace=False)
        grades[f"q{q}"] = {str(d): int(generator.integers(-2, 5)) for d in judged}
    for q in generator.permutation(75):
        found = generator.choice(docs, size=generator.integers(0, 50), replace=False)
        scores[f"q{q}"] = {str(d): float(generator.integers(0, 9)) for d in found}
    assert_equal_to_ir_measures(NAMES, grades, Run.from_dict(scores), [None, 1, 4, 7, 30, 99])


@pytest.mark.parametrize("year", ["dl19", "dl20"])
def test_trec_deep_learning_runs(shared_data, year):
    folder = shared_data / "runs" / f"msmarco-passage-{year}"
    grades = grades_of(read_qrels(folder / "qrels.txt"))
    names = ["nDCG@10", "nDCG(gains={1:1,2:3,3:7})@10", "RR(rel=2)@10", "AP(rel=2)", "R(rel=2)@100"]
    for system in ("bm25", "tas-b", "ada2", "splade-pp-ed"):
        run = read_run(folder / f"{system}.trec")
        assert_equal_to_ir_measures([*names, "P@5", "Judged@20"], grades, run, [None, 5, 20])


def test_measures_with_and_without_gains_do_not_mix():
    grades, run = {"q": {"a": 1, "b": 3, "c": 2}}, Run.from_dict({"q": {"a": 3, "b": 2, "c": 1}})
    both = MeasureSet(parse_measures(["nDCG(gains={1:1,2:3,3:7})", "nDCG"]), as_qrels(grades))
    exponential, linear = (float(values[0]) for values in both.per_query(run).values())
    assert exponential == pytest.approx(0.7364, abs=5e-5)
    assert linear == pytest.approx(0.8175, abs=5e-5)


# ------------------------------------------------------------------------------ by hand, and edges


def at_depths(names, grades: Grades, run: Run, depths) -> list[dict[str, list[float]]]:
    found = MeasureSet(parse_measures(names), as_qrels(grades)).at_depths(run, depths, True)
    return [{name: values.tolist() for name, values in cell.items()} for cell in found]


def test_a_cut_ranking_is_measured_against_the_uncut_ideal():
    grades = {"q": {"a": 1, "b": 1, "c": 0, "d": 1}}
    run = Run.from_dict({"q": {"c": 4.0, "a": 3.0, "b": 2.0, "d": 1.0}})
    names = ["nDCG@3", "P@3", "Judged@3", "RR@3", "AP", "Rprec", "SetP"]
    (cut, at_one, none) = at_depths(names, grades, run, [2, 1, 0])
    # Relevant at rank 2 alone, of three: the ideal has all three.
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    expected = [1 / math.log2(3) / ideal, 1 / 3, 1.0, 1 / 2, 1 / 2 / 3, 1 / 3, 1 / 2]
    assert [v[0] for v in cut.values()] == pytest.approx(expected)
    assert [v[0] for v in at_one.values()] == [0, 0, 1, 0, 0, 0, 0]
    assert all(v == [0.0] for v in none.values())


def test_runs_that_hold_nothing_of_what_was_judged():
    grades = {"q1": {"a": 1}, "q2": {"a longer id": 1, "b": 0}}
    names = ["nDCG@10", "RR", "Judged@5", "AP"]
    for run in (
        Run.from_dict({}),
        Run.from_dict({"q2": {}, "q1": {}}),
        Run.from_dict({"q7": {"a": 1.0}}),
        Run.from_dict({"q1": {"zz": 2.0, "b": 1.0}, "q2": {"a": 1.0}}),
    ):
        assert (
            at_depths(names, grades, run, [None, 3]) == [{name: [0.0, 0.0] for name in names}] * 2
        )


def test_a_doc_is_judged_for_its_own_query_only():
    # Each doc is judged for the other query, and ids that begin alike are not alike.
    grades = {"q1": {"a": 1, "abcdef": 1}, "q2": {"b": 1}}
    run = Run.from_dict({"q2": {"a": 2.0, "abc": 1.0}, "q1": {"b": 2.0, "abc": 1.5, "a": 1.0}})
    assert at_depths(["RR", "Judged@1"], grades, run, [None]) == [
        {"RR": [1 / 3, 0.0], "Judged@1": [0.0, 0.0]}
    ]


def test_runs_with_one_vocabulary_and_with_others_in_turn():
    grades = {"q": {"a": 1, "d": 2}}
    first = Run.from_dict({"q": {"a": 3.0, "b": 2.0, "c": 1.0}})
    other = Run.from_dict({"q": {"d": 1.0, "b": 2.0, "e": 0.0}})
    again = first.with_scores(np.array([1.0, 2.0, 3.0], dtype=np.float32))
    assert again.vocabulary is first.vocabulary
    measures = MeasureSet(parse_measures(["RR"]), as_qrels(grades))
    found = [measures.per_query(run)["RR"][0] for run in (first, other, again, other, first)]
    assert found == pytest.approx([1, 1 / 2, 1 / 3, 1 / 2, 1])


@pytest.mark.parametrize("most", [200, 3])
def test_the_join_finds_every_judged_result_and_no_other(most):
    generator = np.random.default_rng(0)
    rows = np.repeat(np.arange(200), 300)
    docs = generator.permuted(np.tile(np.arange(900), (200, 1)), axis=1)[:, :300].reshape(-1)
    ids = [f"d{i}" for i in docs]
    run = Run.from_columns([f"q{i}" for i in range(200)], rows, ids, generator.random(len(rows)))
    grades = {
        f"q{i}": {
            f"d{d}": int(d) % 5 - 1 for d in generator.choice(900, 1 + i % most, replace=False)
        }
        for i in generator.permutation(200)
    }
    found = Judgements(grades).in_run(run)
    place = {q: i for i, q in enumerate(grades)}
    expected = sorted(
        (place[q], rank, grades[q][d])
        for q, ranking in run
        for rank, d in enumerate(ranking)
        if d in grades[q]
    )
    assert len(expected) > 100
    columns = (found.queries.tolist(), found.ranks.tolist(), found.grades.tolist())
    assert list(zip(*columns, strict=True)) == expected
    assert found.sizes.tolist() == [300] * 200


def test_cells_are_arrays_of_their_own():
    measures = MeasureSet(parse_measures(["RR"]), as_qrels({"q": {"a": 1}}))
    one, two = measures.at_depths(Run.from_dict({"q": {"a": 1.0}}), [None, 5])
    one["RR"][0] = 0.0
    assert two["RR"].tolist() == [1.0]


# --------------------------------------------------------------------------- what is in the grid


@pytest.mark.parametrize(
    "name",
    [
        "P(judged_only=True)@5", "nDCG(judged_only=True)@5", "RR(rel=0)", "SetRelP",
        "nDCG(dcg='exp-log2')@5", "nDCG(gains={1:0.5})@5", "Bpref", "ERR@20", "IPrec@0.1",
    ],
)  # fmt: skip
def test_what_the_grid_does_not_compute(name):
    assert not in_grid(ir_measures.parse_measure(name))


def test_measures_outside_the_grid_stand_in_their_place_beside_those_in_it():
    grades = {"q1": {"a": 1, "b": 0, "c": 1}, "q2": {"a": 0}, "q3": {"c": 2}}
    run = Run.from_dict({"q1": {"z": 3.0, "b": 2.0, "c": 1.0}, "q3": {"z": 2.0, "c": 1.0}})
    names = ["Bpref", "RR", "P(judged_only=True)@2", "AP"]
    measures = parse_measures(names)
    found = MeasureSet(measures, as_qrels(grades)).at_depths(run, [None, 2])
    assert found[0]["P(judged_only=True)@2"].tolist() == [0.5, 0.0, 0.5]
    for depth, cell in zip([None, 2], found, strict=True):
        expected = of_ir_measures(measures, grades, run if depth is None else run.top(depth))
        assert list(cell) == [str(measure) for measure in measures]
        assert {name: values.tolist() for name, values in cell.items()} == expected


def test_the_common_measures_do_not_go_through_ir_measures(monkeypatch):
    def refused(*_args):
        raise RuntimeError("ir_measures was asked")

    monkeypatch.setattr(ir_measures, "evaluator", refused)
    run = Run.from_dict({"q": {"a": 1.0}})
    common = MeasureSet(parse_measures(["nDCG@10", "RR@10", "R@100"]), as_qrels({"q": {"a": 1}}))
    assert [v.tolist() for v in common.per_query(run).values()] == [[1.0]] * 3
    with pytest.raises(RuntimeError, match="ir_measures was asked"):
        MeasureSet(parse_measures(["nDCG@10", "Bpref"]), as_qrels({"q": {"a": 1}}))


def test_a_grid_of_no_depths_and_of_no_measures():
    run = Run.from_dict({"q": {"a": 1.0}})
    assert Grid(parse_measures(["RR"]), {"q": {"a": 1}}).values(run, []).shape == (0, 1, 1)
    assert Grid([], {"q": {"a": 1}}).values(run, [None]).shape == (1, 0, 1)
