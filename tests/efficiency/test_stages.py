"""Real components, one query at a time: nothing kept of a query is served, and none is kept."""

import numpy as np
import pytest
from served import experiment
from tiny import (
    HashScorer,
    save_bi_encoder,
    save_colbert,
    save_cross_encoder,
    save_splade,
    toy_dataset,
)

from evalkit.assembly import connected_rerankers, connected_retrievers
from evalkit.efficiency.stages import pipelines
from evalkit.encoders import TextEncoder
from evalkit.measured import cold
from evalkit.rerankers.bi_encoder import BiEncoderReranker
from evalkit.rerankers.cascade import CascadeReranker
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.rerankers.fused import FusedReranker
from evalkit.rerankers.late_interaction import LateInteractionReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.dense import DenseRetriever
from evalkit.retrievers.hybrid import HybridRetriever
from evalkit.retrievers.sparse import SparseRetriever
from evalkit.sparse_encoders import SparseTextEncoder
from evalkit.token_encoders import TokenEncoder

KS = (5, 10)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    made = {
        "bi": save_bi_encoder(folder / "bi"),
        "cross": save_cross_encoder(folder / "cross"),
        "splade": save_splade(folder / "splade"),
        "colbert": save_colbert(folder / "colbert"),
    }
    return {name: str(path) for name, path in made.items()}


@pytest.fixture
def ran(tmp_path, models):
    """An experiment that has run, so that everything is kept: (experiment, results, cache)."""
    cache = tmp_path / "cache"
    dataset = toy_dataset(tmp_path / "toy", docs=60, queries=6)
    retrievers = connected_retrievers(
        {
            "bm25": BM25Retriever(cache_dir=cache),
            "dense": DenseRetriever(models["bi"], cache_dir=cache),
            "sparse": SparseRetriever(models["splade"], cache_dir=cache),
            "hybrid": HybridRetriever(["bm25", "dense"], depth=20),
        }
    )
    rerankers = connected_rerankers(
        dataset,
        retrievers,
        {
            "hash": PointwiseReranker(HashScorer(), cache_dir=cache),
            "bi": BiEncoderReranker(models["bi"], cache_dir=cache),
            "cross": CrossEncoderReranker(models["cross"], cache_dir=cache),
            "late": LateInteractionReranker(models["colbert"], cache_dir=cache),
            "cascade": CascadeReranker(["hash 4", "cross"]),
        },
    )
    made = experiment(dataset, retrievers, rerankers, KS)
    return made, made.run(), cache


def everything_in(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_served_answer_is_the_evaluated_ranking_and_leaves_nothing_behind(ran):
    made, results, cache = ran
    before = everything_in(cache)
    assert before
    for pipeline in pipelines(made):
        ranking = dict(results.runs[pipeline.system])
        for query in made.dataset.queries:
            answer = pipeline.serve(query)
            expected = ranking[query.query_id][: len(answer)]
            if pipeline.reranker in ("none", "hash", "cascade"):
                assert answer == expected, pipeline.system
            else:  # a model's last bits depend on what else is in a batch
                assert set(answer) == set(expected), pipeline.system
    assert everything_in(cache) == before


def test_every_query_is_encoded_searched_and_scored_anew(ran, monkeypatch):
    made, _, _ = ran
    encoded, searched = [], []
    for kind in (TextEncoder, SparseTextEncoder, TokenEncoder):
        _spy(monkeypatch, kind, "_encode", lambda texts, side: encoded.append((side, len(texts))))
    _spy(monkeypatch, BM25Retriever, "_scores", lambda text: searched.append(text))
    scorer = made.rerankers["hash"].scorer
    query = made.dataset.queries[0]
    expected = {"bm25": 0, "dense": 1, "sparse": 1, "hybrid": 1}
    own = {"none": 0, "hash": 0, "bi": 1, "cross": 0, "late": 1, "cascade": 0}
    for pipeline in pipelines(made):
        for _ in range(2):  # the second time is as the first
            encoded.clear(), searched.clear(), scorer.asked.clear()
            pipeline.serve(query)
            wanted = expected[pipeline.retriever] + own[pipeline.reranker]
            assert encoded == [("query", 1)] * wanted, pipeline.system
            assert len(searched) == (pipeline.retriever in ("bm25", "hybrid"))
            if pipeline.reranker in ("hash", "cascade"):
                assert len(scorer.asked) == pipeline.k, pipeline.system


def _spy(monkeypatch, kind, name, note):
    real = getattr(kind, name)

    def spied(self, *arguments):
        note(*arguments)
        return real(self, *arguments)

    monkeypatch.setattr(kind, name, spied)


def test_the_score_store_is_not_even_looked_at(ran, monkeypatch):
    made, _, _ = ran
    from evalkit.scoring.store import ScoreStore

    def refuse(self, *arguments):
        raise AssertionError("the store was used")

    monkeypatch.setattr(ScoreStore, "lookup", refuse)
    monkeypatch.setattr(ScoreStore, "add", refuse)
    for pipeline in pipelines(made):
        pipeline.serve(made.dataset.queries[1])
    with pytest.raises(AssertionError, match="store was used"):  # as it is outside
        made.rerankers["hash"].rerank(made.dataset.queries, made.dataset, _candidates(made))


def _candidates(made):
    return made.retrievers["bm25"].retrieve(made.dataset.queries, 5)


def test_query_tokens_of_the_engine_are_made_anew(ran, monkeypatch):
    made, _, _ = ran
    engine = made.rerankers["cross"].scorer._engine
    fresh = []
    _spy(monkeypatch, type(engine._cache), "fresh", lambda texts: fresh.extend(texts))
    query = made.dataset.queries[2]
    docs = [doc.render() for doc in list(made.dataset.docs_iter())[:6]]
    pairs = [(query.text, doc) for doc in docs]
    kept = made.rerankers["cross"].scorer.score(pairs)
    assert fresh == []
    with cold():
        anew = made.rerankers["cross"].scorer.score(pairs)
    assert fresh == [query.text]
    np.testing.assert_array_equal(anew, kept)


def test_stages_are_those_that_a_retriever_tells_apart(ran):
    made, _, _ = ran
    ticks = iter(range(10**6))
    found = {
        pipeline.system: set(pipeline.timed(made.dataset.queries[0], lambda: next(ticks)).ns)
        for pipeline in pipelines(made)
    }
    always = {"retrieval", "post_processing", "total"}
    assert found["bm25"] == always | {"query_processing"}
    assert found["dense"] == found["sparse"] == always | {"query_encoding"}
    assert found["hybrid"] == always | {"query_processing", "query_encoding"}
    # what a reranker encodes is its own time
    assert found["bm25+bi+k5"] == always | {"query_processing", "rerank"}


def test_the_answer_is_cut_to_the_largest_n(ran):
    made, _, _ = ran
    cut = experiment(made.dataset, made.retrievers, made.rerankers, KS, n=(2, 3))
    for pipeline in pipelines(cut):
        assert len(pipeline.serve(made.dataset.queries[0])) == 3


def test_what_fits_weights_or_models_to_queries_says_so(ran):
    made, _, _ = ran
    rerankers = connected_rerankers(
        made.dataset,
        made.retrievers,
        {
            **made.rerankers,
            "set": FusedReranker("hash", weights=[0.5]),
            "tuned": FusedReranker("hash", weights=[0.2, 0.8], tune="cross_validation"),
            "above": CascadeReranker(["tuned 4", "cross"]),
        },
    )
    fits = {name: getattr(each, "fits_to_queries", False) for name, each in rerankers.items()}
    assert {name for name, fitted in fits.items() if fitted} == {"tuned", "above"}
