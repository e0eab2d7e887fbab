"""A conversation in the query: templates, turns, weights, and the weighted sum by hand."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import save_bi_encoder

from evalkit.assembly import connected_retrievers
from evalkit.errors import ConfigError
from evalkit.queries.history import History
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.dense import DenseRetriever
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
TALK = Query("q", "query", ("index merge", "", "vector cache", "branch"))
ALONE = Query("p", "latency")


def texts(history: History, query: Query) -> list[tuple[str, float]]:
    (parts,) = history.parts([query])
    assert {(part.query.query_id, part.query.history, part.side) for part in parts} == {
        (query.query_id, (), "query")
    }
    return [(part.query.text, part.weight) for part in parts]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "index merge vector cache branch query"),
        ({"turns": 1}, "branch query"),
        ({"turns": 2, "separator": " / "}, "vector cache / branch query"),
        ({"turns": 9}, "index merge vector cache branch query"),
        ({"turns": 1, "template": "{query} (after {history})"}, "query (after branch)"),
    ],
)
def test_turns_are_joined_as_the_template_says(settings, text):
    assert texts(History(**settings), TALK) == [(text, 1.0)]
    assert texts(History(**settings), ALONE) == [("latency", 1.0)]


def test_a_turn_that_holds_a_placeholder_stays_as_it_is():
    query = Query("q", "{history}", ("{query}",))
    assert texts(History(), query) == [("{query} {history}", 1.0)]


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({"decay": 0.5}, [1.0, 0.5, 0.25, 0.125]),
        ({"decay": 0.5, "turns": 1}, [1.0, 0.5]),
        ({"weights": [0.8, 0.3]}, [1.0, 0.8, 0.3]),
        ({"weights": [0.8, 0.3, 0.2, 0.1]}, [1.0, 0.8, 0.3, 0.2]),
        ({"weights": []}, [1.0]),
    ],
)
def test_the_newest_turn_weighs_most(settings, weights):
    newest_first = ["query", "branch", "vector cache", "index merge"]
    assert texts(History(**settings), TALK) == list(zip(newest_first, weights, strict=False))
    assert texts(History(**settings), ALONE) == [("latency", 1.0)]


def test_a_turn_of_weight_0_is_left_out():
    assert texts(History(weights=[0, 0.5]), TALK) == [("query", 1.0), ("vector cache", 0.5)]


def scores(run, query_id: str = "q") -> dict[str, float]:
    return dict(run[query_id])


@pytest.mark.parametrize("base", ["bm25", "dense"])
def test_weights_add_the_base_s_own_scores(collection, tmp_path, base):
    dataset = collection(DOCS, {"q": "query", "p": "latency"})
    bases = {
        "bm25": lambda: BM25Retriever(cache_dir=tmp_path / "cache"),
        "dense": lambda: DenseRetriever(
            str(save_bi_encoder(tmp_path / "model")), device="cpu", cache_dir=tmp_path / "cache"
        ),
    }
    history = TransformedRetriever(base, History(weights=[0.5, 0.25]))
    found = connected_retrievers({base: bases[base](), "history": history})
    found["history"].check(5)
    found["history"].index(dataset)
    run = found["history"].retrieve([TALK, ALONE], len(DOCS))
    by_hand = dict.fromkeys(DOCS, 0.0)
    for text, weight in (("query", 1.0), ("branch", 0.5), ("vector cache", 0.25)):
        each = found[base].retrieve([Query("q", text)], len(DOCS))
        for doc_id, score in scores(each).items():
            by_hand[doc_id] += weight * score
    expected = {doc_id: score for doc_id, score in by_hand.items() if score or base == "dense"}
    assert scores(run) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    # A query without history is the base's own, to the last bit.
    alone = found[base].retrieve([ALONE], len(DOCS))
    assert run["p"] == alone["p"]
    assert len(set(scores(run).values())) > 2


def test_a_weighted_query_equals_the_same_terms_by_hand(collection, tmp_path):
    dataset = collection(DOCS, {"q": "query"})
    bm25 = BM25Retriever(cache_dir=tmp_path / "cache")
    history = TransformedRetriever("bm25", History(decay=0.5))
    found = connected_retrievers({"bm25": bm25, "history": history})["history"]
    found.index(dataset)
    words = {"query": 1.0, "branch": 0.5, "vector": 0.25, "cache": 0.25, "index": 0.125}
    words["merge"] = 0.125
    terms = [(bm25.analyzer.terms(word)[0], weight) for word, weight in words.items()]
    by_hand = bm25.retrieve_weighted(["q"], [terms], 9)
    run = found.retrieve([TALK], 9)
    assert run["q"] == by_hand["q"]
    assert np.isfinite(run.scores).all()


def test_a_retriever_that_cannot_add_is_refused_with_weights_and_takes_joined_text(
    collection, tmp_path
):
    dataset = collection(DOCS, {"q": "query"})
    parts = {
        "bm25": BM25Retriever(cache_dir=tmp_path / "cache"),
        "rm3": Rm3Retriever(max_doc_share=1.0),
        "weighted": TransformedRetriever("rm3", History(decay=0.5)),
        "joined": TransformedRetriever("rm3", History()),
    }
    found = connected_retrievers(parts)
    message = r"retriever\.weighted adds weighted scores .* rm3 \(Rm3Retriever\) cannot"
    with pytest.raises(ConfigError, match=message):
        found["weighted"].check(5)
    found["joined"].check(5)
    found["joined"].index(dataset)
    by_hand = found["rm3"].retrieve([Query("q", "index merge vector cache branch query")], 5)
    assert found["joined"].retrieve([TALK], 5)["q"] == by_hand["q"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"turns": 0}, "turns=0; expected at least 1"),
        ({"template": "{query}"}, r"template='\{query\}'; expected \{history\} and \{query\}"),
        ({"template": "{history} {query} {text}"}, "template="),
        ({"decay": 0.0}, "decay=0.0; expected above 0"),
        ({"decay": 1.5}, "decay=1.5"),
        ({"weights": [1, -1]}, r"weights=\[1, -1\]; expected numbers from 0 on"),
        ({"weights": [float("nan")]}, r"weights=\[nan\]"),
        ({"weights": [1], "decay": 0.5}, "decay and weights are two ways"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ConfigError, match=message):
        History(**settings)


def test_every_setting_that_changes_a_score_is_in_the_fingerprint():
    variants = [
        {}, {"turns": 2}, {"template": "{query} {history}"}, {"separator": " | "}, {"decay": 0.5},
        {"weights": [0.5]}, {"decay": 0.5, "turns": 2},
    ]  # fmt: skip
    assert len({History(**v).fingerprint for v in variants}) == len(variants)
    # With weights nothing is joined.
    assert History(decay=0.5, separator="|").fingerprint == History(decay=0.5).fingerprint
