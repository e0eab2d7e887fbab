"""Long files as passages: nothing is lost, nothing is too long, paragraphs stay whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.llm.prompts import word_count
from evalkit.synthesis.passages import passages
from evalkit.types import Doc


def texts(text, words):
    return [passage.text for passage in passages(Doc("f.md", "T", text), words)]


@given(st.text(alphabet="ab 。.!索引\n\t", max_size=200), st.integers(1, 12))
def test_all_of_the_text_is_in_the_passages_and_none_is_too_long(text, words):
    found = texts(text, words)
    assert "".join("".join(found).split()) == "".join(text.split())
    if len(found) > 1:
        assert all(0 < word_count(part) <= words for part in found)


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("one two\n\nthree four\n\nfive", 4, ["one two\n\nthree four", "five"]),
        ("a b c. d e f. g", 3, ["a b c.", "d e f.", "g"]),
        ("one two\n\na b c. d e f.", 4, ["one two", "a b c.", "d e f."]),
        ("索引合并。缓存失效。", 5, ["索引合并。", "缓存失效。"]),
        ("x y z w", 3, ["x y z", "w"]),
    ],
)
def test_cuts_are_at_paragraphs_then_sentences_then_words(text, words, expected):
    assert texts(text, words) == expected


def test_ids_are_numbered_only_where_there_are_several():
    doc = Doc("a/b.md", "T", "one two\n\nthree four")
    assert passages(doc, 4) == [doc]
    assert passages(doc, 2) == [
        Doc("a/b.md#1", "T", "one two"),
        Doc("a/b.md#2", "T", "three four"),
    ]
