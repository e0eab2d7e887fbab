"""MMR equals its formula, written as two loops, over similarities that the libraries compute."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import WORDS, HashScorer, save_bi_encoder

from evalkit.assembly import connected_rerankers
from evalkit.errors import ConfigError, ModelNotFound
from evalkit.rerankers.bi_encoder import BiEncoderReranker
from evalkit.rerankers.deduplicate import DeduplicateReranker
from evalkit.rerankers.mmr import MMRReranker
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.run import Run
from evalkit.similarities import shingles
from evalkit.testing import TextDataset, check_reranker
from evalkit.types import Doc, Query


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_bi_encoder(tmp_path_factory.mktemp("models") / "bi"))


def texts_of(**texts: str) -> TextDataset:
    return TextDataset(docs=[Doc(k, "", v) for k, v in texts.items()], queries=[Query("q", "x")])


def order(reranker, dataset, candidates) -> list[str]:
    found = reranker.rerank(dataset.queries, dataset, candidates)
    assert len(found) == len(candidates)
    for query_id, docs in found:
        scores = [score for _, score in found[query_id]]
        assert scores == list(range(len(docs), 0, -1))
    return dict(found)["q"]


# --------------------------------------------------------------------- against the formula


def reference(relevance, similarity, weight) -> list[int]:
    """Carbonell and Goldstein's argmax, word by word; equal values by the order that was given."""
    chosen: list[int] = []
    left = list(range(len(relevance)))
    while left:
        best, best_value = -1, -np.inf
        for i in left:
            closest = max((similarity[i][j] for j in chosen), default=0.0)
            value = weight * relevance[i] - (1 - weight) * closest
            if value > best_value:
                best, best_value = i, value
        chosen.append(best)
        left.remove(best)
    return chosen


def by_embeddings(model, texts):
    from sentence_transformers import SentenceTransformer, util

    encoder = SentenceTransformer(model, device="cpu")
    vectors = encoder.encode_document(texts, normalize_embeddings=False, convert_to_tensor=True)
    return util.cos_sim(vectors.double(), vectors.double()).numpy()


def by_minhash(texts):
    from datasketch import MinHash

    hashed = []
    for text in texts:
        one = MinHash(num_perm=64, seed=5)
        for shingle in shingles(text, size=2):
            one.update(shingle.encode())
        hashed.append(one)
    return np.array([[a.jaccard(b) for b in hashed] for a in hashed])


@pytest.mark.parametrize("kind", ["embedding", "minhash"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_mmr_is_its_formula(tmp_path, model, kind, weight):
    generator = np.random.default_rng(3)
    docs = []
    for i in range(30):
        # Half of the docs repeat most of an earlier one.
        old = docs[generator.integers(len(docs))].text.split() if i % 2 else []
        words = [*old, *generator.choice(WORDS, size=3 if i % 2 else 12)]
        docs.append(Doc(f"d{i:02}", "", " ".join(words)))
    queries = [Query(f"q{i}", "merge") for i in range(5)]
    dataset = TextDataset(docs=docs, queries=queries)
    scores = generator.normal(size=(5, 30)) * 40
    run = Run.from_dict(
        {
            q.query_id: {d.doc_id: s for d, s in zip(docs[: 6 * i + 6], row, strict=False)}
            for i, (q, row) in enumerate(zip(queries, scores, strict=True))
        }
    )
    mmr = MMRReranker(
        weight=weight, similarity=kind, model=model, shingle_size=2, num_perm=64, seed=5,
        device="cpu", cache_dir=tmp_path,
    )  # fmt: skip
    found = dict(mmr.rerank(queries, dataset, run))
    text = {doc.doc_id: doc.text for doc in docs}
    moved = 0
    for query_id, ids in run:
        own = np.array([score for _, score in run[query_id]], dtype=np.float64)
        relevance = (own - own.min()) / (own.max() - own.min())
        texts = [text[doc_id] for doc_id in ids]
        similarity = by_embeddings(model, texts) if kind == "embedding" else by_minhash(texts)
        expected = [ids[i] for i in reference(relevance, np.float32(similarity), weight)]
        assert found[query_id] == expected
        moved += expected != ids
    assert moved == 0 if weight == 1 else moved >= 3


# ------------------------------------------------------------------------------------ by hand

COLLECTION = texts_of(
    a="how shards of an index are merged in the background",
    copy="How shards of an index are merged, in the background!",
    other="why recall falls when a query is rewritten by a model",
    third="the retry limit of a deploy is read from its schema",
)
RUN = Run.from_dict({"q": {"a": 30.0, "copy": 20.0, "other": 10.0, "third": 0.0}})


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        # Relevance 1, 2/3, 1/3, 0; the copy has similarity 1 to a, all others 0.
        (1.0, ["a", "copy", "other", "third"]),
        (0.8, ["a", "copy", "other", "third"]),  # copy: .8 × 2/3 − .2 = .33 > other: .27
        (0.7, ["a", "other", "copy", "third"]),  # copy: .7 × 2/3 − .3 = .167 < other: .233
        (0.5, ["a", "other", "third", "copy"]),  # copy: .33 − .5 < third: 0
        (0.0, ["a", "other", "third", "copy"]),  # novelty alone; equal values keep their order
    ],
)
def test_by_hand(weight, expected):
    mmr = MMRReranker(weight=weight, similarity="minhash")
    assert order(mmr, COLLECTION, RUN) == expected
    assert mmr.details["K=4"]["moved_share"] == sum(map(str.__ne__, expected, dict(RUN)["q"])) / 4


def test_only_the_first_ranks_are_chosen_and_the_rest_keep_their_order():
    def first(depth):
        return order(MMRReranker(weight=0, similarity="minhash", depth=depth), COLLECTION, RUN)

    assert first(1) == ["a", "copy", "other", "third"]
    assert first(2) == ["a", "other", "copy", "third"]
    assert first(3) == first(99) == ["a", "other", "third", "copy"]


@pytest.mark.parametrize("kind", ["minhash", "embedding"])
def test_weight_1_keeps_the_order_exactly_ties_included(tmp_path, model, kind):
    generator = np.random.default_rng(0)
    docs = [Doc(f"d{i}", "", " ".join(generator.choice(WORDS, size=6))) for i in range(40)]
    dataset = TextDataset(docs=docs, queries=[Query("q", "x"), Query("flat", "x")])
    # Scores that tie, and some that differ in float32's last bit alone.
    ties = generator.choice(np.float32([0, -3, 7, np.nextafter(np.float32(7), 8), 7e6]), size=40)
    run = Run.from_dict(
        {
            "q": {d.doc_id: float(s) for d, s in zip(docs, ties, strict=True)},
            "flat": {d.doc_id: 1.0 for d in docs},
        }
    )
    mmr = MMRReranker(
        weight=1, similarity=kind, model=model, shingle_size=1, device="cpu", cache_dir=tmp_path
    )
    assert dict(mmr.rerank(dataset.queries, dataset, run)) == dict(run)
    assert mmr.details["K=40"] == {"moved_share": 0.0}


def test_equal_docs_tie_and_keep_their_order(tmp_path, model):
    # Were their similarities rounded differently by place, novelty would shuffle them.
    dataset = texts_of(**{f"d{i:02}": "merge shard" if i % 3 else "recall" for i in range(30)})
    run = Run.from_dict({"q": {f"d{i:02}": float(-i) for i in range(30)}})
    mmr = MMRReranker(weight=0, model=model, device="cpu", cache_dir=tmp_path)
    twins = [d for d in dict(run)["q"] if int(d[1:]) % 3 and d != "d01"]
    assert [d for d in order(mmr, dataset, run) if d in twins] == twins


def test_chinese_near_duplicates_go_down():
    dataset = texts_of(
        one="分片合并在后台进行，合并期间索引仍然可以被查询，不会阻塞写入。",
        twin="分片合并在后台进行,合并期间索引仍可以被查询，不会阻塞写入！",
        other="缓存命中时不再重新计算分词结果，因此查询延迟显著降低。",
    )
    run = Run.from_dict({"q": {"one": 3.0, "twin": 2.0, "other": 1.0}})
    for unit in ("word", "character"):
        mmr = MMRReranker(weight=0.5, similarity="minhash", shingles=unit)
        assert order(mmr, dataset, run) == ["one", "other", "twin"]


def test_no_candidates_and_one():
    dataset = COLLECTION
    queries = [Query("none", "x"), Query("q", "x")]
    mmr = MMRReranker(similarity="minhash")
    found = mmr.rerank(queries, dataset, Run.from_dict({"q": {"a": 5.0}}, ["none", "q"]))
    assert list(found) == [("none", []), ("q", ["a"])]
    assert len(mmr.rerank(queries, dataset, Run.from_dict({}, ["none", "q"]))) == 0


@pytest.mark.parametrize("kind", ["minhash", "embedding"])
def test_it_keeps_the_contract(tmp_path, model, kind):
    number = iter(range(100))

    def make():
        folder = tmp_path / str(next(number))
        return MMRReranker(similarity=kind, model=model, device="cpu", cache_dir=folder)

    check_reranker(make)


# ---------------------------------------------------------------------- on top of another part


class OfOneRetriever(HashScorer):
    """A reranker that must be fitted to a retriever before it is called."""

    depends_on_list = True
    fingerprint = "of-one-retriever"

    def __init__(self, retriever=None):
        self.retriever = retriever

    def for_retriever(self, name):
        return OfOneRetriever(name)

    def rerank(self, queries, dataset, candidates):
        assert self.retriever == "bm25"
        return candidates.with_scores(-candidates.scores)


def connected(dataset, **rerankers):
    return connected_rerankers(dataset, {}, {"none": NoReranker(), **rerankers})


def test_over_another_reranker_it_sees_that_order_and_reports_that_work(tmp_path):
    scorer = HashScorer()
    part = PointwiseReranker(scorer, cache_dir=tmp_path)
    mmr = MMRReranker(of="hash", weight=0.5, similarity="minhash")
    connected(COLLECTION, hash=part, mmr=mmr)
    assert mmr.uses == ("hash",)
    ours = mmr.for_retriever("bm25")
    found = order(ours, COLLECTION, RUN)
    scored = part.rerank(COLLECTION.queries, COLLECTION, RUN)
    alone = MMRReranker(weight=0.5, similarity="minhash")
    assert found == order(alone, COLLECTION, scored)
    assert ours.work == {"hash asked": 4, "hash reused": 0, "hash scored": 4}
    assert mmr.details == {"bm25": {"K=4": ours.details["K=4"]}}
    assert mmr.fingerprint != alone.fingerprint
    assert mmr.estimate(np.array([4, 2])) == {"hash pairs": 6}


def test_what_is_fitted_to_a_retriever_is_fitted_below_too():
    mmr = MMRReranker(of="fitted", weight=1, similarity="minhash")
    connected(COLLECTION, fitted=OfOneRetriever(), mmr=mmr)
    reverse = ["third", "other", "copy", "a"]
    assert order(mmr.for_retriever("bm25"), COLLECTION, RUN) == reverse


def test_what_a_part_drops_stays_dropped():
    mmr = MMRReranker(of="deduplicate", weight=1, similarity="minhash")
    connected(COLLECTION, deduplicate=DeduplicateReranker(action="drop"), mmr=mmr)
    assert mmr.filters
    found = mmr.for_retriever("bm25").rerank(COLLECTION.queries, COLLECTION, RUN)
    assert dict(found)["q"] == ["a", "other", "third"]
    assert not MMRReranker(similarity="minhash").filters


def test_a_part_that_is_not_selected_or_itself_is_refused():
    with pytest.raises(ConfigError, match=r"'bi_encodr', which is not among.*'bi_encoder'\?"):
        connected(COLLECTION, bi_encoder=NoReranker(), mmr=MMRReranker(of="bi_encodr"))
    with pytest.raises(ConfigError, match="made of itself"):
        connected(COLLECTION, mmr=MMRReranker(of="mmr"))


# ---------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": 1.1}, r"weight=1\.1"),
        ({"weight": -0.1}, r"weight=-0\.1"),
        ({"depth": 0}, "depth=0"),
        ({"similarity": "cosine"}, "similarity=cosine: expected one of embedding, minhash"),
        ({"shingles": "sentence"}, "shingles=sentence: expected one of word, character"),
        ({"shingle_size": 0}, "shingle_size=0"),
        ({"num_perm": 0}, "num_perm=0"),
        ({"seed": -1}, "seed=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"doc_template": "{body}"}, "doc_template"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        MMRReranker(**settings)


def test_a_model_or_library_that_is_missing_is_told_before_anything_is_computed(monkeypatch):
    with pytest.raises(ModelNotFound):
        MMRReranker(model="/no/such/model").check(10)
    MMRReranker(similarity="minhash", model="/no/such/model").check(10)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "evalkit\[diversity\]"'):
        MMRReranker(similarity="minhash").check(10)


def test_the_fingerprint_is_of_what_can_change_the_order(model):
    def of(**settings):
        return MMRReranker(**{"model": model, "similarity": "minhash", **settings}).fingerprint

    assert of() == of(batch_size=7, device="cpu", cache_dir="/elsewhere", max_length=9)
    changes = [
        {"weight": 0.1}, {"depth": 3}, {"similarity": "embedding"}, {"shingles": "character"},
        {"shingle_size": 2}, {"num_perm": 64}, {"seed": 2}, {"doc_template": "{text}"},
        {"similarity": "embedding", "max_length": 9},
        {"similarity": "embedding", "dtype": "float16"},
    ]  # fmt: skip
    assert len({of(), *(of(**change) for change in changes)}) == 1 + len(changes)


def test_vectors_of_a_bi_encoder_are_used_again(tmp_path, model):
    settings = {"model": model, "device": "cpu", "cache_dir": tmp_path}
    BiEncoderReranker(**settings).rerank(COLLECTION.queries, COLLECTION, RUN)
    before = sorted((tmp_path / "embeddings").rglob("*"))
    MMRReranker(**settings).rerank(COLLECTION.queries, COLLECTION, RUN)
    assert sorted((tmp_path / "embeddings").rglob("*")) == before
