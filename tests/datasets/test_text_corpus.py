"""A collection whose docs are text files in the folder corpus/."""

from __future__ import annotations

import pytest

from evalkit.datasets.folder import FolderDataset
from evalkit.errors import DataError
from evalkit.types import Doc

TEXTS = {
    "支付/退款.md": "# 退款流程\n\n一天内退回。\n",
    "faq.txt": "Ask the desk.\n",
    "empty.md": "\n",
    "scan.pdf": "%PDF",
}


@pytest.fixture
def collection(beir_folder):
    """A folder in BEIR layout with texts in place of its corpus.jsonl."""
    folder = beir_folder(qrels=[("q1", "支付/退款.md", 1), ("q2", "gone", 1)])
    (folder / "corpus.jsonl").unlink()
    for name, text in TEXTS.items():
        path = folder / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_each_file_is_a_doc_named_by_its_path(collection):
    dataset = FolderDataset(collection)
    refund = Doc("支付/退款.md", "退款流程", "一天内退回。")
    assert list(dataset.docs_iter()) == [Doc("faq.txt", "faq", "Ask the desk."), refund]
    assert dataset.num_docs == 2
    assert list(dataset.lookup(["支付/退款.md", "faq.txt"])) == ["支付/退款.md", "faq.txt"]
    assert dataset.lookup(["支付/退款.md"])["支付/退款.md"] == refund
    with pytest.raises(DataError, match=r"corpus: 1 of 2 docs asked for not in the corpus .*'no'"):
        dataset.lookup(["faq.txt", "no"])


def test_what_is_no_doc_and_what_is_missing_is_said(collection):
    left, missing = FolderDataset(collection).warnings
    assert left == f"{collection / 'corpus'}: left out 1 empty file, 1 × .pdf"
    assert "1 doc not in the corpus (e.g. 'gone')" in missing


def test_the_digest_is_of_the_texts(collection):
    before = FolderDataset(collection).digest
    (collection / "corpus" / "scan.pdf").write_text("other")
    assert FolderDataset(collection).digest == before
    (collection / "corpus" / "faq.txt").write_text("Ask nobody.")
    assert FolderDataset(collection).digest != before


def test_another_split_shares_the_docs(collection):
    (collection / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tfaq.txt\t1\n")
    dev = FolderDataset(collection).with_split("dev")
    assert [q.doc_id for q in dev.qrels] == ["faq.txt"]
    assert dev.num_docs == 2


def test_a_corpus_jsonl_comes_first(collection):
    (collection / "corpus.jsonl").write_text('{"_id": "d1", "text": "x"}\n')
    assert [doc.doc_id for doc in FolderDataset(collection).docs_iter()] == ["d1"]


def test_documents_beside_nothing_are_told_where_to_go(tmp_path):
    (tmp_path / "a.md").write_text("# A\n\ntext\n")
    with pytest.raises(DataError, match=r"\.md files go into .*corpus; .*task=synthesize path="):
        FolderDataset(tmp_path)
