"""FAISS against exact search: scores, ties, recall, the cache, and what does not fit."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from tiny import save_bi_encoder, toy_dataset

from evalkit.assembly import connected_retrievers
from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError, OutputError
from evalkit.retrievers import faiss as module
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.dense import DenseRetriever
from evalkit.retrievers.faiss import FaissRetriever
from evalkit.retrievers.faiss_index import FaissSettings, faiss_library
from evalkit.retrievers.hybrid import HybridRetriever
from evalkit.run import Run

# Settings with which an index of 150 docs misses some.
COARSE = {
    "flat": {"kind": "flat"},
    "hnsw": {"kind": "hnsw", "m": 2, "ef_construction": 4, "ef_search": 10},
    "ivf": {"kind": "ivf", "nlist": 20, "nprobe": 3},
}
THOROUGH = {
    "flat": {"kind": "flat"},
    "hnsw": {"kind": "hnsw", "ef_construction": 150, "ef_search": 150},
    "ivf": {"kind": "ivf", "nlist": 6, "nprobe": 6},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_bi_encoder(tmp_path_factory.mktemp("models") / "bi"))


@pytest.fixture(scope="module")
def dot_model(tmp_path_factory):
    return str(save_bi_encoder(tmp_path_factory.mktemp("models") / "dot", similarity="dot"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return toy_dataset(tmp_path_factory.mktemp("data") / "toy", docs=150, queries=12)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Vectors are shared by all tests here, so that they are encoded once."""
    return tmp_path_factory.mktemp("cache")


def indexed(retriever, dataset):
    retriever.index(dataset)
    return retriever


@pytest.mark.parametrize("kind", THOROUGH)
@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_a_thorough_index_finds_what_exact_search_finds(model, dataset, cache, kind, storage):
    settings = {"storage": storage, "cache_dir": cache}
    exact = indexed(DenseRetriever(model, **settings), dataset)
    found = indexed(FaissRetriever(model, chunk_size=64, **THOROUGH[kind], **settings), dataset)
    expected, run = (r.retrieve(dataset.queries, 20) for r in (exact, found))
    assert dict(run) == dict(expected)
    np.testing.assert_array_equal(run.scores, expected.scores)
    assert found.details["recall@20_share"] == 1


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("kind", COARSE)
def test_recall_is_the_share_of_the_exact_top_k(model, dot_model, dataset, cache, kind, similarity):
    name = model if similarity == "cosine" else dot_model
    exact = indexed(DenseRetriever(name, cache_dir=cache), dataset)
    found = indexed(FaissRetriever(name, cache_dir=cache, **COARSE[kind]), dataset)
    expected, run = (r.retrieve(dataset.queries, 10) for r in (exact, found))
    assert (run.sizes <= 10).all()
    both = ~np.isnan(run.scores_in(expected))
    np.testing.assert_array_equal(run.scores[both], run.scores_in(expected)[both])
    recall = both.sum() / len(expected)
    assert found.details["recall@10_share"] == pytest.approx(recall)
    assert found.details["docs_compared@10_share"] <= 1
    if kind != "flat":
        assert 0.05 < found.details["recall@10_share"] < 1
        assert found.details["docs_compared@10_share"] < 0.9
    assert set(found.work) == {"search_ms", "exact_search_ms"}


def test_what_is_reported(model, dataset, cache):
    found = FaissRetriever(model, cache_dir=cache)
    assert found.details == {}
    found.index(dataset)
    assert found.details["index"] == "HNSW32,Flat"
    # 32 floats and 2 × 32 links of 4 bytes a doc on the lowest level.
    assert found.details["index_bytes"] > 150 * (32 * 4 + 64 * 4)
    found.retrieve(dataset.queries[:3], 10)
    assert "recall@10_share" not in found.details  # not the evaluated queries
    found.retrieve(dataset.queries, 5)
    found.retrieve(dataset.queries, 10)
    assert {"recall@5_share", "recall@10_share"} < set(found.details)
    json.dumps(found.details)
    silent = indexed(FaissRetriever(model, report_recall=False, cache_dir=cache), dataset)
    silent.retrieve(dataset.queries, 10)
    assert set(silent.details) == {"index", "index_bytes"}
    assert set(silent.work) == {"search_ms"}
    assert silent.fingerprint == found.fingerprint


def test_any_of_equal_docs_at_the_border_counts_as_found(collection, model, cache):
    dataset = collection({f"d{i}": "search index" for i in range(30)}, {"q": "search"})
    found = indexed(FaissRetriever(model, kind="flat", cache_dir=cache), dataset)
    run = found.retrieve(dataset.queries, 5)
    assert len(set(run.scores.tolist())) == 1
    assert found.details["recall@5_share"] == 1


def test_at_most_k_docs_and_pads_are_dropped(model, dataset, cache):
    sparse = {"kind": "ivf", "nlist": 60, "nprobe": 1}
    found = indexed(FaissRetriever(model, cache_dir=cache, **sparse), dataset)
    run = found.retrieve(dataset.queries, 500)
    assert 0 < run.sizes.min() < run.sizes.max() < 150
    assert np.isfinite(run.scores).all()
    assert found.details["recall@150_share"] == pytest.approx(run.sizes.mean() / 150)
    whole = indexed(FaissRetriever(model, kind="flat", cache_dir=cache), dataset)
    assert whole.retrieve(dataset.queries, 500).sizes.tolist() == [150] * 12
    assert len(whole.retrieve([], 5)) == 0


@pytest.mark.parametrize("kind", COARSE)
def test_k_does_not_move_a_ranking(model, dataset, cache, kind):
    found = indexed(FaissRetriever(model, cache_dir=cache, **COARSE[kind]), dataset)
    deep = found.retrieve(dataset.queries, 10)
    assert dict(found.retrieve(dataset.queries, 3)) == dict(deep.top(3))
    alone = [found.retrieve([query], 10)[query.query_id] for query in dataset.queries]
    assert alone == [deep[query.query_id] for query in dataset.queries]


@pytest.mark.parametrize("kind", COARSE)
def test_the_same_vectors_give_the_same_index(model, dataset, cache, tmp_path, kind):
    first = FaissRetriever(model, cache_dir=cache, **COARSE[kind])
    first.index(dataset)
    (tmp_path / "embeddings").symlink_to(cache / "embeddings")
    again = FaissRetriever(model, cache_dir=tmp_path, chunk_size=7, **COARSE[kind])
    again.index(dataset)
    paths = [each.index_path(dataset) for each in (first, again)]
    assert paths[0].name == paths[1].name
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_index_is_reused_and_search_settings_need_no_new_one(model, dataset, cache, caplog):
    first = FaissRetriever(model, m=6, cache_dir=cache)
    assert not first.is_cached(dataset)
    first.index(dataset)
    path = first.index_path(dataset)
    written = path.stat().st_mtime_ns
    second = FaissRetriever(model, m=6, ef_search=16, nlist=3, cache_dir=cache)
    assert second.is_cached(dataset)
    second.index(dataset)
    assert second.index_path(dataset) == path
    assert path.stat().st_mtime_ns == written
    for other in ({"m": 7}, {"m": 6, "ef_construction": 9}, {"kind": "ivf"}, {"kind": "flat"}):
        assert FaissRetriever(model, cache_dir=cache, **other).index_path(dataset) != path
    dense = indexed(DenseRetriever(model, cache_dir=cache), dataset)
    assert dense.cache_path(dataset) == first.cache_path(dataset)


def test_every_setting_that_changes_what_is_found_is_in_the_fingerprint(model, cache):
    variants = [
        {}, {"m": 8}, {"ef_construction": 8}, {"ef_search": 200}, {"build_threads": 2},
        {"kind": "ivf"}, {"kind": "ivf", "nlist": 9}, {"kind": "ivf", "nprobe": 2},
        {"kind": "flat"}, {"storage": "float16"}, {"doc_template": "{text}"}, {"max_length": 8},
    ]  # fmt: skip
    found = {FaissRetriever(model, cache_dir=cache, **v).fingerprint for v in variants}
    assert len(found) == len(variants)
    plain = FaissRetriever(model, cache_dir=cache).fingerprint
    same = {"nlist": 7, "nprobe": 2, "chunk_size": 9, "report_recall": False, "batch_size": 2}
    assert FaissRetriever(model, cache_dir=cache, **same).fingerprint == plain
    assert DenseRetriever(model, cache_dir=cache).fingerprint != plain


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_index_is_set_aside_and_built_again(
    model, dataset, cache, tmp_path, caplog, damage
):
    settings = {"kind": "ivf", "nlist": 4}
    retriever = indexed(FaissRetriever(model, cache_dir=cache, **settings), dataset)
    expected = retriever.retrieve(dataset.queries, 5)
    path = retriever.index_path(dataset)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    else:
        library = faiss_library()
        library.write_index(library.IndexFlatIP(32), str(path))
    again = indexed(FaissRetriever(model, cache_dir=cache, **settings), dataset)
    assert dict(again.retrieve(dataset.queries, 5)) == dict(expected)
    assert "is damaged" in caplog.text
    assert path.with_suffix(".damaged").exists()
    assert len(caplog.text.splitlines()) < 4


def test_an_index_that_cannot_be_written_says_so(model, dataset, cache, monkeypatch):
    def full(index, path):
        raise RuntimeError("Error in write: No space left on device\nmore")

    retriever = FaissRetriever(model, m=11, cache_dir=cache)
    monkeypatch.setattr(faiss_library(), "write_index", full)
    with pytest.raises(OutputError, match=r"cannot be written \(Error .* device\); choose another"):
        retriever.index(dataset)
    assert not retriever.is_cached(dataset)
    assert not [p for p in (cache / "faiss").iterdir() if p.name.startswith(".")]


def test_a_missing_package_is_one_line_with_the_command(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r'run: pip install "evalkit\[faiss\]"') as caught:
        FaissRetriever(model).check(10)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "pq"}, "kind=pq; expected one of flat, hnsw, ivf"),
        ({"m": 1}, "m=1; expected at least 2"),
        ({"ef_construction": 0}, "ef_construction=0; expected at least 1"),
        ({"ef_search": 0}, "ef_search=0; expected at least 1"),
        ({"build_threads": 0}, "build_threads=0; expected at least 1"),
        ({"nlist": 0}, "nlist=0; expected at least 1"),
        ({"nprobe": 0}, "nprobe=0; expected at least 1"),
        ({"kind": "ivf", "nlist": 4, "nprobe": 5}, "nprobe=5 .* nlist=4; expected at most 4"),
    ],
)
def test_settings_that_make_no_sense(model, settings, message):
    with pytest.raises(ConfigError, match=f"faiss: {message}"):
        FaissRetriever(model, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nlist": 151}, r"nlist=151 cells for 150 docs; expected at most 150, or nlist=null"),
        ({"nprobe": 9}, r"nprobe=9 cells searched, and 150 docs make 3; expected at most 3"),
    ],
)
def test_settings_that_do_not_fit_the_docs_are_refused_before_any_is_encoded(
    model, dataset, tmp_path, settings, message
):
    retriever = FaissRetriever(model, kind="ivf", cache_dir=tmp_path, **settings)
    retriever.check(10)
    with pytest.raises(ConfigError, match=message):
        retriever.index(dataset)
    assert not list(tmp_path.iterdir())


def test_more_docs_than_a_graphs_search_holds_are_refused(model):
    retriever = FaissRetriever(model, ef_search=20)
    retriever.check(20)
    with pytest.raises(ConfigError, match=r"21 docs a query .* ef_search=20; set ef_search=21 or"):
        retriever.check(21)
    FaissRetriever(model, kind="ivf", ef_search=20).check(21)


@pytest.mark.parametrize(
    ("docs", "cells", "probes"),
    [(1, 1, 1), (78, 2, 2), (5183, 132, 46), (10_000, 256, 64), (1_000_000, 4000, 253)],
)
def test_the_number_of_cells_follows_the_docs(docs, cells, probes):
    settings = FaissSettings("ivf", 32, 40, 128, None, None, 1)
    assert settings.cells(docs) == cells
    assert settings.probes(docs) == probes
    assert settings.recipe(docs) == f"IVF{cells},Flat"


def test_centres_of_few_docs_are_told_once_and_in_our_log(model, dataset, cache, caplog, capfd):
    indexed(FaissRetriever(model, kind="ivf", nlist=50, cache_dir=cache), dataset)
    assert "50 cells of 3.0 docs on average" in caplog.text
    assert "WARNING" not in capfd.readouterr().err


def test_a_graph_is_built_on_one_thread_and_the_number_is_put_back(
    model, dataset, cache, monkeypatch
):
    monkeypatch.setattr(module, "_ADDED", 100)
    library = faiss_library()
    before, real, seen = library.omp_get_max_threads(), library.index_factory, []

    def watched(*args):
        index = real(*args)
        add = index.add
        index.add = lambda x: (seen.append(library.omp_get_max_threads()), add(x))
        return index

    monkeypatch.setattr(library, "index_factory", watched)
    library.omp_set_num_threads(2)
    try:
        indexed(FaissRetriever(model, m=9, cache_dir=cache), dataset)
        assert seen == [1, 1]
        assert library.omp_get_max_threads() == 2
    finally:
        library.omp_set_num_threads(before)


def test_it_is_fused_and_asked_with_weighted_texts(model, dataset, cache):
    from evalkit.queries.transform import Part

    parts = {
        "bm25": BM25Retriever(cache_dir=cache),
        "faiss": FaissRetriever(model, kind="flat", cache_dir=cache),
        "hybrid": HybridRetriever(depth=20),
        "dense": DenseRetriever(model, cache_dir=cache),
        "exact": HybridRetriever(["bm25", "dense"], depth=20),
    }
    parts["hybrid"].component_names = ("bm25", "faiss")
    retrievers = connected_retrievers(parts)
    runs: dict[str, Run] = {}
    for name in ("hybrid", "exact"):
        retrievers[name].check(20)
        retrievers[name].index(dataset)
        runs[name] = retrievers[name].retrieve(dataset.queries, 10)
    assert dict(runs["hybrid"]) == dict(runs["exact"])
    texts = [[Part(query, 0.5), Part(dataset.queries[0], 2.0)] for query in dataset.queries]
    ids = [query.query_id for query in dataset.queries]
    ours, theirs = (parts[n].retrieve_parts(ids, texts, 10) for n in ("faiss", "dense"))
    assert dict(ours) == dict(theirs)


@pytest.mark.slow
def test_recall_on_scifact(shared_data, tmp_path):
    dataset = FolderDataset(shared_data / "beir" / "scifact")
    model = "sentence-transformers/all-MiniLM-L6-v2"
    for kind, least in (("flat", 1.0), ("hnsw", 0.98), ("ivf", 0.95)):
        retriever = indexed(FaissRetriever(model, kind=kind, cache_dir=tmp_path), dataset)
        retriever.retrieve(dataset.queries, 100)
        assert retriever.details["recall@100_share"] >= least
