"""What answers say, well formed and malformed in every way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.llm.answers import FAULTS, read_choice, read_label, read_ranking

GRADES = ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("2", 2), (" 3.", 3), ("Grade: 1", 1), ("分数：2", 2), ("**0**", 0), ("2\n\nBecause 3", 2),
        ("<think>It may be a 3, or 1.</think>\n2", 2), ("3/3", 3), ("##final score: 1", 1),
        ("", None), ("relevant", None), ("10", None), ("4", None), ("2.5", None), ("-1", None),
        ("0-3", None), ("<think>3</think>", None), ("one", None), ("v2x", None), ("1,5", None),
    ],
)  # fmt: skip
def test_a_grade_is_the_first_that_stands_alone(text, grade):
    assert read_choice(text, GRADES) == grade


@pytest.mark.parametrize(
    ("text", "place"),
    [("Yes", 1), ("no, it does not", 0), ("Nothing", None), ("YES.", 1), ("I'd say yes", 1)],
)
def test_words_are_read_whatever_their_case(text, place):
    assert read_choice(text, ("No", "Yes")) == place


def test_the_longer_answer_is_read_first():
    assert read_choice("不相关", ("不相关", "相关")) == 0
    assert read_choice("这是相关的", ("不相关", "相关")) == 1


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("B", 1), ("b.", 1), ("Passage C", 2), ("**A**", 0), ("[B]", 1), ("(c) is best", 2),
        ("The answer is Passage B, not passage A.", 1), ("段落B", 1), ("段落 C 更相关", 2),
        ("A: it answers", 0), ("A\nbecause", 0), ("<think>A</think>B", 1),
        ("A passage about shards", None), ("neither", None), ("", None), ("D", None),
        ("Because", None), ("Passages differ", None), ("Passage", None),
    ],
)  # fmt: skip
def test_a_label_is_named_alone_after_passage_or_in_brackets(text, place):
    assert read_label(text, "ABC") == place


@pytest.mark.parametrize(
    ("text", "order", "faults"),
    [
        ("[2] > [3] > [1] > [4]", [1, 2, 0, 3], ()),
        ("2 > 3 > 1 > 4", [1, 2, 0, 3], ()),
        ("【2】＞【3】＞【1】＞【4】", [1, 2, 0, 3], ()),
        ("I rank 4 passages: [2] > [3] > [1] > [4]", [1, 2, 0, 3], ()),
        ("<think>[1] > [2]</think>[4] > [3] > [2] > [1]", [3, 2, 1, 0], ()),
        ("[4]", [3, 0, 1, 2], ("missing",)),
        ("[2] > [2] > [3] > [1] > [4]", [1, 2, 0, 3], ("duplicate",)),
        ("[2] > [5] > [3] > [1] > [4]", [1, 2, 0, 3], ("out_of_range",)),
        ("[0] > [4] > [3] > [2] > [1]", [3, 2, 1, 0], ("out_of_range",)),
        ("[3] > [3] > [99]", [2, 0, 1, 3], ("duplicate", "missing", "out_of_range")),
        ("", [0, 1, 2, 3], ("no_ranking",)),
        ("I cannot rank these.", [0, 1, 2, 3], ("no_ranking",)),
        ("[7] > [8]", [0, 1, 2, 3], ("no_ranking",)),
        ("[2] > [3] > [1", [1, 2, 0, 3], ("missing",)),
        ("9" * 5000, [0, 1, 2, 3], ("no_ranking",)),
    ],
)
def test_a_ranking_is_repaired_and_says_how(text, order, faults):
    found = read_ranking(text, 4)
    assert (found.order, found.faults) == (order, faults)


@given(st.text(), st.integers(1, 30))
def test_any_text_gives_a_permutation(text, count):
    found = read_ranking(text, count)
    assert sorted(found.order) == list(range(count))
    assert set(found.faults) <= set(FAULTS)


@given(st.permutations(list(range(20))))
def test_a_ranking_that_is_well_formed_is_taken_as_it_is(order):
    text = " > ".join(f"[{place + 1}]" for place in order)
    assert read_ranking(text, 20) == (order, ())


@given(st.text())
def test_no_text_breaks_a_grade_or_a_label(text):
    assert read_choice(text, GRADES) in (None, 0, 1, 2, 3)
    assert read_label(text, "ABC") in (None, 0, 1, 2)
