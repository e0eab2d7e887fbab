"""One search serves all who ask for the same queries; never a ranking of others."""

from __future__ import annotations

import pytest

from evalkit.retrievers.remembering import RememberingRetriever
from evalkit.run import Run
from evalkit.types import Query

DEPTH = 50
QUERIES = [Query("q1", "one"), Query("q2", "two")]


class Counting:
    """A retriever that writes down what it was asked; its docs are named by the query's text."""

    fingerprint = "counting"

    def __init__(self) -> None:
        self.indexed: list[str] = []
        self.asked: list[tuple[int, int]] = []

    def is_cached(self, dataset) -> bool:
        return bool(self.indexed)

    def index(self, dataset) -> None:
        self.indexed.append(dataset.digest)

    def retrieve(self, queries, k) -> Run:
        self.asked.append((len(queries), k))
        results = {
            q.query_id: {f"{q.text} {i}": float(-i) for i in range(min(k, DEPTH))} for q in queries
        }
        return Run.from_dict(results)


@pytest.fixture
def inner() -> Counting:
    return Counting()


@pytest.fixture
def retriever(inner) -> RememberingRetriever:
    return RememberingRetriever(inner)


def test_the_same_or_less_is_not_searched_again(inner, retriever):
    deep = retriever.retrieve(QUERIES, 20)
    shallow = retriever.retrieve(list(QUERIES), 5)
    assert inner.asked == [(2, 20)]
    assert shallow["q1"] == deep["q1"][:5] == inner.retrieve(QUERIES, 5)["q1"]
    assert deep.sizes.tolist() == [20, 20]


def test_deeper_is_searched_again_and_kept(inner, retriever):
    for k in (5, 20, 10):
        assert retriever.retrieve(QUERIES, k).sizes.tolist() == [k, k]
    assert inner.asked == [(2, 5), (2, 20)]


def test_a_short_result_is_remembered_as_what_was_asked_for(inner, retriever):
    # The collection has no more than DEPTH docs: asking for that much again finds no more.
    for _ in range(2):
        assert retriever.retrieve(QUERIES, 100).sizes.tolist() == [DEPTH, DEPTH]
    assert inner.asked == [(2, 100)]


@pytest.mark.parametrize(
    "others", [QUERIES[:1], QUERIES[::-1], [Query("q1", "one"), Query("q2", "changed")]]
)
def test_other_queries_are_searched(inner, retriever, others):
    retriever.retrieve(QUERIES, 5)
    run = retriever.retrieve(others, 5)
    assert run.query_ids == tuple(q.query_id for q in others)
    assert [docs[0] for _, docs in run] == [f"{q.text} 0" for q in others]
    assert len(inner.asked) == 2


def test_least_depth_is_searched_at_once(inner, retriever):
    retriever.least_depth = 30
    assert retriever.retrieve(QUERIES, 5).sizes.tolist() == [5, 5]
    assert retriever.retrieve(QUERIES, 30).sizes.tolist() == [30, 30]
    assert inner.asked == [(2, 30)]


def test_an_index_is_built_once_a_dataset_and_forgets_the_last_ranking(
    inner, retriever, collection
):
    one = collection({"d": "a"}, {"q": "a"}, name="one")
    two = collection({"d": "b"}, {"q": "a"}, name="two")
    for dataset in (one, one, two):
        retriever.index(dataset)
        retriever.retrieve(QUERIES, 5)
    assert inner.indexed == [one.digest, two.digest]
    assert len(inner.asked) == 2


def test_it_stands_for_what_it_wraps(inner, retriever, collection):
    dataset = collection({"d": "a"}, {"q": "a"})
    assert retriever.fingerprint == "counting"
    assert not retriever.is_cached(dataset)
    retriever.index(dataset)
    assert retriever.is_cached(dataset)
