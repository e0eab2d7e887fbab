"""Cascades, fusions, thresholds and adaptive K, over parts whose scores are known."""

import math

import numpy as np
import pytest
from tiny import WORDS, HashScorer, ListReranker, write_collection

from evalkit.assembly import connected_rerankers
from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError
from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.fusion import normalised
from evalkit.rerankers.adaptive import AdaptiveReranker
from evalkit.rerankers.cascade import CascadeReranker
from evalkit.rerankers.fused import FusedReranker
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.rerankers.threshold import ThresholdReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.remembering import RememberingRetriever
from evalkit.run import Run
from evalkit.settings import MeasureSettings, SweepSettings


class OverlapScorer(HashScorer):
    """The share of the query's words in the doc, with a digest that breaks ties."""

    fingerprint = "overlap-scorer"

    def score(self, pairs):
        tie = super().score(pairs) / 2**24
        words = [(set(q.split()), set(d.split())) for q, d in pairs]
        shares = [len(q & d) / len(q) for q, d in words]
        return np.asarray(shares, dtype=np.float32) + np.float32(0.01) * tie


@pytest.fixture
def dataset(tmp_path):
    folder = write_collection(tmp_path / "toy", docs=60, queries=12)
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    more = [f'{{"_id": "t{i}", "text": "{WORDS[i]} {WORDS[i + 7]}"}}' for i in range(10)]
    (folder / "queries.jsonl").write_text("\n".join([*lines, *more]), encoding="utf-8")
    judged = [f"t{i}\td{(7 * i + 3 * j) % 60}\t{1 + j % 2}" for i in range(10) for j in range(8)]
    rows = ["query-id\tcorpus-id\tscore", *judged]
    (folder / "qrels" / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return FolderDataset(folder)


@pytest.fixture
def made(dataset, tmp_path):
    """Connect rerankers over BM25; gives them, the scorers of the parts, and the retriever."""
    retriever = RememberingRetriever(BM25Retriever(cache_dir=tmp_path / "cache"))
    retriever.index(dataset)
    scorers = {"hash": HashScorer(), "overlap": OverlapScorer()}
    parts = {
        name: PointwiseReranker(scorer, cache_dir=tmp_path / "cache")
        for name, scorer in scorers.items()
    }

    def connect(**rerankers):
        given = {"none": NoReranker(), **parts, "list": ListReranker(), **rerankers}
        return connected_rerankers(dataset, {"bm25": retriever}, given)

    connect.scorers, connect.retriever = scorers, retriever
    return connect


def candidates(made, dataset, k=20):
    return made.retriever.retrieve(dataset.queries, k)


def rerank(reranker, dataset, given):
    return reranker.for_retriever("bm25").rerank(dataset.queries, dataset, given)


def order(run):
    return dict(run)


def test_a_cascade_is_its_stages_by_hand(made, dataset):
    rerankers = made(cascade=CascadeReranker(["overlap 8", "hash 3", "list"]))
    given = candidates(made, dataset)
    found = rerank(rerankers["cascade"], dataset, given)
    first = rerankers["overlap"].rerank(dataset.queries, dataset, given)
    second = rerankers["hash"].rerank(dataset.queries, dataset, first.top(8))
    for query_id, docs in found:
        one, two = order(first)[query_id], order(second)[query_id]
        assert docs == [*reversed(two[:3]), *two[3:], *one[8:]]
    assert rerankers["cascade"].details["bm25"] == {
        "pairs a query at K=20": {
            "overlap": round(len(given) / 12, 2),
            "hash": round(len(given.top(8)) / 12, 2),
            "list": round(len(given.top(3)) / 12, 2),
        }
    }


def test_a_cascade_scores_a_pair_once_and_says_what_each_stage_scored(made, dataset, tmp_path):
    rerankers = made(cascade=CascadeReranker(["overlap 8", "hash"]))
    execution = ExecutionLog()
    Experiment(
        dataset,
        {"bm25": made.retriever},
        {"cascade": rerankers["cascade"]},
        SweepSettings(k=[5, 10, 20]),
        MeasureSettings(["nDCG@10"]),
    ).run(execution)
    given = candidates(made, dataset)
    work = execution.work["reranker.cascade"]
    assert work["overlap scored"] == len(given) == len(made.scorers["overlap"].asked)
    assert work["overlap asked"] == sum(len(given.top(k)) for k in (5, 10, 20))
    assert work["hash scored"] == len(made.scorers["hash"].asked) <= 12 * (8 + 5 + 8)
    assert rerankers["cascade"].estimate(np.array([20, 20])) == {
        "overlap pairs": 40,
        "hash pairs": 16,
    }


def test_a_fusion_is_the_formula_at_every_weight_from_one_pass(made, dataset):
    weights = [0, 0.3, 1]
    rerankers = made(fused=FusedReranker("overlap", weights))
    given = candidates(made, dataset)
    raw = rerankers["overlap"].rerank(dataset.queries, dataset, given)
    for weight in weights:
        found = rerank(rerankers[f"fused_w{weight:g}"], dataset, given)
        for i, query_id in enumerate(given.query_ids):
            first, second = dict(given[query_id]), dict(raw[query_id])
            for doc, score in found[query_id]:
                expected = (1 - weight) * scaled(first, doc) + weight * scaled(second, doc)
                assert score == pytest.approx(expected, abs=1e-6), (i, doc)
    assert order(rerank(rerankers["fused_w0"], dataset, given)) == order(given)
    assert order(rerank(rerankers["fused_w1"], dataset, given)) == order(raw)
    assert len(made.scorers["overlap"].asked) == len(given)


def scaled(scores, doc):
    low, high = min(scores.values()), max(scores.values())
    return 1.0 if high == low else (scores[doc] - low) / (high - low)


def test_a_tuned_weight_is_the_best_on_train_queries_and_never_sees_test_qrels(made, dataset):
    weights = [0, 0.25, 0.5, 0.75, 1]
    rerankers = made(fused=FusedReranker("overlap", weights, tune="train", measure="nDCG@10"))
    given = candidates(made, dataset)
    tuned = rerank(rerankers["fused"], dataset, given)
    details = rerankers["fused"].details["bm25"]["K=20"]
    curve = {float(w): value for w, value in details["curve"].items()}
    assert details["weight"] == max(curve, key=curve.get)
    assert details["chosen on"] == "toy/train, 10 queries"
    train = dataset.with_split("train")
    trained_on = made.retriever.retrieve(train.queries, 20)
    for weight in weights:
        fixed = made(one=FusedReranker("overlap", [weight]))["one"]
        run = fixed.for_retriever("bm25").rerank(train.queries, train, trained_on)
        experiment_value = ndcg_at_10(run, train)
        assert curve[weight] == pytest.approx(experiment_value, abs=5e-5)
    fixed = made(one=FusedReranker("overlap", [details["weight"]]))["one"]
    assert order(rerank(fixed, dataset, given)) == order(tuned)
    assert len(made.scorers["overlap"].asked) == len(given) + len(trained_on)


def ndcg_at_10(run, dataset):
    grades = {(q.query_id, q.doc_id): q.relevance for q in dataset.qrels}
    values = []
    for query_id, docs in run:
        ideal = sorted((g for (q, _), g in grades.items() if q == query_id), reverse=True)[:10]
        gains = [grades.get((query_id, doc), 0) for doc in docs[:10]]
        dcg, best = (sum(g / math.log2(i + 2) for i, g in enumerate(x)) for x in (gains, ideal))
        values.append(dcg / best)
    return np.mean(values)


def test_a_cross_validated_weight_does_not_see_its_own_fold(made, dataset, tmp_path):
    """Turning a query's judgements over changes other queries' weights, not its own."""
    settings = {"weights": [0, 0.2, 0.4, 0.6, 0.8, 1], "tune": "cross_validation", "folds": 12}
    given = candidates(made, dataset)
    whole = made(fused=FusedReranker("overlap", **settings))["fused"]
    before = rerank(whole, dataset, given)
    changed = FolderDataset(dataset.path)
    turned = [
        q._replace(relevance=3 - q.relevance if q.query_id == "q5" else q.relevance)
        for q in dataset.qrels
    ]
    changed.__dict__["_judgements"] = dataset._judgements._replace(qrels=tuple(turned))
    again = made(fused=FusedReranker("overlap", **settings))["fused"]
    after = again.for_retriever("bm25").rerank(changed.queries, changed, given)
    assert before["q5"] == after["q5"]
    assert whole.details["bm25"]["K=20"]["curve"] != again.details["bm25"]["K=20"]["curve"]


@pytest.mark.parametrize("scale", ["score", "min_max"])
def test_a_hard_threshold_drops_what_is_below_and_keeps_the_least(made, dataset, scale):
    reranker = made(cut=ThresholdReranker("overlap", 0.7, scale=scale, keep_least=2))["cut"]
    given = candidates(made, dataset)
    found = rerank(reranker, dataset, given)
    full = made()["overlap"].rerank(dataset.queries, dataset, given)
    values = full.scores if scale == "score" else normalised(full, "min_max")
    expected = (values >= 0.7) | (full.ranks < 2)
    assert len(found) == expected.sum() < len(given)
    assert (found.sizes >= np.minimum(given.sizes, 2)).all()
    for query_id, docs in found:
        assert docs == order(full)[query_id][: len(docs)]


def test_what_a_filter_drops_stays_away_in_the_grid(made, dataset):
    rerankers = made(cut=ThresholdReranker("overlap", 0.7))
    results = Experiment(
        dataset,
        {"bm25": made.retriever},
        {"none": rerankers["none"], "cut": rerankers["cut"]},
        SweepSettings(k=[10]),
        MeasureSettings(["nDCG@10"]),
    ).run()
    assert len(results.runs["bm25+cut+k10"]) < len(results.runs["bm25"].top(10))
    assert 0 < results.details["reranker.cut"]["bm25"]["K=10"]["passed_share"] < 1


def test_a_soft_threshold_leaves_the_rest_in_first_stage_order(made, dataset):
    reranker = made(soft=ThresholdReranker("overlap", 0.7, mode="soft"))["soft"]
    given = candidates(made, dataset)
    found = rerank(reranker, dataset, given)
    full = made()["overlap"].rerank(dataset.queries, dataset, given)
    assert not reranker.filters
    for query_id, docs in found:
        high = [doc for doc, score in full[query_id] if score >= 0.7]
        assert docs == [*high, *(d for d in order(given)[query_id] if d not in high)]


def test_the_first_stages_own_scores_can_be_cut(made, dataset):
    reranker = made(cut=ThresholdReranker(None, 0.5, scale="min_max"))["cut"]
    given = candidates(made, dataset)
    found = rerank(reranker, dataset, given)
    assert len(found) == (normalised(given, "min_max") >= 0.5).sum()


def test_adaptive_k_follows_the_gap_and_the_query_length(made, dataset):
    scores = [9.0, 8.9, 8.8, 8.7, 3.0, 2.9, 2.8]
    given = Run.from_dict(
        {q.query_id: {f"d{i}": s for i, s in enumerate(scores)} for q in dataset.queries}
    )
    full = made()["overlap"].rerank(dataset.queries, dataset, given)

    def reranked_docs(reranker):
        found = rerank(made(adaptive=reranker)["adaptive"], dataset, given)
        counts = {}
        for query_id, docs in found:
            same = [docs[i:] == order(given)[query_id][i:] for i in range(8)]
            counts[query_id] = same.index(True)
            head = order(given)[query_id][: counts[query_id]]
            assert docs[: len(head)] == [d for d in order(full)[query_id] if d in head]
        return counts

    by_gap = reranked_docs(AdaptiveReranker("overlap", "score_gap", least=2))
    assert max(by_gap.values()) == 4  # what is below the gap was not touched
    by_length = reranked_docs(AdaptiveReranker("overlap", "query_length", least=1, per_term=1.0))
    terms = {q.query_id: len(q.text.split()) for q in dataset.queries}
    assert all(by_length[q] <= 1 + terms[q] for q in by_length)
    reranker = AdaptiveReranker("overlap", "query_length", least=1, per_term=1.0)
    rerank(made(adaptive=reranker)["adaptive"], dataset, given)
    mean = np.mean([min(1 + n, 7) for n in terms.values()])
    assert reranker.details["bm25"]["K=7"]["candidates a query"] == pytest.approx(mean, abs=0.01)


def test_adaptive_k_counts_chinese_characters_as_terms(made, dataset):
    reranker = AdaptiveReranker("overlap", "query_length", least=1, per_term=1.0)
    query = dataset.queries[0]._replace(text="缓存 hit 时")
    given = Run.from_dict({query.query_id: {f"d{i}": -i for i in range(10)}})
    made(adaptive=reranker)["adaptive"].for_retriever("bm25").rerank([query], dataset, given)
    assert reranker.details["bm25"]["K=10"]["candidates a query"] == 1 + 4


def test_adaptive_k_ends_at_the_first_candidate_that_is_unlikely(made, dataset):
    scores = [3.0, 2.0, 1.0, -1.0, -2.0, -3.0, -4.0]
    given = Run.from_dict(
        {q.query_id: {f"d{i}": s for i, s in enumerate(scores)} for q in dataset.queries}
    )
    # With a < 0 the best candidates are the unlikely ones: none stands before the first of them.
    for slope, expected in ((1.0, 3), (-1.0, 1)):
        reranker = AdaptiveReranker(
            "overlap", "probability", least=1, probability=0.5, platt=(slope, 0.0)
        )
        rerank(made(adaptive=reranker)["adaptive"], dataset, given)
        assert reranker.details["bm25"]["K=7"]["candidates a query"] == expected


def test_a_fitted_probability_is_the_logistic_regression_of_train_relevance(made, dataset):
    reranker = AdaptiveReranker("overlap", "probability", least=1, probability=0.2)
    given = candidates(made, dataset)
    rerank(made(adaptive=reranker)["adaptive"], dataset, given)
    slope, offset = reranker.details["bm25"]["K=20"]["platt"]
    train = dataset.with_split("train")
    found = made.retriever.retrieve(train.queries, 20)
    good = {(q.query_id, q.doc_id) for q in train.qrels if q.relevance >= 1}
    labels = np.array([(q, d) in good for q, docs in found for d in docs], dtype=float)
    p = 1 / (1 + np.exp(-(slope * found.scores.astype(float) + offset)))
    # At the maximum of the likelihood the gradient is 0 in both parameters.
    assert abs((labels - p).sum()) < 0.05
    assert abs(((labels - p) * found.scores).sum()) < 0.2
    likely = 1 / (1 + np.exp(-(slope * given.scores.astype(float) + offset))) >= 0.2
    sizes = np.maximum(np.bincount(given.rows[likely], minlength=12), 1)
    mean = reranker.details["bm25"]["K=20"]["candidates a query"]
    assert mean == pytest.approx(np.minimum(sizes, given.sizes).mean(), abs=0.011)


@pytest.mark.parametrize(
    ("reranker", "message"),
    [
        (lambda: CascadeReranker([]), "no stages"),
        (lambda: CascadeReranker(["hash", "overlap"]), "says not how many"),
        (lambda: CascadeReranker(["hash 5", "overlap 9"]), "no more docs than before"),
        (lambda: CascadeReranker(["hash x", "overlap"]), "number of docs that go"),
        (lambda: CascadeReranker(["hash ²", "overlap"]), "number of docs that go"),
        (lambda: CascadeReranker(["hash 5", "hash"]), "names one reranker twice"),
        (lambda: FusedReranker("hash", [1.5]), "from 0 to 1"),
        (lambda: FusedReranker("hash", normalisation="log"), "normalisation=log"),
        (lambda: FusedReranker("hash", clip=(3, 1)), "clip"),
        (lambda: ThresholdReranker("hash", 0, scale="log"), "scale=log"),
        (lambda: AdaptiveReranker("hash", least=0), "least=0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(reranker, message):
    with pytest.raises(ConfigError, match=message):
        reranker()


@pytest.mark.parametrize(
    ("reranker", "message"),
    [
        (CascadeReranker(["overlapp 5", "hash"]), "Did you mean 'overlap'"),
        (FusedReranker("none"), "reranks nothing"),
        (FusedReranker("hash", tune="dev"), "another split than the evaluated 'test'"),
        (FusedReranker("hash", tune="test"), "another split than the evaluated 'test'"),
        (AdaptiveReranker("hash", "probability", fit_split="dev"), "platt="),
    ],
)
def test_parts_and_splits_that_are_not_there_are_refused(made, reranker, message):
    with pytest.raises(ConfigError, match=message):
        made(composed=reranker)


def test_a_circle_is_refused(made):
    with pytest.raises(ConfigError, match=r"one is made of itself \(one → two → one\)"):
        made(one=FusedReranker("two"), two=CascadeReranker(["hash 5", "one"]))


def test_what_drops_docs_cannot_be_fused_however_deep_it_is(made):
    rerankers = made(
        one=FusedReranker("two"), two=CascadeReranker(["hash 5", "three"]),
        three=ThresholdReranker("overlap", 0),
    )  # fmt: skip
    assert rerankers["two"].filters
    with pytest.raises(ConfigError, match="it drops docs"):
        rerankers["one"].check(10)


def test_fingerprints_follow_settings_and_parts(made):
    found = made(
        a=FusedReranker("hash"), b=FusedReranker("overlap"), c=FusedReranker("hash", [0.4]),
        d=FusedReranker("hash", tune="train"), e=CascadeReranker(["hash 5", "overlap"]),
        f=CascadeReranker(["hash 4", "overlap"]), g=ThresholdReranker("hash", 0.1),
        h=ThresholdReranker("hash", 0.2), i=AdaptiveReranker("hash"),
        j=AdaptiveReranker("hash", least=6),
    )  # fmt: skip
    prints = {name: found[name].fingerprint for name in "abcdefghij"}
    assert len(set(prints.values())) == len(prints)
    assert made(a=FusedReranker("hash"))["a"].fingerprint == prints["a"]


class CutScorer(HashScorer):
    """Says of the pairs of some queries that they were cut."""

    fingerprint = "cut-scorer"

    def truncated(self, pairs):
        return np.array([query.split()[0] in WORDS[:5] for query, _ in pairs], dtype=bool)


def grid_details(made, dataset, shown):
    return (
        Experiment(
            dataset, {"bm25": made.retriever}, shown, SweepSettings(k=[20, 5]),
            MeasureSettings(["nDCG@10"]),
        )
        .run()
        .details
    )  # fmt: skip


def test_what_a_part_says_of_itself_does_not_depend_on_who_else_calls_it(made, dataset, tmp_path):
    def shown(*names):
        cut = PointwiseReranker(CutScorer(), cache_dir=tmp_path / "cut")
        found = made(
            cut=cut, tuned=FusedReranker("cut", [0, 0.5, 1], tune="train"),
            cascade=CascadeReranker(["cut 5", "list"]),
        )  # fmt: skip
        return grid_details(made, dataset, {name: found[name] for name in names})

    alone = shown("cut")["reranker.cut"]
    assert 0 < alone["truncated_share"] < 1
    assert shown("cut", "tuned", "cascade")["reranker.cut"] == alone
    assert shown("cascade", "tuned", "cut")["reranker.cut"] == alone


def test_a_hidden_part_has_its_say_in_what_is_made_of_it(made, dataset, tmp_path):
    cut = PointwiseReranker(CutScorer(), cache_dir=tmp_path / "cut")
    found = made(cut=cut, tuned=FusedReranker("cut", [0, 0.5, 1], tune="train"))
    share = grid_details(made, dataset, {"cut": found["cut"]})["reranker.cut"]["truncated_share"]
    # One retriever: the union of candidates is its own. Neither the train queries' share nor K=5's.
    told = grid_details(made, dataset, {"tuned": found["tuned"]})["reranker.tuned"]["bm25"]
    assert told["cut"] == {"truncated_share": share}


def test_what_a_part_drops_stays_away_in_what_is_made_of_it(made, dataset):
    found = made(
        hard=ThresholdReranker("overlap", 0.7), soft=ThresholdReranker("hard", 0.9, mode="soft"),
        adaptive=AdaptiveReranker("hard", "query_length", least=5, per_term=0),
    )  # fmt: skip
    given = candidates(made, dataset)
    hard = order(rerank(found["hard"], dataset, given))
    for query_id, docs in rerank(found["soft"], dataset, given):
        assert sorted(docs) == sorted(hard[query_id])
    first = order(rerank(found["hard"], dataset, given.top(5)))
    assert order(rerank(found["adaptive"], dataset, given)) == first
    assert any(len(docs) < 5 for docs in first.values())


@pytest.mark.parametrize(
    "part",
    [
        FusedReranker("hash", [0, 1], tune="train"),
        AdaptiveReranker("hash", "probability"),
        ThresholdReranker("tuned", 0, mode="soft"),
    ],
)
def test_what_is_fitted_to_the_first_stage_comes_first_in_a_cascade(made, part):
    tuned = FusedReranker("hash", [0, 1], tune="train")
    first = made(tuned=tuned, part=part, cascade=CascadeReranker(["part 5", "overlap"]))
    first["cascade"].check(20)
    second = made(tuned=tuned, part=part, cascade=CascadeReranker(["overlap 5", "part"]))
    with pytest.raises(ConfigError, match="'part' is fitted to the first stage's scores"):
        second["cascade"].check(20)


def test_a_train_query_that_is_evaluated_too_chooses_no_weight(made, dataset):
    text = next(q.text for q in dataset.with_split("train").queries if q.query_id == "t3")
    given = candidates(made, dataset)
    twin = FolderDataset(dataset.path)
    first, *others = dataset.queries
    twin.__dict__["_judgements"] = dataset._judgements._replace(
        queries=(first._replace(text=f" {text.upper()}"), *others)
    )
    found = {}
    for name, evaluated in {"apart": dataset, "twin": twin}.items():
        parts = {
            "overlap": made()["overlap"],
            "fused": FusedReranker("overlap", [0, 0.5, 1], tune="train"),
        }
        fused = connected_rerankers(evaluated, {"bm25": made.retriever}, parts)["fused"]
        fused.for_retriever("bm25").rerank(evaluated.queries, evaluated, given)
        found[name] = fused.details["bm25"]["K=20"]["chosen on"]
    assert found == {"apart": "toy/train, 10 queries", "twin": "toy/train, 9 queries"}


def test_the_measure_of_a_tuned_weight_is_checked_before_anything_is_scored(made):
    for measure, message in (("nDGC@10", "is unknown"), ("redundancy@10", "lower is better")):
        settings = {"weights": [0, 1], "tune": "cross_validation", "measure": measure}
        with pytest.raises(ConfigError, match=message):
            made(fused=FusedReranker("hash", **settings))["fused"].check(10)
    made(fused=FusedReranker("hash", measure="nDGC@10"))["fused"].check(10)  # is not used


def test_two_weights_of_one_name_are_refused(made):
    with pytest.raises(ConfigError, match=r"make one system, fused_w0\.3"):
        made(fused=FusedReranker("hash", [0.3, 0.30000001]))
