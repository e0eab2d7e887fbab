"""What rerankers learn from: no query teaches what scores it, however it is written."""

from __future__ import annotations

import numpy as np

from evalkit.rerankers.lessons import dealt
from evalkit.types import Query


def queries(*texts: str) -> list[Query]:
    return [Query(f"q{i}", text) for i, text in enumerate(texts)]


def test_queries_that_differ_in_signs_case_or_spaces_alone_are_in_one_part():
    asked = queries(*(f"topic {i}" for i in range(40)), "Topic 7?", "TOPIC  7", "topic - 7!")
    for seed in range(5):
        part = dealt(asked, 4, seed, "test")
        assert len({int(part[i]) for i in (7, 40, 41, 42)}) == 1
        assert np.bincount(part[:40]).tolist() == [10] * 4


def test_neither_the_order_nor_an_id_decides_the_part():
    asked = queries("one", "two", "three", "Three?", "four", "five")
    part = dict(zip((q.text for q in asked), dealt(asked, 2, 0, "test").tolist(), strict=True))
    turned = [Query("x" + q.query_id, q.text) for q in reversed(asked)]
    assert part == dict(zip((q.text for q in turned), dealt(turned, 2, 0, "test"), strict=True))
