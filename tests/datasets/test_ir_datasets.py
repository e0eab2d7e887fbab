"""Against the real library and its docstores, on local files registered as a collection."""

from __future__ import annotations

from typing import NamedTuple

import pytest

import evalkit.datasets.ir_datasets as module
from evalkit.datasets.folder import FolderDataset
from evalkit.datasets.ir_datasets import IrDataset
from evalkit.errors import ConfigError, DataError
from evalkit.types import Dataset, Doc, Qrel, Query

ir_datasets = pytest.importorskip("ir_datasets")


@pytest.fixture
def register(request):
    """Registers a collection of the library under an id of its own, and gives that id."""

    def add(source, suffix=""):
        name = f"evalkit-test/{request.node.name}{suffix}"
        ir_datasets.registry.register(name, source)
        return name

    return add


@pytest.fixture
def local(tmp_path, register):
    """A collection of TSV docs, TSV queries and TREC qrels."""

    def build(
        docs="d1\tfirst text\nd2\tsecond text\nd3\t \n",
        queries="q2\tsecond query\nq1\tfirst query\nq9\tnobody judged me\n",
        qrels="q1 0 d1 1\nq2 0 gone 2\nq7 0 d1 1\n",
        suffix="",
    ):
        paths = {}
        folder = tmp_path / f"files{suffix}"
        folder.mkdir()
        for name, text in {"docs_tsv": docs, "queries_tsv": queries, "qrels_trec": qrels}.items():
            paths[name] = str(folder / name)
            (folder / name).write_text(text)
        return register(ir_datasets.create_dataset(**paths), suffix)

    return build


def test_a_collection_of_the_library_is_a_dataset(local):
    dataset = IrDataset(local())
    assert isinstance(dataset, Dataset)
    assert (dataset.has_texts, dataset.exclude_self, dataset.relevance_level) == (True, False, 1)
    assert dataset.queries == (Query("q2", "second query"), Query("q1", "first query"))
    assert dataset.qrels == (Qrel("q1", "d1", 1), Qrel("q2", "gone", 2))
    assert dataset.num_docs == 3
    assert list(dataset.docs_iter())[:2] == [
        Doc("d1", "", "first text"),
        Doc("d2", "", "second text"),
    ]
    found = dataset.lookup(iter(["d2", "d1", "d2"]))
    assert list(found.items()) == [
        ("d2", Doc("d2", "", "second text")),
        ("d1", Doc("d1", "", "first text")),
    ]
    with pytest.raises(DataError, match=r"1 of 2 docs asked for not in the corpus.*'nope'"):
        dataset.lookup(["d1", "nope"])
    queries, empty, missing = dataset.warnings
    assert "'q7'" in queries
    assert "1 doc with neither" in empty
    assert "'gone'" in missing


def test_titles_go_apart_and_the_digest_is_that_of_the_folder(shared_beir, register):
    from ir_datasets.datasets.base import Dataset as Source
    from ir_datasets.datasets.beir import BeirDocs, BeirQrels, BeirQueries, BeirTitleDoc
    from ir_datasets.formats import GenericQuery
    from ir_datasets.util import LocalDownload

    folder = shared_beir("scifact")
    name = register(
        Source(
            BeirDocs("evalkit-scifact", LocalDownload(folder / "corpus.jsonl"), BeirTitleDoc),
            BeirQueries("x", LocalDownload(folder / "queries.jsonl"), GenericQuery),
            BeirQrels(LocalDownload(folder / "qrels" / "test.tsv"), {}),
        )
    )
    theirs, ours = IrDataset(name), FolderDataset(folder)
    assert theirs.queries == ours.queries
    assert theirs.num_docs == 5183
    assert theirs.digest == ours.digest
    judged = [q.doc_id for q in ours.qrels]
    assert theirs.lookup(judged) == ours.lookup(judged)
    assert theirs.warnings == ()


def test_a_large_collection_is_digested_in_part(local, monkeypatch):
    rows = [f"d{i}\ttext {i}\n" for i in range(20)]
    qrels = "q1 0 d15 1\nq2 0 gone 1\n"
    changes = {"": {}, "unread": {12: "other"}, "first": {2: "other"}, "judged": {15: "other"}}
    digests = {}
    for change, edit in changes.items():
        docs = "".join(f"d{i}\t{edit[i]}\n" if i in edit else row for i, row in enumerate(rows))
        name = local(docs=docs, qrels=qrels, suffix=change)
        ir_datasets.load(name).docs_store().build()  # the count is known once it is built
        dataset = IrDataset(name)
        with monkeypatch.context() as patch:
            patch.setattr(module, "FULL_DIGEST_DOCS", 10)
            patch.setattr(module, "FIRST_DOCS", 5)
            patch.setattr(module, "LOOKUP_BATCH", 1)
            dataset.dataset_id = "same"
            digests[change] = dataset.digest
            assert dataset.num_docs == 20
            assert len(dataset.warnings) == 1
            assert "'gone'" in dataset.warnings[0]
    assert digests["unread"] == digests[""]
    assert len({digests[""], digests["first"], digests["judged"]}) == 3
    assert IrDataset(name).digest != digests["judged"]


def test_ids_that_cannot_work_are_refused_at_once():
    with pytest.raises(ConfigError, match=r"'beir/scifct/test'\. Did you mean 'beir/scifact/test'"):
        IrDataset("beir/scifct/test")
    with pytest.raises(ConfigError, match=r"no qrels; use a part: .*test, beir/scifact/train"):
        IrDataset("beir/scifact")
    with pytest.raises(ConfigError, match="has no qrels; choose another id"):
        IrDataset("msmarco-passage/eval")


def test_a_failed_download_is_one_line_with_remedies(register, monkeypatch):
    from ir_datasets.formats import TrecQrels, TsvDocs, TsvQueries
    from ir_datasets.util import Download, RequestsDownload

    def unreachable():
        # Port 9 of this machine: refused at once, with or without a network.
        return Download([RequestsDownload("http://127.0.0.1:9/x", tries=1)])

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    parts = TsvDocs(unreachable()), TsvQueries(unreachable()), TrecQrels(unreachable(), {})
    dataset = IrDataset(register(ir_datasets.Dataset(*parts)))
    reads = (lambda: dataset.queries, lambda: next(dataset.docs_iter()), lambda: dataset.digest)
    for read in reads:
        with pytest.raises(
            DataError, match=r"cannot be downloaded.*ConnectionError.*go online"
        ) as e:
            read()
        assert "\n" not in str(e.value)
        assert "dataset=folder" in str(e.value)


def test_bad_qrels_and_queries_without_text_are_errors(local):
    twice = IrDataset(local(qrels="q1 0 d1 1\nq1 1 d1 0\n", suffix="twice"))
    with pytest.raises(DataError, match="'q1', doc 'd1' is judged twice, 1 and 0"):
        twice.qrels  # noqa: B018
    short = IrDataset(local(qrels="q1 d1 1\n", suffix="short"))
    with pytest.raises(DataError, match="RuntimeError: expected 4 columns, got 3"):
        short.qrels  # noqa: B018
    blank = IrDataset(local(queries="q1\t \nq2\tfine\n", suffix="blank"))
    with pytest.raises(DataError, match="query 'q1' has no text"):
        blank.queries  # noqa: B018


def test_subtopics_of_a_diversity_task_are_kept(tmp_path, register):
    from ir_datasets.formats import TrecSubQrels, TsvDocs, TsvQueries
    from ir_datasets.util import LocalDownload

    texts = {"docs": "d1\tone\nd2\ttwo\n", "queries": "q\tx\n", "qrels": "q 1 d1 1\nq 2 d1 0\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    docs, queries, qrels = (LocalDownload(tmp_path / name) for name in texts)
    source = ir_datasets.Dataset(TsvDocs(docs), TsvQueries(queries), TrecSubQrels(qrels, {}))
    assert IrDataset(register(source)).qrels == (Qrel("q", "d1", 1, "1"), Qrel("q", "d1", 0, "2"))


class Medline(NamedTuple):
    doc_id: str
    title: str
    abstract: str

    def default_text(self):
        return f"{self.title} {self.abstract}"


class News(NamedTuple):
    doc_id: str
    headline: str
    body: str

    def default_text(self):
        return f"{self.headline} {self.body}"


class Bare(NamedTuple):
    doc_id: str
    text: str
    title: str


class Code(NamedTuple):
    doc_id: str
    code: str


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (Medline("1", "Heart", "A study."), Doc("1", "Heart", "A study.")),
        (Medline("1", "", "A study."), Doc("1", "", "A study.")),
        (Medline("1", "", "  indented"), Doc("1", "", "  indented")),
        (Medline("1", "Heart", ""), Doc("1", "Heart", "")),
        (News("1", "Heart", "A study."), Doc("1", "", "Heart A study.")),
        (Bare("1", "Hearts beat.", "Heart"), Doc("1", "Heart", "Hearts beat.")),
        (Bare("1", "A study.", "Heart"), Doc("1", "Heart", "A study.")),
    ],
)
def test_the_title_is_cut_off_the_default_text_only_as_a_whole(theirs, ours):
    assert module._doc(theirs) == ours


def test_a_doc_type_without_any_text_is_refused():
    with pytest.raises(DataError, match=r"a Code of ir_datasets says nowhere.*doc_id, code"):
        module._doc(Code("1", "def f(): ..."))
