"""Queries as a language model writes them: read from its answers, and filtered."""

import pytest
from tiny import OracleModel

from evalkit.errors import ConfigError
from evalkit.synthesis.queries import Draft, QueryWriter, fit, normalised, one_line
from evalkit.types import Doc

DOC = Doc(
    "d", "Merging shards", "A shard is merged with its neighbour when it is full, not before."
)
CHINESE = Doc("z", "缓存", "缓存命中时不再计算分词结果，索引合并在后台进行。")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("when is a shard merged?", "when is a shard merged?"),
        ("<think>hm\nhm</think>\n\nKeywords: merge  shard", "merge shard"),
        ('Sure! Here is one:\n"shard merge time"\nIt is good.', "shard merge time"),
        ("1. first one\n2. second one", "first one"),
        ("**Question:** why?", "why?"),
        ("关键词：缓存 失效", "缓存 失效"),
        ("换一种说法的问题：「为什么慢？」", "为什么慢？"),
        ("3.5 inch disks", "3.5 inch disks"),
        ("以下是查询：", ""),
        ("", ""),
        (" \n\n", ""),
    ],
)
def test_the_query_is_found_in_the_answer(answer, expected):
    assert one_line(answer) == expected


def draft(text, doc=DOC, number=1):
    return Draft(f"question-{number}", text, "question", "en", doc)


@pytest.mark.parametrize(
    ("text", "doc", "reason"),
    [
        ("", DOC, "empty"),
        ("?!", DOC, "empty"),
        ("w " * 13, DOC, "too_long"),
        ("为什么这么慢而且没有人知道原因", CHINESE, "too_long"),
        ("What does this passage say?", DOC, "refers_to_doc"),
        ("根据文章，何时合并？", CHINESE, "refers_to_doc"),
        ("merging SHARDS?", DOC, "copy"),
        ("a shard is merged with its neighbour when it's", DOC, None),
        ("A shard is merged with its neighbour when it", DOC, "copy"),
        ("不再计算分词结果", CHINESE, "copy"),
        ("write one query for a test collection now", DOC, "echo"),
        ("shard is merged", DOC, None),
        ("分词结果", CHINESE, None),
    ],
)
def test_what_is_unfit_is_dropped_for_its_reason(text, doc, reason):
    kept, dropped = fit(
        [draft(text, doc)], 12, ["Please write one query for a test collection now."]
    )
    assert dict(dropped) == ({} if reason is None else {reason: 1})
    assert len(kept) == (reason is None)


def test_of_duplicates_the_first_stays_whatever_their_case_and_width():
    drafts = [draft("Merge ＡＰＩ?", number=1), draft("merge api", number=2), draft("x", number=3)]
    kept, dropped = fit(drafts, 12)
    assert [each.query_id for each in kept] == ["question-1", "question-3"]
    assert dict(dropped) == {"duplicate": 1}
    assert normalised("Ｍerge—API！") == "merge api"


def test_each_kind_is_asked_of_each_doc_in_its_language(tmp_path):
    own = tmp_path / "typo.yaml"
    own.write_text("task: write_query\nmessages: [{role: user, content: 'Misspell: {doc}'}]\n")
    llm = OracleModel(lambda text: f"q{len(text)}")
    writer = QueryWriter(["keyword", str(own)], "auto", 20, doc_words=5)
    found = writer.drafts(llm, [DOC, CHINESE])
    assert [each.query_id for each in found] == ["keyword-1", "keyword-2", "typo-1", "typo-2"]
    assert [each.language for each in found] == ["en", "zh", "en", "zh"]
    assert [each.doc for each in found] == [DOC, CHINESE] * 2
    shown = [prompt[-1]["content"] for prompt in llm.asked]
    assert "Keywords:" in shown[0]
    assert "关键词" in shown[1]
    assert shown[2:] == ["Misspell: Merging shards\nA shard is", "Misspell: 缓存\n缓存命"]
    fixed = QueryWriter(["question"], "en", 20, None).messages([CHINESE])
    assert "Question:" in fixed[0][-1]["content"]


@pytest.mark.parametrize(
    ("kinds", "problem"),
    [
        ([], "kinds is empty"),
        (["keywords"], r"write_query_keywords.*Did you mean 'write_query_keyword'"),
        (["keyword", "keyword"], "expected different names"),
    ],
)
def test_kinds_that_are_none_are_refused(kinds, problem):
    with pytest.raises(ConfigError, match=problem):
        QueryWriter(kinds, "auto", 20, None)
