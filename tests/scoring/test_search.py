"""Exact search against a sort of all scores: any chunks, any storage, ties included."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import ConfigError, ScoreError
from evalkit.scoring import search as module
from evalkit.scoring.search import ahead, exact_search, rounding, similarity
from evalkit.scoring.vectors import STORAGES, as_tensor, checked_storage, narrowed, widened


def gaussian(n, width, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def unit(n, width, seed=0):
    vectors = gaussian(n, width, seed)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def chunked(docs, size):
    return (docs[i : i + size] for i in range(0, len(docs), size))


def sorted_search(queries, docs, k, order):
    """The k best of all docs, by a full sort of scores summed in float64."""
    found = []
    for query in queries:
        scores = similarity(np.broadcast_to(query, docs.shape), docs)
        best = np.lexsort((-order, -scores))[:k]
        found.append((best.tolist(), scores[best].tolist()))
    return found


def assert_found(found, expected):
    for docs, scores, (best, values) in zip(found.docs, found.scores, expected, strict=True):
        assert docs[: len(best)].tolist() == best
        assert scores[: len(best)].tolist() == values
        assert (docs[len(best) :] == -1).all()
        assert np.isneginf(scores[len(best) :]).all()


@given(
    seed=st.integers(0, 10**6),
    docs=st.integers(1, 300),
    queries=st.integers(0, 9),
    k=st.integers(1, 40),
    chunk=st.integers(1, 310),
    distinct=st.integers(1, 300),
    storage=st.sampled_from(sorted(STORAGES)),
)
def test_equals_a_full_sort(seed, docs, queries, k, chunk, distinct, storage):
    """Small whole numbers and repeated docs, so that many scores tie, at the border too."""
    generator = np.random.default_rng(seed)
    pool = generator.integers(-3, 4, size=(distinct, 5)).astype(np.float32)
    vectors = narrowed(pool[generator.integers(0, distinct, size=docs)], storage)
    asked = generator.integers(-3, 4, size=(queries, 5)).astype(np.float32)
    order = generator.permutation(docs)
    found = exact_search(asked, chunked(vectors, chunk), k, order, "cpu")
    assert found.docs.shape == found.scores.shape == (queries, min(k, docs))
    assert_found(found, sorted_search(asked, widened(vectors), k, order))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("k", "size"), [(1, 7000), (10, 1000), (100, 6999), (100, 20_000)])
def test_equals_a_full_sort_where_docs_are_grouped(k, size, storage):
    """Chunks of thousands of docs, more queries than a block holds, alike neighbours in between."""
    docs = unit(7000, 48)
    docs[2000:2300] = docs[2000] + 0.01 * unit(300, 48, seed=2)
    docs = narrowed(docs, storage)
    queries = np.concatenate([unit(297, 48, seed=1), widened(docs[2000:2003])])
    order = np.random.default_rng(3).permutation(len(docs))
    found = exact_search(queries, chunked(docs, size), k, order, "cpu")
    assert_found(found, sorted_search(queries, widened(docs), k, order))


@pytest.mark.parametrize("size", [64, 500, 4096])
def test_docs_that_differ_in_the_last_bit_are_told_apart(size):
    """Scores closer together than the matrix product can tell: the border needs its margin."""
    rows = np.arange(4096)
    base = np.broadcast_to(unit(1, 384), (4096, 384)).copy()
    # One component one float up: the float64 sum tells it, a float32 sum rounds it away.
    base[rows, rows % 384] = np.nextafter(base[rows, rows % 384], np.float32(1))
    queries = unit(1, 384) + 0.1 * gaussian(3, 384, seed=5)
    order = np.random.default_rng(0).permutation(4096)
    found = exact_search(queries, chunked(base, size), 20, order, "cpu")
    assert_found(found, sorted_search(queries, base, 20, order))


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_the_margin_is_wider_where_products_are_less_precise(precision):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert (rounding(384) < 1e-4) == (precision == "highest")
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_bound_of_the_rounding_holds():
    queries, docs = unit(50, 1024), unit(2000, 1024, seed=1)
    products = torch.from_numpy(queries) @ torch.from_numpy(docs).T
    true = queries.astype(np.float64) @ docs.astype(np.float64).T
    assert np.abs(products.numpy() - true).max() < rounding(1024)


def test_very_many_equal_docs_are_scored_a_block_at_a_time(monkeypatch):
    most = []
    real = module.similarity
    monkeypatch.setattr(module, "_PAIR_BLOCK", 1000)
    monkeypatch.setattr(module, "similarity", lambda q, d: (most.append(len(q)), real(q, d))[1])
    docs = np.tile(unit(1, 8), (5000, 1))
    found = exact_search(unit(3, 8, seed=1), chunked(docs, 2500), 4, np.arange(5000), "cpu")
    assert found.docs.tolist() == [[4999, 4998, 4997, 4996]] * 3
    assert max(most) == 1000


def test_few_pairs_are_scored_twice(monkeypatch):
    """The groups' bound is close to the true border: hardly more than k docs a query and chunk."""
    asked = []
    real = module.similarity
    monkeypatch.setattr(module, "similarity", lambda q, d: (asked.append(len(q)), real(q, d))[1])
    docs, queries, k = unit(40_000, 32), unit(20, 32, seed=1), 10
    exact_search(queries, chunked(docs, 20_000), k, np.arange(len(docs)), "cpu")
    assert k * len(queries) <= sum(asked) <= 3 * k * len(queries)


def test_no_more_than_three_chunks_are_read_before_the_first_is_done():
    read = []

    def chunks():
        for i in range(10):
            read.append(i)
            yield unit(4, 3)

    for done, chunk in enumerate(ahead(chunks(), "cpu"), start=1):
        assert chunk.on_device.shape == (4, 3)
        assert len(read) <= done + 1
    assert len(read) == 10
    assert not [t for t in threading.enumerate() if t.name.startswith("evalkit-chunks")]


def test_an_error_while_a_chunk_is_read_is_raised():
    def chunks():
        yield unit(4, 3)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        exact_search(unit(2, 3), chunks(), 2, np.arange(8), "cpu")


def test_products_beyond_float32_are_refused():
    with pytest.raises(ScoreError, match=r"may reach .*e\+39, above float32"):
        exact_search(unit(1, 4) * 1e20, iter([unit(5, 4) * 1e19]), 2, np.arange(5), "cpu")


@pytest.mark.parametrize(("storage", "bits"), [("float32", 24), ("float16", 11), ("bfloat16", 8)])
def test_a_stored_vector_is_rounded_once(storage, bits):
    vectors = unit(200, 33) + 1  # no subnormals of float16
    stored = narrowed(vectors, storage)
    assert stored.dtype == STORAGES[storage]
    assert stored.itemsize == (4 if storage == "float32" else 2)
    np.testing.assert_allclose(widened(stored), vectors, rtol=2.0**-bits)
    np.testing.assert_array_equal(narrowed(widened(stored), storage), stored)
    tensor = as_tensor(stored)
    assert str(tensor.dtype) == f"torch.{storage}"
    np.testing.assert_array_equal(tensor.float().numpy(), widened(stored))
    if storage != "float32":
        assert (widened(stored) != vectors).any()


def test_what_a_storage_cannot_hold_is_refused():
    vectors = np.array([[1.0, -70_000.0]], np.float32)
    with pytest.raises(ConfigError, match=r"holds values up to 65504 .* reach 70000; use storage="):
        narrowed(vectors, "float16")
    np.testing.assert_allclose(widened(narrowed(vectors, "bfloat16")), vectors, rtol=2.0**-8)
    with pytest.raises(ConfigError, match=r"use storage=float32"):
        narrowed(np.full((1, 2), np.finfo(np.float32).max), "bfloat16")
    with pytest.raises(ConfigError, match="storage=int8: expected one of float32, float16, bf"):
        checked_storage("int8")


@pytest.mark.gpu
@pytest.mark.parametrize("storage", STORAGES)
def test_the_gpu_finds_what_the_cpu_finds_bit_for_bit(storage):
    docs = narrowed(unit(50_000, 384), storage)
    queries, order = unit(300, 384, seed=1), np.random.default_rng(2).permutation(50_000)
    here = exact_search(queries, chunked(docs, 9000), 100, order, "cpu")
    there = exact_search(queries, chunked(docs, 13_000), 100, order, "cuda")
    np.testing.assert_array_equal(there.docs, here.docs)
    np.testing.assert_array_equal(there.scores, here.scores)
