from __future__ import annotations

import pytest

from evalkit.datasets.folder import FolderDataset
from evalkit.datasets.qrels_file import QrelsFile
from evalkit.errors import DataError
from evalkit.types import Dataset, Qrel, Query


@pytest.fixture
def trec(tmp_path):
    path = tmp_path / "mine.qrels"
    path.write_text("q2 0 d3 2\nq1 0 d1 1\nq2 0 d1 0\n")
    return path


def test_qrels_alone_are_a_dataset_without_texts(trec):
    dataset = QrelsFile(trec)
    assert isinstance(dataset, Dataset)
    assert dataset.dataset_id == f"{trec.parent.name}/mine"
    assert dataset.relevance_level == 1
    assert (dataset.has_texts, dataset.exclude_self, dataset.num_docs) == (False, False, 0)
    assert dataset.queries == (Query("q2", ""), Query("q1", ""))
    assert Qrel("q2", "d3", 2) in dataset.qrels
    assert len(dataset.qrels) == 3
    assert (dataset.tags, dataset.warnings) == ({}, ())
    assert QrelsFile(trec, dataset_id="dl", relevance_level=2).relevance_level == 2
    for call in (dataset.docs_iter, lambda: dataset.lookup(["d1"])):
        with pytest.raises(DataError, match=r"qrels only, no texts.*dataset=folder"):
            call()


def test_queries_give_order_texts_and_tags(trec, beir_folder):
    folder = beir_folder(queries=[{"_id": "q1", "text": "one", "tags": ["x"]}])
    dataset = QrelsFile(trec, queries=folder / "queries.jsonl")
    assert dataset.queries == (Query("q1", "one"),)
    assert dataset.tags == {"q1": ("x",)}
    assert "1 query not among" in dataset.warnings[0]


def test_the_digest_is_of_queries_and_judgements(trec, beir_folder):
    beir = QrelsFile(beir_folder() / "qrels" / "test.tsv", queries=beir_folder() / "queries.jsonl")
    assert beir.digest == QrelsFile(trec, queries=beir_folder() / "queries.jsonl").digest
    assert beir.digest != FolderDataset(beir_folder()).digest
    before = QrelsFile(trec).digest
    trec.write_text(trec.read_text().replace("q1 0 d1 1", "q1 0 d1 2"))
    assert QrelsFile(trec).digest != before


def test_mistakes_are_one_line(trec, tmp_path):
    with pytest.raises(DataError, match=r"nothing\.qrels: no such file; dataset=qrels needs"):
        QrelsFile(tmp_path / "nothing.qrels")
    with pytest.raises(DataError, match=r"nothing\.jsonl: no such file"):
        QrelsFile(trec, queries=tmp_path / "nothing.jsonl")
    trec.write_text("")
    with pytest.raises(DataError, match=r"mine\.qrels: no judgements"):
        QrelsFile(trec).queries  # noqa: B018
    trec.write_text("q1 0 d1\n")
    with pytest.raises(DataError, match="line 1: 3 columns, expected 4"):
        QrelsFile(trec).qrels  # noqa: B018
