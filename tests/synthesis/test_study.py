"""Agreement with people's judgements: κ, and τ of the systems' order, on a collection by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny import OracleModel

from evalkit.errors import ConfigError, DataError
from evalkit.run import Run
from evalkit.settings import BootstrapSettings, MeasureSettings
from evalkit.synthesis.agreement import as_json
from evalkit.synthesis.judge import Judge
from evalkit.synthesis.study import AgreementStudy
from evalkit.testing import TextDataset
from evalkit.types import Doc, Qrel, Query

QUERIES = [Query(f"q{i}", f"query {i}") for i in range(6)]
DOCS = [Doc(f"d{i}", "", f"text {i} end") for i in range(8)]
# Every query: d0 is best, then d1; d2 and d3 are no answers.
PEOPLE = {"d0": 3, "d1": 2, "d2": 1, "d3": 0}
QRELS = [Qrel(q.query_id, doc_id, grade) for q in QUERIES for doc_id, grade in PEOPLE.items()]


class Ranker:
    """A first stage that ranks the same docs for every query."""

    def __init__(self, *doc_ids):
        self.doc_ids, self.fingerprint = doc_ids, "-".join(doc_ids)

    def index(self, dataset):
        pass

    def is_cached(self, dataset):
        return True

    def retrieve(self, queries, k):
        ranked = {d: -float(i) for i, d in enumerate(self.doc_ids[:k])}
        return Run.from_dict({q.query_id: ranked for q in queries})


SYSTEMS = {
    "good": Ranker("d0", "d1", "d2", "d3"),
    "fair": Ranker("d1", "d0", "d7", "d6"),
    "poor": Ranker("d3", "d2", "d1", "d5"),
}


def study(grades, **settings):
    """grades: doc number → the model's answer."""
    llm = OracleModel(lambda text: next(g for d, g in grades.items() if f"text {d} end" in text))
    given = {
        "retrievers": SYSTEMS, "measures": MeasureSettings(["nDCG@10", "Judged@10", "RR@10"]),
        "bootstrap": BootstrapSettings(200), "num_queries": None,
    }  # fmt: skip
    return AgreementStudy(Judge(llm), **(given | settings))


@pytest.fixture
def dataset():
    return TextDataset(DOCS, QUERIES, QRELS, relevance_level=2)


def test_a_model_that_judges_as_people_do_agrees_in_full(dataset):
    found = study({0: "3", 1: "2", 2: "1", 3: "0"}).measure(dataset)
    assert {name: tuple(e) for name, e in found.kappas.items()} == {
        "relevant or not (people ≥ 2, model ≥ 2)": (1.0, 1.0, 1.0),
        "grades": (1.0, 1.0, 1.0),
        "grades, quadratic weights": (1.0, 1.0, 1.0),
    }
    assert found.taus == {
        "nDCG@10": (1.0, 1.0),
        "RR(rel=2)@10": pytest.approx((1, np.nan), nan_ok=True),
    }
    assert np.diag(found.confusion).tolist() == [6, 6, 6, 6]
    assert found.confusion.sum() == 24
    for means in found.means.values():
        assert all(people == model for people, model in means.values())
    assert set(found.qrels) == set(QRELS)
    assert found.counts == {"pairs": 24, "malformed": 0, "queries": 6, "pairs_compared": 24}
    assert any("3 systems" in note for note in found.notes)


def test_a_model_that_turns_grades_round_turns_the_systems_round(dataset):
    found = study({0: "0", 1: "1", 2: "2", 3: "unsure"}).measure(dataset)
    assert found.kappas["relevant or not (people ≥ 2, model ≥ 2)"].value == pytest.approx(-0.8)
    assert found.counts["malformed"] == 6
    assert found.confusion[:, :].tolist() == [[0] * 4, [0, 0, 6, 0], [0, 6, 0, 0], [6, 0, 0, 0]]
    people, model = found.means["poor"]["nDCG@10"]
    assert people < model
    assert found.taus["nDCG@10"][0] < 0
    json = as_json(found)
    assert json["kappa"]["grades"]["ci"][0] <= json["kappa"]["grades"]["value"]
    assert json["systems"]["poor"]["nDCG@10"] == {"human": people, "model": model}


def test_relevant_docs_alone_say_nothing_unless_unjudged_ones_count(dataset):
    dataset = replace(dataset, qrels=[q._replace(relevance=1) for q in QRELS if q.relevance == 3],
                      relevance_level=1)  # fmt: skip
    grades = {0: "3", 1: "2", 2: "1", 3: "0", 5: "0", 6: "0", 7: "0"}
    found = study(grades).measure(dataset)
    assert np.isnan(found.kappas["relevant or not (people ≥ 1, model ≥ 2)"].value)
    assert any("count_unjudged=true" in note for note in found.notes)
    assert any("two scales" in note for note in found.notes)
    assert as_json(found)["kappa"]["relevant or not (people ≥ 1, model ≥ 2)"]["value"] is None
    more = study(grades, depth=4, count_unjudged=True)
    found = more.measure(dataset)
    assert 0 < found.kappas["relevant or not (people ≥ 1, model ≥ 2)"].value < 1
    assert found.counts["pairs"] == 6 * 7 <= more.most_pairs(dataset)


def test_queries_are_drawn_by_seed_and_docs_that_the_corpus_lacks_are_left_out(dataset):
    one, two = (study({0: "3"}, num_queries=3, seed=seed) for seed in (0, 1))
    assert one.queries(dataset) == one.queries(dataset)
    assert len({tuple(each.queries(dataset)) for each in (one, two)}) == 2
    lost = replace(dataset, qrels=[*QRELS, *(Qrel(q.query_id, "gone", 3) for q in QUERIES)])
    assert one.most_pairs(lost) == one.most_pairs(dataset) == 12


def test_what_cannot_be_compared_is_refused(dataset):
    with pytest.raises(ConfigError, match="count_unjudged=true needs unjudged docs: set depth=10"):
        study({}, count_unjudged=True)
    with pytest.raises(ConfigError, match="num_queries=0"):
        study({}, num_queries=0)
    with pytest.raises(ConfigError, match="has no texts to judge"):
        study({}).check(replace(dataset, has_texts=False))
    with pytest.raises(ConfigError, match="none of them says how good a ranking is"):
        study({}, measures=MeasureSettings(["Judged@10"])).measure(dataset)
    grades = dict.fromkeys(range(8), "no idea")
    with pytest.raises(DataError, match="none of 24 answers grades a doc"):
        study(grades).measure(dataset)
