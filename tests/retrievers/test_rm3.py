"""RM3 against the formula in plain Python, on BM25 scores by hand; and over transformed queries."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict

import pytest

from evalkit.analysis import Analyzer
from evalkit.assembly import connected_retrievers
from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError
from evalkit.queries.history import History
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.hybrid import HybridRetriever
from evalkit.retrievers.rm3 import Rm3Retriever, interpolated, relevance_model
from evalkit.retrievers.transformed import TransformedRetriever
from evalkit.types import Query

DOCS = {
    "d1": "The cat sat on the mat and the cats purred at the cat flap",
    "d2": "Dogs and cats are running in the rain; rain, rain and more rain",
    "d3": "A rainy day; the dog runs home with an umbrella and an umbrella stand",
    "d4": "Information retrieval ranks documents by relevance judgements",
    "d5": "Ranking documents: relevance, relevance, relevance!",
    "d6": "Entirely different subject matter: umbrella manufacture in 1999",
    "d7": "Judgements of relevance are made by assessors, who read documents all day",
    "d8": "一只猫在雨中奔跑，雨伞在家里",
    "d9": "信息检索按相关性对文档排序，相关性由评审员判断",
    "d10": "猫和狗都怕雨，下雨天带雨伞",
    "d11": "",
}
QUERIES = {
    "q1": "cats in the rain",
    "q2": "ranking relevance relevance",
    "q3": "dog unseenword",
    "zh": "雨中的猫",
    "nothing": "zebra",
}
K1, B = 1.2, 0.75


@pytest.fixture
def dataset(collection):
    return collection(DOCS, QUERIES)


@pytest.fixture
def built(dataset, tmp_path):
    """Connects retrievers as an experiment does, and indexes them."""

    def build(**retrievers) -> dict:
        bm25 = BM25Retriever(K1, B, cache_dir=tmp_path / "cache")
        found = connected_retrievers({"bm25": bm25, **retrievers})
        for retriever in found.values():
            retriever.check(10)
            retriever.index(dataset)
        return found

    return build


def reference(query: str, fb_docs: int, fb_terms: int, weight: float, share: float) -> dict:
    """score(d) = Σ_t P'(t) · BM25(t, d), all of it from the docs' terms."""
    analyzer = Analyzer()
    docs = {doc_id: Counter(analyzer.terms(text)) for doc_id, text in DOCS.items()}
    mean_length = sum(sum(counts.values()) for counts in docs.values()) / len(docs)

    def df(term: str) -> int:
        return sum(term in counts for counts in docs.values())

    def bm25(term: str, doc_id: str) -> float:
        tf, length = docs[doc_id][term], sum(docs[doc_id].values())
        idf = math.log(1 + (len(docs) - df(term) + 0.5) / (df(term) + 0.5))
        return idf * tf / (tf + K1 * (1 - B + B * length / mean_length)) if tf else 0.0

    def ranking(weights: dict) -> list:
        scores = {d: sum(w * bm25(t, d) for t, w in weights.items()) for d in docs}
        kept = [(doc_id, score) for doc_id, score in scores.items() if score > 0]
        return sorted(sorted(kept, reverse=True), key=lambda item: -item[1])

    def best(weights: dict) -> dict:
        return dict(sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:fb_terms])

    terms = analyzer.terms(query)
    of_query = {term: count / len(terms) for term, count in Counter(terms).items()}
    model: defaultdict[str, float] = defaultdict(float)
    for doc_id, score in ranking(of_query)[:fb_docs]:
        usable = {
            t: n
            for t, n in docs[doc_id].items()
            if re.fullmatch(r"[a-z0-9\u4e00-\u9fff]{1,20}", t) and df(t) / len(docs) <= share
        }
        frequent = best(usable)
        for term, count in frequent.items():
            model[term] += score * count / sum(frequent.values())
    likeliest = best(model)
    total = sum(likeliest.values())
    expanded: defaultdict[str, float] = defaultdict(float)
    for term, p in of_query.items():
        expanded[term] += weight * p
    for term, p in likeliest.items():
        expanded[term] += (1 - weight) * p / total
    # Ours are the same times the length of the query.
    return {doc_id: len(terms) * score for doc_id, score in ranking(expanded)}


@pytest.mark.parametrize(
    ("fb_docs", "fb_terms", "weight", "share"),
    [(10, 10, 0.5, 0.5), (2, 3, 0.3, 0.2), (1, 20, 0.0, 1.0), (3, 5, 0.9, 0.3)],
)
def test_equals_the_formula(built, dataset, fb_docs, fb_terms, weight, share):
    rm3 = Rm3Retriever("bm25", fb_docs, fb_terms, weight, share)
    found = built(rm3=rm3)["rm3"].retrieve(dataset.queries, 100)
    for query_id, text in QUERIES.items():
        expected = reference(text, fb_docs, fb_terms, weight, share)
        ours = dict(found[query_id])
        assert ours == pytest.approx(expected, rel=1e-5), query_id
        assert len(expected) > 1 or query_id == "nothing"


def test_expansion_reaches_docs_that_the_query_does_not(built, dataset):
    found = built(rm3=Rm3Retriever(max_doc_share=0.5))
    plain, expanded = (
        {d for d, _ in found[name].retrieve(dataset.queries, 100)["q3"]} for name in ("bm25", "rm3")
    )
    assert plain < expanded


def test_the_original_query_alone_is_bm25_to_the_last_bit(built, dataset):
    found = built(rm3=Rm3Retriever(original_query_weight=1.0))
    plain, rm3 = (found[name].retrieve(dataset.queries, 100) for name in ("bm25", "rm3"))
    assert [rm3[q] for q in QUERIES] == [plain[q] for q in QUERIES]
    assert rm3.scores.tobytes() == plain.scores.tobytes()


def test_the_relevance_model_by_hand():
    feedback = [({"b": 0.5, "a": 0.5}, 3.0), ({"c": 0.75, "a": 0.25}, 1.0)]
    # a: 1.5 + .25, b: 1.5, c: .75
    assert relevance_model(feedback, 9) == pytest.approx({"a": 1.75 / 4, "b": 1.5 / 4, "c": 0.1875})
    assert list(relevance_model(feedback, 2)) == ["a", "b"]
    assert relevance_model(feedback, 2)["b"] == pytest.approx(1.5 / 3.25)
    # Of equals the first by name, whatever the order they come in.
    assert relevance_model([({"z": 0.5, "y": 0.5}, 1.0)], 1) == {"y": 1.0}
    assert relevance_model([], 5) == relevance_model([({}, 2.0)], 5) == {}
    assert interpolated([("q", 1.0), ("q", 1.0)], {"a": 0.25, "b": 0.75}, 0.2) == [
        ("q", 0.2), ("q", 0.2), ("a", pytest.approx(0.4)), ("b", pytest.approx(1.2)),
    ]  # fmt: skip


def test_frequent_terms_and_those_that_are_no_words_are_not_added(collection, tmp_path):
    texts = {
        "d1": "apple common number_five averyveryverylongwordindeed 1999 x雨",
        "d2": "common plum",
        "d3": "common fig",
    }
    dataset = collection(texts, {"q": "apple"})
    bm25 = BM25Retriever(cache_dir=tmp_path / "cache")
    rm3 = Rm3Retriever(max_doc_share=0.5)
    found = connected_retrievers({"bm25": bm25, "rm3": rm3})
    found["rm3"].index(dataset)
    feedback = found["bm25"].retrieve(dataset.queries, 5)
    (terms,) = rm3.expanded_queries(dataset.queries, feedback)
    added = {term for term, _ in terms[1:]}
    assert {"appl", "1999"} <= added
    assert not added & {"common", "number_f", "number_five", "averyveryverylongwordinde"}
    assert all(term.isalnum() and len(term) <= 20 for term in added)


def test_a_query_without_feedback_keeps_its_words_and_is_counted(built, dataset):
    rm3 = Rm3Retriever()  # a tenth of eleven docs is one doc: most terms are too frequent
    found = built(rm3=rm3)["rm3"]
    assert found.retrieve(dataset.queries, 100)["nothing"] == []
    assert found.details == {"queries_without_feedback": 1}


def test_a_querys_own_doc_gives_no_feedback(collection, tmp_path):
    plain = collection(DOCS, {"d2": DOCS["d2"], "d5": DOCS["d5"]})
    dataset = FolderDataset(plain.path, exclude_self=True)
    rm3 = Rm3Retriever(fb_docs=1, original_query_weight=0.0, max_doc_share=1.0)
    bm25 = BM25Retriever(cache_dir=tmp_path / "cache")
    found = connected_retrievers({"bm25": bm25, "rm3": rm3})["rm3"]
    found.index(dataset)
    analyzer = bm25.analyzer
    second = bm25.retrieve(dataset.queries, 2)["d5"][1][0]
    feedback = rm3.base.retrieve(dataset.queries, 2).without_self().top(1)
    (_, terms) = rm3.expanded_queries(dataset.queries, feedback)
    assert {term for term, _ in terms} <= set(analyzer.terms(DOCS[second]))
    expected = bm25.retrieve_weighted(["d5"], [terms], 5)["d5"]
    assert found.retrieve(dataset.queries, 5)["d5"] == expected


def test_over_a_conversation_the_joined_query_is_what_is_expanded(built, dataset):
    found = built(
        history=TransformedRetriever("bm25", History()),
        rm3=Rm3Retriever("history", max_doc_share=0.5),
        plain=Rm3Retriever("bm25", max_doc_share=0.5),
    )
    asked = [Query("q", "rain", ("dogs", "umbrella")), Query("p", "relevance")]
    joined = [Query("q", "dogs umbrella rain"), Query("p", "relevance")]
    over, by_hand = found["rm3"].retrieve(asked, 9), found["plain"].retrieve(joined, 9)
    assert (over["q"], over["p"]) == (by_hand["q"], by_hand["p"])
    assert found["rm3"].fingerprint != found["plain"].fingerprint


def test_over_a_weighted_conversation_the_weights_stay(built, dataset):
    rm3 = Rm3Retriever("history", max_doc_share=0.5)
    built(history=TransformedRetriever("bm25", History(weights=[0.5])), rm3=rm3)
    asked = [Query("q", "rain", ("dogs",))]
    (terms,) = rm3.expanded_queries(asked, rm3.base.retrieve(asked, 3))
    assert terms[:2] == [("rain", 0.5), ("dog", 0.25)]
    # Feedback terms weigh (1 − λ) × the query's length, 1.5.
    assert sum(weight for _, weight in terms[2:]) == pytest.approx(0.75)


def test_a_hybrid_fuses_both(built, dataset):
    found = built(rm3=Rm3Retriever(), hybrid=HybridRetriever())
    assert set(found["hybrid"].retriever.uses) == {"bm25", "rm3"}
    assert found["hybrid"].retrieve(dataset.queries, 5)["q1"]


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ("bm52", r"retriever\.rm3\.of: 'bm52' is not among .* Did you mean 'bm25'\? Add it: "
            r"retriever=\[bm52,bm25,"),
        ("hybrid", r"retriever\.rm3\.of: hybrid \(HybridRetriever\) is no BM25 retriever"),
        ("rm3", r"retriever\.rm3 is made of itself \(rm3 → rm3\)"),
        ("joined", r"retriever\.\w+ is made of itself"),
    ],
)  # fmt: skip
def test_what_cannot_be_below(built, of, message):
    with pytest.raises(ConfigError, match=message):
        built(
            other=BM25Retriever(k1=2),
            hybrid=HybridRetriever(["bm25", "other"]),
            joined=TransformedRetriever("rm3" if of == "joined" else "bm25", History()),
            rm3=Rm3Retriever(of),
        )


def test_rm3_of_rm3_is_refused(built):
    with pytest.raises(ConfigError, match=r"retriever\.twice\.of: rm3 \(Rm3Retriever\) is no BM25"):
        built(rm3=Rm3Retriever(), twice=Rm3Retriever("rm3"))


@pytest.mark.parametrize(
    "settings",
    [{"fb_docs": 0}, {"fb_terms": 0}, {"original_query_weight": 1.1}, {"max_doc_share": 0}],
)
def test_settings_that_make_no_sense(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        Rm3Retriever(**settings)


def test_every_setting_that_changes_a_score_is_in_the_fingerprint(built):
    variants = [
        {}, {"fb_docs": 5}, {"fb_terms": 5}, {"original_query_weight": 0.4}, {"max_doc_share": 0.2},
    ]  # fmt: skip
    prints = {built(rm3=Rm3Retriever(**v))["rm3"].fingerprint for v in variants}
    assert len(prints) == len(variants)
    other = connected_retrievers({"bm25": BM25Retriever(k1=2), "rm3": Rm3Retriever()})
    assert other["rm3"].fingerprint not in prints


def test_the_index_is_bm25s_own(dataset, tmp_path):
    bm25, rm3 = BM25Retriever(cache_dir=tmp_path / "new"), Rm3Retriever()
    found = connected_retrievers({"bm25": bm25, "rm3": rm3})
    assert not found["rm3"].is_cached(dataset)
    found["rm3"].index(dataset)
    assert bm25.is_cached(dataset)
    assert found["rm3"].is_cached(dataset)
