"""The one-pass sweep: every cell equals the same cell run alone, and no pair is scored twice."""

import numpy as np
import pytest
from tiny import HashScorer, ListReranker, save_bi_encoder, save_cross_encoder, toy_dataset

from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError, ScoreError
from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.fusion import rrf
from evalkit.measures import MeasureSet, parse_measures
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.dense import DenseRetriever
from evalkit.retrievers.hybrid import HybridRetriever
from evalkit.retrievers.remembering import RememberingRetriever
from evalkit.run import Run, union
from evalkit.settings import MeasureSettings, SweepSettings
from evalkit.types import fingerprint

MEASURES = MeasureSettings(["nDCG@10", "RR@10", "R@20", "AP@100"])


@pytest.fixture(scope="module")
def bi_encoder(tmp_path_factory):
    return str(save_bi_encoder(tmp_path_factory.mktemp("models") / "bi"))


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    return str(save_cross_encoder(tmp_path_factory.mktemp("models") / "cross"))


@pytest.fixture
def dataset(tmp_path):
    return toy_dataset(tmp_path / "toy", docs=150, queries=12)


def three_retrievers(cache, bi_encoder):
    retrievers = {
        "bm25": RememberingRetriever(BM25Retriever(cache_dir=cache)),
        "dense": RememberingRetriever(DenseRetriever(bi_encoder, cache_dir=cache)),
    }
    hybrid = HybridRetriever()
    hybrid.connect("hybrid", retrievers)
    return {**retrievers, "hybrid": hybrid}


def experiment(dataset, retrievers, rerankers, measures=MEASURES, **sweep):
    return Experiment(dataset, retrievers, rerankers, SweepSettings(**sweep), measures)


def cells(results):
    return {system.system: system for system in results.systems}


def test_pairs_scored_are_the_union_and_each_cell_equals_the_same_cell_alone(
    tmp_path, dataset, bi_encoder, cross_encoder
):
    retrievers = three_retrievers(tmp_path / "cache", bi_encoder)
    reranker = CrossEncoderReranker(cross_encoder, cache_dir=tmp_path / "joint")
    rerankers = {"none": NoReranker(), "cross_encoder": reranker}
    execution = ExecutionLog()
    joint = experiment(dataset, retrievers, rerankers, k=[10, 20, 50, 100], n=[5]).run(execution)

    pool = union([r.retrieve(dataset.queries, 100) for r in retrievers.values()])
    assert joint.union_pairs == {"cross_encoder": len(pool)}
    assert execution.work["reranker.cross_encoder"]["scored"] == len(pool)

    together = cells(joint)
    for name in retrievers:
        for k in (10, 20, 50, 100):
            fresh = three_retrievers(tmp_path / "cache", bi_encoder)
            chosen = {name: fresh[name]}
            alone_reranker = CrossEncoderReranker(
                cross_encoder, cache_dir=tmp_path / f"alone-{name}-{k}"
            )
            alone = experiment(dataset, chosen, {"cross_encoder": alone_reranker}, k=[k], n=[5])
            for system, cell in cells(alone.run()).items():
                for measure, values in cell.values.items():
                    np.testing.assert_array_equal(values, together[system].values[measure])


def test_a_cell_is_the_reranked_top_k_measured_by_hand(tmp_path, dataset):
    retriever = BM25Retriever(cache_dir=tmp_path)
    reranker = PointwiseReranker(HashScorer(), cache_dir=tmp_path)
    results = experiment(dataset, {"bm25": retriever}, {"hash": reranker}, k=[7], n=[3]).run()
    candidates = retriever.retrieve(dataset.queries, 100)
    texts = {q.query_id: q.text for q in dataset.queries}
    by_hand = {}
    for query_id, docs in candidates:
        rendered = {d: doc.render() for d, doc in dataset.lookup(docs).items()}
        scores = HashScorer().score([(texts[query_id], rendered[d]) for d in docs[:7]])
        order = sorted(zip(scores, docs[:7], strict=True), reverse=True)
        final = [d for _, d in order] + docs[7:]
        by_hand[query_id] = {d: float(-rank) for rank, d in enumerate(final)}
    measures = MeasureSet(parse_measures(MEASURES.measures), dataset.qrels)
    expected = measures.per_query(Run.from_dict(by_hand))
    cut = measures.per_query(Run.from_dict(by_hand).top(3))
    for name in measures.names:
        np.testing.assert_array_equal(cells(results)["bm25+hash+k7"].values[name], expected[name])
        np.testing.assert_array_equal(cells(results)["bm25+hash+k7+n3"].values[name], cut[name])


def test_a_deep_recall_does_not_move_with_k_when_the_tail_is_kept(tmp_path, dataset):
    def recalls(tail):
        results = experiment(
            dataset,
            {"bm25": BM25Retriever(cache_dir=tmp_path)},
            {"none": NoReranker(), "hash": PointwiseReranker(HashScorer(), cache_dir=tmp_path)},
            MeasureSettings(["R@100"]),
            k=[5, 50],
            tail=tail,
        ).run()
        return [system.measures["R@100"] for system in results.systems]

    first_stage, at_5, at_50 = recalls("keep")
    assert first_stage == at_5 == at_50
    first_stage, at_5, _ = recalls("drop")
    assert at_5 < first_stage


def test_a_second_run_scores_nothing_and_gives_the_same(tmp_path, dataset):
    def run():
        scorer = HashScorer()
        reranker = PointwiseReranker(scorer, cache_dir=tmp_path)
        retrievers = {"bm25": BM25Retriever(cache_dir=tmp_path)}
        return scorer, experiment(dataset, retrievers, {"hash": reranker}, k=[10, 20]).run()

    first_scorer, first = run()
    second_scorer, second = run()
    assert len(first_scorer.asked) == len(set(first_scorer.asked)) > 0
    assert second_scorer.asked == []
    assert first.as_json() == second.as_json()


def test_a_reranker_that_depends_on_the_list_is_run_for_each_k_and_retriever(tmp_path, dataset):
    reranker = ListReranker()
    retriever = BM25Retriever(cache_dir=tmp_path)
    results = experiment(dataset, {"bm25": retriever}, {"list": reranker}, k=[5, 10]).run()
    candidates = retriever.retrieve(dataset.queries, 100)
    assert reranker.sizes == [len(candidates.top(10)), len(candidates.top(5))]
    reversed_top = results.runs["bm25+list+k5"][dataset.queries[0].query_id][:5]
    first_stage = candidates[dataset.queries[0].query_id][:5]
    assert [d for d, _ in reversed_top] == [d for d, _ in reversed(first_stage)]


def test_exclude_self_leaves_the_querys_own_doc_out_and_still_fills_k(tmp_path):
    dataset = toy_dataset(tmp_path / "toy")
    dataset.exclude_self = True
    own = dataset.queries[0].query_id

    class SelfRetriever:
        fingerprint = fingerprint("SelfRetriever")

        def is_cached(self, dataset):
            return True

        def index(self, dataset):
            pass

        def retrieve(self, queries, k):
            docs = [own, *(f"d{i}" for i in range(39))][:k]
            ranked = {d: float(-i) for i, d in enumerate(docs)}
            return Run.from_dict({q.query_id: ranked for q in queries})

    measures = MeasureSettings(["P@10"])
    run = experiment(
        dataset, {"self": SelfRetriever()}, {"none": NoReranker()}, measures, k=[], n=[]
    ).run()
    found = [d for d, _ in run.runs["self"][own]]
    assert found == [f"d{i}" for i in range(10)]


@pytest.mark.parametrize("template", ["", "title text", "{body}", "{title} {}"])
def test_a_template_that_shows_no_doc_is_refused(template):
    with pytest.raises(ConfigError, match="doc_template="):
        BM25Retriever(doc_template=template)
    with pytest.raises(ConfigError, match="doc_template="):
        PointwiseReranker(HashScorer(), template)


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"k": [0]}, r"sweep.k=0: expected at least 1"),
        ({"n": [-1]}, r"sweep.n=-1: expected at least 1"),
        ({"k": [151]}, r"sweep.k=151 is above the corpus of 150 docs"),
        ({"n": [999]}, r"sweep.n=999 is above the corpus"),
        ({"k": []}, r"sweep.k is empty"),
        ({"k": [50], "depth": 20}, r"sweep.depth=20: expected at least 50"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused_before_anything_runs(
    tmp_path, dataset, sweep, message
):
    scorer = HashScorer()
    rerankers = {"hash": PointwiseReranker(scorer, cache_dir=tmp_path)}
    retriever = BM25Retriever(cache_dir=tmp_path)
    with pytest.raises(ConfigError, match=message):
        experiment(dataset, {"bm25": retriever}, rerankers, **sweep).run()
    assert scorer.asked == []
    assert not retriever.is_cached(dataset)


def test_a_reranker_that_drops_candidates_is_refused(tmp_path, dataset):
    class Dropping(ListReranker):
        def rerank(self, queries, dataset, candidates):
            return candidates.top(2)

    retrievers = {"bm25": BM25Retriever(cache_dir=tmp_path)}
    with pytest.raises(ScoreError, match="added or dropped candidates"):
        experiment(dataset, retrievers, {"dropping": Dropping()}, k=[10]).run()


def test_intervals_surround_the_mean_and_do_not_depend_on_the_other_systems(tmp_path, dataset):
    bm25 = {"bm25": BM25Retriever(cache_dir=tmp_path)}
    hashed = {"hash": PointwiseReranker(HashScorer(), cache_dir=tmp_path)}
    alone = experiment(dataset, bm25, {"none": NoReranker()}).run().systems[0]
    both = experiment(dataset, bm25, {**hashed, "none": NoReranker()}).run()
    for measure, (low, high) in alone.ci.items():
        assert low < alone.measures[measure] < high
    np.testing.assert_allclose(
        list(cells(both)["bm25"].ci.values()), list(alone.ci.values()), rtol=1e-12
    )


def test_a_hybrid_that_is_too_shallow_is_refused_before_anything_is_indexed(tmp_path, dataset):
    parts = {
        "a": RememberingRetriever(BM25Retriever(cache_dir=tmp_path)),
        "b": RememberingRetriever(BM25Retriever(k1=0.5, cache_dir=tmp_path)),
    }
    hybrid = HybridRetriever(depth=30)
    hybrid.connect("mixed", parts)
    with pytest.raises(ConfigError, match=r"set retriever\.mixed\.depth=50"):
        experiment(
            dataset, {**parts, "mixed": hybrid}, {"none": NoReranker()}, MeasureSettings(["P@5"]),
            n=[50],
        ).run()  # fmt: skip
    assert not parts["a"].is_cached(dataset)


def test_a_hybrid_leaves_the_querys_own_doc_out_before_it_fuses(tmp_path):
    dataset = toy_dataset(tmp_path / "toy", docs=60)
    dataset.exclude_self = True
    queries = dataset.queries
    own = {q.query_id: f"d{i}" for i, q in enumerate(queries)}
    renamed = [q._replace(query_id=own[q.query_id]) for q in queries]
    parts = {
        "a": RememberingRetriever(BM25Retriever(cache_dir=tmp_path)),
        "b": RememberingRetriever(BM25Retriever(k1=0.1, b=0.1, cache_dir=tmp_path)),
    }
    hybrid = HybridRetriever(depth=10)
    hybrid.connect("hybrid", parts)
    hybrid.index(dataset)
    clean = [part.retrieve(renamed, 11).without_self().top(10) for part in parts.values()]
    found = hybrid.retrieve(renamed, 11)
    np.testing.assert_array_equal(found.scores, rrf(clean).top(11).scores)
    assert all(query_id not in docs for query_id, docs in found)


def test_a_measure_without_a_cutoff_sees_whole_rankings_whatever_else_is_asked(tmp_path, dataset):
    retriever = BM25Retriever(cache_dir=tmp_path)

    def mean(names, **sweep):
        parts = dataset, {"bm25": retriever}, {"none": NoReranker()}, MeasureSettings(names)
        return experiment(*parts, **sweep).run().systems[0].measures["AP"]

    retriever.index(dataset)
    whole = MeasureSet(parse_measures(["AP"]), dataset.qrels)
    expected = whole.per_query(retriever.retrieve(dataset.queries, 1000))["AP"].mean()
    assert mean(["AP"], k=[]) == mean(["nDCG@10", "AP"], k=[5]) == pytest.approx(expected)


def test_k_matters_only_where_something_is_reranked(tmp_path, dataset):
    parts = dataset, {"bm25": BM25Retriever(cache_dir=tmp_path)}
    assert experiment(*parts, {"none": NoReranker()}, k=[500]).run().systems
    hashed = {"hash": PointwiseReranker(HashScorer(), cache_dir=tmp_path)}
    with pytest.raises(ConfigError, match=r"above the corpus of 150 docs; set sweep\.k=\[20\]"):
        experiment(*parts, hashed, k=[20, 500]).run()


def test_one_corpus_has_one_index_whatever_is_asked_and_judged(tmp_path):
    one = toy_dataset(tmp_path / "toy")
    retriever = BM25Retriever(cache_dir=tmp_path)
    retriever.index(one)
    before = one.digest
    qrels = tmp_path / "toy" / "qrels" / "test.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\n")
    other = FolderDataset(tmp_path / "toy")
    assert other.digest != before
    assert retriever.is_cached(other)
