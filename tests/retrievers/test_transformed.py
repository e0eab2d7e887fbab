"""Transformed queries over real retrievers, alone, on top of each other, and in a grid."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny import OracleModel, save_bi_encoder

from evalkit.assembly import Parts, assemble, connected_retrievers
from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError
from evalkit.plan import plan
from evalkit.queries.expand import Expand
from evalkit.queries.history import History
from evalkit.queries.hyde import Hyde
from evalkit.queries.rewrite import Rewrite
from evalkit.rerankers.none import NoReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.dense import DenseRetriever
from evalkit.retrievers.hybrid import HybridRetriever
from evalkit.retrievers.rm3 import Rm3Retriever
from evalkit.retrievers.transformed import TransformedRetriever
from evalkit.types import Query

DOCS = {
    "d1": "query index cache shard",
    "d2": "vector recall precision latency merge",
    "d3": "deploy branch rollback retry",
    "d4": "schema token limit memory query cache",
    "d5": "index index vector branch",
    "d6": "score rerank latency limit",
}
QUERIES = {"q1": "cache", "q2": "latency"}


@pytest.fixture
def dataset(collection):
    return collection(DOCS, QUERIES)


@pytest.fixture
def bm25(tmp_path):
    return BM25Retriever(cache_dir=tmp_path / "cache")


@pytest.fixture
def dense(tmp_path):
    model = save_bi_encoder(tmp_path / "model", query="query: ", document="score: ")
    return DenseRetriever(str(model), device="cpu", cache_dir=tmp_path / "cache")


def ready(dataset, **retrievers):
    """The retrievers, connected, checked and indexed."""
    found = connected_retrievers(retrievers)
    for retriever in found.values():
        retriever.check(5)
        retriever.index(dataset)
    return found


def adding(word):
    """A model that answers with the last word it is given and one more."""
    return OracleModel(lambda message: f"{message.split()[-1]} {word}")


def transformed(of, transform):
    return TransformedRetriever(of, transform)


def test_the_retriever_below_is_asked_with_the_new_text(dataset, bm25):
    found = ready(dataset, bm25=bm25, rewrite=transformed("bm25", Rewrite(adding("branch"))))
    run = found["rewrite"].retrieve(dataset.queries, 5)
    by_hand = [Query("q1", "cache branch"), Query("q2", "latency branch")]
    assert dict(run) == dict(bm25.retrieve(by_hand, 5))
    assert dict(run) != dict(bm25.retrieve(dataset.queries, 5))


def test_the_outer_transform_comes_first(dataset, bm25):
    model = adding("branch")
    found = ready(
        dataset,
        bm25=bm25,
        history=transformed("bm25", History()),
        expand=transformed("history", Expand(model, repeat=1)),
        rewrite=transformed("expand", Rewrite(adding("vector"))),
    )
    talk = Query("q", "cache", ("shard",))
    # expand over history: the query is expanded, then its history is put before it.
    run = found["expand"].retrieve([talk], 5)
    assert run["q"] == bm25.retrieve([Query("q", "shard cache cache branch")], 5)["q"]
    # rewrite over expand over history: what was rewritten has no history any more.
    run = found["rewrite"].retrieve([talk], 5)
    by_hand = "cache vector vector branch"
    assert run["q"] == bm25.retrieve([Query("q", by_hand)], 5)["q"]
    assert found["rewrite"].retriever.root.retriever is bm25


def test_weights_of_transforms_on_top_of_each_other_multiply(dataset, bm25):
    model = OracleModel(lambda message: "vector")
    found = ready(
        dataset,
        bm25=bm25,
        history=transformed("bm25", History(weights=[0.5])),
        hyde=transformed("history", Hyde(model)),
    )
    (parts,) = found["hyde"].retriever.parts([Query("q", "cache", ("shard",))])
    assert [(part.query.text, part.weight, part.side) for part in parts] == [
        ("cache", 0.5, "query"), ("shard", 0.25, "query"), ("vector", 0.5, "doc"),
    ]  # fmt: skip
    run = found["hyde"].retrieve([Query("q", "cache", ("shard",))], 5)
    terms = [("cach", 0.5), ("shard", 0.25), ("vector", 0.5)]
    assert run["q"] == bm25.retrieve_weighted(["q"], [terms], 5)["q"]


def test_hyde_averages_doc_vectors_and_the_query_vector(dataset, dense):
    model = OracleModel(lambda message: "vector merge" if "article" in message else "index shard")
    hyde = transformed("dense", Hyde(model, ["hyde", "hyde_article"]))
    found = ready(dataset, dense=dense, hyde=hyde)
    run = found["hyde"].retrieve(dataset.queries, len(DOCS))
    made_up = dense.encoder.encode(["index shard", "vector merge"], "doc").astype(np.float64)
    queries = dense.encoder.encode(list(QUERIES.values()), "query").astype(np.float64)
    docs = dense.encoder.encode(list(DOCS.values()), "doc").astype(np.float64)
    for query_id, vector in zip(QUERIES, queries, strict=True):
        expected = docs @ ((vector + made_up.sum(axis=0)) / 3)
        assert dict(run[query_id]) == pytest.approx(
            dict(zip(DOCS, expected, strict=True)), abs=1e-5
        )
    # The two sides differ: the same texts as queries would score otherwise.
    as_queries = dense.encoder.encode(["index shard"], "query")
    assert np.abs(as_queries - made_up[:1]).max() > 1e-3


def test_hyde_over_bm25_adds_and_over_a_hybrid_joins(dataset, bm25, dense):
    model = OracleModel(lambda message: "index shard")
    found = ready(
        dataset,
        bm25=bm25,
        dense=dense,
        both=HybridRetriever(["bm25", "dense"], depth=6),
        lexical=transformed("bm25", Hyde(model)),
        fused=transformed("both", Hyde(model)),
    )
    joined = [Query("q1", "cache index shard"), Query("q2", "latency index shard")]
    lexical, by_hand = found["lexical"].retrieve(dataset.queries, 5), bm25.retrieve(joined, 5)
    for query_id in QUERIES:
        halved = {doc_id: score / 2 for doc_id, score in by_hand[query_id]}
        assert dict(lexical[query_id]) == pytest.approx(halved, rel=1e-5)
    fused = found["fused"].retrieve(dataset.queries, 5)
    assert dict(fused) == dict(found["both"].retrieve(joined, 5))


def test_a_blank_rewrite_is_the_original_query_and_is_reported(dataset, bm25):
    model = OracleModel(lambda message: "" if "latency" in message else "branch")
    found = ready(dataset, bm25=bm25, rewrite=transformed("bm25", Rewrite(model)))
    run = found["rewrite"].retrieve(dataset.queries, 5)
    assert run["q2"] == bm25.retrieve(dataset.queries, 5)["q2"]
    assert run["q1"] == bm25.retrieve([Query("q1", "branch")], 5)["q1"]
    details = found["rewrite"].details
    assert (details["queries_asked"], details["blank_answers"]) == (2, 1)
    json.dumps(details)


def test_rm3_expands_what_was_rewritten(dataset, bm25):
    found = ready(
        dataset,
        bm25=bm25,
        rewrite=transformed("bm25", Rewrite(adding("branch"))),
        rm3=Rm3Retriever("rewrite", max_doc_share=1.0),
        plain=Rm3Retriever("bm25", max_doc_share=1.0),
    )
    run = found["rm3"].retrieve(dataset.queries, 5)
    by_hand = [Query("q1", "cache branch"), Query("q2", "latency branch")]
    assert dict(run) == dict(found["plain"].retrieve(by_hand, 5))


def test_a_hybrid_fuses_transformed_retrievers(dataset, bm25, dense):
    found = ready(
        dataset,
        bm25=bm25,
        dense=dense,
        expand=transformed("bm25", Expand(adding("branch"))),
        hybrid=HybridRetriever(["expand", "dense"], depth=6),
    )
    assert found["hybrid"].retrieve(dataset.queries, 5).sizes.tolist() == [5, 5]


def test_the_index_is_that_below_and_a_dry_run_asks_no_model(dataset, bm25):
    model = adding("branch")
    rewrite = transformed("bm25", Rewrite(model))
    history = transformed("rewrite", History())
    found = connected_retrievers({"bm25": bm25, "rewrite": rewrite, "history": history})
    found["history"].index(dataset)
    assert bm25.is_cached(dataset)
    # The index is there; the rewrites are not.
    assert not rewrite.is_cached(dataset)
    assert not history.is_cached(dataset)
    assert model.asked == []
    found["history"].retrieve(dataset.queries, 5)
    assert rewrite.is_cached(dataset)
    assert history.is_cached(dataset)
    assert len(model.asked) == len(QUERIES)


def experiment(dataset, **retrievers):
    settings = {
        "measures": ["nDCG@5"], "gains": "linear", "sweep": {"k": [5]},
        "bootstrap": {"resamples": 200},
    }  # fmt: skip
    parts = Parts(dataset, retrievers, {"none": NoReranker()}, settings, {})
    return assemble(parts)


def test_one_grid_holds_a_retriever_and_its_transformed_self(dataset, bm25):
    model = OracleModel(lambda message: "branch")
    built = experiment(
        dataset, bm25=bm25, rm3=Rm3Retriever(), rewrite=transformed("bm25", Rewrite(model))
    )
    assert plan(built).indexes == {"bm25": False, "rm3": False, "rewrite": False}
    assert model.asked == []
    results = built.run()
    assert {system.retriever for system in results.systems} == {"bm25", "rm3", "rewrite"}
    assert results.details["retriever.rewrite"]["queries_asked"] == 2
    assert len({retriever.fingerprint for retriever in built.retrievers.values()}) == 3
    # Once more: each query was asked about once.
    assert len(model.asked) == len(QUERIES)


def test_a_querys_own_doc_is_no_answer(collection, tmp_path, bm25):
    plain = collection(DOCS, {"d1": DOCS["d1"]})
    dataset = FolderDataset(plain.path, exclude_self=True)
    model = OracleModel(lambda message: "query cache")
    built = experiment(
        dataset, bm25=bm25, hyde=transformed("bm25", Hyde(model)), rm3=Rm3Retriever()
    )
    for system in built.run().runs.values():
        assert "d1" not in {doc_id for doc_id, _ in system["d1"]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"a": "b", "b": "a"}, r"retriever\.a is made of itself \(a → b → a\); name another part"),
        ({"a": "a"}, r"retriever\.a is made of itself \(a → a\)"),
        ({"a": "bm52"}, r"retriever\.a\.of: 'bm52' is not among .* \(bm25, a\)\. Did you mean "),
    ],
)
def test_circles_and_unknown_names_are_refused(bm25, names, message):
    retrievers = {name: transformed(of, History()) for name, of in names.items()}
    with pytest.raises(ConfigError, match=message):
        connected_retrievers({"bm25": bm25, **retrievers})


def test_a_hybrid_of_all_with_a_transform_of_it_is_a_circle(bm25, dense):
    parts = {"bm25": bm25, "dense": dense, "hybrid": HybridRetriever()}
    with pytest.raises(ConfigError, match="made of itself"):
        connected_retrievers({**parts, "history": transformed("hybrid", History())})
    parts["hybrid"] = HybridRetriever(["bm25", "dense"])
    found = connected_retrievers({**parts, "history": transformed("hybrid", History())})
    assert found["history"].fingerprint != found["hybrid"].fingerprint


def test_what_is_wrong_below_or_with_the_model_is_said_before_the_run(tmp_path, bm25):
    class Broken(OracleModel):
        def check(self):
            raise ConfigError("no key")

    model = Broken(lambda message: "")
    found = connected_retrievers({
        "bm25": bm25, "dense": DenseRetriever(str(tmp_path / "absent")),
        "rewrite": transformed("bm25", Rewrite(model)),
        "over": transformed("dense", History()),
        "hybrid": HybridRetriever(["bm25", "rewrite"], depth=10),
        "deep": transformed("hybrid", History()),
    })  # fmt: skip
    with pytest.raises(ConfigError, match="no key"):
        found["rewrite"].check(5)
    with pytest.raises(Exception, match="absent"):
        found["over"].check(5)
    with pytest.raises(ConfigError, match=r"set retriever\.hybrid\.depth=50"):
        found["deep"].check(50)
    assert model.asked == []


def test_the_fingerprint_holds_what_is_below_and_what_is_done(bm25):
    others = {"bm25": bm25, "two": BM25Retriever(k1=2.0)}
    model, other = adding("a"), adding("b")
    other.fingerprint = "another"
    transforms = [
        transformed("bm25", History()), transformed("two", History()),
        transformed("bm25", History(turns=1)), transformed("bm25", Rewrite(model)),
        transformed("bm25", Rewrite(other)), transformed("bm25", Expand(model)),
    ]  # fmt: skip
    for each in transforms:
        each.connect("t", others)
    prints = [each.fingerprint for each in transforms]
    assert len({*prints, bm25.fingerprint}) == len(transforms) + 1
