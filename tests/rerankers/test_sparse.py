"""SPLADE as reranker against the library's own scores."""

import numpy as np
import pytest
from tiny import save_splade, toy_dataset

from evalkit.errors import ConfigError
from evalkit.rerankers import sparse
from evalkit.rerankers.sparse import SparseReranker, SparseScorer
from evalkit.retrievers.sparse import SparseRetriever
from evalkit.run import Run
from evalkit.sparse_encoders import SparseTextEncoder

TEXTS = ["search index merge", "重排 缓存 latency", "", "a" * 3000, "😀 token 😀", "query"]
PAIRS = [(q, d) for q in ("rerank score", "检索 分词", "") for d in TEXTS]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_splade(tmp_path_factory.mktemp("models") / "splade"))


def all_candidates(dataset):
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    return Run.from_dict({q.query_id: dict.fromkeys(docs, 0.0) for q in dataset.queries})


def test_scores_equal_the_librarys_own(model, tmp_path):
    from sentence_transformers import SparseEncoder

    theirs = SparseEncoder(model, device="cpu")
    queries = theirs.encode_query([q for q, _ in PAIRS])
    docs = theirs.encode_document([d for _, d in PAIRS])
    ours = SparseScorer(SparseTextEncoder(model, batch_size=3, cache_dir=tmp_path)).score(PAIRS)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs.similarity_pairwise(queries, docs), atol=1e-4)
    exact = (queries.to_dense().double() * docs.to_dense().double()).sum(1)
    np.testing.assert_allclose(ours, exact, atol=1e-4)


def test_scores_do_not_depend_on_what_else_is_scored(model, tmp_path, monkeypatch):
    together = SparseScorer(SparseTextEncoder(model, cache_dir=tmp_path / "a")).score(PAIRS)
    monkeypatch.setattr(sparse, "_PAIRS", 4)
    alone = SparseScorer(SparseTextEncoder(model, batch_size=1, cache_dir=tmp_path / "b"))
    np.testing.assert_allclose([alone.score([p])[0] for p in PAIRS], together, atol=1e-5)
    repeated = alone.score([PAIRS[0], PAIRS[4], PAIRS[0], PAIRS[1], PAIRS[2], PAIRS[0]])
    assert len(set(repeated[[0, 2, 5]].tolist())) == 1
    assert alone.score([]).shape == (0,)


def test_details_tell_the_expansion_and_do_not_change_when_it_is_repeated(model, tmp_path):
    dataset = toy_dataset(tmp_path / "toy")
    candidates = all_candidates(dataset)
    first = SparseReranker(model, cache_dir=tmp_path)
    found = first.rerank(dataset.queries, dataset, candidates)
    texts = [doc.render() for doc in dataset.docs_iter()]
    terms = first.encoder.matrix(first.encoder.places(texts, "doc"), "doc").nnz
    assert first.details["docs"] == 40
    assert first.details["terms_a_doc"] == round(terms / 40, 1)
    assert first.details["vector_bytes"] == 8 * terms
    assert first.details["truncated_share"] == 0.0

    second = SparseReranker(model, cache_dir=tmp_path, chunk_size=3, batch_size=5)
    again = second.rerank(dataset.queries, dataset, candidates)
    assert dict(again) == dict(found)
    np.testing.assert_array_equal(again.scores, found.scores)
    assert second.details == first.details
    assert second.counts.scored == 0
    assert "_model" not in vars(second.encoder)


def test_reranker_and_first_stage_give_one_order(model, tmp_path):
    dataset = toy_dataset(tmp_path / "toy")
    retriever = SparseRetriever(model, cache_dir=tmp_path)
    retriever.index(dataset)
    first_stage = retriever.retrieve(dataset.queries, 40)
    reranker = SparseReranker(model, cache_dir=tmp_path)
    found = reranker.rerank(dataset.queries, dataset, first_stage)
    assert dict(found) == dict(first_stage)
    np.testing.assert_allclose(found.scores, first_stage.scores, rtol=1e-6)
    assert "_model" not in vars(reranker.encoder)


def test_pairs_that_lose_text_are_told(model, tmp_path):
    scorer = SparseScorer(SparseTextEncoder(model, max_length=10, cache_dir=tmp_path))
    long, short = "a " * 9, "a " * 8
    pairs = [(short, short), (long, short), (short, long)]
    assert scorer.truncated(pairs).tolist() == [False, True, True]


def test_bad_settings_are_refused(model):
    with pytest.raises(ConfigError, match="chunk_size=0"):
        SparseReranker(model, chunk_size=0)
    with pytest.raises(ConfigError, match="max_length=1"):
        SparseReranker(model, max_length=1)
