"""English terms as bm25s makes them, Chinese words, both in one text."""

from __future__ import annotations

import bm25s
import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

from evalkit import analysis
from evalkit.analysis import Analyzer, detect_language
from evalkit.errors import ConfigError

ENGLISH = [
    "The quick brown foxes are jumping over the lazy dogs",
    "It's a well-known fact: e-mail, C++ and x86_64 don't mix.",
    "Ça va? Größenwahn, naïve café 3.14 a b I",
    "running RUNS Runner ran; relational relations",
    "",
    "the of and",
]
CHINESE = "中华人民共和国成立于一九四九年"


@pytest.mark.parametrize("text", ENGLISH)
def test_english_terms_are_those_of_bm25s(text):
    theirs = bm25s.tokenize(
        [text], stopwords="en", stemmer=Stemmer.Stemmer("english"), return_ids=False,
        show_progress=False,
    )[0]  # fmt: skip
    # bm25s stands "" for a text without terms.
    assert Analyzer().terms(text) == [term for term in theirs if term]


def test_english_by_hand():
    text = "The cats were running"
    assert Analyzer().terms(text) == ["cat", "were", "run"]
    assert Analyzer(stemmer=False).terms(text) == ["cats", "were", "running"]
    assert Analyzer(stopwords=False).terms(text) == ["the", "cat", "were", "run"]
    assert Analyzer().terms("cats and cats") == ["cat", "cat"]


def test_chinese_is_cut_into_words_and_the_words_inside_them():
    terms = Analyzer().terms(CHINESE)
    # The compound, and what a searcher may type of it.
    assert {"中华人民共和国", "共和国", "人民", "成立"} <= set(terms)
    assert CHINESE not in terms


def test_chinese_stop_words_go_and_can_stay():
    assert "的" not in Analyzer().terms("机器学习的方法")
    assert "的" in Analyzer(stopwords=False).terms("机器学习的方法")
    assert {"机器", "学习", "方法"} <= set(Analyzer().terms("机器学习的方法"))


def test_punctuation_is_no_term():
    assert not {"，", "。", "！", "、", " "} & set(Analyzer().terms("你好，世界！搜索、排序。"))


@pytest.mark.parametrize(
    ("chinese", "english"),
    [("使用GPU训练模型", "GPU training"), ("BM25算法的实现", "the bm25 algorithm")],
)
def test_latin_words_inside_chinese_match_english_ones(chinese, english):
    analyzer = Analyzer()
    assert detect_language(chinese) == "zh"
    assert detect_language(english) == "en"
    assert set(analyzer.terms(chinese)) & set(analyzer.terms(english))


def test_latin_words_inside_chinese_are_stemmed_and_stopped():
    terms = Analyzer().terms("我们在 the Transformers 模型里使用 caching 机制")
    assert "transform" in terms
    assert "cach" in terms
    assert "the" not in terms


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("信息检索", "zh"),
        ("信息檢索系統", "zh"),
        ("如何在 Kubernetes 上部署 Redis 集群", "zh"),
        ("你", "zh"),
        ("约翰・史密斯是一位作家", "zh"),
        ("The Mandarin greeting 你好 is used by nearly everyone", "en"),
        ("plain English", "en"),
        ("東京は日本の首都です", "en"),
        ("ログイン失敗時の対処", "en"),
        ("한국어 漢字", "en"),
        ("größer, naïve, Ελλάδα", "en"),
        ("", "en"),
        ("12345 ... !?", "en"),
    ],
)
def test_detection(text, language):
    assert detect_language(text) == language


def test_a_set_language_is_not_detected():
    assert Analyzer(language="en").terms(CHINESE) == [CHINESE]
    assert "人民" in Analyzer(language="zh").terms(CHINESE)
    assert Analyzer(language="zh").terms("The running cats") == ["run", "cat"]
    with pytest.raises(ConfigError, match="language=fr: expected one of auto, en, zh"):
        Analyzer(language="fr")


def test_the_fingerprint_follows_settings_rules_and_libraries(monkeypatch):
    import jieba
    import Stemmer

    usual = Analyzer().fingerprint
    assert Analyzer().fingerprint == usual
    others = [Analyzer("en"), Analyzer("zh"), Analyzer(stemmer=False), Analyzer(stopwords=False)]
    fingerprints = [analyzer.fingerprint for analyzer in others]
    for module, name, value in ((jieba, "__version__", "9"), (analysis, "RULES", 99)):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            fingerprints.append(Analyzer().fingerprint)
    monkeypatch.setattr(Stemmer, "version", lambda: "9.9")
    fingerprints.append(Analyzer().fingerprint)
    assert len({usual, *fingerprints}) == 1 + len(fingerprints)


def test_han_characters_that_python_does_not_know_are_chinese():
    assert detect_language("\U0002ebf0") in ("en", "zh")  # newer than some Unicode tables


@pytest.mark.parametrize(
    "text", [*ENGLISH, CHINESE, "用 Redis 做缓存，请求会 falling back", "İstanbul RUNS"]
)
def test_located_terms_are_the_terms_and_stand_where_they_say(text):
    located = Analyzer().located(text)
    assert [found.term for found in located] == Analyzer().terms(text)
    for found in located:
        # A term of Chinese, or before its stem, is what the text has there.
        assert text[found.start : found.end].lower()[:2] == found.term[:2]


def test_located_by_hand():
    found = Analyzer().located("The cats RUNNING, cats")
    assert found == [("cat", 4, 8), ("run", 9, 16), ("cat", 18, 22)]
    parts = {term: (start, end) for term, start, end in Analyzer().located("在清华大学读书")}
    assert parts["清华"] == (1, 3)
    assert parts["清华大学"] == (1, 5)


@given(st.text(alphabet="aİßΣ的 北京大学 running. 9_key失效", max_size=40))
def test_located_and_terms_never_part(text):
    analyzer = Analyzer()
    located = analyzer.located(text)
    assert [found.term for found in located] == analyzer.terms(text)
    assert all(0 <= start < end <= len(text) for _, start, end in located)
