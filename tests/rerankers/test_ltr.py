"""Learning to rank: features by hand, models against the libraries' rankers, no query leaked."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from tiny import write_collection

from evalkit.analysis import Analyzer
from evalkit.assembly import connected_rerankers, connected_retrievers
from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError, DataError, ScoreError
from evalkit.experiment import Experiment
from evalkit.plan import plan
from evalkit.rerankers.lessons import dealt, lesson_for, normal_text
from evalkit.rerankers.ltr import LearningToRank
from evalkit.rerankers.ltr_backends import Examples, Hyperparameters, backend
from evalkit.rerankers.ltr_features import stage_matrix
from evalkit.rerankers.ltr_terms import NAMES, TermFeatures
from evalkit.rerankers.ltr_training import with_negatives
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.run import Run, union
from evalkit.settings import MeasureSettings, SweepSettings
from evalkit.types import Query

SMALL = {"trees": 12, "leaves": 4, "min_docs_in_leaf": 5, "learning_rate": 0.2, "depth": 20}
XGBOOST = {**SMALL, "backend": "xgboost", "min_docs_in_leaf": None}
BACKENDS = pytest.mark.parametrize("settings", [SMALL, XGBOOST], ids=["lightgbm", "xgboost"])


def write_qrels(folder, split, judged):
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, line)) for line in judged)]
    (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def judgements(folder, query_ids):
    """A doc is relevant that holds at least two words of the query; more so with one in its title.
    Where there is none, the doc that holds most."""
    docs = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    for query in queries:
        if query["_id"] not in query_ids:
            continue
        words = set(query["text"].split())
        for doc in docs:
            held = len(words & set(f"{doc['title']} {doc['text']}".split()))
            titled = bool(words & set(doc["title"].split()))
            yield query["_id"], doc["_id"], (1 + titled) * (held >= 2)


@pytest.fixture
def folder(tmp_path):
    """60 docs; queries q0..q7 are evaluated, q8..q39 the train split."""
    folder = write_collection(tmp_path / "toy", docs=60, queries=40)
    write_qrels(folder, "test", judgements(folder, {f"q{i}" for i in range(8)}))
    write_qrels(folder, "train", judgements(folder, {f"q{i}" for i in range(8, 40)}))
    return folder


@pytest.fixture
def untrained(folder):
    """The same without a train split."""
    write_qrels(folder, "test", judgements(folder, {f"q{i}" for i in range(30)}))
    (folder / "qrels" / "train.tsv").unlink()
    return folder


def connected(dataset, cache, stages=("bm25", "flat"), **settings):
    """A ranker over BM25 and BM25 without length normalisation."""
    both = {
        "bm25": BM25Retriever(cache_dir=cache),
        "flat": BM25Retriever(k1=3.0, b=0.0, cache_dir=cache),
    }
    ranker = LearningToRank(**{**SMALL, **settings}, cache_dir=cache)
    retrievers = connected_retrievers({name: both[name] for name in stages})
    connected_rerankers(dataset, retrievers, {"ltr": ranker})
    return ranker


def everything(dataset):
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    return Run.from_dict({q.query_id: dict.fromkeys(docs, 0.0) for q in dataset.queries})


def reranked(dataset, cache, candidates=None, **settings):
    candidates = everything(dataset) if candidates is None else candidates
    return connected(dataset, cache, **settings).rerank(dataset.queries, dataset, candidates)


def as_dict(run):
    return {query_id: dict(run[query_id]) for query_id in run.query_ids}


def matrix_of(ranker, dataset, pairs, query_ids=None):
    query_ids = pairs.query_ids if query_ids is None else query_ids
    rankings = ranker.features.rankings(dataset, query_ids)
    return ranker.features.matrix(pairs, rankings, dataset, dataset.queries)


# The features, by hand.


def test_stage_features_by_hand():
    pairs = Run.from_dict({"q": {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0}, "r": {"a": 0.0}})
    one = Run.from_dict({"q": {"a": 9.0, "b": 5.0, "c": 1.0}}, ["q", "r"])
    two = Run.from_dict({"q": {"c": 0.5}, "r": {"a": 2.0}})
    found = stage_matrix(pairs, {"one": one, "two": two})
    nan, spread = math.nan, math.sqrt(32 / 3)
    # Candidates tie at 0, so they stand in descending order of their ids.
    expected = {
        ("q", "d"): [nan, nan, nan, nan, 0, nan, nan, nan, nan, 0, 0],
        ("q", "c"): [1, 0, -4 / spread, 3, 1 / 3, 0.5, 1, 0, 1, 1, 1 / 63 + 1 / 61],
        ("q", "b"): [5, 0.5, 0, 2, 1 / 2, nan, nan, nan, nan, 0, 1 / 62],
        ("q", "a"): [9, 1, 4 / spread, 1, 1, nan, nan, nan, nan, 0, 1 / 61],
        ("r", "a"): [nan, nan, nan, nan, 0, 2, 1, 0, 1, 1, 1 / 61],
    }
    assert [(q, d) for q, docs in pairs for d in docs] == list(expected)
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-6)


@pytest.fixture
def small(tmp_path):
    """Three docs: "cat" is in two of them, "dog" in one, "fish" in none."""
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    docs = [
        ("a", "Cats", "The cat sleeps, cat!"),
        ("b", "", "dogs and cats"),
        ("c", "猫", "我爱猫"),
    ]
    lines = [json.dumps({"_id": i, "title": t, "text": x}) for i, t, x in docs]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    queries = [("q", "cat dog fish cat"), ("none", "?!")]
    lines = [json.dumps({"_id": i, "text": text}) for i, text in queries]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    write_qrels(folder, "test", [("q", "a", 1), ("none", "a", 1)])
    return FolderDataset(folder)


def test_term_features_by_hand(tmp_path, small):
    terms = TermFeatures(Analyzer(), "{title} {text}", tmp_path)
    statistics = terms.statistics(small, small.queries)
    assert statistics.docs == 3
    assert statistics.frequencies == {"cat": 2, "dog": 1, "fish": 0}
    cat, dog, fish = (math.log(1 + (3 - df + 0.5) / (df + 0.5)) for df in (2, 1, 0))
    total = cat + dog + fish
    pairs = Run.from_dict({"q": {"a": 3.0, "b": 2.0, "c": 1.0}, "none": {"a": 0.0}})
    found = terms.matrix(pairs, small.queries, small, statistics)
    idf = [total, total / 3, fish, cat]
    expected = [
        # Lengths of doc, title, query; overlap: count, share, by idf; of the title; idf.
        [4, 1, 4, 1, 1 / 3, cat / total, 1 / 3, cat / total, *idf],
        [2, 0, 4, 2, 2 / 3, (cat + dog) / total, 0, 0, *idf],
        [len(Analyzer().terms("猫 我爱猫")), 1, 4, 0, 0, 0, 0, 0, *idf],
        [4, 1, 0, 0, *[math.nan] * 8],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert len(NAMES) == len(expected[0])


def test_terms_are_counted_once_and_kept_by_docs_and_terms(tmp_path, small, monkeypatch):
    terms = TermFeatures(Analyzer(), "{title} {text}", tmp_path)
    first = terms.statistics(small, small.queries)
    monkeypatch.setattr(FolderDataset, "docs_iter", lambda self: pytest.fail("a second pass"))
    assert terms.statistics(small, small.queries) == first
    with pytest.raises(pytest.fail.Exception):
        terms.statistics(small, [Query("n", "new words")])
    with pytest.raises(pytest.fail.Exception):
        TermFeatures(Analyzer(), "{text}", tmp_path).statistics(small, small.queries)


def test_names_and_signs_stand_for_the_columns(tmp_path, folder):
    dataset = FolderDataset(folder)
    ranker = connected(dataset, tmp_path)
    ranker.rerank(dataset.queries, dataset, everything(dataset))
    matrix = matrix_of(ranker, dataset, everything(dataset))
    features = ranker.features
    assert matrix.shape == (8 * 60, len(features.names))
    assert matrix.dtype == np.float32
    assert len(features.signs) == len(set(features.names)) == len(features.names)
    signed = {name: sign for name, sign in zip(features.names, features.signs, strict=True) if sign}
    assert {name for name, sign in signed.items() if sign < 0} == {"bm25.rank", "flat.rank"}
    assert {"bm25.score", "flat.reciprocal_rank", "rrf"} <= signed.keys()
    run = ranker.features.rankings(dataset, [q.query_id for q in dataset.queries])["flat"]
    column = matrix[:, features.names.index("flat.score")]
    np.testing.assert_array_equal(column, everything(dataset).scores_in(run))


# Models, against the libraries' own rankers.


def training_data(ranker, dataset):
    """What the ranker is trained on, put together here: features, grades, sizes."""
    train = dataset.with_split("train")
    rankings = ranker.features.rankings(train, [q.query_id for q in train.queries])
    pairs = union(list(rankings.values()))
    grade = {(q, d): g for q, d, g, _ in train.qrels}
    labels = [grade.get((q, d), 0) for q, docs in pairs for d in docs]
    return matrix_of(ranker, train, pairs), np.array(labels), pairs.sizes


def is_found(ranker, dataset, candidates):
    """Which pairs a first stage found."""
    rankings = ranker.features.rankings(dataset, candidates.query_ids)
    return ~np.isnan(candidates.scores_in(union(list(rankings.values()))))


def test_scores_equal_lightgbms_own_ranker(tmp_path, folder):
    from lightgbm import LGBMRanker

    dataset = FolderDataset(folder)
    ranker = connected(dataset, tmp_path)
    candidates = everything(dataset)
    ours = ranker.rerank(dataset.queries, dataset, candidates)
    features, labels, sizes = training_data(ranker, dataset)
    assert labels.max() == 2
    theirs = LGBMRanker(
        n_estimators=12, num_leaves=4, learning_rate=0.2, min_child_samples=5, reg_lambda=1.0,
        label_gain=[0, 1, 2], monotone_constraints=ranker.features.signs, random_state=0,
        n_jobs=1, deterministic=True, force_row_wise=True, verbosity=-1,
    ).fit(features, labels, group=sizes)  # fmt: skip
    expected = theirs.predict(matrix_of(ranker, dataset, candidates))
    found = is_found(ranker, dataset, candidates)
    np.testing.assert_allclose(candidates.scores_in(ours)[found], expected[found], atol=1e-6)
    below = (candidates.scores_in(ours) + 1000.0)[~found]
    np.testing.assert_allclose(below, expected[~found], atol=1e-4)
    assert 50 < found.sum() < len(candidates)
    assert len(np.unique(expected.round(4))) > 20


def test_scores_equal_xgboosts_own_ranker(tmp_path, folder):
    from xgboost import XGBRanker

    dataset = FolderDataset(folder)
    ranker = connected(dataset, tmp_path, **XGBOOST)
    candidates = everything(dataset)
    ours = ranker.rerank(dataset.queries, dataset, candidates)
    features, labels, sizes = training_data(ranker, dataset)
    theirs = XGBRanker(
        objective="rank:ndcg", ndcg_exp_gain=False, n_estimators=12, max_leaves=4, max_depth=0,
        grow_policy="lossguide", tree_method="hist", learning_rate=0.2, reg_lambda=1.0,
        monotone_constraints=tuple(ranker.features.signs), random_state=0, n_jobs=1,
    ).fit(features, labels, qid=np.repeat(np.arange(len(sizes)), sizes))  # fmt: skip
    expected = theirs.predict(matrix_of(ranker, dataset, candidates))
    found = is_found(ranker, dataset, candidates)
    np.testing.assert_allclose(candidates.scores_in(ours)[found], expected[found], atol=1e-6)
    below = (candidates.scores_in(ours) + 1000.0)[~found]
    np.testing.assert_allclose(below, expected[~found], atol=1e-4)
    assert 50 < found.sum() < len(candidates)
    assert len(np.unique(expected.round(4))) > 20


@BACKENDS
def test_it_learns_what_is_relevant(tmp_path, folder, settings):
    dataset = FolderDataset(folder)
    candidates = everything(dataset)
    grade = {(q, d): g for q, d, g, _ in dataset.qrels}

    def pairs_in_order(run):
        """The share of (relevant, other) pairs of a query that are ranked right."""
        right = total = 0
        for query_id, docs in run:
            grades = np.array([grade[query_id, doc] for doc in docs])
            for i, mine in enumerate(grades):
                right += int((grades[i + 1 :] < mine).sum())
            total += sum(int((grades < mine).sum()) for mine in grades)
        return right / total

    first = BM25Retriever(cache_dir=tmp_path)
    first.index(dataset)
    bm25 = candidates.with_scores(
        np.nan_to_num(candidates.scores_in(first.retrieve(dataset.queries, 60)))
    )
    ours = reranked(dataset, tmp_path, **{**settings, "trees": 60, "depth": 60})
    assert pairs_in_order(ours) > pairs_in_order(bm25) + 0.02


@BACKENDS
def test_monotone_scores_rise_with_the_feature(settings):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(400, 3)).astype(np.float32)
    # Grades fall with the first feature, which is only allowed to raise the score.
    labels = ((features[:, 0] < 0) & (features[:, 1] > 0)).astype(np.int64)
    examples = Examples(features, labels, np.full(20, 20))
    given = {**settings, "l2": 1.0, "early_stopping": None, "seed": 0, "num_threads": 1}
    names = Hyperparameters.__dataclass_fields__.keys() & given.keys()
    hyper = Hyperparameters(monotone=True, **{name: given[name] for name in names})
    library = backend(settings.get("backend", "lightgbm"))
    probe = np.zeros((50, 3), dtype=np.float32)
    probe[:, 0], probe[:, 1] = np.linspace(-2, 2, 50), 1.0
    free = replace(hyper, monotone=False)
    scores = {
        mono: library.load(library.train(hyper if mono else free, [1, 0, 0], examples, None))
        for mono in (True, False)
    }
    assert (np.diff(scores[True].predict(probe)) >= 0).all()
    assert (np.diff(scores[False].predict(probe)) < 0).any()
    assert (scores[False].gains() > 0).tolist() == [True, True, False]


@BACKENDS
def test_early_stopping_holds_queries_out_and_stops(tmp_path, folder, settings):
    dataset = FolderDataset(folder)
    settings = {**settings, "trees": 300}
    ranker = connected(dataset, tmp_path, **settings, early_stopping=3)
    ranker.rerank(dataset.queries, dataset, everything(dataset))
    assert 0 < ranker.details["trees"] < 200
    whole = connected(dataset, tmp_path, **settings)
    whole.rerank(dataset.queries, dataset, everything(dataset))
    assert whole.details["trees"] == 300


@BACKENDS
def test_a_grade_that_only_the_held_out_queries_have_is_no_error(settings):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(400, 2)).astype(np.float32)
    taught = Examples(features, (features[:, 0] > 1).astype(np.int64), np.full(20, 20))
    held_out = Examples(features, 2 * taught.labels, taught.sizes)
    given = {**settings, "l2": 1.0, "early_stopping": 3, "seed": 0, "num_threads": 1}
    names = Hyperparameters.__dataclass_fields__.keys() & given.keys()
    hyper = Hyperparameters(monotone=False, **{name: given[name] for name in names})
    library = backend(settings.get("backend", "lightgbm"))
    assert library.load(library.train(hyper, [0, 0], taught, held_out)).gains()[0] > 0


@BACKENDS
def test_the_same_scores_every_time_and_the_second_run_trains_nothing(tmp_path, folder, settings):
    dataset = FolderDataset(folder)
    ranker = connected(dataset, tmp_path / "a", **settings)
    first = ranker.rerank(dataset.queries, dataset, everything(dataset))
    assert ranker.work == {"asked": 480, "reused": 0, "scored": 480, "models_trained": 1}
    again = connected(FolderDataset(folder), tmp_path / "a", **settings, num_threads=2)
    assert as_dict(again.rerank(dataset.queries, dataset, everything(dataset))) == as_dict(first)
    assert again.work["models_trained"] == 0
    assert again.details == ranker.details
    fresh = connected(dataset, tmp_path / "b", **settings, num_threads=2)
    assert as_dict(fresh.rerank(dataset.queries, dataset, everything(dataset))) == as_dict(first)
    assert fresh.work["models_trained"] == 1


@pytest.mark.parametrize("damage", ["{", "[]", "{}"])
def test_a_damaged_model_is_trained_anew(tmp_path, folder, caplog, damage):
    dataset = FolderDataset(folder)
    ranker = connected(dataset, tmp_path / "a")
    first = ranker.rerank(dataset.queries, dataset, everything(dataset))
    files = (tmp_path / "a" / "ltr").glob("*.json")
    (kept,) = (path for path in files if '"models"' in path.read_text(encoding="utf-8"))
    kept.write_text(damage, encoding="utf-8")
    again = connected(dataset, tmp_path / "a")
    assert as_dict(again.rerank(dataset.queries, dataset, everything(dataset))) == as_dict(first)
    assert again.work["models_trained"] == 1
    assert "is damaged" in caplog.text


# Scores are of pairs, not of lists.


@BACKENDS
def test_scores_do_not_depend_on_the_candidates(tmp_path, folder, settings):
    dataset = FolderDataset(folder)
    whole = reranked(dataset, tmp_path, **settings)
    bm25 = BM25Retriever(cache_dir=tmp_path)
    bm25.index(dataset)
    for k in (1, 5, 20):
        candidates = bm25.retrieve(dataset.queries, k)
        part = reranked(dataset, tmp_path, candidates, **settings)
        assert len(part) == len(candidates)
        np.testing.assert_array_equal(part.scores, part.scores_in(whole))
    some = everything(dataset).select(["q5", "q2"])
    part = reranked(dataset, tmp_path, some, **settings)
    assert as_dict(part) == {q: as_dict(whole)[q] for q in ("q5", "q2")}
    nothing = Run.from_dict({}, [q.query_id for q in dataset.queries])
    assert len(reranked(dataset, tmp_path, nothing, **settings)) == 0


def test_docs_that_no_first_stage_found_rank_last_and_are_told(tmp_path, folder):
    dataset = FolderDataset(folder)
    ranker = connected(dataset, tmp_path, depth=5)
    candidates = everything(dataset)
    ours = candidates.scores_in(ranker.rerank(dataset.queries, dataset, candidates))
    found = is_found(ranker, dataset, candidates)
    assert ours[found].min() > ours[~found].max()
    assert ranker.details["outside_depth_share"] == round(float((~found).mean()), 6) > 0.5


def test_a_query_of_no_ranking_is_refused(tmp_path, folder):
    dataset = FolderDataset(folder)
    candidates = Run.from_dict({"other": {"d1": 1.0}})
    with pytest.raises(ScoreError, match="query 'other' is not among those of toy/test"):
        connected(dataset, tmp_path).rerank([Query("other", "x")], dataset, candidates)


# No query is scored by a model that has seen it.


def slip_in(folder, query_id, text):
    """Puts q0's text among the train queries, in capitals, and judges every doc for it."""
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    secret = json.loads(lines[0])["text"]
    twin = {"_id": query_id, "text": text.format(secret.upper().replace(" ", " \u3000"))}
    (folder / "queries.jsonl").write_text("\n".join([*lines, json.dumps(twin)]))
    train = (folder / "qrels" / "train.tsv").read_text()
    judged = "".join(f"{query_id}\td{i}\t2\n" for i in range(60))
    (folder / "qrels" / "train.tsv").write_text(train + judged)


def test_an_evaluated_query_among_the_train_queries_is_left_out(tmp_path, folder, caplog):
    before = connected(FolderDataset(folder), tmp_path)
    scores = before.rerank(FolderDataset(folder).queries, FolderDataset(folder),
                           everything(FolderDataset(folder)))  # fmt: skip
    slip_in(folder, "twin", "  {0} ?! ")
    dataset = FolderDataset(folder)
    assert "twin" in {q.query_id for q in dataset.with_split("train").queries}
    ranker = connected(dataset, tmp_path / "new")
    with caplog.at_level("INFO", "evalkit"):
        after = ranker.rerank(dataset.queries, dataset, everything(dataset))
    assert as_dict(after) == as_dict(scores)
    assert ranker.fingerprint == before.fingerprint
    assert ranker.details["dropped_queries"] == ["twin"]
    assert ranker.details["trained_on"].startswith("toy/train, 32 queries, ")
    assert "left out because they are evaluated too: 1 (e.g. 'twin')" in caplog.text
    assert before.details["dropped_queries"] == []
    # One that only resembles it stays, and counts.
    slip_in(folder, "other", "not {0}")
    dataset = FolderDataset(folder)
    assert as_dict(reranked(dataset, tmp_path / "third")) != as_dict(scores)


def test_texts_are_the_same_under_case_space_and_width():
    assert normal_text(" Straße  ＡＢ\n1 ") == normal_text("STRASSE ab 1")
    assert normal_text("cat") != normal_text("cats")


def test_a_train_split_of_evaluated_queries_only_is_refused(tmp_path, folder):
    (folder / "qrels" / "train.tsv").write_bytes((folder / "qrels" / "test.tsv").read_bytes())
    with pytest.raises(DataError, match="each of its 8 queries is evaluated too"):
        connected(FolderDataset(folder), tmp_path).check(10)


def test_the_evaluated_split_is_never_the_train_split(tmp_path, folder):
    dataset = FolderDataset(folder, "train")
    ranker = connected(dataset, tmp_path)
    ranker.rerank(dataset.queries, dataset, everything(dataset))
    told = "5-fold cross-validation by query on toy/train, 32 queries, "
    assert ranker.details["trained_on"].startswith(told)


@BACKENDS
def test_in_cross_validation_a_query_s_own_judgements_do_not_count(
    tmp_path, untrained, settings, caplog
):
    dataset = FolderDataset(untrained)
    with caplog.at_level("INFO", "evalkit"):
        before = as_dict(reranked(dataset, tmp_path, **settings))
    assert "5-fold cross-validation by query on toy/test" in caplog.text
    judged = [list(qrel[:3]) for qrel in dataset.qrels]
    for line in judged:
        if line[0] == "q7":
            line[2] = 2 * (line[2] == 0)
    write_qrels(untrained, "test", judged)
    changed = FolderDataset(untrained)
    after = as_dict(reranked(changed, tmp_path, **settings))
    assert after["q7"] == before["q7"]
    folds = lesson_for(dataset, "train", 5).fold_of(0)
    others = [q for q, fold in folds.items() if fold != folds["q7"]]
    assert all(after[q] == before[q] for q, fold in folds.items() if fold == folds["q7"])
    assert any(after[q] != before[q] for q in others)


def test_folds_are_even_and_queries_of_one_text_share_theirs():
    queries = [Query(f"q{i}", f"text {i}") for i in range(23)]
    folds = dealt(queries, 5, 0, "fold")
    assert sorted(np.bincount(folds)) == [4, 4, 5, 5, 5]
    shuffled = dealt(queries[::-1], 5, 0, "fold")[::-1]
    np.testing.assert_array_equal(folds, shuffled)
    assert (folds != dealt(queries, 5, 1, "fold")).any()
    assert (folds != dealt(queries, 5, 0, "validation")).any()
    twins = [*queries, Query("twin", "TEXT  7")]
    with_twin = dealt(twins, 5, 0, "fold")
    assert with_twin[-1] == with_twin[7]


def test_a_querys_own_doc_is_neither_feature_nor_example(tmp_path, untrained):
    path = untrained / "corpus.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    query = json.loads((untrained / "queries.jsonl").read_text().splitlines()[3])
    own = json.dumps({"_id": "q3", "title": query["text"], "text": query["text"]})
    path.write_text("\n".join([*lines, own]), encoding="utf-8")
    for exclude, expected in ((True, False), (False, True)):
        dataset = FolderDataset(untrained, exclude_self=exclude)
        ranker = connected(dataset, tmp_path)
        ranker.rerank(dataset.queries, dataset, everything(dataset))
        rankings = ranker.features.rankings(dataset, ["q3"])
        assert all(("q3" in dict(run["q3"])) == expected for run in rankings.values())


# What is sampled, told, kept and refused.


def test_negatives_are_sampled_and_relevant_docs_are_not():
    labels = np.array([0, 2, 0, 0, 0, 1, 0, 0, 0, 1])
    examples = Examples(np.arange(10.0).reshape(-1, 1), labels, np.array([6, 3, 1]))
    assert with_negatives(examples, None, 0) is examples
    sampled = with_negatives(examples, 2, 0)
    assert sampled.sizes.tolist() == [4, 2, 1]
    assert sorted(sampled.labels[sampled.labels > 0]) == [1, 1, 2]
    assert (examples.labels[sampled.features[:, 0].astype(int)] == sampled.labels).all()
    same, other = with_negatives(examples, 2, 0), with_negatives(examples, 2, 5)
    np.testing.assert_array_equal(sampled.features, same.features)
    assert sampled.features.tolist() != other.features.tolist()


def test_details_tell_what_was_learned_from_and_what_mattered(tmp_path, folder):
    dataset = FolderDataset(folder)
    ranker = connected(dataset, tmp_path)
    ranker.rerank(dataset.queries, dataset, everything(dataset))
    _, labels, _ = training_data(ranker, dataset)
    details = ranker.details
    assert details["trained_on"] == (
        f"toy/train, 32 queries, {len(labels):,} pairs, {(labels > 0).sum():,} relevant"
    )
    assert details["trees"] == 12
    shares = list(details["importance"].values())
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=0.002)
    assert set(details["importance"]) == set(ranker.features.names)
    json.dumps(details)
    fewer = connected(dataset, tmp_path, negatives_per_query=3)
    fewer.rerank(dataset.queries, dataset, everything(dataset))
    assert fewer.details["trained_on"] != details["trained_on"]


def test_the_fingerprint_holds_settings_back_end_stages_and_judgements(tmp_path, folder):
    dataset = FolderDataset(folder)
    usual = connected(dataset, tmp_path).fingerprint
    assert connected(dataset, tmp_path / "else", num_threads=2).fingerprint == usual
    changes = [
        {"trees": 13}, {"leaves": 5}, {"learning_rate": 0.3}, {"min_docs_in_leaf": 6}, {"l2": 2},
        {"early_stopping": 5}, {"monotone": False}, {"seed": 1}, {"depth": 21},
        {"negatives_per_query": 5}, {"train_split": None}, {"doc_template": "{text}"},
        {"features_from": ["bm25"]}, {"features_from": ["flat", "bm25"]}, XGBOOST,
    ]  # fmt: skip
    found = [connected(dataset, tmp_path, **change).fingerprint for change in changes]
    judged = [list(qrel[:3]) for qrel in dataset.with_split("train").qrels]
    judged[0][2] += 1
    write_qrels(folder, "train", judged)
    found.append(connected(FolderDataset(folder), tmp_path).fingerprint)
    assert len({usual, *found}) == len(changes) + 2


def test_a_dry_run_trains_nothing(tmp_path, folder):
    dataset = FolderDataset(folder)
    retrievers = connected_retrievers({"bm25": BM25Retriever(cache_dir=tmp_path)})
    retrievers["bm25"].index(dataset)
    ranker = LearningToRank(**SMALL, cache_dir=tmp_path)
    rerankers = connected_rerankers(dataset, retrievers, {"ltr": ranker})
    experiment = Experiment(
        dataset, retrievers, rerankers, SweepSettings(k=[5, 20]), MeasureSettings(["nDCG@10"])
    )
    assert [each.name for each in plan(experiment).rerankers] == ["ltr"]
    assert not (tmp_path / "ltr").exists()
    results = experiment.run()
    assert results.details["reranker.ltr"]["trees"] == 12
    assert len(list((tmp_path / "ltr").glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "catboost"}, "backend=catboost; expected one of lightgbm, xgboost"),
        ({"backend": "xgboost"}, "backend=xgboost with min_docs_in_leaf=20"),
        ({"min_docs_in_leaf": None}, "backend=lightgbm with min_docs_in_leaf=None"),
        ({"depth": 0}, "depth=0; expected at least 1"),
        ({"folds": 1}, "folds=1; expected at least 2"),
        ({"trees": 0}, "trees=0"),
        ({"leaves": 1}, "leaves=1; expected at least 2"),
        ({"learning_rate": 0.0}, "learning_rate=0.0; expected above 0"),
        ({"negatives_per_query": 0}, "negatives_per_query=0"),
        ({"early_stopping": 0}, "early_stopping=0"),
        ({"l2": -1}, "l2=-1"),
        ({"doc_template": "{body}"}, "doc_template="),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LearningToRank(**settings)


def test_first_stages_that_are_not_selected_are_refused(tmp_path, folder):
    dataset = FolderDataset(folder)
    with pytest.raises(ConfigError, match=r"'fla' is not among .* Did you mean 'flat'"):
        connected(dataset, tmp_path, features_from=["bm25", "fla"])
    with pytest.raises(ConfigError, match=r"Add it: retriever=\[bm25,dense\]"):
        connected(dataset, tmp_path, stages=["bm25"], features_from=["dense"])
    with pytest.raises(ConfigError, match="each once"):
        connected(dataset, tmp_path, features_from=["bm25", "bm25"])
    with pytest.raises(ConfigError, match="at least one selected retriever"):
        connected(dataset, tmp_path, stages=[])
    with pytest.raises(ConfigError, match="call connect"):
        _ = LearningToRank().fingerprint


@pytest.mark.parametrize("settings", [{}, {"backend": "xgboost", "min_docs_in_leaf": None}])
def test_a_back_end_that_is_not_installed_is_told(tmp_path, folder, settings, monkeypatch):
    ranker = connected(FolderDataset(folder), tmp_path, **settings)
    monkeypatch.setitem(sys.modules, settings.get("backend", "lightgbm"), None)
    with pytest.raises(ConfigError, match=r'pip install "evalkit\[ltr\]"'):
        ranker.check(10)


def test_too_little_to_learn_from_is_refused(tmp_path, folder, untrained):
    with pytest.raises(ConfigError, match="folds=31 for the 30 queries of toy/test"):
        connected(FolderDataset(untrained), tmp_path, folds=31).check(10)
    with pytest.raises(ConfigError, match="lower min_docs_in_leaf"):
        reranked(FolderDataset(untrained), tmp_path, min_docs_in_leaf=5000)
    write_qrels(untrained, "train", [("q35", "d0", 0)])
    with pytest.raises(DataError, match="toy/train: no relevant doc to train on"):
        reranked(FolderDataset(untrained), tmp_path)


def test_a_first_stage_that_knows_no_train_query_is_told(tmp_path, folder):
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    made = [json.dumps({"_id": f"q{i}", "text": f"zzz{i}"}) for i in range(8, 40)]
    (folder / "queries.jsonl").write_text("\n".join([*lines[:8], *made]), encoding="utf-8")
    with pytest.raises(ConfigError, match="bm25 finds nothing for the 32 queries of toy/train"):
        reranked(FolderDataset(folder), tmp_path)
