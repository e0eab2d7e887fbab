"""Sparse retrieval against brute force: ties, chunks, docs without a shared term, the cache."""

import json

import numpy as np
import pytest
from tiny import save_splade, save_tokenizer, toy_dataset

from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError
from evalkit.queries.transform import Part
from evalkit.retrievers.sparse import SparseRetriever
from evalkit.types import Query


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_splade(tmp_path_factory.mktemp("models") / "splade"))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A model whose vectors are the words of a text, all of weight 1: nothing is expanded."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("models")
    save_tokenizer(folder / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    model = SparseEncoder(modules=[SparseStaticEmbedding(tokenizer)], device="cpu")
    model.save(str(folder / "words"))
    return str(folder / "words")


def brute_force(model, dataset, k):
    from sentence_transformers import SparseEncoder

    theirs = SparseEncoder(model, device="cpu")
    docs = list(dataset.docs_iter())
    vectors = theirs.encode_document([doc.render() for doc in docs])
    queries = theirs.encode_query([query.text for query in dataset.queries])
    ranked = {}
    for query, scores in zip(dataset.queries, theirs.similarity(queries, vectors), strict=True):
        order = sorted(range(len(docs)), key=lambda i: -scores[i])[:k]
        ranked[query.query_id] = {docs[i].doc_id: float(scores[i]) for i in order}
    return ranked


@pytest.mark.parametrize("chunk_size", [1, 7, 64, 16_384])
def test_equals_brute_force_for_any_chunk_size(tmp_path, model, chunk_size):
    dataset = toy_dataset(tmp_path / "toy", docs=100)
    retriever = SparseRetriever(model, chunk_size=chunk_size, cache_dir=tmp_path / "cache")
    retriever.index(dataset)
    found = retriever.retrieve(dataset.queries, 10)
    for query_id, ranked in brute_force(model, dataset, 10).items():
        scores = dict(found[query_id])
        assert scores.keys() == ranked.keys()
        for doc_id, score in ranked.items():
            assert scores[doc_id] == pytest.approx(score, abs=1e-4)


def test_the_chunk_size_changes_no_score_at_all(tmp_path, model):
    dataset = toy_dataset(tmp_path / "toy", docs=60)
    runs = []
    for chunk_size in (1, 13, 16_384):
        retriever = SparseRetriever(model, chunk_size=chunk_size, cache_dir=tmp_path / "cache")
        retriever.index(dataset)
        runs.append(retriever.retrieve(dataset.queries, 20))
    for run in runs[1:]:
        assert dict(run) == dict(runs[0])
        np.testing.assert_array_equal(run.scores, runs[0].scores)


def write(folder, docs, query):
    folder.mkdir()
    (folder / "qrels").mkdir()
    lines = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in docs.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q0", "text": query}))
    qrels = f"query-id\tcorpus-id\tscore\nq0\t{next(iter(docs))}\t1\n"
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return FolderDataset(folder)


@pytest.mark.parametrize("chunk_size", [3, 16_384])
def test_equal_docs_at_the_border_are_taken_by_doc_id_descending(tmp_path, model, chunk_size):
    docs = {"other": "retry limit"} | {f"same{i:02d}": "search index" for i in range(20)}
    dataset = write(tmp_path / "toy", docs, "search index")
    retriever = SparseRetriever(model, chunk_size=chunk_size, cache_dir=tmp_path / "cache")
    retriever.index(dataset)
    found = retriever.retrieve(dataset.queries, 4)["q0"]
    assert [doc for doc, _ in found] == ["same19", "same18", "same17", "same16"]
    assert len({score for _, score in found}) == 1


def test_docs_that_share_no_term_are_not_found(tmp_path, words):
    docs = {"both": "search index", "one": "index merge", "none": "retry limit", "empty": ""}
    dataset = write(tmp_path / "toy", docs, "search index")
    retriever = SparseRetriever(words, cache_dir=tmp_path / "cache")
    retriever.index(dataset)
    assert retriever.retrieve(dataset.queries, 4)["q0"] == [("both", 2.0), ("one", 1.0)]
    nothing = retriever.retrieve([Query("q1", "latency"), Query("q2", "")], 4)
    assert len(nothing) == 0
    assert nothing.query_ids == ("q1", "q2")
    assert len(retriever.retrieve([], 4)) == 0
    assert retriever.details == {
        "docs": 4, "terms_a_doc": 1.5, "vector_bytes": 48, "vector_bytes_a_doc": 12,
    }  # fmt: skip


def test_weighted_parts_add_their_scores(tmp_path, model):
    dataset = toy_dataset(tmp_path / "toy", docs=30)
    retriever = SparseRetriever(model, cache_dir=tmp_path / "cache")
    retriever.index(dataset)
    texts = [("search vector", 1.0), ("rollback", 0.25)]
    alone = [dict(retriever.retrieve([Query("q", text)], 30)["q"]) for text, _ in texts]
    parts = [Part(Query("q", text), weight) for text, weight in texts]
    sides = [Part(Query("r", "search vector"), 2.0, "doc")]
    found = retriever.retrieve_parts(["q", "r"], [parts, sides], 30)
    for doc_id, score in found["q"]:
        total = sum(w * each.get(doc_id, 0.0) for (_, w), each in zip(texts, alone, strict=True))
        assert score == pytest.approx(total, rel=1e-5)
    # This model encodes queries as docs.
    expected = {doc: 2.0 * score for doc, score in alone[0].items()}
    assert dict(found["r"]) == pytest.approx(expected, rel=1e-5)


def test_an_index_is_reused_and_a_changed_corpus_is_encoded_again(tmp_path, model):
    dataset = toy_dataset(tmp_path / "toy")
    first = SparseRetriever(model, cache_dir=tmp_path / "cache")
    assert not first.is_cached(dataset)
    first.index(dataset)
    ranking = first.retrieve(dataset.queries, 10)

    second = SparseRetriever(model, cache_dir=tmp_path / "cache", batch_size=3)
    assert second.is_cached(dataset)
    second.index(dataset)
    again = second.retrieve(dataset.queries, 10)
    assert "_model" not in vars(second.encoder)  # neither docs nor queries were encoded
    np.testing.assert_array_equal(again.scores, ranking.scores)
    assert second.details == first.details

    (second.cache_path(dataset) / "ids.npy").unlink()
    assert not second.is_cached(dataset)
    assert not SparseRetriever(model, max_length=8, cache_dir=tmp_path / "cache").is_cached(dataset)
    corpus = tmp_path / "toy" / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("search", "recall"))
    assert not second.is_cached(FolderDataset(tmp_path / "toy"))


def test_bad_settings_and_models_are_refused_before_indexing(tmp_path, model):
    with pytest.raises(ConfigError, match="sparse: chunk_size=0"):
        SparseRetriever(model, chunk_size=0)
    with pytest.raises(ConfigError, match="doc_template"):
        SparseRetriever(model, doc_template="{body}")
    from tiny import save_bi_encoder

    with pytest.raises(ConfigError, match="is no sparse encoder"):
        SparseRetriever(str(save_bi_encoder(tmp_path / "bi"))).check(10)
