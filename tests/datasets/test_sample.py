from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import evalkit.datasets.sample
from evalkit.datasets.sample import SampleDataset
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.types import Dataset

DATA = Path(evalkit.datasets.sample.__file__).parent / "sample_data"
PAGE = Path(__file__).parents[2] / "README.md"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="NOT CHECKED: the sample data is not here"
)


def prose(path: Path) -> str:
    return re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))


def test_the_sample_opens_from_anywhere_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = SampleDataset()
    assert isinstance(dataset, Dataset)
    assert (dataset.dataset_id, dataset.split) == ("evalkit-sample", "test")
    assert dataset.warnings == ()
    assert dataset.num_docs == len(list(dataset.docs_iter())) > 0
    assert len(dataset.tags) > 0
    assert SampleDataset(relevance_level=2).relevance_level == 2


def test_the_card_and_the_front_page_count_the_judgements_that_are_there():
    qrels = SampleDataset().qrels
    grades = Counter(qrel.relevance for qrel in qrels)
    assert sorted(grades) == [0, 1, 2, 3]
    card = prose(DATA / "README.md")
    assert f"In all {len(qrels):,} judgements: {grades[3]} of grade 3" in card
    assert f"{grades[2]} of 2, {grades[1]} of 1, {grades[0]:,} of 0" in card
    assert f"{len(qrels):,} judgements" in prose(PAGE)


def test_every_query_has_an_answer_and_pairs_stand_once_in_order():
    best: dict[str, int] = defaultdict(int)
    qrels = SampleDataset().qrels
    for qrel in qrels:
        best[qrel.query_id] = max(best[qrel.query_id], qrel.relevance)
    assert best == dict.fromkeys((query.query_id for query in SampleDataset().queries), 3)
    lines = (DATA / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]
    pairs = [tuple(line.split("\t")[:2]) for line in lines]
    assert pairs == sorted(set(pairs))
    assert len(pairs) == len(qrels)


def test_each_language_has_half_of_the_queries_and_keeps_their_judgements():
    both, english, chinese = (SampleDataset(name) for name in ("all", "en", "zh"))
    assert len(english.queries) == len(chinese.queries) == len(both.queries) / 2
    assert sorted([*english.qrels, *chinese.qrels]) == sorted(both.qrels)


def test_what_bm25_finds_first_is_judged(tmp_path):
    dataset = SampleDataset()
    judged = {(qrel.query_id, qrel.doc_id) for qrel in dataset.qrels}
    retriever = BM25Retriever(cache_dir=tmp_path)
    retriever.index(dataset)
    run = retriever.retrieve(dataset.queries, 20)
    found = {(query_id, doc_id) for query_id, docs in run for doc_id in docs}
    assert len(found) > 1000
    assert found <= judged
