"""Hybrids equal fusion by hand; what is said when their parts do not fit."""

from __future__ import annotations

import pytest

from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError
from evalkit.fusion import rrf, weighted_sum
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.hybrid import HybridRetriever
from evalkit.retrievers.remembering import RememberingRetriever

WORDS = ["apple", "pear", "plum", "fig", "grape", "melon", "cherry", "lemon"]
DOCS = {f"d{i}": " ".join(WORDS[j % 8] for j in range(i, i + 1 + i % 5)) for i in range(30)}
QUERIES = {"q1": "apple fig", "q2": "melon", "q3": "zebra", "q4": "lemon cherry plum apple"}


@pytest.fixture
def dataset(collection):
    return collection(DOCS, QUERIES)


@pytest.fixture
def others(dataset, tmp_path):
    """Three first stages that disagree."""
    settings = {"one": {"k1": 1.2, "b": 0.75}, "two": {"k1": 0.2, "b": 0.0}, "three": {"b": 1.0}}
    found = {name: BM25Retriever(**s, cache_dir=tmp_path / "cache") for name, s in settings.items()}
    for retriever in found.values():
        retriever.index(dataset)
    return found


def connected(others, *args, **settings) -> HybridRetriever:
    hybrid = HybridRetriever(*args, **settings)
    hybrid.connect("hybrid", {**others, "hybrid": hybrid})
    return hybrid


def assert_equal(run, expected) -> None:
    assert [run[q] for q in QUERIES] == [expected[q] for q in QUERIES]


def test_rrf_equals_fusion_by_hand(others, dataset):
    parts = [r.retrieve(dataset.queries, 100) for r in others.values()]
    assert len({tuple(map(tuple, dict(part).values())) for part in parts}) == 3
    found = connected(others).retrieve(dataset.queries, 7)
    assert_equal(found, rrf(parts, 60).top(7))
    assert found["q3"] == []
    found = connected(others, ["two", "one"], rrf_k=3, weights=[2, 0.5]).retrieve(
        dataset.queries, 100
    )
    assert_equal(found, rrf([parts[1], parts[0]], 3, [2, 0.5]))


@pytest.mark.parametrize("normalisation", ["min_max", "z_score"])
def test_weighted_equals_fusion_by_hand(others, dataset, normalisation):
    parts = [others[name].retrieve(dataset.queries, 12) for name in ("one", "three")]
    hybrid = connected(
        others, ["one", "three"], "weighted", depth=12, weights=[0.3, 0.7],
        normalisation=normalisation,
    )  # fmt: skip
    expected = weighted_sum(parts, [0.3, 0.7], normalisation).top(5)
    assert_equal(hybrid.retrieve(dataset.queries, 5), expected)


def test_the_depth_is_fixed_so_that_k_does_not_move_the_ranking(others, dataset):
    hybrid = connected(others, depth=10)
    deep = hybrid.retrieve(dataset.queries, 10)
    assert_equal(hybrid.retrieve(dataset.queries, 3), deep.top(3))


def test_more_than_the_depth_is_refused(others, dataset):
    hybrid = connected(others, depth=10)
    with pytest.raises(
        ConfigError, match=r"11 docs a query .* set retriever\.hybrid\.depth=11, or"
    ):
        hybrid.retrieve(dataset.queries, 11)
    hybrid.check(10)
    with pytest.raises(ConfigError, match=r"retriever\.hybrid\.depth=12"):
        hybrid.check(12)


def test_remembering_parts_search_once_at_the_depth(others, dataset):
    remembering = {name: RememberingRetriever(r) for name, r in others.items()}
    hybrid = connected(remembering, ["one", "two"], depth=20)
    # One more than the depth, as a query's own doc may have to go.
    assert [r.least_depth for r in remembering.values()] == [21, 21, 0]
    connected(remembering, ["one", "three"], depth=5)
    assert [r.least_depth for r in remembering.values()] == [21, 21, 6]
    assert_equal(
        hybrid.retrieve(dataset.queries, 4),
        connected(others, ["one", "two"], depth=20).retrieve(dataset.queries, 4),
    )


def test_a_querys_own_doc_goes_before_the_ranks_are_fused(collection, tmp_path):
    plain = collection(DOCS, {"d1": DOCS["d1"], "d2": DOCS["d2"], "q": "apple"})
    dataset = FolderDataset(plain.path, exclude_self=True)
    others = {n: BM25Retriever(k1=k, cache_dir=tmp_path / "new") for n, k in (("a", 1), ("b", 2))}
    hybrid = connected(others, depth=4)
    hybrid.index(dataset)
    # As the experiment asks: one more, for the doc that goes.
    found = hybrid.retrieve(dataset.queries, 5)
    parts = [r.retrieve(dataset.queries, 5) for r in others.values()]
    assert all("d1" in dict(part)["d1"] for part in parts)
    expected = rrf([part.without_self().top(4) for part in parts]).top(5)
    assert dict(found) == dict(expected)
    assert found["d1"] == expected["d1"]


def test_the_parts_are_indexed(collection, tmp_path):
    dataset = collection(DOCS, QUERIES)
    others = {n: BM25Retriever(k1=k, cache_dir=tmp_path / "new") for n, k in (("a", 1), ("b", 2))}
    hybrid = connected(others)
    assert not hybrid.is_cached(dataset)
    hybrid.index(dataset)
    assert hybrid.is_cached(dataset)
    assert all(r.is_cached(dataset) for r in others.values())
    assert hybrid.retrieve(dataset.queries, 3)["q2"]


def test_a_hybrid_of_all_leaves_hybrids_out(others):
    first, second = HybridRetriever(), HybridRetriever()
    everything = {**others, "first": first, "second": second}
    first.connect("first", everything)
    second.connect("second", everything)
    assert first.fingerprint == second.fingerprint == connected(others).fingerprint


@pytest.mark.parametrize(
    ("components", "message"),
    [
        (["one", "thre"], r"'thre' is not among .*\(one, two, three\)\. Did you mean 'three'\? "
            r"Add it: retriever=\[one,two,three,thre,hybrid\]"),
        (["one", "hybrid"], r"'hybrid' is not among the selected retrievers"),
        (["one"], r"fuses at least two other retrievers, found one; for instance retriever="),
    ],
)  # fmt: skip
def test_components_that_do_not_fit(others, components, message):
    with pytest.raises(ConfigError, match=message):
        connected(others, components)


def test_alone_or_with_the_wrong_number_of_weights(others):
    with pytest.raises(ConfigError, match="fuses at least two other retrievers, found none"):
        connected({})
    message = r"weights has 2 values for 3 components \(one, two, three\)"
    with pytest.raises(ConfigError, match=message):
        connected(others, weights=[1, 2])


@pytest.mark.parametrize(
    "settings", [{"method": "max"}, {"normalisation": "log"}, {"depth": 0}, {"rrf_k": -1}]
)
def test_settings_that_make_no_sense(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        HybridRetriever(**settings)


def test_every_setting_that_changes_a_score_is_in_the_fingerprint(others):
    variants = [
        {},
        {"components": ["one", "two"]},
        {"components": ["two", "one"]},
        {"depth": 10},
        {"rrf_k": 10},
        {"weights": [1, 1, 2]},
        {"method": "weighted"},
        {"method": "weighted", "normalisation": "z_score"},
    ]
    fingerprints = [connected(others, **v).fingerprint for v in variants]
    assert len(set(fingerprints)) == len(variants)
    # Under RRF the normalisation changes nothing.
    assert connected(others, normalisation="z_score").fingerprint == fingerprints[0]


def test_components_that_are_twice_the_same_or_none_at_all_are_refused(others):
    for components, message in (
        (["one", "one"], "names one retriever twice"),
        ([], "at least two"),
    ):
        with pytest.raises(ConfigError, match=message):
            HybridRetriever(components).connect("hybrid", others)
