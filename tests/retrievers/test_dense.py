"""Dense retrieval against a brute-force product, with ties, chunks and the cache."""

import json

import numpy as np
import pytest
from tiny import save_bi_encoder, toy_dataset

from evalkit.datasets.folder import FolderDataset
from evalkit.measures import MeasureSet, parse_measures
from evalkit.retrievers.dense import DenseRetriever

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_bi_encoder(tmp_path_factory.mktemp("models") / "bi"))


def brute_force(model, dataset, k):
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(model, device="cpu")
    docs = list(dataset.docs_iter())
    vectors = theirs.encode_document([d.render() for d in docs], normalize_embeddings=True)
    queries = theirs.encode_query([q.text for q in dataset.queries], normalize_embeddings=True)
    ranked = {}
    for query, scores in zip(dataset.queries, queries @ vectors.T, strict=True):
        order = sorted(range(len(docs)), key=lambda i: -scores[i])[:k]
        ranked[query.query_id] = {docs[i].doc_id: float(scores[i]) for i in order}
    return ranked


@pytest.mark.parametrize("chunk_size", [1, 7, 64, 65_536])
def test_equals_brute_force_for_any_chunk_size(tmp_path, model, chunk_size):
    dataset = toy_dataset(tmp_path / "toy", docs=100)
    retriever = DenseRetriever(model, chunk_size=chunk_size, cache_dir=tmp_path / "cache")
    retriever.index(dataset)
    found = retriever.retrieve(dataset.queries, 10)
    expected = brute_force(model, dataset, 10)
    for query_id, ranked in expected.items():
        scores = dict(found[query_id])
        assert scores.keys() == ranked.keys()
        for doc_id, score in ranked.items():
            assert scores[doc_id] == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("chunk_size", [3, 65_536])
def test_equal_docs_at_the_border_are_taken_by_doc_id_descending(tmp_path, model, chunk_size):
    folder = tmp_path / "toy"
    toy_dataset(folder, docs=6, queries=2)
    with open(folder / "corpus.jsonl", "a", encoding="utf-8") as file:
        for i in range(20):
            same = {"_id": f"same{i:02d}", "title": "", "text": "search index"}
            file.write(json.dumps(same) + "\n")
    (folder / "queries.jsonl").write_text('{"_id": "q0", "text": "search index"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tsame03\t1\n")
    dataset = FolderDataset(folder)
    retriever = DenseRetriever(model, chunk_size=chunk_size, cache_dir=tmp_path / "cache")
    retriever.index(dataset)
    found = [doc for doc, _ in retriever.retrieve(dataset.queries, 4)["q0"]]
    assert found == ["same19", "same18", "same17", "same16"]


def test_embeddings_are_reused_and_a_changed_corpus_is_encoded_again(tmp_path, model):
    dataset = toy_dataset(tmp_path / "toy")
    first = DenseRetriever(model, cache_dir=tmp_path / "cache")
    assert not first.is_cached(dataset)
    first.index(dataset)
    ranking = first.retrieve(dataset.queries, 10)

    second = DenseRetriever(model, cache_dir=tmp_path / "cache", batch_size=3)
    assert second.is_cached(dataset)
    second.index(dataset)
    again = second.retrieve(dataset.queries, 10)
    assert "_model" not in vars(second.encoder)  # neither docs nor queries were encoded
    assert dict(again) == dict(ranking)
    np.testing.assert_array_equal(again.scores, ranking.scores)

    assert not DenseRetriever(model, max_length=8, cache_dir=tmp_path / "cache").is_cached(dataset)
    corpus = tmp_path / "toy" / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("search", "recall"))
    assert not second.is_cached(FolderDataset(tmp_path / "toy"))


def test_an_index_cut_short_is_built_again(tmp_path, model):
    dataset = toy_dataset(tmp_path / "toy")
    retriever = DenseRetriever(model, cache_dir=tmp_path / "cache")
    retriever.index(dataset)
    (retriever.cache_path(dataset) / "ids.npy").unlink()
    assert not retriever.is_cached(dataset)
    retriever.index(dataset)
    assert retriever.is_cached(dataset)


@pytest.mark.slow
def test_minilm_gives_the_published_figures_on_scifact(shared_data, tmp_path):
    dataset = FolderDataset(shared_data / "beir" / "scifact")
    retriever = DenseRetriever(MINILM, cache_dir=tmp_path)
    retriever.index(dataset)
    measures = MeasureSet(parse_measures(["nDCG@10", "R@100"]), dataset.qrels)
    values = measures.per_query(retriever.retrieve(dataset.queries, 100))
    assert values["nDCG@10"].mean() == pytest.approx(0.6451, abs=0.0005)  # MTEB
    assert values["R@100"].mean() == pytest.approx(0.925, abs=0.001)
