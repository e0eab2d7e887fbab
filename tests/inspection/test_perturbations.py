"""Each change of a text by hand, in English and Chinese, and what holds for all texts."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.inspection.perturbations import (
    first_half,
    in_capitals,
    names_in,
    negated,
    pool_of,
    stuffed,
    with_other_names,
    with_other_numbers,
    with_typo,
)

TEXTS = st.text(alphabet="abAB is can't 不是能 12.9失效\n", max_size=60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cache is fast.", "The cache is not fast."),
        ("It is not fast and can't stop.", "It is fast and can stop."),
        ("Cannot start; won’t retry", "Can start; will retry"),
        ("He doesn't know what WAS said", "He does know what WAS not said"),
        ("This canopy isolated", "This canopy isolated"),
        ("缓存是必要的，但是性能没有提升", "缓存不是必要的，但是性能有提升"),
        ("可以重试，不可以关闭", "不可以重试，可以关闭"),
    ],
)
def test_negation(text, expected):
    assert negated(text, Random(0)) == expected


def test_a_typo_is_in_one_word_and_keeps_its_first_letter():
    text = "of caches and replication"
    for seed in range(30):
        changed = with_typo(text, Random(seed))
        before, after = text.split(), changed.split()
        different = [(b, a) for b, a in zip(before, after, strict=True) if a != b]
        assert len(different) == 1
        ((old, new),) = different
        assert old in ("caches", "replication")
        assert new[0] == old[0]
        assert abs(len(new) - len(old)) <= 1


def test_a_chinese_typo_swaps_two_neighbours():
    changed = {with_typo("热点失效", Random(seed)) for seed in range(20)}
    assert changed == {"点热失效", "热失点效", "热点效失"}
    assert with_typo("a b", Random(0)) == "a b"
    assert with_typo("哈哈", Random(0)) == "哈哈"


def test_numbers_keep_their_length_and_stay_alike():
    for seed in range(30):
        changed = with_other_numbers("2019: 5 of 10, 第 5 次", Random(seed))
        year, five, ten, again = re.findall(r"\d+", changed)
        assert (len(year), len(five), len(ten)) == (4, 1, 2)
        assert (year, five, ten) != ("2019", "5", "10")
        assert year != "2019"
        assert "5" != five == again
        assert ten != "10"


def test_names_of_both_languages():
    text = "Deploy Redis on AWS, then use OpenSearch. 张伟在北京用 Redis"
    assert names_in(text) == {
        "latin": ["Redis", "AWS", "OpenSearch"], "nr": ["张伟"], "ns": ["北京"],
    }  # fmt: skip


def test_names_are_swapped_for_others_of_their_kind_alike_everywhere():
    pool = pool_of(["We use Kafka and Redis", "李娜在上海"])
    changed = with_other_names("Try Redis, love Redis. 张伟在北京", Random(0), pool)
    assert changed == "Try Kafka, love Kafka. 李娜在上海"
    assert with_other_names("Try Redis", Random(0), {"latin": ["Redis"]}) == "Try Redis"
    assert with_other_names("an IDE, IDEA", Random(0), {"latin": ["Go", "C3"]}).startswith("an ")


def test_halves_stuffing_and_capitals():
    assert first_half("one two three four", Random(0)) == "one two"
    assert first_half("一二三四五", Random(0)) == "一二三"
    assert first_half("", Random(0)) == ""
    assert stuffed("doc", "two words") == "doc two words two words two words"
    assert in_capitals("Key 失效", Random(0)) == "KEY 失效"


@given(TEXTS, st.integers(0, 5))
def test_the_same_seed_changes_alike(text, seed):
    for change in (with_typo, negated, with_other_numbers, first_half, in_capitals):
        assert change(text, Random(seed)) == change(text, Random(seed))


@given(TEXTS, st.integers(0, 5))
def test_no_number_stays_and_nothing_else_changes(text, seed):
    changed = with_other_numbers(text, Random(seed))
    assert re.sub(r"\d", "0", changed) == re.sub(r"\d", "0", text)
    pairs = zip(re.findall(r"\d+", text), re.findall(r"\d+", changed), strict=True)
    assert all(old != new for old, new in pairs)
