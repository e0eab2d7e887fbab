"""What a first stage searches is in memory while times are taken; its rankings stay the same."""

import math

import pytest
from served import experiment
from tiny import save_bi_encoder, save_splade, toy_dataset

from evalkit.assembly import connected_retrievers
from evalkit.efficiency import resident
from evalkit.efficiency.resident import places
from evalkit.efficiency.stages import pipelines
from evalkit.embeddings import EmbeddingCache
from evalkit.measured import cold
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.dense import DenseRetriever
from evalkit.retrievers.hybrid import HybridRetriever
from evalkit.retrievers.sparse import SparseRetriever
from evalkit.sparse_encoders import SparseTextEncoder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return str(save_bi_encoder(folder / "bi")), str(save_splade(folder / "splade"))


@pytest.fixture
def made(tmp_path, models):
    """First stages over several chunks, indexed."""
    bi, splade = models
    cache = tmp_path / "cache"
    retrievers = connected_retrievers(
        {
            "bm25": BM25Retriever(cache_dir=cache),
            "dense": DenseRetriever(bi, cache_dir=cache, chunk_size=7),
            "sparse": SparseRetriever(splade, cache_dir=cache, chunk_size=7),
            "hybrid": HybridRetriever(["bm25", "dense"], depth=10),
        }
    )
    return experiment(toy_dataset(tmp_path / "toy", docs=30, queries=3), retrievers, {}, (5,))


@pytest.fixture
def reads(monkeypatch):
    """The doc vectors that were read, a note a time."""
    notes = []
    gathered, matrix = EmbeddingCache.gather_stored, SparseTextEncoder.matrix

    def noted_gather(self, at):
        notes.append("dense")
        return gathered(self, at)

    def noted_matrix(self, at, side):
        notes.extend(["sparse"] if side == "doc" else [])
        return matrix(self, at, side)

    monkeypatch.setattr(EmbeddingCache, "gather_stored", noted_gather)
    monkeypatch.setattr(SparseTextEncoder, "matrix", noted_matrix)
    return notes


def ranked(pipeline, query, depth):
    return dict(pipeline.searcher.retrieve([query], depth))


def test_vectors_are_read_once_and_the_ranking_is_the_evaluated_one(made, reads):
    served = {each.system: each for each in pipelines(made) if each.k is None}
    assert places(made.retrievers) == {"dense": "memory", "sparse": "memory"}
    chunks = math.ceil(made.dataset.num_docs / 7)
    for name, pipeline in served.items():
        for depth in (1, 8):
            for query in made.dataset.queries:
                reads.clear()
                with cold():
                    held = ranked(pipeline, query, depth)
                assert reads == [], name
                assert held == ranked(pipeline, query, depth), name
        if name in ("dense", "sparse"):  # outside, 7 docs are read at a time; and the query
            assert reads.count(name) >= chunks


def test_vectors_that_do_not_fit_are_read_and_that_is_said(made, reads, monkeypatch):
    monkeypatch.setattr(resident, "_free", lambda: 1000.0)
    served = {each.system: each for each in pipelines(made)}
    assert places(made.retrievers) == {"dense": "disk", "sparse": "disk"}
    query = made.dataset.queries[0]
    reads.clear()
    with cold():
        held = ranked(served["dense"], query, 5)
    assert reads == ["dense"] * math.ceil(made.dataset.num_docs / 7)
    assert held == ranked(served["dense"], query, 5)


def test_the_vectors_of_another_dataset_are_not_searched(made, tmp_path):
    dense = next(each.searcher for each in pipelines(made) if each.system == "dense")
    other = toy_dataset(tmp_path / "other", docs=8, queries=1)
    dense.index(other)
    assert not dense.holds
    with cold():
        assert len(dense.retrieve(other.queries, 100)) == other.num_docs


def test_the_free_memory_of_this_machine_is_known():
    assert resident._free() > 1 << 20
