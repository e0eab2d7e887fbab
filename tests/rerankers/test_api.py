"""Rerank endpoints against a real server on loopback: nothing lost, nothing guessed."""

import numpy as np
import pytest
from loopback import (
    Loopback,
    cut,
    duplicate,
    garbage,
    on_ranks,
    out_of_range,
    relevance,
    slow,
    status,
    too_few,
)  # fmt: skip
from tiny import toy_dataset

from evalkit.assembly import connected_rerankers
from evalkit.errors import ConfigError, RemoteError
from evalkit.remote.key import missing_keys
from evalkit.rerankers.api import ApiReranker
from evalkit.run import Run

KEY = "sk-distinctive-0123456789abcdef"
STYLES = [("cohere", "/cohere"), ("jina", "/jina"), ("voyage", "/voyage"), ("tei", "")]


@pytest.fixture
def server():
    with Loopback() as running:
        yield running


@pytest.fixture
def make(server, tmp_path):
    """A reranker of the server whose client does not wait."""

    def build(path="/cohere", model="m", cache="cache", **settings):
        reranker = ApiReranker(server.url + path, model, cache_dir=tmp_path / cache, **settings)
        reranker.client.sleep = lambda seconds, stopped: None
        return reranker

    return build


@pytest.fixture
def dataset(tmp_path):
    return toy_dataset(tmp_path / "toy")


def all_candidates(dataset):
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    return Run.from_dict({q.query_id: dict.fromkeys(docs, 0.0) for q in dataset.queries})


def check_scores(dataset, found):
    docs = {doc.doc_id: doc.render() for doc in dataset.docs_iter()}
    for query in dataset.queries:
        got = dict(found[query.query_id])
        right = {doc_id: relevance(query.text, text) for doc_id, text in docs.items()}
        assert got.keys() == right.keys()
        np.testing.assert_allclose([got[d] for d in right], list(right.values()), rtol=1e-6)


@pytest.mark.parametrize(("style", "path"), STYLES)
def test_scores_are_mapped_by_index_in_every_style(server, make, dataset, style, path):
    reranker = make(path, style=style, docs_per_request=7)
    found = reranker.rerank(dataset.queries, dataset, all_candidates(dataset))
    check_scores(dataset, found)
    assert server.count == 8 * 6  # 8 queries, 40 docs each
    assert reranker.work["requests"] == 48
    assert reranker.work["scored"] == 320
    first = server.requests[0]
    assert first.path == f"{path}/rerank"
    assert "authorization" not in first.headers
    assert len(first.payload["texts" if style == "tei" else "documents"]) <= 7
    again = make(path, style=style, docs_per_request=7)
    check_scores(dataset, again.rerank(dataset.queries, dataset, all_candidates(dataset)))
    assert server.count == 48
    assert again.work == {
        "asked": 320, "reused": 320, "scored": 0, "requests": 0, "reused_answers": 0,
        "retries": 0, "input_tokens": 0, "output_tokens": 0,
    }  # fmt: skip


def test_a_request_says_what_its_format_wants(server, make):
    pair = [("a", "doc a")]
    make("/cohere", max_tokens_per_doc=512, cache="1").scorer.score(pair)
    make("/jina", style="jina", cache="2", extra={"truncate": True}).scorer.score(pair)
    make("/voyage", style="voyage", cache="3").scorer.score(pair)
    make("", style="tei", cache="4").scorer.score(pair)
    common = {"query": "a", "documents": ["doc a"], "model": "m"}
    assert [request.payload for request in server.requests] == [
        {**common, "top_n": 1, "max_tokens_per_doc": 512},
        {**common, "top_n": 1, "return_documents": False, "truncate": True},
        {**common, "top_k": 1, "return_documents": False, "truncation": True},
        {"query": "a", "texts": ["doc a"], "raw_scores": True, "truncate": True},
    ]


@pytest.mark.parametrize(("style", "path"), STYLES)
def test_a_server_that_misbehaves_loses_nothing(server, make, dataset, style, path):
    server.script += [
        status(429, "1"), too_few(), None, duplicate(), status(500), None, out_of_range(), cut(),
        garbage(), slow(1.0), on_ranks(lambda ranks: [{**ranks[0], "index": "0"}, *ranks[1:]]),
        on_ranks(lambda ranks: [{"index": rank["index"]} for rank in ranks]),
        on_ranks(lambda ranks: [{**rank, "relevance_score": float("nan"), "score": None}
                                for rank in ranks]),
        on_ranks(lambda ranks: []), on_ranks(lambda ranks: [*ranks, ranks[0]]), garbage("{}"),
        garbage("[]"), garbage("null"),
    ]  # fmt: skip
    faults = sum(fault is not None for fault in server.script)
    reranker = make(path, style=style, docs_per_request=10, retries=20, timeout=0.5)
    found = reranker.rerank(dataset.queries, dataset, all_candidates(dataset))
    check_scores(dataset, found)
    assert server.count == 8 * 4 + faults
    assert reranker.work["retries"] == faults


@pytest.mark.parametrize(
    ("fault", "words"),
    [(too_few, "3 ranks for 4 docs, 3 of the docs"), (duplicate, "4 ranks for 4 docs, 3 of"),
     (out_of_range, "4 ranks for 4 docs, 3 of the docs with a score")],
)  # fmt: skip
def test_wrong_ranks_that_stay_are_an_error_that_names_query_and_counts(server, make, fault, words):
    server.fault = lambda received: fault() if received.payload["query"] == "bad query" else None
    good = [("good query", f"doc {i}") for i in range(4)]
    bad = [("bad query", f"doc {i}") for i in range(4)]
    with pytest.raises(RemoteError, match=rf"query 'bad query': {words}.*\(3 tries\)"):
        make(retries=2, concurrency=1).scorer.score(good + bad)
    assert server.count == 1 + 3
    # The good one is kept, and a server that has come to its senses gives the other.
    server.fault = lambda received: None
    scores = make(retries=2).scorer.score(good + bad)
    np.testing.assert_allclose(scores, [relevance(q, d) for q, d in good + bad], rtol=1e-6)
    assert server.count == 1 + 3 + 1


def test_a_budget_ends_the_run_and_a_larger_one_goes_on(server, make, dataset):
    candidates = all_candidates(dataset)
    with pytest.raises(RemoteError, match="max_requests=10 reached after 10 requests"):
        make(docs_per_request=10, max_requests=10).rerank(dataset.queries, dataset, candidates)
    assert server.count == 10
    larger = make(docs_per_request=10, max_cost=0.1, price_per_request=0.001)
    check_scores(dataset, larger.rerank(dataset.queries, dataset, candidates))
    assert server.count == 32
    assert larger.work["requests"] == 22
    assert larger.work["reused_answers"] == 10
    assert larger.work["cost_microusd"] == 22_000
    larger.rerank(dataset.queries, dataset, candidates)
    assert larger.work["cost_microusd"] == 0  # of the last call


def test_the_same_docs_in_another_order_are_the_same_requests(server, make):
    pairs = [(q, f"doc {i}") for i in range(9) for q in ("a", "b")]
    make(docs_per_request=5).scorer.score(pairs)
    scores = make(docs_per_request=5).scorer.score(pairs[::-1] + pairs[:3])
    assert server.count == 4
    right = [relevance(q, d) for q, d in pairs[::-1] + pairs[:3]]
    np.testing.assert_allclose(scores, right, rtol=1e-6)
    assert make().scorer.score([]).shape == (0,)


def test_texts_of_all_kinds_arrive_as_they_are(server, make):
    docs = ["", "重排 缓存", '😀 "quoted" \\ back', "a" * 10_000, "line\nbreak\x00"]
    scores = make(docs_per_request=2).scorer.score([("重排", doc) for doc in docs])
    np.testing.assert_allclose(scores, [relevance("重排", doc) for doc in docs], rtol=1e-6)
    sent = [doc for request in server.requests for doc in request.payload["documents"]]
    assert sorted(sent) == sorted(docs)


def test_the_estimate_is_what_a_run_sends_at_most(server, make, dataset):
    reranker = make(docs_per_request=7, price_per_request=0.002)
    sizes = np.array([0, 1, 7, 8, 40], dtype=np.int64)
    assert reranker.estimate(sizes) == {"requests": 0 + 1 + 1 + 2 + 6, "US cents": 2}
    assert make().estimate(sizes) == {"requests": 4}
    candidates = all_candidates(dataset)
    reranker.rerank(dataset.queries, dataset, candidates)
    assert server.count == reranker.estimate(candidates.sizes)["requests"]


def test_the_fingerprint_holds_what_can_change_a_score_and_nothing_else(make, monkeypatch):
    monkeypatch.setenv("LOOPBACK_KEY", KEY)
    base = make().fingerprint
    other = [
        make(version="2"), make(model="n"), make("/jina"), make(style="jina"), make(style="tei"),
        make(max_tokens_per_doc=512), make(extra={"a": 1}), make(doc_template="{text}"),
    ]  # fmt: skip
    assert len({base, *(reranker.fingerprint for reranker in other)}) == 9
    same = [
        make(concurrency=9), make(retries=0), make(max_requests=3), make(docs_per_request=3),
        make(api_key_env="LOOPBACK_KEY"), make("/cohere/"), make("/cohere/rerank"),
        make(price_per_request=1.0, max_cost=2.0), make(longest_wait=1), make(timeout=3),
    ]  # fmt: skip
    assert {base} == {reranker.fingerprint for reranker in same}


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"style": "coherent"}, "style=coherent: expected one of cohere, jina"),
     ({"docs_per_request": 0}, "docs_per_request=0"),
     ({"style": "jina", "max_tokens_per_doc": 9}, "a setting of style=cohere"),
     ({"max_tokens_per_doc": 0}, "max_tokens_per_doc=0"),
     ({"extra": {"documents": []}}, r"extra\.documents is set by evalkit"),
     ({"model": "jinaai/jina-reranker-v3"}, "its scores depend on the list"),
     ({"max_cost": 1.0}, "max_cost=1.0 needs a price")],
)  # fmt: skip
def test_bad_settings_are_refused(make, settings, words):
    with pytest.raises(ConfigError, match=words):
        make(**settings)


def test_the_check_asks_for_model_and_key_and_sends_nothing(server, make, monkeypatch):
    monkeypatch.delenv("LOOPBACK_KEY", raising=False)
    with pytest.raises(ConfigError, match=f"model is not set; name the model .*{server.url}"):
        make(model=None).check(10)
    with pytest.raises(ConfigError, match="LOOPBACK_KEY is not set"):
        make(api_key_env="LOOPBACK_KEY").check(10)
    monkeypatch.setenv("LOOPBACK_KEY", KEY)
    make(api_key_env="LOOPBACK_KEY").check(10)
    assert server.count == 0


def test_messages_name_the_settings_of_the_selected_reranker(server, make, dataset, monkeypatch):
    monkeypatch.delenv("LOOPBACK_KEY", raising=False)
    reranker = make(api_key_env="LOOPBACK_KEY")
    connected_rerankers(dataset, {}, {"mine": reranker})
    with pytest.raises(ConfigError, match=r"with reranker\.mine\.api_key_env=NAME"):
        reranker.check(10)
    nameless = make(model=None)
    connected_rerankers(dataset, {}, {"mine": nameless})
    with pytest.raises(ConfigError, match=r"reranker\.mine\.model is not set"):
        nameless.check(10)


def test_a_missing_key_is_noted_where_nothing_is_sent(server, make, monkeypatch):
    monkeypatch.delenv("LOOPBACK_KEY", raising=False)
    reranker = make(api_key_env="LOOPBACK_KEY")
    with missing_keys() as missing:
        reranker.check(10)
    assert len(missing) == 1
    assert "LOOPBACK_KEY is not set" in missing[0]
    with pytest.raises(ConfigError, match="LOOPBACK_KEY is not set"):
        reranker.check(10)
    assert server.count == 0
