"""Dense retrieval against a brute-force product, with ties, chunks and the cache."""

import json

import numpy as np
import pytest
from tiny import save_bi_encoder, toy_dataset

from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError
from evalkit.measures import MeasureSet, parse_measures
from evalkit.retrievers.dense import DenseRetriever

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_bi_encoder(tmp_path_factory.mktemp("models") / "bi"))


@pytest.fixture(scope="module")
def scifact_cache(tmp_path_factory):
    """One for all storages: SciFact is encoded once."""
    return tmp_path_factory.mktemp("scifact")


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


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
@pytest.mark.parametrize("chunk_size", [7, 65_536])
def test_half_precision_takes_half_the_bytes_and_rounds_the_scores(
    tmp_path, model, storage, chunk_size
):
    dataset = toy_dataset(tmp_path / "toy", docs=100)
    cache = tmp_path / "cache"
    whole = DenseRetriever(model, cache_dir=cache)
    half = DenseRetriever(model, storage=storage, chunk_size=chunk_size, cache_dir=cache)
    assert len({whole.fingerprint, half.fingerprint}) == 2
    assert whole.encoder.fingerprint != half.encoder.fingerprint
    half.index(dataset)
    whole.index(dataset)
    precise, rounded = (r.retrieve(dataset.queries, 100) for r in (whole, half))
    scores = precise.scores_in(rounded)
    assert (scores != precise.scores).any()
    # |q| |d| = 1, and each value of a doc is rounded by at most this share of itself.
    np.testing.assert_allclose(
        scores, precise.scores, atol=2.0 ** -(11 if storage == "float16" else 8)
    )
    bytes_of = {
        name: sum(p.stat().st_size - 128 for p in (cache / "embeddings").glob(f"*/{name}/*vec*"))
        for name in ("doc", f"doc-{storage}")
    }
    assert bytes_of["doc"] == 2 * bytes_of[f"doc-{storage}"] == 100 * 32 * 4


def test_what_is_there_in_float32_is_rounded_and_not_encoded_again(tmp_path, model):
    dataset = toy_dataset(tmp_path / "toy", docs=30)
    settings = {"storage": "bfloat16"}
    alone = DenseRetriever(model, cache_dir=tmp_path / "alone", **settings)
    alone.index(dataset)
    whole = DenseRetriever(model, cache_dir=tmp_path / "cache")
    whole.index(dataset)
    whole.retrieve(dataset.queries, 10)
    half = DenseRetriever(model, cache_dir=tmp_path / "cache", **settings)
    assert not half.is_cached(dataset)
    half.index(dataset)
    found = half.retrieve(dataset.queries, 10)
    assert "_model" not in vars(half.encoder)
    assert dict(found) == dict(alone.retrieve(dataset.queries, 10))
    assert DenseRetriever(model, cache_dir=tmp_path / "cache", **settings).is_cached(dataset)


def test_vectors_that_float16_cannot_hold_are_refused(tmp_path):
    from sentence_transformers import SentenceTransformer

    folder = str(save_bi_encoder(tmp_path / "large", similarity="dot"))
    large = SentenceTransformer(folder, device="cpu")
    norm = large[0].auto_model.encoder.layer[-1].output.LayerNorm
    norm.weight.data *= 1e5
    large.save(folder)
    dataset = toy_dataset(tmp_path / "toy")
    retriever = DenseRetriever(folder, storage="float16", cache_dir=tmp_path / "cache")
    with pytest.raises(ConfigError, match="storage=float16 holds values up to 65504"):
        retriever.index(dataset)
    other = DenseRetriever(folder, storage="bfloat16", cache_dir=tmp_path / "cache")
    other.index(dataset)
    assert len(other.retrieve(dataset.queries, 5)) == 5 * len(dataset.queries)


def test_a_storage_that_does_not_exist(tmp_path, model):
    with pytest.raises(ConfigError, match="storage=int8: expected one of float32, float16, bf"):
        DenseRetriever(model, storage="int8")


def test_no_queries_find_nothing(tmp_path, model):
    retriever = DenseRetriever(model, cache_dir=tmp_path / "cache")
    retriever.index(toy_dataset(tmp_path / "toy"))
    assert len(retriever.retrieve([], 5)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["float32", "float16", "bfloat16"])
def test_minilm_gives_the_published_figures_on_scifact(shared_data, scifact_cache, storage):
    dataset = FolderDataset(shared_data / "beir" / "scifact")
    retriever = DenseRetriever(MINILM, storage=storage, cache_dir=scifact_cache)
    retriever.index(dataset)
    measures = MeasureSet(parse_measures(["nDCG@10", "R@100"]), dataset.qrels)
    values = measures.per_query(retriever.retrieve(dataset.queries, 100))
    near = 0.001 if storage == "bfloat16" else 0.0005
    assert values["nDCG@10"].mean() == pytest.approx(0.6451, abs=near)  # MTEB
    assert values["R@100"].mean() == pytest.approx(0.925, abs=0.001)
