"""Near-duplicates are found as datasketch and the model find them, and the first by rank stays."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import HashScorer, save_bi_encoder

from evalkit.assembly import connected_rerankers
from evalkit.errors import ConfigError
from evalkit.experiment import Experiment
from evalkit.rerankers.deduplicate import DeduplicateReranker, near_duplicates
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.run import Run
from evalkit.settings import MeasureSettings, SweepSettings
from evalkit.testing import TextDataset, check_reranker
from evalkit.types import Doc, Qrel, Query

LONG = "when a shard is full its index is merged in the background and stays open for any query"


def texts_of(**texts: str) -> TextDataset:
    docs = [Doc(doc_id, "", text) for doc_id, text in texts.items()]
    return TextDataset(docs=docs, queries=[Query("q", "x")], qrels=[Qrel("q", docs[0].doc_id, 1)])


def in_order(dataset: TextDataset) -> Run:
    return Run.from_dict({"q": {doc.doc_id: float(-i) for i, doc in enumerate(dataset.docs)}})


def found(dataset: TextDataset, **settings) -> list[str]:
    run = DeduplicateReranker(**settings).rerank(dataset.queries, dataset, in_order(dataset))
    assert run.scores.tolist() == list(range(len(run), 0, -1))
    return dict(run)["q"]


# Of a, b and c: b differs from a by its signs alone, c by its last word.
COLLECTION = texts_of(
    a=LONG,
    x="recall falls when a query is rewritten",
    b=f"«{LONG.upper()}»!",
    y="the retry limit of a deploy",
    c=LONG.replace("any query", "any search"),
)


def test_the_first_of_its_kind_stays_and_the_others_go_last_or_out():
    assert found(COLLECTION) == ["a", "x", "y", "b", "c"]
    assert found(COLLECTION, action="drop") == ["a", "x", "y"]
    # 16 of the 18 words, so 15 of 17 shingles: Jaccard 15 / 17 = .88 below the threshold.
    assert found(COLLECTION, threshold=0.97, action="drop") == ["a", "x", "y", "c"]


def test_it_says_what_it_found():
    deduplicate = DeduplicateReranker()
    queries = [Query("q", "x"), Query("empty", "x")]
    run = in_order(COLLECTION).select(["q", "empty"])
    again = deduplicate.rerank(queries, COLLECTION, run)
    assert list(again)[1] == ("empty", [])
    expected = {"near_duplicate_share": 0.4, "near_duplicates_a_query": 1.0}
    assert deduplicate.details == {"K=5": expected}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Merged, in the\nbackground.", "merged in the background"),
        ("ｍｅｒｇｅｄ in the background", "merged in the background"),  # full width
        ("缓存命中时，不再计算。", "缓存命中时不再计算"),
        ("👍🏽", "👍🏽 "),
        ("", ""),
    ],
)
@pytest.mark.parametrize("kind", ["minhash", "embedding"])
def test_texts_of_the_same_words_are_duplicates(tmp_path, model, kind, first, second):
    settings = {"similarity": kind, "model": model, "device": "cpu", "cache_dir": tmp_path}
    assert found(texts_of(a=first, b=second), action="drop", threshold=1, **settings) == ["a"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("缓存命中时不再计算", "缓存未命中时重新计算"),
        ("", "merged"),
        ("🚀🚀🚀", "🙂🙂🙂"),  # signs count where a text has nothing else
        ("merged", "merging"),
    ],
)
def test_texts_of_other_words_are_not(first, second):
    assert found(texts_of(a=first, b=second), action="drop") == ["a", "b"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_bi_encoder(tmp_path_factory.mktemp("models") / "bi"))


def test_chinese_near_duplicates():
    text = "分片写满之后，索引会在后台合并，合并期间仍然可以处理任何查询请求。"
    dataset = texts_of(a=text, b=text.replace("任何", "所有"), c="缓存命中时不再计算分词结果。")
    assert found(dataset, threshold=0.6) == ["a", "c", "b"]
    assert found(dataset, threshold=0.6, shingles="character") == ["a", "c", "b"]
    assert found(dataset, threshold=0.95) == ["a", "b", "c"]


def test_a_doc_repeats_what_is_kept_and_not_what_is_itself_a_repetition():
    # b is like a, c is like b and not like a: without b there is no reason to lose c.
    like = np.array([[1.0, 0.9, 0.5], [0.9, 1.0, 0.9], [0.5, 0.9, 1.0]])
    repeated = near_duplicates(["one", "two", "three"], lambda i: like[i], 0.8)
    assert repeated.tolist() == [False, True, False]
    # Texts of one wording are alike whatever the similarity says.
    repeated = near_duplicates(["One!", "two", "one"], lambda i: np.zeros(3), 0.8)
    assert repeated.tolist() == [False, False, True]


def test_the_threshold_is_on_the_models_own_cosine(tmp_path, model):
    from sentence_transformers import SentenceTransformer, util

    texts = {"a": "merge shard index", "b": "merge shard token", "c": "latency of the cache"}
    encoder = SentenceTransformer(model, device="cpu")
    vectors = encoder.encode_document(list(texts.values()))
    cosines = util.cos_sim(vectors, vectors).numpy()
    between = float(cosines[0, 1])
    settings = {"similarity": "embedding", "model": model, "device": "cpu", "action": "drop"}
    for threshold in (between - 1e-4, between + 1e-4):
        expected = near_duplicates(list(texts.values()), lambda i: cosines[i], threshold)
        kept = found(texts_of(**texts), threshold=threshold, cache_dir=tmp_path, **settings)
        assert kept == [d for d, again in zip(texts, expected, strict=True) if not again]
        assert ("b" in kept) == (threshold > between)


def test_hash_values_are_datasketchs_own_and_near_the_exact_coefficient():
    from datasketch import MinHash

    from evalkit.similarities import MinHashSimilarity, shingles

    texts = [doc.text for doc in COLLECTION.docs]
    ours = MinHashSimilarity(num_perm=256, seed=9)
    rows = ours.represent(texts)
    for text, row in zip(texts, rows, strict=True):
        theirs = MinHash(num_perm=256, seed=9)
        for shingle in shingles(text):
            theirs.update(shingle.encode())
        np.testing.assert_array_equal(row, theirs.hashvalues)
    exact = [
        len(shingles(texts[0]) & shingles(t)) / len(shingles(texts[0]) | shingles(t)) for t in texts
    ]
    np.testing.assert_allclose(ours.compare(rows)(0), exact, atol=4 * 0.5 / 256**0.5)
    assert exact[2] == 1.0
    assert ours.compare(rows)(0)[2] == 1.0


@pytest.mark.parametrize("action", ["demote", "drop"])
def test_it_keeps_the_contract(action):
    check_reranker(lambda: DeduplicateReranker(action=action))


def test_over_another_reranker_that_ones_first_stays(tmp_path):
    part = PointwiseReranker(HashScorer(), cache_dir=tmp_path)
    deduplicate = DeduplicateReranker(of="hash", action="drop")
    connected_rerankers(COLLECTION, {}, {"none": NoReranker(), "hash": part, "d": deduplicate})
    ours = deduplicate.for_retriever("bm25")
    kept = dict(ours.rerank(COLLECTION.queries, COLLECTION, in_order(COLLECTION)))["q"]
    scored = dict(part.rerank(COLLECTION.queries, COLLECTION, in_order(COLLECTION)))["q"]
    first = next(doc_id for doc_id in scored if doc_id in "abc")
    assert kept == [d for d in scored if d not in set("abc") - {first}]
    assert ours.work["hash asked"] == 5
    assert deduplicate.details == {"bm25": ours.details}


@pytest.mark.parametrize(("action", "held"), [("demote", 4), ("drop", 2)])
def test_in_an_experiment_what_is_dropped_does_not_come_back(tmp_path, action, held):
    texts = {"a": LONG, "b": f"{LONG}.", "c": "a shard of the index", "d": f"{LONG}?"}
    dataset = texts_of(**texts)
    dataset.queries = [Query("q", "shard index")]
    experiment = Experiment(
        dataset,
        {"bm25": BM25Retriever(cache_dir=tmp_path)},
        {"none": NoReranker(), "deduplicate": DeduplicateReranker(action=action)},
        SweepSettings(k=[4]),
        MeasureSettings(["R@4", "redundancy@4"]),
    )
    results = experiment.run()
    plain, ours = results.systems
    assert [len(run) for run in results.runs.values()] == [4, held]
    assert ours.measures["redundancy@4"] < plain.measures["redundancy@4"] or action == "demote"
    assert ours.measures["redundancy@4"] == pytest.approx(0.0 if action == "drop" else 0.5)
    assert results.details["reranker.deduplicate"]["bm25"]["K=4"]["near_duplicate_share"] == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action": "hide"}, "action=hide; expected demote or drop"),
        ({"threshold": 0}, "threshold=0"),
        ({"threshold": 1.5}, r"threshold=1\.5"),
        ({"similarity": "exact"}, "similarity=exact: expected one of embedding, minhash"),
        ({"shingle_size": 0}, "shingle_size=0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        DeduplicateReranker(**settings)


def test_the_fingerprint_is_of_what_can_change_the_order():
    changes = [{}, {"action": "drop"}, {"threshold": 0.9}, {"seed": 3}, {"doc_template": "{text}"}]
    assert len({DeduplicateReranker(**change).fingerprint for change in changes}) == len(changes)
    assert DeduplicateReranker(batch_size=1).fingerprint == DeduplicateReranker().fingerprint
