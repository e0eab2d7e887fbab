"""Matched words: stemmed, in Chinese, and where an excerpt is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.analysis import Analyzer
from evalkit.inspection.highlights import ELLIPSIS, Span, excerpt, marked_spans


def marked(text, query):
    analyzer = Analyzer()
    return [text[s.start : s.end] for s in marked_spans(analyzer, text, analyzer.terms(query))]


@pytest.mark.parametrize(
    ("text", "query", "words"),
    [
        ("He RUNS; running is fun. Runners rest.", "run", ["RUNS", "running"]),
        ("缓存失效时，热点 key 会失效", "失效的 KEYS", ["失效", "key", "失效"]),
        ("the cat and the dog", "the dog", ["dog"]),
        ("nothing here", "cat", []),
    ],
)
def test_words_are_matched_as_bm25_matches_them(text, query, words):
    assert marked(text, query) == words


def test_a_chinese_compound_and_its_parts_are_one_highlight():
    text = "他在清华大学读书"
    (span,) = marked_spans(Analyzer(), text, Analyzer().terms("清华大学"))
    assert text[span.start : span.end] == "清华大学"
    assert set(span.terms) >= {"清华", "清华大学"}
    assert marked("我爱清华大学", "大学") == ["大学"]


def test_an_excerpt_is_where_most_different_terms_are():
    text = "cat " + "filler " * 40 + "cat near a dog and a bird " + "filler " * 40
    spans = marked_spans(Analyzer(), text, {"cat", "dog", "bird"})
    shown, inside = excerpt(text, spans, 60)
    assert shown.startswith(ELLIPSIS)
    assert shown.endswith(ELLIPSIS)
    assert [shown[s.start : s.end] for s in inside] == ["cat", "dog", "bird"]
    assert len(shown) <= 62


def test_a_short_text_is_whole():
    spans = [Span(0, 3, ("cat",))]
    assert excerpt("cats", spans, 4) == ("cats", spans)


@given(st.text(alphabet="ab 失效", max_size=60), st.integers(1, 30))
def test_excerpts_keep_what_they_mark(text, size):
    spans = marked_spans(Analyzer(), text, {"ab", "失效", "aa", "bb"})
    shown, inside = excerpt(text, spans, size)
    words = [text[s.start : s.end] for s in spans]
    found = [shown[s.start : s.end] for s in inside]
    assert len(shown) <= size + 2
    assert not found or any(words[i : i + len(found)] == found for i in range(len(words)))
