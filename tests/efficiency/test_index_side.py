"""What an index costs: recorded while it is built, read back later, else said to be unknown."""

from __future__ import annotations

import json
import mmap
from pathlib import Path

import numpy as np
import pytest
from tiny import save_bi_encoder, save_colbert, save_splade, toy_dataset

from evalkit.assembly import connected_retrievers
from evalkit.efficiency.index_side import PeakMemory, build_index, index_section
from evalkit.efficiency.index_storage import vector_storage
from evalkit.errors import DataError
from evalkit.rerankers.late_interaction import LateInteractionReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.dense import DenseRetriever
from evalkit.retrievers.faiss import FaissRetriever
from evalkit.retrievers.hybrid import HybridRetriever
from evalkit.retrievers.sparse import SparseRetriever
from evalkit.run import Run


@pytest.fixture
def dataset(tmp_path):
    return toy_dataset(tmp_path / "data")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_bi_encoder(tmp_path_factory.mktemp("models") / "bi")


def built(dataset, **retrievers):
    """The section of retrievers that were indexed; and again, by others that find the index."""
    connected = connected_retrievers(retrievers)
    for name in connected:
        build_index(name, connected, dataset)
    return index_section(connected, dataset)


def files_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_bm25_is_charged_with_its_folder_and_its_terms(dataset, tmp_path):
    retriever = BM25Retriever(cache_dir=tmp_path)
    (row,) = built(dataset, bm25=retriever)
    terms = sum(len(retriever.analyzer.terms(doc.render())) for doc in dataset.docs_iter())
    assert row["retriever"] == "bm25"
    assert row["built"]
    assert row["tokens"] == terms
    assert row["bytes"] == files_under(retriever.cache_path(dataset))
    assert row["bytes_per_doc"] == row["bytes"] / dataset.num_docs
    assert row["seconds"] > 0
    assert row["peak_rss_bytes"] > 1e6


def test_an_index_from_the_cache_has_the_record_of_when_it_was_built(dataset, tmp_path):
    (first,) = built(dataset, bm25=BM25Retriever(cache_dir=tmp_path))
    (again,) = built(dataset, bm25=BM25Retriever(cache_dir=tmp_path))
    assert (first["built"], again["built"]) == (True, False)
    assert again["note"].startswith(f"from the cache, built {first['built_at']}")
    same = set(first) - {"built", "note"}
    assert {key: first[key] for key in same} == {key: again[key] for key in same}


def test_of_an_index_without_a_record_nothing_is_made_up(dataset, tmp_path):
    BM25Retriever(cache_dir=tmp_path).index(dataset)
    (row,) = built(dataset, bm25=BM25Retriever(cache_dir=tmp_path))
    assert row["note"].startswith("built before")
    assert (row["built"], row["seconds"], row["peak_rss_bytes"], row["tokens"]) == (
        False, None, None, None,
    )  # fmt: skip
    assert row["bytes"] > 0


def test_a_record_that_is_none_is_refused(dataset, tmp_path):
    retriever = BM25Retriever(cache_dir=tmp_path)
    built(dataset, bm25=retriever)
    (record,) = tmp_path.glob("bm25/*.build.json")
    record.write_text(json.dumps({"seconds": 1}))
    with pytest.raises(DataError, match="delete this file"):
        built(dataset, bm25=BM25Retriever(cache_dir=tmp_path))


def test_dense_tokens_are_those_that_the_model_reads(dataset, model, tmp_path):
    retriever = DenseRetriever(str(model), cache_dir=tmp_path, device="cpu")
    (row,) = built(dataset, dense=retriever)
    texts = [doc.render() for doc in dataset.docs_iter()]
    tokenizer = retriever.encoder._model.tokenizer
    assert row["tokens"] == sum(
        len(tokenizer(text, truncation=True, max_length=32)["input_ids"]) for text in texts
    )
    assert row["texts_encoded"] == len(set(texts))
    assert row["vector_bytes"] == len(set(texts)) * 32 * 4
    listed = files_under(retriever.cache_path(dataset))
    assert row["bytes"] == listed + row["vector_bytes"]


def test_vectors_that_were_there_are_not_charged_to_the_time(dataset, model, tmp_path):
    first = DenseRetriever(str(model), cache_dir=tmp_path, device="cpu")
    texts = [doc.render() for doc in dataset.docs_iter()]
    first.encoder.places(texts[:10], "doc")
    (row,) = built(dataset, dense=first)
    assert row["texts_encoded"] == len(set(texts)) - len(set(texts[:10]))
    assert "another component" in row["note"]


def test_half_precision_takes_half_the_vectors_space(dataset, model, tmp_path):
    sizes = {}
    for storage in ("float32", "float16"):
        retriever = DenseRetriever(
            str(model), storage=storage, cache_dir=tmp_path / storage, device="cpu"
        )
        sizes[storage] = built(dataset, dense=retriever)[0]["vector_bytes"]
    assert sizes["float16"] * 2 == sizes["float32"]


def test_sparse_and_faiss(dataset, model, tmp_path):
    sparse = SparseRetriever(
        str(save_splade(tmp_path / "splade")), cache_dir=tmp_path, device="cpu"
    )
    faiss = FaissRetriever(str(model), cache_dir=tmp_path, device="cpu", kind="flat")
    rows = built(dataset, sparse=sparse, faiss=faiss)
    lengths = sparse.encoder.cache("doc").lengths(np.unique(sparse.places))
    assert rows[0]["vector_bytes"] == lengths.sum() * 8
    assert rows[0]["tokens"] > dataset.num_docs
    assert rows[1]["faiss_bytes"] == faiss.index_path(dataset).stat().st_size
    assert rows[1]["bytes"] > rows[1]["faiss_bytes"] + rows[1]["vector_bytes"]


def test_a_hybrid_is_not_charged_with_its_parts(dataset, tmp_path):
    parts = {
        "hybrid": HybridRetriever(["bm25", "other"]),
        "bm25": BM25Retriever(cache_dir=tmp_path),
        "other": BM25Retriever(k1=0.5, cache_dir=tmp_path),
    }
    rows = {row["retriever"]: row for row in built(dataset, **parts)}
    assert rows["hybrid"]["note"] == "no index of its own; it uses bm25, other"
    assert rows["hybrid"]["bytes"] is None
    assert rows["bm25"]["built"]
    assert rows["other"]["built"]


def test_the_peak_is_of_the_time_since_it_was_asked_for():
    size = 64 << 20
    before = PeakMemory()
    if "VmHWM" not in before.read()["memory"]:
        pytest.skip("NOT CHECKED: no high-water mark that a process can set back")
    # Straight from the kernel: an allocator may hand out pages that are resident already.
    with mmap.mmap(-1, size) as held:
        for start in range(0, size, mmap.PAGESIZE):
            held[start] = 1
    peak = before.read()
    # The kernel counts pages a processor at a time, and is some hundred kB off.
    assert peak["peak_rss_bytes"] >= peak["rss_before_bytes"] + 0.9 * size
    # What was given back does not count again.
    after = PeakMemory().read()
    assert after["peak_rss_bytes"] < peak["peak_rss_bytes"] - size / 2
    assert "VmHWM" in after["memory"]


def test_without_a_mark_that_can_be_set_back_the_peak_is_known_only_if_it_rose(monkeypatch):
    monkeypatch.setattr("evalkit.efficiency.index_side._reset_peak", lambda: False)
    told = PeakMemory().read()
    assert told["peak_rss_bytes"] is None
    assert told["memory"].startswith("not known: below")
    monkeypatch.setattr("evalkit.efficiency.index_side._life_peak", iter([10, 30]).__next__)
    assert PeakMemory().read()["peak_rss_bytes"] == 30


def test_token_vectors_against_single_ones(dataset, tmp_path):
    reranker = LateInteractionReranker(
        str(save_colbert(tmp_path / "colbert")), cache_dir=tmp_path, device="cpu"
    )
    ids = [doc.doc_id for doc in dataset.docs_iter()]
    run = Run.from_dict({dataset.queries[0].query_id: dict.fromkeys(ids, 1.0)})
    reranker.rerank(dataset.queries[:1], dataset, run)
    (row,) = vector_storage({"reranker.colbert": reranker.details, "retriever.bm25": {"x": 1}})
    assert row["component"] == "reranker.colbert"
    # Vectors of 16 numbers in two bytes, one a token.
    assert row["single_bytes_per_doc"] == 32
    assert row["token_bytes_per_doc"] == round(row["doc_tokens"] * 32 / row["docs"])
    assert row["times"] == row["token_bytes_per_doc"] / 32
