"""Half precision for all candidates: the best docs are float32's, and only those near them are
scored again."""

import numpy as np
import pytest
from tiny import HashScorer, save_cross_encoder, write_collection

from evalkit.assembly import connected_rerankers
from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError
from evalkit.rerankers.classifier import ClassifierScorer
from evalkit.rerankers.confirmed import ConfirmedReranker
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.rerankers.flag import FlagReranker
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.retrievers.bm25 import BM25Retriever


class Rounded(ClassifierScorer):
    """A scorer whose half precision is off by at most `step` / 2; float32's scores are digests'."""

    def __init__(self, step=0.0):
        self.step, self.plain = step, HashScorer()
        self.dtype = "bfloat16" if step else "float32"
        self.fingerprint = f"rounded-{self.dtype}"
        self.others = []

    @property
    def about(self):
        return {}

    def with_dtype(self, dtype):
        self.others.append(Rounded(step=0.0))
        return self.others[-1]

    def truncated(self, pairs):
        return np.zeros(len(pairs), dtype=bool)

    def score(self, pairs):
        exact = self.plain.score(pairs) / 2**24 * 10  # 0 to 10
        return np.round(exact / self.step) * self.step if self.step else exact


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return FolderDataset(write_collection(tmp_path_factory.mktemp("c") / "toy", 120, queries=12))


@pytest.fixture(scope="module")
def candidates(dataset, tmp_path_factory):
    retriever = BM25Retriever(cache_dir=tmp_path_factory.mktemp("cache"))
    retriever.index(dataset)
    return retriever.retrieve(dataset.queries, 60)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_cross_encoder(tmp_path_factory.mktemp("models") / "cross"))


def connected(dataset, part, confirmed):
    given = {"none": NoReranker(), "part": part, "confirmed": confirmed}
    return connected_rerankers(dataset, {}, given)["confirmed"].for_retriever("bm25")


def confirm(dataset, candidates, scorer, folder, **settings):
    part = PointwiseReranker(scorer, cache_dir=folder)
    reranker = connected(dataset, part, ConfirmedReranker("part", **settings))
    return reranker, reranker.rerank(dataset.queries, dataset, candidates)


def rerank(dataset, candidates, scorer, folder):
    part = PointwiseReranker(scorer, cache_dir=folder)
    return part.rerank(dataset.queries, dataset, candidates)


@pytest.mark.parametrize("top", [1, 5, 10, 100])
def test_the_best_are_float32s_in_order_and_score(dataset, candidates, tmp_path, top):
    half = rerank(dataset, candidates, Rounded(1.0), tmp_path / "half")
    exact = rerank(dataset, candidates, Rounded(), tmp_path / "exact")
    _, found = confirm(dataset, candidates, Rounded(1.0), tmp_path, top=top, slack=0.5)
    same = [mine[:top] == theirs[:top] for (_, mine), (_, theirs) in zip(half, exact, strict=True)]
    assert not all(same)  # half precision alone gives other docs, or another order
    for query_id, docs in found:
        assert found[query_id][:top] == exact[query_id][:top]
        assert sorted(docs) == sorted(doc for doc, _ in half[query_id])


def test_no_more_than_those_near_the_best_are_scored_again(dataset, candidates, tmp_path):
    scorer = Rounded(1.0)
    reranker, found = confirm(dataset, candidates, scorer, tmp_path, top=10, slack=0.5)
    half = rerank(dataset, candidates, Rounded(1.0), tmp_path / "half")
    near = {
        (query_id, doc)
        for query_id in half.query_ids
        for doc, score in half[query_id]
        if score >= half[query_id][min(10, len(half[query_id])) - 1][1] - 1.0
    }
    (exact,) = scorer.others
    assert len(exact.plain.asked) == len(set(exact.plain.asked)) == len(near) < len(half) / 2
    assert reranker.work == {
        "part asked": len(half), "part reused": 0, "part scored": len(half),
        "part.float32 asked": len(near), "part.float32 reused": 0,
        "part.float32 scored": len(near),
    }  # fmt: skip
    details = reranker.details[f"K={candidates.sizes.max()}"]
    assert details["scored again a query"] == round(len(near) / 12, 2)
    assert 0.4 < details["off by at most"] <= 0.5
    halves = {q: dict(half[q]) for q in half.query_ids}
    below = [(q, d, s) for q in found.query_ids for d, s in found[q] if (q, d) not in near]
    assert below
    assert all(score == halves[query_id][doc] for query_id, doc, score in below)


def test_a_score_that_is_off_by_more_than_the_slack_is_warned_of(
    dataset, candidates, tmp_path, caplog
):
    confirm(dataset, candidates, Rounded(1.0), tmp_path / "one", slack=0.5)
    assert not caplog.records
    confirm(dataset, candidates, Rounded(1.0), tmp_path / "two", slack=0.2)
    (record,) = caplog.records
    assert "more than slack=0.2" in record.message
    assert "set reranker.confirmed.slack=1" in record.message  # twice what was seen, .5


def test_in_float32_there_is_nothing_to_confirm(dataset, candidates, tmp_path):
    reranker, found = confirm(dataset, candidates, Rounded(), tmp_path)
    exact = rerank(dataset, candidates, Rounded(), tmp_path / "exact")
    assert [list(found[q]) for q in found.query_ids] == [list(exact[q]) for q in exact.query_ids]
    assert reranker.work == {
        "part asked": len(exact), "part reused": 0, "part scored": len(exact)
    }  # fmt: skip
    assert not reranker.details.get("K=60")


def test_no_candidates_are_no_trouble(dataset, candidates, tmp_path):
    nothing = candidates.where(np.zeros(len(candidates), dtype=bool))
    _, found = confirm(dataset, nothing, Rounded(1.0), tmp_path)
    assert len(found) == 0
    assert found.query_ids == candidates.query_ids


@pytest.mark.parametrize("kind", ["cross_encoder", "flag"])
def test_a_real_models_top_is_float32s(dataset, candidates, model, tmp_path, kind):
    def made(dtype):
        if kind == "flag":
            return FlagReranker(
                model, max_length=40, engine="fast", dtype=dtype, device="cpu", cache_dir=tmp_path
            )
        return CrossEncoderReranker(model, dtype=dtype, device="cpu", cache_dir=tmp_path)

    half = made("bfloat16").rerank(dataset.queries, dataset, candidates)
    reranker = connected(dataset, made("bfloat16"), ConfirmedReranker("part", 10, slack=0.2))
    found = reranker.rerank(dataset.queries, dataset, candidates)
    again = reranker.work["part.float32 scored"]
    exact = made("float32").rerank(dataset.queries, dataset, candidates)
    assert any(dict(half)[q][:10] != dict(exact)[q][:10] for q in exact.query_ids)
    for query_id in exact.query_ids:
        assert found[query_id][:10] == exact[query_id][:10]
    assert 12 * 10 <= again < len(candidates)
    details = reranker.details[f"K={candidates.sizes.max()}"]
    assert 0 < details["off by at most"] <= 0.2


def test_queries_in_other_languages_keep_their_order(dataset, candidates, model, tmp_path):
    part = CrossEncoderReranker(
        model, dtype="bfloat16", device="cpu", languages=["zh"], cache_dir=tmp_path
    )
    exact = CrossEncoderReranker(
        model, dtype="float32", device="cpu", languages=["zh"], cache_dir=tmp_path
    )
    reranker = connected(dataset, part, ConfirmedReranker("part", 10, slack=0.2))
    found = reranker.rerank(dataset.queries, dataset, candidates)
    again = reranker.work["part.float32 scored"]
    assert 0 < again < reranker.work["part scored"] < len(candidates)
    details = reranker.details[f"K={candidates.sizes.max()}"]
    assert details["scored again a query"] == round(again / 12, 2)
    wanted = exact.rerank(dataset.queries, dataset, candidates)
    for query_id in wanted.query_ids:
        assert found[query_id][:10] == wanted[query_id][:10]


def test_identity_is_of_both_precisions_and_of_the_settings(dataset, model, tmp_path):
    def identity(dtype="bfloat16", **settings):
        part = CrossEncoderReranker(model, dtype=dtype, device="cpu", cache_dir=tmp_path)
        return connected(dataset, part, ConfirmedReranker("part", **settings)).fingerprint

    found = [identity(), identity(top=5), identity(slack=0.1), identity("float32")]
    assert len(set(found)) == 4
    assert identity() == found[0]


@pytest.mark.parametrize("settings", [{"top": 0}, {"slack": -0.1}])
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ConfigError, match="expected top ≥ 1, slack ≥ 0"):
        ConfirmedReranker("part", **settings)


def test_a_reranker_that_is_not_on_the_engine_is_refused(dataset, model, tmp_path):
    parts = [
        PointwiseReranker(HashScorer(), cache_dir=tmp_path),
        CrossEncoderReranker(model, engine="reference", cache_dir=tmp_path),
    ]
    for part in parts:
        with pytest.raises(ConfigError, match="'part' is not on evalkit's engine"):
            connected(dataset, part, ConfirmedReranker("part"))
