"""Rank changes by hand."""

from __future__ import annotations

import numpy as np

from evalkit.inspection.moves import Move, rank_moves
from evalkit.run import Run


def run(**rankings):
    return Run.from_dict(
        {q: {doc: float(-i) for i, doc in enumerate(docs)} for q, docs in rankings.items()}
    )


BEFORE = run(q="abcde", r="xy")
AFTER = run(q="eabcd", r="yx")
GRADES = {"q": {"e": 2, "a": 1, "b": 0, "c": 1}, "r": {"x": 0}}


def test_moves_by_hand():
    found = rank_moves(BEFORE, AFTER, GRADES, level=1, n=2)
    relevant, judged, unjudged = found.kinds
    assert (relevant.before, relevant.after, relevant.entered, relevant.left) == (1, 2, 1, 0)
    assert relevant.shift == (-4 + 1) / 2  # e from 5 to 1, a from 1 to 2; c is in neither top
    assert (judged.before, judged.after, judged.entered, judged.left) == (2, 1, 0, 1)
    assert (unjudged.before, unjudged.after) == (1, 1)
    assert found.promoted == [Move("q", "e", 2, 5, 1)]
    assert found.demoted == [Move("q", "a", 1, 1, 2)]
    assert found.intruders == []  # x fell, b left


def test_a_doc_that_only_one_ranking_has():
    found = rank_moves(run(q="ab"), run(q="cb"), {"q": {"a": 1, "c": 1}}, level=1, n=1)
    assert found.promoted == [Move("q", "c", 1, None, 1)]
    assert found.demoted == [Move("q", "a", 1, 1, None)]
    assert np.isnan(found.kinds[0].shift)


def test_what_is_not_relevant_and_rises_into_the_top_is_named():
    found = rank_moves(run(q="abx"), run(q="xab"), {"q": {"a": 1, "x": 0}}, level=1, n=1)
    assert found.intruders == [Move("q", "x", 0, 3, 1)]


def test_a_level_of_two_takes_grade_one_for_not_relevant():
    found = rank_moves(BEFORE, AFTER, GRADES, level=2, n=2)
    assert [kind.after for kind in found.kinds] == [1, 2, 1]
