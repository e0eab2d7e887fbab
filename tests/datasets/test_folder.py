from __future__ import annotations

import gzip
import json
import os
import time
import tracemalloc

import pytest

from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError, DataError
from evalkit.types import Dataset, Doc, Qrel, Query


def error_of(folder, **settings) -> str:
    """The one line that a broken folder is answered with."""
    with pytest.raises(DataError) as caught:
        FolderDataset(folder, **settings).digest  # noqa: B018
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_is_a_dataset(beir_folder):
    dataset = FolderDataset(beir_folder())
    assert isinstance(dataset, Dataset)
    assert dataset.dataset_id == "mini/test"
    assert (dataset.has_texts, dataset.exclude_self, dataset.relevance_level) == (True, False, 1)
    # q9 has no judgement; the order is the file's.
    assert dataset.queries == (Query("q2", "second query"), Query("q1", "first query"))
    assert set(dataset.qrels) == {Qrel("q1", "d1", 1), Qrel("q2", "d3", 2), Qrel("q2", "d1", 0)}
    assert dataset.tags == {"q2": ("negation",)}
    assert dataset.num_docs == 3
    assert dataset.warnings == ()
    docs = list(dataset.docs_iter())
    assert docs[1:] == [Doc("d2", "", "zweiter Text, größer"), Doc("d3", "", "third text")]


def test_settings_reach_the_dataset(beir_folder):
    settings = {"dataset_id": "mine", "exclude_self": True, "relevance_level": 2}
    dataset = FolderDataset(beir_folder(split="dev"), split="dev", **settings)
    assert {name: getattr(dataset, name) for name in settings} == settings


@pytest.mark.parametrize("zipped", [False, True])
def test_lookup_reads_what_is_asked_in_the_order_asked(beir_folder, zipped):
    # Multi-byte text before a doc: offsets are bytes, not characters; a blank line is skipped.
    folder = beir_folder(docs=[{"_id": "ü", "text": "größer"}, "", *map(_doc, range(50))])
    if zipped:
        corpus = folder / "corpus.jsonl"
        (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(corpus.read_bytes()))
        corpus.unlink()
    dataset = FolderDataset(folder)
    everything = {doc.doc_id: doc for doc in dataset.docs_iter()}
    assert len(everything) == dataset.num_docs == 51
    for wanted in (["d49", "ü", "d0", "d7", "d7"], list(everything), []):
        found = dataset.lookup(iter(wanted))
        assert list(found) == list(dict.fromkeys(wanted))
        assert all(found[doc_id] == everything[doc_id] for doc_id in wanted)
    with pytest.raises(DataError, match=r"1 of 2 docs asked for not in the corpus.*'nope'"):
        dataset.lookup(["d1", "nope"])


def test_the_corpus_is_never_in_memory(beir_folder):
    docs = [{"_id": f"d{i}", "text": f"{i} " * 30_000} for i in range(100)]
    folder = beir_folder(docs=docs)
    size = (folder / "corpus.jsonl").stat().st_size
    del docs
    tracemalloc.start()
    try:
        dataset = FolderDataset(folder)
        assert len(dataset.digest) == 32
        assert dataset.lookup(["d99"])["d99"].text.startswith("99 99 ")
        assert sum(1 for _ in dataset.docs_iter()) == 100
        assert tracemalloc.get_traced_memory()[1] < size / 5
    finally:
        tracemalloc.stop()


def _doc(i: int) -> dict[str, str]:
    return {"_id": f"d{i}", "title": "é" * (i % 3), "text": f"text of {i} " + "x" * i}


def test_a_corpus_that_changes_while_in_use_is_noticed(beir_folder):
    folder = beir_folder()
    dataset = FolderDataset(folder)
    assert dataset.num_docs == 3
    corpus = (folder / "corpus.jsonl").read_text(encoding="utf-8")
    (folder / "corpus.jsonl").write_text(corpus.replace("d1", "x1"), encoding="utf-8")
    with pytest.raises(DataError, match="changed while in use"):
        dataset.lookup(["d1"])


def test_the_digest_is_of_the_content_not_of_its_format(beir_folder, tmp_path):
    plain = FolderDataset(beir_folder())
    other = tmp_path / "other"
    (other / "qrels").mkdir(parents=True)
    rows = [json.loads(line) for line in (plain.path / "corpus.jsonl").open(encoding="utf-8")]
    rows = [{"metadata": {"x": 1}, "text": r["text"], "title": r.get("title", ""), "_id": r["_id"]}
            for r in rows]  # fmt: skip
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (other / "corpus.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    queries = (plain.path / "queries.jsonl").read_text().replace("nobody judged me", "changed")
    (other / "queries.jsonl").write_text(queries)
    trec = [f"{q} 0 {d} {r}\n" for q, d, r, _ in reversed(plain.qrels)]
    (other / "qrels" / "test.trec").write_text("".join(trec))
    assert FolderDataset(other).digest == plain.digest
    assert len(plain.digest) == 32


@pytest.mark.parametrize(
    "change",
    [
        {
            "docs": [
                {"_id": "d1", "title": "Alph", "text": "a first text"},
                {"_id": "d3", "text": ""},
            ]
        },
        {"queries": [{"_id": "q2", "text": "second query!"}, {"_id": "q1", "text": "first query"}]},
        {"queries": [{"_id": "q1", "text": "first query"}, {"_id": "q2", "text": "second query"}]},
        {"qrels": [("q1", "d1", 1), ("q2", "d3", 1), ("q2", "d1", 0)]},
    ],
)
def test_the_digest_changes_with_the_content(beir_folder, change):
    before = FolderDataset(beir_folder(name="before")).digest
    assert FolderDataset(beir_folder(**change)).digest != before


def test_title_and_text_are_not_run_together_in_the_digest(beir_folder):
    one = beir_folder(docs=[{"_id": "d1", "title": "ab", "text": "c"}], name="one")
    two = beir_folder(docs=[{"_id": "d1", "title": "a", "text": "bc"}], name="two")
    assert FolderDataset(one).digest != FolderDataset(two).digest


def test_opening_checks_presence_and_reads_nothing(beir_folder, tmp_path):
    folder = beir_folder(docs=["this is not JSON"])
    dataset = FolderDataset(folder)
    with pytest.raises(DataError, match="line 1: not JSON"):
        list(dataset.docs_iter())
    with pytest.raises(DataError, match=r"no such folder.*BEIR layout"):
        FolderDataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a file, not a folder"):
        FolderDataset(folder / "corpus.jsonl")


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_file_is_named_with_the_layout(beir_folder, name):
    folder = beir_folder()
    (folder / name).unlink()
    assert f"no {name}; expected BEIR layout: corpus.jsonl, queries.jsonl" in error_of(folder)


def test_a_missing_split_lists_those_that_exist(beir_folder):
    beir_folder(split="train")
    folder = beir_folder(split="dev")
    assert "no qrels/test.tsv; splits here: dev, train;" in error_of(folder)
    (folder / "qrels" / "dev.tsv").unlink()
    (folder / "qrels" / "train.tsv").unlink()
    assert "no split is here" in error_of(folder)


def test_a_single_qrels_file_is_the_test_split_and_no_other(beir_folder):
    folder = beir_folder()
    (folder / "qrels" / "test.tsv").rename(folder / "qrels.tsv")
    assert len(FolderDataset(folder).qrels) == 3
    assert "no qrels/dev.tsv; splits here: test;" in error_of(folder, split="dev")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", "line 2: not JSON"),
        ("[1]", "line 2: a list, expected an object"),
        ('{"text": "x"}', 'line 2: no "_id"'),
        ('{"_id": "", "text": "x"}', 'line 2: no "_id"'),
        ('{"_id": "x"}', 'line 2: no "text"'),
        ('{"_id": "x", "text": null}', 'line 2: "text" is null; every line needs it'),
        ('{"_id": "x", "text": "cut o', "line 2: not JSON (column 22: Unterminated string"),
        ('{"_id": 1.5, "text": "x"}', 'line 2: "_id" is 1.5, expected a string'),
        ('{"_id": true, "text": "x"}', 'line 2: "_id" is True, expected a string'),
        ('{"_id": "a b", "text": "x"}', "line 2: id 'a b' holds white space"),
        ('{"_id": "x", "text": [1]}', 'line 2: "text" is [1], expected a string'),
        ('{"_id": "x", "text": "x", "title": 3}', 'line 2: "title" is 3'),
        ('{"_id": "x", "text": "\\ud83d"}', "line 2: \"text\" holds half of a surrogate pair"),
        ('{"_id": "d1", "text": "x"}', "line 2: doc id 'd1' a second time"),
    ],
)  # fmt: skip
def test_a_broken_corpus_line_is_named(beir_folder, line, message):
    folder = beir_folder(docs=[{"_id": "d1", "text": "fine"}, line])
    assert f"{folder / 'corpus.jsonl'}, {message}" in error_of(folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", "line 2: not JSON"),
        ('{"_id": "q2"}', 'line 2: no "text"'),
        ('{"_id": null, "text": "x"}', 'line 2: no "_id"'),
        ('{"_id": "q2", "text": " "}', "line 2: query 'q2' has an empty text"),
        ('{"_id": "q1", "text": "x"}', "line 2: query id 'q1' a second time"),
        ('{"_id": "q2", "text": "x", "tags": "long"}', 'line 2: "tags" must be a list'),
    ],
)
def test_a_broken_query_line_is_named(beir_folder, line, message):
    folder = beir_folder(queries=[{"_id": "q1", "text": "fine"}, line])
    assert f"{folder / 'queries.jsonl'}, {message}" in error_of(folder)


def test_a_corpus_that_is_not_utf8_or_damaged_is_named(beir_folder):
    folder = beir_folder()
    corpus = folder / "corpus.jsonl"
    good = corpus.read_bytes()
    corpus.write_bytes(good + '{"_id": "x", "text": "größer"}\n'.encode("latin-1"))
    assert "line 4: not UTF-8" in error_of(folder)
    assert "iconv -f GB18030 -t UTF-8" in error_of(folder)
    corpus.unlink()
    packed = gzip.compress(os.urandom(5000))
    for damaged in (packed[:2000], b"no gzip at all", packed[:40] + b"\xff" * 500 + packed[540:]):
        (folder / "corpus.jsonl.gz").write_bytes(damaged)
        message = error_of(folder)
        assert "damaged gzip file" in message or "not UTF-8" in message
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(good)[:-20])
    assert "damaged gzip file" in error_of(folder)


def test_a_corpus_that_is_one_array_is_told_how_to_become_lines(beir_folder):
    folder = beir_folder(docs=["[", '{"_id": "d1", "text": "x"}', "]"])
    assert "line 1: not JSON" in error_of(folder)
    assert error_of(folder).endswith("for a file that is one array: jq -c '.[]'")


def test_no_doc_is_handed_out_before_the_whole_corpus_is_checked(beir_folder):
    dataset = FolderDataset(beir_folder(docs=[{"_id": "d1", "text": "fine"}, "{oops"]))
    with pytest.raises(DataError, match="line 2: not JSON"):
        next(dataset.docs_iter())


def test_whole_numbers_as_ids_become_strings(beir_folder):
    folder = beir_folder(
        docs=[{"_id": 7, "text": "x"}], queries=[{"_id": 1, "text": "q"}], qrels=[("1", "7", 1)]
    )
    dataset = FolderDataset(folder)
    assert dataset.lookup(["7"]) == {"7": Doc("7", "", "x")}
    assert dataset.queries == (Query("1", "q"),)
    assert dataset.warnings == ()


def test_no_docs_no_queries_and_no_judgements_are_errors(beir_folder):
    assert "corpus.jsonl: no docs" in error_of(beir_folder(docs=[]))
    assert "queries.jsonl: no queries; expected a line such as" in error_of(beir_folder(queries=[]))
    assert "test.tsv: no judgements" in error_of(beir_folder(qrels=[]))
    strangers = error_of(beir_folder(qrels=[("q77", "d1", 1)]))
    assert "test.tsv: none of the 1 judged queries (e.g. 'q77') is among" in strangers


def test_what_is_odd_but_usable_is_a_warning(beir_folder):
    docs = [{"_id": "d1", "text": "x"}, {"_id": "e", "title": " ", "text": ""}]
    qrels = [("q1", "d1", 1), ("q1", "gone", 1), ("q2", "gone2", 1), ("q55", "d1", 1)]
    dataset = FolderDataset(beir_folder(docs=docs, qrels=qrels), relevance_level=2)
    queries, level, empty, missing = dataset.warnings
    assert "1 query not among the collection's queries (e.g. 'q55'); 1 judgement is" in queries
    assert "no judgement reaches relevance_level=2" in level
    assert "1 doc with neither title nor text (e.g. 'e')" in empty
    assert "2 docs not in the corpus (e.g. 'gone')" in missing
    # A relevant doc that cannot be found still counts, as in trec_eval.
    assert Qrel("q1", "gone", 1) in dataset.qrels
    assert "q55" not in {q.query_id for q in dataset.qrels}


PINNED = {
    "scifact": (5183, 300, 339, ("4983", "70490", "198309074")),
    "cranfield": (1400, 225, 1837, ("1", "10", "1400")),
}


@pytest.mark.parametrize("name", PINNED)
def test_shared_collections_are_what_they_should_be(shared_beir, name):
    dataset = FolderDataset(shared_beir(name))
    start = time.process_time()
    assert len(dataset.digest) == 32
    assert time.process_time() - start < 2, "opening takes a tenth of that"
    ids = [doc.doc_id for doc in dataset.docs_iter()]
    found = (dataset.num_docs, len(dataset.queries), len(dataset.qrels), (ids[0], ids[9], ids[-1]))
    assert found == PINNED[name]
    empty = [line for line in dataset.warnings if "neither title nor text" in line]
    assert len(dataset.warnings) == len(empty) == (1 if name == "cranfield" else 0)
    if name == "cranfield":
        assert empty[0].startswith("2 docs")


@pytest.mark.parametrize("name", PINNED)
def test_beirs_own_loader_reads_the_same(shared_beir, name):
    loader = pytest.importorskip("beir.datasets.data_loader")
    folder = shared_beir(name)
    corpus, queries, qrels = loader.GenericDataLoader(str(folder)).load(split="test")
    dataset = FolderDataset(folder)
    ours = {doc.doc_id: {"title": doc.title, "text": doc.text} for doc in dataset.docs_iter()}
    assert ours == corpus
    assert {query.query_id: query.text for query in dataset.queries} == queries
    judgements: dict[str, dict[str, int]] = {}
    for query_id, doc_id, relevance, _ in dataset.qrels:
        judgements.setdefault(query_id, {})[doc_id] = relevance
    assert judgements == qrels
    some = list(corpus)[::97]
    assert dataset.lookup(some) == {i: Doc(i, corpus[i]["title"], corpus[i]["text"]) for i in some}


@pytest.mark.parametrize(
    ("turns", "text", "history"),
    [
        (0, "third", ("first", "second")),
        (1, "second third", ("first",)),
        (2, "first second third", ()),
        (9, "first second third", ()),
        ("all", "first second third", ()),
    ],
)
def test_earlier_turns_stand_before_the_query_where_asked_for(beir_folder, turns, text, history):
    query = {"_id": "q1", "text": "third", "history": ["first", "second"]}
    folder = beir_folder(queries=[query, {"_id": "q2", "text": "alone"}])
    dataset = FolderDataset(folder, history_turns=turns)
    assert dataset.queries == (Query("q1", text, history), Query("q2", "alone"))
    again = dataset.with_split("test")
    assert (again.queries, again.digest) == (dataset.queries, dataset.digest)
    # What the stages see is another collection, and its scores are not those of this one.
    plain = FolderDataset(folder)
    assert (dataset.digest == plain.digest) == (turns == 0)
    assert dataset.docs_digest == plain.docs_digest


def test_turns_below_none_are_refused(beir_folder):
    with pytest.raises(ConfigError, match=r"history_turns=-1; expected 0, 1, \.\.\. or all"):
        FolderDataset(beir_folder(), history_turns=-1)
