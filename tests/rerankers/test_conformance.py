"""Every reranker of the package keeps the contract that `evalkit.testing` states.

A class that a YAML of conf/reranker names and that is not made here fails the first test.
"""

import zlib

import numpy as np
import pytest
import yaml
from loopback import Loopback
from tiny import (
    HashScorer,
    OracleModel,
    save_bi_encoder,
    save_colbert,
    save_cross_encoder,
    save_llama,
    save_mono_t5,
    save_splade,
)

from evalkit.assembly import connected_rerankers, connected_retrievers
from evalkit.choices import choice_files
from evalkit.io import write_json
from evalkit.rerankers.adaptive import AdaptiveReranker
from evalkit.rerankers.api import ApiReranker
from evalkit.rerankers.bi_encoder import BiEncoderReranker
from evalkit.rerankers.by_fold import ByFoldReranker
from evalkit.rerankers.calibrated import CalibratedReranker
from evalkit.rerankers.cascade import CascadeReranker
from evalkit.rerankers.confirmed import ConfirmedReranker
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.rerankers.deduplicate import DeduplicateReranker
from evalkit.rerankers.flag import FlagReranker
from evalkit.rerankers.fused import FusedReranker
from evalkit.rerankers.late_interaction import LateInteractionReranker
from evalkit.rerankers.llm_listwise import LLMListwiseReranker
from evalkit.rerankers.llm_pairwise import LLMPairwiseReranker
from evalkit.rerankers.llm_pointwise import LLMPointwiseReranker
from evalkit.rerankers.llm_setwise import LLMSetwiseReranker
from evalkit.rerankers.ltr import LearningToRank
from evalkit.rerankers.mmr import MMRReranker
from evalkit.rerankers.mono_t5 import MonoT5Reranker
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.passages import PassageReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.rerankers.rank_llama import RankLlamaReranker
from evalkit.rerankers.sparse import SparseReranker
from evalkit.rerankers.threshold import ThresholdReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.run import Run
from evalkit.testing import NonConforming, TextDataset, check_reranker, check_scorer
from evalkit.types import Qrel, Query


def by_length(text):
    """An answer that fits no LLM reranker's prompt but is the same for the same prompt."""
    return str(len(text) % 7)


def passages(models, folder):
    """Windows of 8 tokens over the tiny cross-encoder."""
    part = CrossEncoderReranker(str(models / "cross"), cache_dir=folder)
    given = {"part": part, "passages": PassageReranker("part", window=8, stride=4)}
    return connected_rerankers(TextDataset(), {}, given)["passages"]


def confirmed(models, folder):
    """The best of the tiny cross-encoder in bfloat16, confirmed in float32."""
    part = CrossEncoderReranker(str(models / "cross"), dtype="bfloat16", cache_dir=folder)
    given = {"part": part, "confirmed": ConfirmedReranker("part", top=2)}
    return connected_rerankers(TextDataset(), {}, given)["confirmed"].for_retriever("bm25")


def judged():
    """The same docs under more queries, enough to learn from."""
    texts = ["index merged", "a shard is full", "when a query is rewritten", "merging shards"]
    more = [Query(f"q-more{i}", text) for i, text in enumerate(texts)]
    plain = [Qrel(query.query_id, "d-plain", 1) for query in more]
    usual = TextDataset()
    return TextDataset(queries=[*usual.queries, *more], qrels=[*usual.qrels, *plain])


def learned(folder):
    """LambdaMART over BM25, cross-validated on those queries."""
    ranker = LearningToRank(folds=2, trees=3, leaves=2, min_docs_in_leaf=1, cache_dir=folder)
    retrievers = connected_retrievers({"bm25": BM25Retriever(cache_dir=folder)})
    return connected_rerankers(judged(), retrievers, {"ltr": ranker})["ltr"]


class EveryDoc:
    """A first stage that finds every doc for every query, in an order of its own for each."""

    fingerprint = "every-doc"

    def is_cached(self, dataset):
        return True

    def index(self, dataset):
        self.docs = [doc.doc_id for doc in dataset.docs_iter()]

    def retrieve(self, queries, k):
        ids = [query.query_id for query in queries]
        at = {q: {d: zlib.crc32(f"{q} {d}".encode()) for d in self.docs} for q in ids}
        return Run.from_dict(at).top(k)


def half_judged():
    """The usual docs under twelve queries more, of half of which every doc is relevant."""
    usual = TextDataset()
    more = [Query(f"q-more{i}", f"question {i} about shards") for i in range(12)]
    qrels = [Qrel(query.query_id, doc.doc_id, 1) for query in more[::2] for doc in usual.docs]
    return TextDataset(queries=[*usual.queries, *more], qrels=[*usual.qrels, *qrels])


def calibrated(folder):
    """A calibration, cross-fitted over those queries."""
    part = PointwiseReranker(HashScorer(), cache_dir=folder)
    given = {"part": part, "calibrated": CalibratedReranker("part", "isotonic", folds=2)}
    found = connected_rerankers(half_judged(), {"every": EveryDoc()}, given)["calibrated"]
    return found.for_retriever("every")


def by_fold(models, folder):
    """Two folds of the usual queries; the models of both happen to be one."""
    for fold in range(2):
        (folder / f"fold-{fold}").mkdir()
        (folder / f"fold-{fold}" / "model").symlink_to(models / "cross")
    queries = [[q.query_id, q.text, i % 2] for i, q in enumerate(TextDataset().queries)]
    write_json(folder / "folds.json", {"schema": 1, "folds": 2, "queries": queries})
    return ByFoldReranker(str(folder), cache_dir=folder / "cache")


def composed(reranker, folder):
    """The reranker connected to a pointwise part, as over a retriever named bm25."""
    part = PointwiseReranker(HashScorer(), cache_dir=folder)
    found = connected_rerankers(TextDataset(), {}, {"part": part, "composed": reranker})
    return found["composed"].for_retriever("bm25")


# Class name → (folder of models, an empty cache) → the reranker.
MAKERS = {
    "BiEncoderReranker": lambda models, cache: BiEncoderReranker(
        str(models / "bi"), cache_dir=cache
    ),
    "CrossEncoderReranker": lambda models, cache: CrossEncoderReranker(
        str(models / "cross"), cache_dir=cache
    ),
    "ByFoldReranker": lambda models, cache: by_fold(models, cache),
    "CascadeReranker": lambda models, cache: composed(CascadeReranker(["part 3"]), cache),
    "CalibratedReranker": lambda models, cache: calibrated(cache),
    "FusedReranker": lambda models, cache: composed(FusedReranker("part"), cache),
    "ThresholdReranker": lambda models, cache: composed(
        ThresholdReranker("part", 0.5, scale="min_max"), cache
    ),
    "AdaptiveReranker": lambda models, cache: composed(AdaptiveReranker("part"), cache),
    "ConfirmedReranker": lambda models, cache: confirmed(models, cache),
    "FlagReranker": lambda models, cache: FlagReranker(
        str(models / "cross"), max_length=64, cache_dir=cache
    ),
    "PassageReranker": lambda models, cache: passages(models, cache),
    "LateInteractionReranker": lambda models, cache: LateInteractionReranker(
        str(models / "colbert"), cache_dir=cache
    ),
    "SparseReranker": lambda models, cache: SparseReranker(str(models / "splade"), cache_dir=cache),
    "MonoT5Reranker": lambda models, cache: MonoT5Reranker(
        str(models / "t5"), max_length=60, cache_dir=cache
    ),
    "RankLlamaReranker": lambda models, cache: RankLlamaReranker(
        str(models / "llama"), max_length=40, cache_dir=cache
    ),
    "ApiReranker": lambda models, cache: ApiReranker(
        f"{(models / 'server').read_text()}/cohere", "m", cache_dir=cache
    ),
    "MMRReranker": lambda models, cache: MMRReranker(similarity="minhash", num_perm=32),
    "DeduplicateReranker": lambda models, cache: DeduplicateReranker(num_perm=32),
    "LLMPointwiseReranker": lambda models, cache: LLMPointwiseReranker(
        OracleModel(by_length), cache_dir=cache
    ),
    "LLMPairwiseReranker": lambda models, cache: LLMPairwiseReranker(OracleModel(by_length)),
    "LLMListwiseReranker": lambda models, cache: LLMListwiseReranker(
        OracleModel(by_length), window=4, step=2
    ),
    "LearningToRank": lambda models, cache: learned(cache),
    "LLMSetwiseReranker": lambda models, cache: LLMSetwiseReranker(OracleModel(by_length)),
}


def named_classes():
    """Class names of the `_target_`s in conf/reranker."""
    nodes = [yaml.safe_load(path.read_text("utf-8")) for path in choice_files("reranker").values()]
    found = {node["_target_"].rpartition(".")[2] for node in nodes if "_target_" in node}
    return found - {"NoReranker"}  # the first stage itself, which reranks nothing


def test_every_reranker_of_the_package_is_checked_here():
    assert named_classes() == set(MAKERS)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_bi_encoder(folder / "bi")
    save_cross_encoder(folder / "cross")
    save_colbert(folder / "colbert")
    save_splade(folder / "splade")
    save_mono_t5(folder / "t5")
    save_llama(folder / "llama")
    with Loopback() as server:
        (folder / "server").write_text(server.url)
        yield folder


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_it_keeps_the_contract(name, models, tmp_path_factory):
    datasets = {"LearningToRank": judged, "CalibratedReranker": half_judged}
    dataset = datasets.get(name, TextDataset)()
    check_reranker(lambda: MAKERS[name](models, tmp_path_factory.mktemp("cache")), dataset)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_its_model_scores_pairs_in_order_and_alone(name, models, tmp_path):
    if not hasattr(MAKERS[name](models, tmp_path), "scorer"):
        pytest.skip("no pointwise model")
    check_scorer(lambda: MAKERS[name](models, tmp_path).scorer)


class Broken(NoReranker):
    """A reranker with one fault, to see that the check finds it."""

    fingerprint = "broken"

    def __init__(self, fault, depends_on_list=False):
        self.fault, self.depends_on_list = fault, depends_on_list

    def rerank(self, queries, dataset, candidates):
        return self.fault(queries, candidates)


def by_position(queries, run):
    return run.with_scores(np.arange(len(run), dtype=np.float32))


def drops_one(queries, run):
    return run.top(5)


def by_chance(queries, run):
    return run.with_scores(np.random.default_rng().normal(size=len(run)))


def adds_one(queries, run):
    return Run.from_dict({q.query_id: {"new": 1.0} for q in queries}, run.query_ids)


def loses_a_query(queries, run):
    return run.select(run.query_ids[1:])


def by_query_position(queries, run):
    first = {q.query_id: (1 if i else -1) for i, q in enumerate(queries)}
    signs = np.array([first[run.query_ids[row]] for row in run.rows])
    return run.with_scores(signs * np.unique(run.docs, return_inverse=True)[1])


def changes_its_input(queries, run):
    run.scores[:] = run.scores[::-1]
    return run


@pytest.mark.parametrize(
    ("fault", "depends_on_list", "problem"),
    [
        (by_position, False, "candidates in another order: scores differ"),
        (drops_one, True, "docs were dropped"),
        (by_chance, True, "a second time: the ranking is another one"),
        (adds_one, True, "docs were added"),
        (loses_a_query, True, "other queries came back"),
        (by_query_position, True, "queries in another order: the ranking is another one"),
        (changes_its_input, True, "the candidates given were changed"),
    ],
)
def test_the_check_finds_what_is_broken(fault, depends_on_list, problem):
    with pytest.raises(NonConforming, match=problem):
        check_reranker(lambda: Broken(fault, depends_on_list))


def test_the_check_finds_a_model_whose_nan_gets_through():
    class Careless(PointwiseReranker):
        def rerank(self, queries, dataset, candidates):
            scores = np.nan_to_num(self.scorer.score([("", "")] * len(candidates)))
            return candidates.with_scores(scores)

    with pytest.raises(NonConforming, match="NaN are not refused"):
        check_reranker(lambda: Careless(HashScorer()))


@pytest.mark.parametrize(
    ("score", "problem"),
    [
        (lambda pairs: np.zeros(len(pairs)), "float64"),
        (lambda pairs: np.arange(len(pairs), dtype=np.float32), "pairs in another order"),
        (lambda pairs: np.full(len(pairs), len(pairs), np.float32), "pairs one at a time"),
        (lambda pairs: np.full(len(pairs), np.nan, np.float32), "not finite"),
        (lambda pairs: np.zeros(max(len(pairs), 1), np.float32), "no pairs"),
    ],
)
def test_the_check_finds_a_scorer_that_is_broken(score, problem):
    class BrokenScorer:
        fingerprint = "broken"

        def score(self, pairs):
            return score(pairs)

    with pytest.raises(NonConforming, match=problem):
        check_scorer(BrokenScorer)
