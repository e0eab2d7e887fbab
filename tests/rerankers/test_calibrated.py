"""Calibrated scores: order kept, no evaluated query in the fit, thresholds that mean something."""

import json

import numpy as np
import pytest
from tiny import WORDS, HashScorer, ListReranker, write_collection

from evalkit.assembly import connected_rerankers
from evalkit.calibration.maps import fit, sigmoid
from evalkit.calibration.reliability import calibration_error
from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError
from evalkit.experiment import Experiment
from evalkit.report.details import details_markdown
from evalkit.rerankers.calibrated import CalibratedReranker
from evalkit.rerankers.calibration_lesson import labelled
from evalkit.rerankers.cascade import CascadeReranker
from evalkit.rerankers.fused import FusedReranker
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.rerankers.threshold import ThresholdReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.remembering import RememberingRetriever
from evalkit.settings import MeasureSettings, SweepSettings

A, B = 1.5, -2.0


class LogitScorer(HashScorer):
    """A normal score a pair, from a digest of its texts."""

    fingerprint = "logit-scorer"

    def score(self, pairs):
        share = (super().score(pairs).astype(np.float64) % 1000 + 0.5) / 1000
        return (2 * np.log(share / (1 - share))).astype(np.float32)


def judge(folder, split, queries, docs):
    """Judge every pair: relevant with the probability that the scorer's score says."""
    generator = np.random.default_rng(len(queries))
    rows = ["query-id\tcorpus-id\tscore"]
    for query_id, text in queries.items():
        scores = LogitScorer().score([(text, doc) for doc in docs.values()])
        drawn = generator.random(len(docs)) < sigmoid(A * scores + B)
        rows += [f"{query_id}\t{d}\t{int(r)}" for d, r in zip(docs, drawn, strict=True)]
    (folder / "qrels" / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 docs, 40 test and 60 train queries, every pair judged by the scorer's own odds."""
    folder = write_collection(tmp_path_factory.mktemp("data") / "toy", docs=60, queries=40)
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    test = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    names = [f"{one} {two}" for one in WORDS for two in WORDS if one != two]
    train = {f"t{i}": names[3 * i + 200] for i in range(60)}
    more = [json.dumps({"_id": key, "text": text}) for key, text in train.items()]
    (folder / "queries.jsonl").write_text("\n".join([*lines, *more]), encoding="utf-8")
    docs = {doc.doc_id: doc.render() for doc in FolderDataset(folder).docs_iter()}
    judge(folder, "test", test, docs)
    judge(folder, "train", train, docs)
    return folder


@pytest.fixture
def dataset(folder):
    return FolderDataset(folder)


@pytest.fixture
def made(dataset, tmp_path):
    """Connect rerankers over BM25; gives them, the scorer's calls, and the retriever."""
    retriever = RememberingRetriever(BM25Retriever(cache_dir=tmp_path / "cache"))
    retriever.index(dataset)
    scorer = LogitScorer()
    part = PointwiseReranker(scorer, cache_dir=tmp_path / "cache")

    def connect(dataset=dataset, **rerankers):
        given = {"none": NoReranker(), "logit": part, "list": ListReranker(), **rerankers}
        return connected_rerankers(dataset, {"bm25": retriever}, given)

    connect.scorer, connect.retriever = scorer, retriever
    return connect


def candidates(made, dataset, k=30):
    return made.retriever.retrieve(dataset.queries, k)


def rerank(reranker, dataset, given):
    return reranker.for_retriever("bm25").rerank(dataset.queries, dataset, given)


def details(reranker, k=30):
    return reranker.details["bm25"][f"K={k}"]


@pytest.mark.parametrize("method", ["platt", "temperature", "isotonic"])
@pytest.mark.parametrize("split", ["train", None])
def test_the_ranking_is_the_parts_own_and_scores_are_probabilities(made, dataset, method, split):
    rerankers = made(calibrated=CalibratedReranker("logit", method, split))
    given = candidates(made, dataset)
    found = rerank(rerankers["calibrated"], dataset, given)
    raw = rerankers["logit"].rerank(dataset.queries, dataset, given)
    assert dict(found) == dict(raw)
    assert found.tied_share() == raw.tied_share()
    assert (found.scores > 0).all()
    assert (found.scores < 1).all()


def test_the_parameters_that_made_the_labels_are_found_on_train_queries(made, dataset):
    reranker = made(c=CalibratedReranker("logit"))["c"]
    given = candidates(made, dataset)
    found = rerank(reranker, dataset, given)
    train = dataset.with_split("train")
    learned = made()["logit"].rerank(
        train.queries, train, made.retriever.retrieve(train.queries, 30)
    )
    labels = labelled(learned, train, "non_relevant").relevant
    expected = fit("platt", learned.scores, labels)
    told = details(reranker)
    assert told["parameters"] == pytest.approx(expected.parameters, rel=1e-5)
    assert told["parameters"] == pytest.approx({"a": A, "b": B}, rel=0.25)  # 1,800 pairs
    assert told["fitted on"] == (
        f"toy/train, 60 queries, {len(learned):,} pairs, {labels.sum():,} relevant"
    )
    raw = made()["logit"].rerank(dataset.queries, dataset, given)
    assert found.scores == pytest.approx(expected.probability(raw.scores), abs=1e-5)


def test_calibration_error_is_that_of_evaluated_docs_and_falls(made, dataset):
    reranker = made(c=CalibratedReranker("logit"))["c"]
    given = candidates(made, dataset)
    found = rerank(reranker, dataset, given)
    relevant = labelled(found, dataset, "non_relevant").relevant
    told = details(reranker)
    assert told["after"]["ECE"] == pytest.approx(
        calibration_error(found.scores, relevant), abs=1e-4
    )
    raw = made()["logit"].rerank(dataset.queries, dataset, given)
    before = calibration_error(sigmoid(raw.scores), relevant)
    assert told["before"]["ECE"] == pytest.approx(before, abs=1e-6)
    assert told["after"]["ECE"] < 0.05 < 0.15 < told["before"]["ECE"]
    assert told["after"]["Brier score"] < told["before"]["Brier score"]
    assert sum(told["reliability"]["after"]["docs"]) == len(found)


def test_the_score_itself_can_be_what_stood_before(made, dataset):
    reranker = made(c=CalibratedReranker("logit", raw="score"))["c"]
    found = rerank(reranker, dataset, candidates(made, dataset))
    raw = made()["logit"].rerank(dataset.queries, dataset, candidates(made, dataset))
    relevant = labelled(found, dataset, "non_relevant").relevant
    expected = calibration_error(np.clip(raw.scores, 0, 1), relevant)
    assert details(reranker)["before"]["ECE"] == pytest.approx(expected, abs=1e-6)
    assert details(reranker)["before read as"] == "score"


def with_grades(dataset, change):
    """The same collection with other judgements: change(qrel) → grade, or None for no judgement."""
    changed = FolderDataset(dataset.path)
    qrels = [q._replace(relevance=change(q)) for q in dataset.qrels if change(q) is not None]
    changed.__dict__["_judgements"] = dataset._judgements._replace(qrels=tuple(qrels))
    return changed


def test_judgements_of_evaluated_queries_change_no_score_under_a_train_split(made, dataset):
    given = candidates(made, dataset)
    turned = with_grades(dataset, lambda q: 1 - q.relevance)
    found = [
        rerank(made(one, c=CalibratedReranker("logit"))["c"], one, given)
        for one in (dataset, turned)
    ]
    assert np.array_equal(found[0].scores, found[1].scores)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_cross_fitted_score_does_not_see_its_own_query(made, dataset, method):
    """Turning one query's judgements over changes other queries' scores, not its own."""
    given = candidates(made, dataset)
    found = {}
    for name, one in {
        "before": dataset,
        "after": with_grades(
            dataset, lambda q: 1 - q.relevance if q.query_id == "q5" else q.relevance
        ),
    }.items():
        reranker = made(one, c=CalibratedReranker("logit", method, None, folds=4))["c"]
        found[name] = rerank(reranker, one, given)
        told = details(reranker)
        assert told["fitted on"].startswith("4-fold cross-validation by query on toy/test, 40 q")
        assert list(told["parameters"]) == [f"fold {i}" for i in range(1, 5)]
    assert found["before"]["q5"] == found["after"]["q5"]
    assert not np.array_equal(found["before"].scores, found["after"].scores)


def test_cross_fitting_scores_no_pair_twice(made, dataset):
    given = candidates(made, dataset)
    rerank(made(c=CalibratedReranker("logit", split="dev"))["c"], dataset, given)
    assert 0 < len(made.scorer.asked) == len(set(made.scorer.asked)) <= len(given)


def test_unjudged_docs_count_as_not_relevant_or_not_at_all(made, dataset):
    partly = with_grades(dataset, lambda q: q.relevance if int(q.doc_id[1:]) % 3 else None)
    told = {}
    for unjudged in ("non_relevant", "skip"):
        reranker = made(partly, c=CalibratedReranker("logit", split=None, unjudged=unjudged))["c"]
        found = rerank(reranker, partly, candidates(made, partly))
        told[unjudged] = details(reranker)
    share = np.mean([int(d[1:]) % 3 > 0 for _, docs in found for d in docs])
    pairs = {key: sum(facts["reliability"]["after"]["docs"]) for key, facts in told.items()}
    assert pairs["non_relevant"] == len(found)
    assert pairs["skip"] == round(share * len(found))
    only_relevant = with_grades(dataset, lambda q: 1 if q.relevance else None)
    skipping = made(only_relevant, c=CalibratedReranker("logit", split=None, unjudged="skip"))["c"]
    with pytest.raises(ConfigError, match="both kinds are needed; count unjudged docs"):
        rerank(skipping, only_relevant, candidates(made, only_relevant))


def grid(made, dataset, **rerankers):
    return Experiment(
        dataset, {"bm25": made.retriever}, rerankers, SweepSettings(k=[10, 30]),
        MeasureSettings(["nDCG@10"]),
    ).run()  # fmt: skip


def test_a_threshold_on_calibrated_scores_keeps_docs_of_the_precision_it_says(made, dataset):
    wanted = 0.6
    rerankers = made(
        calibrated=CalibratedReranker("logit", precision=wanted),
        threshold=ThresholdReranker("calibrated", 0.4),
    )
    shown = {name: rerankers[name] for name in ("none", "calibrated", "threshold")}
    results = grid(made, dataset, **shown)
    told = results.details["reranker.calibrated"]["bm25"]["K=30"]
    raw = made()["logit"].rerank(dataset.queries, dataset, candidates(made, dataset))
    likely = sigmoid(told["parameters"]["a"] * raw.scores + told["parameters"]["b"])
    cut = results.runs["bm25+threshold+k30"]
    assert dict(cut) == dict(raw.where(likely >= 0.4))
    # Docs above a probability of 0.4 are relevant at least that often, and what was told is so.
    precision = labelled(cut, dataset, "non_relevant").relevant.mean()
    at = told["coverage"]["threshold"].index(0.4)
    assert told["coverage"]["precision"][at] == pytest.approx(precision, abs=1e-6)
    assert precision > 0.5
    assert told["coverage"]["docs"][at] == pytest.approx(len(cut) / len(raw), abs=1e-6)
    (least,) = told["threshold"]["least for precision 0.6"]
    ((low, high),) = told["threshold"]["interval"]
    assert low <= least <= high
    kept = likely >= least - 1e-6
    relevant = labelled(raw, dataset, "non_relevant").relevant
    assert told["threshold"]["precision here"] == pytest.approx(relevant[kept].mean(), abs=0.01)
    assert told["threshold"]["precision here"] == pytest.approx(wanted, abs=0.1)
    again = made(cut=ThresholdReranker("c", least), c=CalibratedReranker("logit"))["cut"]
    assert len(rerank(again, dataset, candidates(made, dataset))) == pytest.approx(
        told["threshold"]["docs_kept_share"] * len(raw), abs=2
    )


def test_a_precision_that_nothing_reaches_is_said(made, dataset):
    nothing = with_grades(dataset, lambda q: int(q.doc_id == "d1"))
    reranker = made(nothing, c=CalibratedReranker("logit", split=None, precision=1.0))["c"]
    rerank(reranker, nothing, candidates(made, nothing))
    threshold = details(reranker)["threshold"]
    assert "none" in threshold["least for precision 1"]
    json.dumps(details(reranker), allow_nan=False)


def test_the_report_tells_figures_and_leaves_curves_to_files(made, dataset):
    rerankers = made(calibrated=CalibratedReranker("logit", precision=0.5))
    text = details_markdown(grid(made, dataset, calibrated=rerankers["calibrated"]))
    assert "parameters: a 1." in text
    assert "ECE" in text
    assert "before read as: σ(score)" in text
    assert "reliability" not in text
    assert "coverage" not in text


def test_each_k_is_fitted_once_however_many_use_it(made, dataset, monkeypatch):
    fits = []
    monkeypatch.setattr(
        "evalkit.rerankers.calibration_lesson.fit",
        lambda *given: fits.append(len(given[1])) or fit(*given),
    )
    rerankers = made(
        c=CalibratedReranker("logit"), one=ThresholdReranker("c", 0.5),
        two=ThresholdReranker("c", 0.7), fused=FusedReranker("c", [0, 1], tune="train"),
    )  # fmt: skip
    grid(made, dataset, **{name: rerankers[name] for name in ("c", "one", "two")})
    assert len(fits) == 2
    grid(made, dataset, fused=rerankers["fused"])
    # The weight is tuned on train queries under the same map.
    assert len(fits) == 2


@pytest.mark.parametrize(
    "settings",
    [{"method": "beta"}, {"folds": 1}, {"bins": 1}, {"precision": 0.0}, {"precision": 1.5}],
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ConfigError, match="calibrated: "):
        CalibratedReranker("logit", **settings)


def test_more_folds_than_queries_and_a_second_stage_are_refused(made, dataset):
    reranker = made(c=CalibratedReranker("logit", split=None, folds=41))["c"]
    with pytest.raises(ConfigError, match=r"folds=41 for the 40 queries of toy/test"):
        reranker.check(30)
    cascade = made(c=CalibratedReranker("logit"), two=CascadeReranker(["logit 10", "c"]))["two"]
    with pytest.raises(ConfigError, match="'c' is fitted to the first stage's scores"):
        cascade.check(30)


def test_a_fit_that_cannot_be_names_reranker_and_queries(made, dataset):
    nothing = with_grades(dataset, lambda q: 0)
    reranker = made(nothing, c=CalibratedReranker("logit", split=None))["c"]
    with pytest.raises(ConfigError, match=r"reranker.c over bm25, 5-fold .*: 0 relevant of"):
        rerank(reranker, nothing, candidates(made, nothing))


def test_fingerprints_follow_what_changes_a_score(made):
    found = made(
        a=CalibratedReranker("logit"), b=CalibratedReranker("logit", "isotonic"),
        c=CalibratedReranker("logit", split=None), d=CalibratedReranker("logit", smoothing=False),
        e=CalibratedReranker("list"), f=CalibratedReranker("logit", unjudged="skip"),
        same=CalibratedReranker("logit", bins=7, precision=0.9, raw="score"),
    )  # fmt: skip
    prints = {name: found[name].fingerprint for name in "abcdef"}
    assert len(set(prints.values())) == len(prints)
    assert found["same"].fingerprint == prints["a"]


def test_the_dry_run_counts_the_train_queries_too(made):
    reranker = made(c=CalibratedReranker("logit"))["c"]
    assert reranker.estimate(np.array([30, 20])) == {
        "logit pairs": 50,
        "logit pairs on train": 60 * 30,
    }


def test_details_are_named_by_the_k_of_the_table_where_fewer_docs_are_found(made, dataset):
    rerankers = made(
        calibrated=CalibratedReranker("logit"),
        fused=FusedReranker("logit", weights=[0.2, 0.8], tune="train"),
    )
    shown = {name: rerankers[name] for name in ("none", "calibrated", "fused")}
    results = Experiment(
        dataset, {"bm25": made.retriever}, shown, SweepSettings(k=[59, 60]),
        MeasureSettings(["nDCG@10"]),
    ).run()  # fmt: skip
    assert candidates(made, dataset, 60).sizes.max() < 59  # docs that share a word
    for name in ("calibrated", "fused"):
        assert set(results.details[f"reranker.{name}"]["bm25"]) == {"K=59", "K=60"}
