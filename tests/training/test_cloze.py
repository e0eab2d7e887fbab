"""Sentences as queries: which are taken, what their docs lose, and what of it is learned from."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tiny import WORDS

from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.testing import TextDataset
from evalkit.training import cloze
from evalkit.training.cloze import LEAST_LEFT, SENTENCE_WORDS, cloze_queries
from evalkit.training.negatives import NegativeSettings, mine
from evalkit.types import Doc, Qrel, Query

FILLER = " ".join(f"filler{i}" for i in range(LEAST_LEFT))


def dataset_of(*texts, titles=(), **settings):
    docs = [
        Doc(f"d{i}", titles[i] if i < len(titles) else "", text) for i, text in enumerate(texts)
    ]
    given = {"queries": [], "qrels": [], "split": "train", **settings}
    return TextDataset(docs=docs, **given)


def prose(doc: int, sentences: int = 8) -> str:
    """Sentences of ten words that no other doc has."""
    return " ".join(
        " ".join([f"Begin{doc}x{i}", *(f"w{doc}x{i}x{j}" for j in range(9))]) + "."
        for i in range(sentences)
    )


def collection(docs=12, **settings):
    return dataset_of(*(prose(i) for i in range(docs)), **settings)


def test_a_query_is_a_sentence_of_its_doc_which_loses_it():
    dataset = collection()
    docs = dataset.lookup([f"d{i}" for i in range(12)])
    found = cloze_queries(dataset, 12, seed=0)
    assert [each.doc_id for each in found] == [f"d{i}" for i in range(12)]
    for each in found:
        doc, sentence = docs[each.doc_id], each.query.text
        assert sentence in doc.text
        assert sentence.startswith("Begin")
        assert sentence.endswith(".")
        shown = each.shown(doc)
        assert (sentence in shown.text) == each.kept
        rest = Counter(doc.text.split()) - Counter([] if each.kept else sentence.split())
        assert Counter(shown.text.split()) == rest


def test_a_title_stays():
    (found,) = cloze_queries(dataset_of(prose(0), titles=["Its title"]), 1, seed=0)
    assert found.shown(Doc("d0", "Its title", prose(0))).title == "Its title"


def test_about_one_doc_in_ten_keeps_its_sentence():
    kept = [each.kept for each in cloze_queries(collection(600), 600, seed=0)]
    # Six standard deviations about .1.
    assert np.mean(kept) == pytest.approx(cloze.KEPT, abs=6 * (0.09 / 600) ** 0.5)


def test_draws_are_by_seed_and_a_smaller_one_is_in_a_larger():
    dataset = collection(40)
    few, again, many, other = (
        cloze_queries(dataset, n, seed) for n, seed in ((10, 0), (10, 0), (25, 0), (10, 1))
    )
    assert few == again
    assert set(few) < set(many)
    assert {each.doc_id for each in few} != {each.doc_id for each in other}
    assert cloze_queries(dataset, 0, seed=0) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"Only six words stand in it. {FILLER}", "too short, and the rest too long"),
        ("One sentence of enough words is all that this doc has to say.", "nothing would be left"),
        ("", "an empty doc"),
    ],
)
def test_docs_that_no_sentence_can_be_taken_from(text, reason):
    assert cloze_queries(dataset_of(text), 5, seed=0) == [], reason


def test_an_abbreviation_or_a_number_ends_no_sentence():
    sentence = "It weighed approx. 3.5 tons, i.e. more than any of the others."
    (found,) = cloze_queries(dataset_of(f"{sentence} Then {FILLER}"), 1, seed=0)
    assert found.query.text == sentence


def test_chinese_sentences_end_with_their_own_signs():
    sentence = "退款会在七个工作日内退回原支付账户。"
    (found,) = cloze_queries(dataset_of(f"{sentence}{'说明' * LEAST_LEFT}"), 1, seed=0)
    assert found.query.text == sentence
    assert SENTENCE_WORDS[0] <= len(sentence) <= SENTENCE_WORDS[1]


@pytest.fixture
def mined(tmp_path):
    dataset = collection(
        queries=[Query(f"q{i}", f"{WORDS[i]} w{i}x0x1") for i in range(6)],
        qrels=[Qrel(f"q{i}", f"d{i}", 2) for i in range(6)],
        relevance_level=2,
    )
    settings = NegativeSettings(
        num=3, cloze_queries=12, validation_share=0.34, max_score_ratio=None, validation_num=None
    )

    def run(**changes):
        return mine(dataset, {"bm25": BM25Retriever(cache_dir=tmp_path)},
                    replace(settings, **changes), cache_dir=tmp_path)  # fmt: skip

    return run


def test_what_is_learned_from_a_sentence(mined):
    data = mined()
    of_cloze = np.array([query_id.startswith("cloze:") for query_id in data.query_id])
    positive = data.role == "positive"
    assert set(data.source[of_cloze & positive]) == {"cloze"}
    assert set(data.source[~of_cloze & positive]) == {"qrels"}
    assert set(data.split[of_cloze]) == {"train"}
    rows = np.flatnonzero(of_cloze & positive)
    assert len(rows) == data.origin["counts"]["cloze_queries"]
    assert [data.query_id[row] for row in rows] == [f"cloze:{data.doc_id[row]}" for row in rows]
    lost = [data.query[row] not in data.doc[row] for row in rows]
    assert any(lost)
    for query_id in set(data.query_id[of_cloze]):
        mine_too = data.query_id == query_id
        assert (mine_too & ~positive).sum() == 3
        assert f"d{query_id.split('d')[1]}" not in data.doc_id[mine_too & ~positive]


def test_no_sentence_of_a_doc_that_a_validation_query_asks_for(mined):
    data = mined()
    watched = set(data.doc_id[(data.split == "validation") & (data.role == "positive")])
    asked = set(data.doc_id[data.source == "cloze"])
    assert watched
    assert len(asked) == 12 - len(watched)
    assert not watched & asked


def test_the_judged_queries_are_mined_as_without(mined):
    data, without = mined(), mined(cloze_queries=0)
    judged = np.array([not query_id.startswith("cloze:") for query_id in data.query_id])
    for name, column in data.where(judged).columns.items():
        np.testing.assert_array_equal(column, without.columns[name], err_msg=name)
    assert without.origin["counts"]["cloze_queries"] == 0
