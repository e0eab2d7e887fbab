"""Measures equal trec_eval's: on public runs, on generated ties, and on sums done by hand."""

from __future__ import annotations

import math
import multiprocessing

import ir_measures
import numpy as np
import pytest
import pytrec_eval

from evalkit.errors import DataError
from evalkit.io import read_qrels, read_run
from evalkit.measures import MeasureSet, parse_measures
from evalkit.run import Run
from evalkit.types import Qrel

# Our name → trec_eval's, with its -l (relevance level).
BINARY = {
    "RR": "recip_rank",
    "AP@100": "map_cut_100",
    "AP": "map",
    "R@100": "recall_100",
    "R@5": "recall_5",
    "P@5": "P_5",
    "P@1": "P_1",
    "Rprec": "Rprec",
    "Success@1": "success_1",
}
GRADED = {"nDCG@10": "ndcg_cut_10", "nDCG@3": "ndcg_cut_3", "nDCG": "ndcg"}
TREC_EVAL = BINARY | GRADED

# The nDCG@10 of ../shared/data/README.md.
PUBLISHED = {
    ("dl19", "bm25"): 0.5058,
    ("dl19", "tas-b"): 0.7210,
    ("dl19", "ada2"): 0.7035,
    ("dl19", "splade-pp-ed"): 0.7308,
    ("dl20", "bm25"): 0.4796,
    ("dl20", "tas-b"): 0.6854,
    ("dl20", "ada2"): 0.6759,
    ("dl20", "splade-pp-ed"): 0.7197,
}

Grades = dict[str, dict[str, int]]
Scores = dict[str, dict[str, float]]


def as_qrels(grades: Grades) -> list[Qrel]:
    return [Qrel(q, d, g) for q, judged in grades.items() for d, g in judged.items()]


def values(grades: Grades, scores: Scores, *names: str, **settings) -> dict[str, list[float]]:
    measures = MeasureSet(parse_measures(names, **settings), as_qrels(grades))
    found = measures.per_query(Run.from_dict(scores, list(grades)))
    return {name: found[str(m)].tolist() for name, m in zip(names, measures.measures, strict=True)}


def of_trec_eval(grades: Grades, scores: Scores, name: str, level: int = 1) -> list[float]:
    """pytrec_eval on the raw scores, ties and all; a query that it leaves out counts 0.

    So does one with negative grades only: it is not asked, as trec_eval reads freed memory there.
    """
    sound = {query_id: judged for query_id, judged in grades.items() if max(judged.values()) >= 0}
    evaluator = pytrec_eval.RelevanceEvaluator(sound, {TREC_EVAL[name]}, relevance_level=level)
    found = evaluator.evaluate(scores)
    return [found.get(query_id, {}).get(TREC_EVAL[name], 0.0) for query_id in grades]


# ---------------------------------------------------------------------------------- public runs


@pytest.mark.parametrize(("year", "system"), PUBLISHED)
def test_trec_deep_learning_runs(shared_data, year, system):
    folder = shared_data / "runs" / f"msmarco-passage-{year}"
    qrels, run = read_qrels(folder / "qrels.txt"), read_run(folder / f"{system}.trec")
    written = ["nDCG@10", "RR", "AP@100", "R@100", "P@5"]
    measures = MeasureSet(parse_measures(written, relevance_level=2), qrels)
    assert measures.names == ["nDCG@10", "RR(rel=2)", "AP(rel=2)@100", "R(rel=2)@100", "P(rel=2)@5"]
    found = measures.per_query(run, drop_unjudged_queries=True)
    assert round(float(found["nDCG@10"].mean()), 4) == PUBLISHED[year, system]

    grades: Grades = {}
    for qrel in qrels:
        grades.setdefault(qrel.query_id, {})[qrel.doc_id] = qrel.relevance
    # The file itself, scores as they are written; not what our reader made of them.
    scores: Scores = {}
    for line in (folder / f"{system}.trec").read_text().splitlines():
        query_id, _, doc_id, _, score, _ = line.split()
        scores.setdefault(query_id, {})[doc_id] = float(score)
    assert measures.query_ids == tuple(grades)
    for name, ours in zip(written, found.values(), strict=True):
        np.testing.assert_allclose(ours, of_trec_eval(grades, scores, name, 2), atol=1e-6)


# ------------------------------------------------------------------------------- generated ties


def generated(seed: int) -> tuple[Grades, Scores]:
    """A tie-heavy run of up to 30 docs a query from a few scores, some equal in float32 alone.

    Query 0 is judged and not in the run; query 1 has no relevant doc; doc ids sort differently as
    numbers and as text, and some are not ASCII.
    """
    generator = np.random.default_rng(seed)
    docs = [f"{'dé文'[i % 3]}{i}" for i in range(40)]
    few = np.array([0.0, -1.0, 1.0, 0.1, 0.1 + 1e-10, 16777216.0, 16777217.0])
    grades: Grades = {}
    scores: Scores = {}
    for q in range(6):
        grade_values = [-2, -1, 0] if q == 1 else [-1, 0, 0, 1, 2, 3]
        judged = generator.choice(docs, size=generator.integers(1, 25), replace=False)
        grades[f"q{q}"] = {str(d): int(generator.choice(grade_values)) for d in judged}
        if q > 0:
            found = generator.choice(docs, size=generator.integers(1, 31), replace=False)
            scores[f"q{q}"] = {str(d): float(generator.choice(few)) for d in found}
    return grades, scores


def _measure_many_with_negative_grades() -> None:
    for seed in range(100):
        values(*generated(seed), "nDCG@10", "nDCG", "AP")


def test_queries_with_negative_grades_only_do_not_hang():
    # In a process of its own: given such queries, trec_eval's code loops (nearly) forever.
    process = multiprocessing.get_context("spawn").Process(
        target=_measure_many_with_negative_grades
    )
    process.start()
    process.join(30)
    process.kill()
    assert process.exitcode == 0


@pytest.mark.parametrize("block", range(3))
def test_three_hundred_runs_full_of_ties_equal_trec_eval_on_the_raw_scores(block):
    for seed in range(100 * block, 100 * (block + 1)):
        grades, scores = generated(seed)
        ours = values(grades, scores, *TREC_EVAL)
        for name in TREC_EVAL:
            theirs = of_trec_eval(grades, scores, name)
            np.testing.assert_allclose(ours[name], theirs, atol=1e-6, err_msg=f"{name}, {seed}")
        level_two = values(grades, scores, *BINARY, relevance_level=2)
        for name in BINARY:
            theirs = of_trec_eval(grades, scores, name, level=2)
            np.testing.assert_allclose(level_two[name], theirs, atol=1e-6, err_msg=f"{name}@2")


def test_rr_with_and_without_a_cutoff_agree_on_ties():
    # Both docs have one score; trec_eval ranks the higher id, b, first.
    grades, scores = {"q": {"b": 1}}, {"q": {"a": 1.0, "b": 1.0}}
    assert values(grades, scores, "RR", "RR@10") == {"RR": [1.0], "RR@10": [1.0]}
    # Why a canonical order is made first: ir_measures alone answers 1 and 1/2 here, as its two
    # providers break the tie in two ways. Once this fails, ir_measures has put it right.
    alone = ir_measures.calc_aggregate([ir_measures.RR, ir_measures.RR @ 10], grades, scores)
    assert alone == {ir_measures.RR: 1.0, ir_measures.RR @ 10: 0.5}
    for seed in range(50):
        both = values(*generated(seed), "RR", "RR@100")
        assert both["RR"] == both["RR@100"]


# -------------------------------------------------------------------------------------- by hand


def ranking(*grades: int, unjudged: tuple[int, ...] = ()) -> tuple[Grades, Scores]:
    """One query whose docs come in this order with these grades; `unjudged`: ranks without one."""
    judged = {f"d{i}": g for i, g in enumerate(grades) if i + 1 not in unjudged}
    return {"q": judged}, {"q": {f"d{i}": float(-i) for i in range(len(grades))}}


def value(data: tuple[Grades, Scores], name: str, **settings) -> float:
    return values(*data, name, **settings)[name][0]


def test_ndcg_by_hand():
    # Grades 3, 2, 0, 1: DCG = 3/log2(2) + 2/log2(3) + 0 + 1/log2(5) = 3 + 1.26186 + .43068
    # = 4.69254; best order 3, 2, 1, 0: 3 + 1.26186 + .5 = 4.76186; nDCG = .98544.
    assert value(ranking(3, 2, 0, 1), "nDCG@10") == pytest.approx(0.98544, abs=5e-6)
    # Cut at 2 the best order is cut too: (3 + 1.26186) / (3 + 1.26186).
    assert value(ranking(3, 2, 0, 1), "nDCG@2") == pytest.approx(1.0)
    # Grades 0, 1 cut at 1: 0 / 1.
    assert value(ranking(0, 1), "nDCG@1") == 0.0
    # A relevant doc that was not found counts in the best order: 2 / (3 + 2/log2(3)) = .46928.
    grades, scores = ranking(2)
    grades["q"]["not found"] = 3
    assert value((grades, scores), "nDCG@10") == pytest.approx(0.46928, abs=5e-6)
    # An unjudged doc counts as 0: 1/log2(3) over 1 = .63093.
    assert value(ranking(3, 1, unjudged=(1,)), "nDCG@10") == pytest.approx(0.63093, abs=5e-6)


def test_linear_and_exponential_gains_by_hand():
    # Grades 1, 3, 2. Linear: 1 + 3/log2(3) + 2/2 = 1 + 1.89279 + 1 = 3.89279; best order 3, 2, 1:
    # 3 + 2/log2(3) + 1/2 = 3 + 1.26186 + .5 = 4.76186; 3.89279 / 4.76186 = .8175.
    assert value(ranking(1, 3, 2), "nDCG@10") == pytest.approx(0.8175, abs=5e-5)
    # Exponential, gains 1, 7, 3: 1 + 7/log2(3) + 3/2 = 1 + 4.41651 + 1.5 = 6.91651; best order:
    # 7 + 3/log2(3) + 1/2 = 7 + 1.89279 + .5 = 9.39279; 6.91651 / 9.39279 = .7364.
    exponential = value(ranking(1, 3, 2), "nDCG@10", gains="exponential")
    assert exponential == pytest.approx(0.7364, abs=5e-5)
    # With grades 0 and 1 alone the two are one measure.
    binary = ranking(0, 1, 0, 1)
    assert value(binary, "nDCG@10") == value(binary, "nDCG@10", gains="exponential")
    # A negative grade gains nothing under either.
    same = [value(ranking(g, 1, 3), "nDCG@10", gains="exponential") for g in (-2, 0)]
    assert same[0] == same[1] > 0


def test_binary_measures_by_hand():
    data = ranking(0, 1, 0, 2, 3)
    # Relevant at ranks 2, 4, 5: RR 1/2; AP (1/2 + 2/4 + 3/5) / 3 = 1.6/3; P@5 3/5; R@4 2/3.
    assert value(data, "RR") == 0.5
    assert value(data, "AP") == pytest.approx(1.6 / 3)
    assert value(data, "AP@4") == pytest.approx(1.0 / 3)
    assert value(data, "P@5") == pytest.approx(3 / 5)
    assert value(data, "R@4") == pytest.approx(2 / 3)
    # From grade 2 on, relevant at 4 and 5: RR 1/4; AP (1/4 + 2/5) / 2; P@5 2/5; R@4 1/2.
    assert value(data, "RR", relevance_level=2) == 0.25
    assert value(data, "AP", relevance_level=2) == pytest.approx(0.65 / 2)
    assert value(data, "P@5", relevance_level=2) == pytest.approx(2 / 5)
    assert value(data, "R@4", relevance_level=2) == pytest.approx(1 / 2)
    # A cutoff before the first relevant doc.
    assert value(data, "RR@1") == 0.0
    assert value(data, "RR@2") == 0.5
    # P@10 divides by 10 even when fewer docs came back.
    assert value(data, "P@10") == pytest.approx(3 / 10)
    # Two of five are unjudged.
    assert value(ranking(0, 1, 0, 2, 3, unjudged=(1, 4)), "Judged@5") == pytest.approx(3 / 5)


# ------------------------------------------------------------------------------ which queries count


def test_judged_queries_without_results_count_0():
    grades = {"missing": {"a": 1}, "found": {"a": 1}, "empty": {"a": 2}}
    measures = MeasureSet(parse_measures(["nDCG@10", "RR@10", "Judged@10"]), as_qrels(grades))
    # "empty" is in the run, with no results; "missing" is not in the run at all.
    found = measures.per_query(Run.from_dict({"found": {"a": 1.0}, "empty": {}}))
    assert measures.query_ids == ("missing", "found", "empty")
    assert list(found) == ["nDCG@10", "RR@10", "Judged@10"]
    assert all(v.tolist() == [0.0, 1.0, 0.0] for v in found.values())
    nothing = measures.per_query(Run.from_dict({}, ["found"]))
    assert nothing["nDCG@10"].tolist() == [0.0, 0.0, 0.0]


def test_queries_without_a_relevant_doc_count_0_as_in_trec_eval():
    grades = {"zero": {"a": 0, "b": 0}, "negative": {"a": -1}, "good": {"a": 1}}
    scores = {q: {"a": 2.0, "b": 1.0} for q in grades}
    for name, found in values(grades, scores, *TREC_EVAL).items():
        assert found[:2] == [0.0, 0.0] == of_trec_eval(grades, scores, name)[:2], name
        assert found[2] > 0
    assert values(grades, scores, "RR@10")["RR@10"] == [0.0, 0.0, 1.0]
    # Judged is judged, whatever the grade.
    assert values(grades, scores, "Judged@2")["Judged@2"] == [1.0, 0.5, 0.5]


def test_queries_without_qrels_are_an_error_unless_dropped_on_purpose():
    measures = MeasureSet(parse_measures(["RR", "RR@10"]), as_qrels({"q1": {"a": 1}}))
    run = Run.from_dict({"q7": {"a": 1.0}, "q1": {"b": 2.0, "a": 1.0}, "q8": {}})
    with pytest.raises(DataError, match=r"2 queries without qrels \(e\.g\. 'q7'\); drop them"):
        measures.per_query(run)
    found = measures.per_query(run, drop_unjudged_queries=True)
    assert {name: v.tolist() for name, v in found.items()} == {"RR": [0.5], "RR@10": [0.5]}


def test_no_qrels_at_all():
    with pytest.raises(DataError, match="no qrels"):
        MeasureSet(parse_measures(["RR"]), [])


def test_one_set_measures_many_runs_and_keeps_nothing_of_them():
    measures = MeasureSet(parse_measures(["RR"]), as_qrels({"q1": {"a": 1}, "q2": {"a": 1}}))
    first = Run.from_dict({"q1": {"a": 1.0}, "q2": {"b": 2.0, "a": 1.0}})
    assert measures.per_query(first)["RR"].tolist() == [1.0, 0.5]
    assert measures.per_query(Run.from_dict({"q2": {"a": 1.0}}))["RR"].tolist() == [0.0, 1.0]
    assert measures.per_query(first)["RR"].tolist() == [1.0, 0.5]


def test_long_rankings_keep_their_order():
    # Ranks go to the providers as n - rank: whole numbers, exact far beyond this depth.
    depth = 20_000
    scores = {"q": {f"d{i:05}": 1.0 for i in range(depth)}}
    assert values({"q": {"d00000": 1}}, scores, "RR")["RR"] == [1 / depth]
    found = values({"q": {"d00000": 1}}, scores, "nDCG")["nDCG"][0]
    assert found == pytest.approx(1 / math.log2(depth + 1))
