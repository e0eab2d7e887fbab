"""Diversity: by hand and as pyndeval has it where queries have subtopics, by texts elsewhere."""

from __future__ import annotations

import math

import ir_measures
import numpy as np
import pyndeval
import pytest

from evalkit.datasets.qrels_file import QrelsFile
from evalkit.errors import ConfigError
from evalkit.experiment import Experiment
from evalkit.measures import MeasureSet, parse_measures
from evalkit.measures.names import deepest_rank
from evalkit.rerankers.none import NoReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.run import Run
from evalkit.settings import MeasureSettings, SweepSettings
from evalkit.testing import TextDataset
from evalkit.types import Doc, Qrel, Query, grades_of, has_subtopics

# Our name → ndeval's.
NDEVAL = {
    "alpha_nDCG@5": "alpha-nDCG@5",
    "alpha_nDCG@20": "alpha-nDCG@20",
    "alpha_DCG@10": "alpha-DCG@10",
    "ERR_IA@10": "ERR-IA@10",
    "nERR_IA@10": "nERR-IA@10",
    "P_IA@10": "P-IA@10",
    "StRecall@10": "strec@10",
    "AP_IA": "MAP-IA",
    "NRBP": "NRBP",
}
QRELS = [
    Qrel("q", "a", 1, "1"), Qrel("q", "a", 1, "2"), Qrel("q", "b", 1, "1"), Qrel("q", "c", 1, "3"),
    Qrel("q", "d", 0, "1"),
]  # fmt: skip


def measured(qrels, ranking, *names, dataset=None, **settings):
    measures = MeasureSet(parse_measures(names, **settings), qrels, dataset)
    run = Run.from_dict({q: {d: -i for i, d in enumerate(docs)} for q, docs in ranking.items()})
    return {name: column.tolist() for name, column in measures.per_query(run).items()}


# ------------------------------------------------------------------------------- by subtopics


def test_alpha_ndcg_by_hand():
    # b: subtopic 1, gain 1. a: subtopic 1 for the second time, .5, and 2, so 1.5. d: 0. c: 1.
    # DCG = 1 + 1.5 / log2(3) + 0 + 1 / log2(5) = 1 + .946395 + .430677 = 2.377071.
    # Best: a (2), c (1), b (.5) = 2 + .630930 + .25 = 2.880930. α-nDCG = .825106.
    found = measured(
        QRELS, {"q": ["b", "a", "d", "c"]}, "alpha_nDCG@10", "StRecall@2", "StRecall@1"
    )
    assert found["alpha_nDCG@10"] == [pytest.approx(0.825106, abs=5e-7)]
    assert found["StRecall@2"] == [pytest.approx(2 / 3)]
    assert found["StRecall@1"] == [pytest.approx(1 / 3)]
    # α = 0 counts every repetition in full: a 2, c 1, b 1, at best; here 1 + 2/log2(3) + 1/log2(5).
    found = measured(QRELS, {"q": ["b", "a", "d", "c"]}, "alpha_nDCG(alpha=0.0)@10")
    best = 2 + 1 / math.log2(3) + 1 / 2
    expected = (1 + 2 / math.log2(3) + 1 / math.log2(5)) / best
    assert list(found.values()) == [[pytest.approx(expected)]]


def generated(seed: int):
    """Qrels over a few subtopics a query and rankings; q0 has no relevant doc, q1 no results."""
    generator = np.random.default_rng(seed)
    docs = [f"d{i}" for i in range(30)]
    qrels, ranking = [], {}
    for q in range(6):
        for subtopic in range(int(generator.integers(2, 6))):
            for doc in generator.choice(docs, size=8, replace=False):
                grade = 0 if q == 0 else int(generator.integers(-1, 3))
                qrels.append(Qrel(f"q{q}", str(doc), grade, str(subtopic)))
        ranking[f"q{q}"] = [] if q == 1 else generator.permutation(docs)[:25].tolist()
    return qrels, ranking


@pytest.mark.parametrize("level", [1, 2])
def test_every_measure_is_ndevals_own(level):
    for seed in range(10):
        qrels, ranking = generated(seed)
        raw = pyndeval.RelevanceEvaluator(
            [pyndeval.SubtopicQrel(q.query_id, q.subtopic, q.doc_id, q.relevance) for q in qrels],
            NDEVAL.values(),
            relevance_level=level,
        ).evaluate(
            pyndeval.ScoredDoc(q, d, 100.0 - i)
            for q, docs in ranking.items()
            for i, d in enumerate(docs)
        )
        ours = measured(qrels, ranking, *NDEVAL, relevance_level=level)
        for values, theirs in zip(ours.values(), NDEVAL.values(), strict=True):
            expected = [raw.get(q, {}).get(theirs, 0.0) for q in ranking]
            np.testing.assert_allclose(values, expected, atol=1e-12)
            assert values[:2] == [0.0, 0.0]
            assert max(values) > 0


def test_a_query_without_a_relevant_doc_is_0_where_ndeval_divides_by_0():
    qrels = [*QRELS, Qrel("none", "a", 0, "1"), Qrel("none", "b", 0, "2")]
    assert measured(qrels, {"q": ["a"], "none": ["a"]}, "nNRBP")["nNRBP"][1] == 0.0


def test_other_measures_see_a_docs_highest_grade_in_any_order_of_lines():
    qrels = [Qrel("q", "a", 0, "1"), Qrel("q", "a", 2, "2"), Qrel("q", "b", 1, "1")]
    names = ["nDCG@10", "RR", "AP", "Judged@10", "R@1", "R(rel=2)@2", "alpha_nDCG@10"]
    ranking = {"q": ["b", "c", "a"]}
    plain = [Qrel("q", "a", 2), Qrel("q", "b", 1)]
    expected = measured(plain, ranking, *names[:-1])
    for each in (qrels, qrels[::-1]):
        found = measured(each, ranking, *names)
        del found["alpha_nDCG@10"]
        assert found == expected
        assert grades_of(each) == {"q": {"a": 2, "b": 1}}
    assert found["nDCG@10"][0] == pytest.approx((1 + 2 / 2) / (2 + 1 / math.log2(3)))


def test_subtopics_come_from_the_second_column(tmp_path):
    path = tmp_path / "qrels.txt"
    path.write_text("q 1 a 1\nq 2 a 1\nq 1 b 1\nq 3 c 1\nq 1 d 0\n")
    dataset = QrelsFile(path)
    assert list(dataset.qrels) == QRELS
    found = measured(dataset.qrels, {"q": ["b", "a", "d", "c"]}, "nDCG@10", "α-nDCG@10")
    assert found["alpha_nDCG@10"] == [pytest.approx(0.825106, abs=5e-7)]


@pytest.mark.parametrize("column", ["0", "Q0", "7"])
def test_a_column_that_tells_nothing_apart_is_no_subtopic(tmp_path, column):
    # "7": an iteration that is the same throughout. The digest is the one from before subtopics.
    path = tmp_path / "qrels.txt"
    path.write_text(f"q1 {column} d1 1\nq1 {column} d2 0\nq2 {column} d1 2\n")
    dataset = QrelsFile(path)
    assert set(dataset.qrels) == {Qrel("q1", "d1", 1), Qrel("q1", "d2", 0), Qrel("q2", "d1", 2)}
    assert dataset.digest == "24b29af07a56db4caa02be64eeb63463"
    assert not has_subtopics(dataset.qrels)
    with pytest.raises(ConfigError, match=r"'ERR_IA@10' needs queries.*redundancy@10 needs none"):
        MeasureSet(parse_measures(["nDCG@10", "ERR_IA@10"]), dataset.qrels)


def test_subtopics_are_in_the_digest(tmp_path):
    digests = set()
    for i, text in enumerate(("q 1 a 1\nq 2 b 1\n", "q 1 a 1\nq 3 b 1\n", "q 1 a 1\nq 1 b 1\n")):
        (tmp_path / str(i)).write_text(text)
        digests.add(QrelsFile(tmp_path / str(i), dataset_id="same").digest)
    assert len(digests) == 3


def test_as_papers_write_them():
    written = ["α-nDCG@10", "alpha-nDCG@10", "α_nDCG@10", "ERR-IA@20", "MAP-IA", "nERR-IA@5"]
    names = [str(measure) for measure in parse_measures(written)]
    assert names == ["alpha_nDCG@10", "ERR_IA@20", "AP_IA", "nERR_IA@5"]
    assert str(parse_measures(["StRecall@10"], relevance_level=2)[0]) == "StRecall(rel=2)@10"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("alpha_nDCG@50", "expected a cutoff of at most 20, as in alpha_nDCG@10"),
        ("ERR_IA", "expected a cutoff of at most 20, as in ERR_IA@10"),
        ("alpha_nDCG(judged_only=True)@10", "judged_only is not possible"),
        ("alpha_nDCG(alpha=1)@10", "cannot be read"),
        ("StRecall@0", "at least 1"),
    ],
)
def test_what_ndeval_cannot_compute_is_refused(written, message):
    with pytest.raises(ConfigError, match=message):
        parse_measures([written])


def test_without_pyndeval_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(ir_measures.pyndeval, "_is_available", False)
    with pytest.raises(ConfigError, match=r'pip install "evalkit\[diversity\]"; redundancy@10'):
        parse_measures(["alpha_nDCG@10"])


# ------------------------------------------------------------------------------------ by texts


class Texts(TextDataset):
    """Counts what is looked up."""

    def lookup(self, doc_ids):
        doc_ids = list(doc_ids)
        self.read = [*getattr(self, "read", []), *doc_ids]
        return super().lookup(doc_ids)


def collection(**texts: str) -> Texts:
    docs = [Doc(doc_id, "", text) for doc_id, text in texts.items()]
    queries = [Query("q", "x"), Query("p", "x")]
    return Texts(docs=docs, queries=queries, qrels=[Qrel("q", "a", 1), Qrel("p", "a", 1)])


DATASET = dict(  # noqa: C408
    a="one two three four five six",  # shingles: 123 234 345 456
    b="Two, three; four five!",  # 234 345
    c="seven eight nine ten",
    d="four five six seven eight nine",  # 456 567 678 789
    e="缓存命中时不再计算",  # 缓存命 存命中 命中时 中时不 时不再 不再计 再计算
    f="缓存命中时重新计算",  # 缓存命 存命中 命中时 中时重 时重新 重新计 新计算
    g="",
    h="",
)


def redundancy(docs: str, name: str = "redundancy@10") -> float:
    dataset = collection(**DATASET)
    found = measured(dataset.qrels, {"q": list(docs)}, name, dataset=dataset)
    return found[name][0]


@pytest.mark.parametrize(
    ("docs", "expected"),
    [
        ("a", 0.0),
        ("ac", 0.0),
        ("ab", 2 / 4 / 2),  # b against a: 2 of 4 shingles; the first doc counts 0
        ("ba", 2 / 4 / 2),
        ("abd", (2 / 4 + 1 / 7) / 3),  # d against a: 1 of 7, against b: 0
        ("abdc", (2 / 4 + 1 / 7 + 1 / 5) / 4),  # c against d: 789 of 5
        ("ef", 3 / 11 / 2),
        ("gh", 1 / 2),  # empty texts are equal
        ("gah", 1 / 3),
        ("", 0.0),
    ],
)
def test_redundancy_by_hand(docs, expected):
    assert redundancy(docs) == pytest.approx(expected)


def test_redundancy_looks_no_deeper_than_its_cutoff():
    assert redundancy("acb", "redundancy@2") == 0.0
    assert redundancy("acb", "redundancy@3") == pytest.approx(2 / 4 / 3)
    assert redundancy("acb", "Redundancy@3".lower()) == redundancy("acb", "redundancy@100")


def test_a_doc_is_read_once_for_all_runs_and_measures():
    dataset = collection(**DATASET)
    names = ["redundancy@2", "nDCG@10", "Redundancy@3"]
    measures = MeasureSet(parse_measures(names), dataset.qrels, dataset)
    assert measures.names == ["redundancy@2", "nDCG@10", "redundancy@3"]
    values = []
    for scores in ({"a": 3.0, "b": 2.0, "d": 1.0}, {"a": 1.0, "b": 2.0, "d": 3.0, "c": 0.0}):
        found = measures.per_query(Run.from_dict({"p": {}, "q": scores}))
        values.append({name: column.tolist() for name, column in found.items()})
    assert dataset.read == ["a", "b", "d"]
    assert values[0]["redundancy@2"] == [0.25, 0.0]
    assert values[1]["redundancy@3"] == pytest.approx([2 / 4 / 3, 0.0])  # d, b, a: a is like b


def test_redundancy_needs_texts_and_a_cutoff(tmp_path):
    path = tmp_path / "qrels.txt"
    path.write_text("q 0 a 1\n")
    dataset = QrelsFile(path)
    for given in (None, dataset):
        with pytest.raises(ConfigError, match="'redundancy@10' compares the docs' texts and there"):
            MeasureSet(parse_measures(["redundancy@10"]), dataset.qrels, given)
    with pytest.raises(ConfigError, match="'redundancy' cannot be read; write it like"):
        parse_measures(["redundancy"])
    assert [str(m) for m in parse_measures(["Redundancy@N"], ns=[5])] == ["redundancy@5"]
    assert deepest_rank(parse_measures(["redundancy@30"])) == 30
    with pytest.raises(ConfigError, match=r"Did you mean 'redundancy@10'\?"):
        parse_measures(["REDUNDANCY@10"])


def test_in_an_experiment_it_has_intervals_and_a_note(tmp_path):
    from evalkit.report.headline import headline
    from evalkit.report.table import grid_table

    dataset = collection(**DATASET)
    dataset.queries = [Query("q", "three four"), Query("p", "eight nine")]
    experiment = Experiment(
        dataset,
        {"bm25": BM25Retriever(cache_dir=tmp_path), "one": BM25Retriever(k1=0.1)},
        {"none": NoReranker()},
        SweepSettings(n=[1]),
        MeasureSettings(["redundancy@10", "nDCG@10"]),
    )
    results = experiment.run()
    for system in results.systems:
        value = system.measures["redundancy@10"]
        low, high = system.ci["redundancy@10"]
        assert low <= value <= high
        assert value == 0 if system.n == 1 else value > 0
    table = grid_table(results)
    assert [column.title for column in table.columns][3:] == ["Redundancy@10", "NDCG@10"]
    assert not any(row[3].is_best or row[3].is_second for group in table.groups for row in group)
    assert "Redundancy@10: lower is better; 0 if no document repeats one above it." in table.notes
    assert "lowest Redundancy@10" in " ".join(headline(results)).replace("Lowest", "lowest")


def test_an_experiment_without_subtopics_is_refused_before_it_starts(tmp_path):
    dataset = collection(**DATASET)
    parts = {"bm25": BM25Retriever(cache_dir=tmp_path)}, {"none": NoReranker()}, SweepSettings()
    experiment = Experiment(dataset, *parts, MeasureSettings(["nDCG@10", "alpha_nDCG@10"]))
    with pytest.raises(ConfigError, match="several subtopics"):
        experiment.check()
