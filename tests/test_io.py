"""Runs, qrels and JSON on disk: round trips, one line for a broken file, atomic writes."""

from __future__ import annotations

import errno
import gzip
import json
import os
import stat
import tempfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import io
from evalkit.errors import DataError, OutputError
from evalkit.run import Run
from evalkit.types import Qrel

BOM = b"\xef\xbb\xbf"
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def error_of(read, path) -> str:
    """The one line that reading a broken file gives, without the path in front of it."""
    with pytest.raises(DataError) as caught:
        list(read(path))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def written(path, content: str | bytes):
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


# ----------------------------------------------------------------------------------------- runs


@given(
    st.dictionaries(
        st.sampled_from(["q2", "q1", "问"]),
        st.dictionaries(st.sampled_from(["a", "b", "文档", "🙂"]), FLOAT32, min_size=1),
        min_size=1,
    )
)
def test_a_run_comes_back_bit_for_bit(tmp_path_factory, results):
    run = Run.from_dict(results)
    path = written(tmp_path_factory.mktemp("run") / "r.trec", io.format_run(run, "tag"))
    again = io.read_run(path)
    assert again.query_ids == run.query_ids
    assert [again[q] for q in again.query_ids] == [run[q] for q in run.query_ids]


def test_the_format_of_a_run():
    run = Run.from_dict({"q1": {"a": 1e-8, "b": 12.5, "c": 1e8}, "empty": {}, "q2": {"a": -1.0}})
    assert io.format_run(run, "bm25") == (
        "q1 Q0 c 1 100000000 bm25\n"
        "q1 Q0 b 2 12.5 bm25\n"
        "q1 Q0 a 3 0.00000001 bm25\n"
        "q2 Q0 a 1 -1 bm25\n"
    )
    assert io.format_run(Run.from_dict({}, ["q"]), "tag") == ""


def test_the_score_decides_not_the_rank_nor_the_order_of_the_lines(tmp_path):
    lines = "q2 Q0 a 1 1.0 t\nq1 Q0 x 1 5 t\nq2 Q0 b 2 3e0 t\nq2 Q0 c 9 3.0 t\n"
    run = io.read_run(written(tmp_path / "r.trec", lines))
    assert run.query_ids == ("q2", "q1")
    assert run["q2"] == [("c", 3.0), ("b", 3.0), ("a", 1.0)]


RUN = "q1 Q0 d1 1 2.5 tag\nq1 Q0 d2 2 1.5 tag\n"
QRELS = "q1 0 d1 1\nq1 0 d2 0\n"
WAYS = {
    "plain": RUN.encode(),
    "windows": RUN.replace("\n", "\r\n").encode(),
    "byte order mark": BOM + RUN.encode(),
    "both": BOM + RUN.replace("\n", "\r\n").encode(),
    "blank lines": b"\n" + RUN.replace("\n", "\n \n\t\n").encode(),
    "tabs": RUN.replace(" ", "\t").encode(),
    "no last newline": RUN.rstrip("\n").encode(),
    "old Mac": RUN.replace("\n", "\r").encode(),
}


@pytest.mark.parametrize("suffix", ["trec", "trec.gz"])
@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_read_however_it_was_saved(tmp_path, way, suffix):
    run = io.read_run(written(tmp_path / f"r.{suffix}", WAYS[way]))
    assert dict.fromkeys(run.query_ids) == {"q1": None}
    assert run["q1"] == [("d1", 2.5), ("d2", 1.5)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 Q0 d2 2 1.5", ", line 2: 5 columns, expected 6 (query_id Q0 doc_id rank score tag)"),
        ("q1 Q0 d2 2 1.5 my tag", ", line 2: 7 columns, expected 6"),
        ("q1 Q0 d2 2 high tag", ", line 2: score 'high' is not a number"),
        ("q1 Q0 d2 2 nan tag", ", line 2: score 'nan' is not a finite float32"),
        ("q1 Q0 d2 2 -inf tag", ", line 2: score '-inf' is not a finite float32"),
        ("q1 Q0 d2 2 1e39 tag", ", line 2: score '1e39' is not a finite float32"),
        ("q1 Q0 d1 2 1.5 tag", ", line 2: doc 'd1' a second time for query 'q1'; a ranking holds"),
    ],
)
def test_a_broken_run(tmp_path, line, message):
    path = written(tmp_path / "r.trec", f"q1 Q0 d1 1 2.5 tag\n{line}\n")
    assert error_of(io.read_run, path).startswith(message)


def test_line_numbers_count_blank_lines(tmp_path):
    path = written(tmp_path / "r.trec", "\nq1 Q0 d1 1 2.5 tag\n\n\nq1 Q0 d2 1\n")
    assert error_of(io.read_run, path).startswith(", line 5: 4 columns")


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_run_file(tmp_path, content):
    message = error_of(io.read_run, written(tmp_path / "r.trec", content))
    assert message == ": no results; expected lines 'query_id Q0 doc_id rank score tag'"


def test_files_that_cannot_be_read(tmp_path):
    assert error_of(io.read_run, tmp_path / "no.trec") == (
        ": cannot be read (No such file or directory)"
    )
    assert "cannot be read" in error_of(io.read_run, tmp_path / "no.trec.gz")
    assert "cannot be read (Is a directory)" in error_of(io.read_run, tmp_path)
    no_gzip = tmp_path / "r.trec.gz"
    no_gzip.write_text(RUN)
    assert "damaged gzip file" in error_of(io.read_run, no_gzip)
    whole = gzip.compress(RUN.encode() * 100)
    no_gzip.write_bytes(whole[: len(whole) // 2])
    assert "download it again" in error_of(io.read_run, no_gzip)


@pytest.mark.parametrize("suffix", ["trec", "trec.gz"])
def test_the_line_that_is_not_utf8_is_named(tmp_path, suffix):
    # 5,000 lines: text is decoded in blocks, ahead of the line that is being read.
    lines = [f"q1 Q0 d{i} 1 1.0 tag".encode() for i in range(5000)]
    for at in (0, 3, 4321):
        broken = [*lines[:at], "q1 Q0 größe 1 1.0 tag".encode("latin-1"), *lines[at:]]
        path = written(tmp_path / f"r.{suffix}", b"\n".join(broken))
        message = error_of(io.read_run, path)
        assert message.startswith(f", line {at + 1}: not UTF-8")
        assert "save the file as UTF-8" in message


# ---------------------------------------------------------------------------------------- qrels


@pytest.mark.parametrize("suffix", ["tsv", "tsv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", [b"", BOM])
@pytest.mark.parametrize(
    "lines",
    [
        ["q1 0 d1 2", "", "q1\t0\td2\t-1", "q2 Q0 文档 0", "q1 0 d1 2"],
        ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q1\td2\t-1", "", "q2\t文档\t0", "q1\td1\t2"],
    ],
    ids=["trec", "beir"],
)
def test_qrels(tmp_path, lines, start, end, suffix):
    content = start + end.join([*lines, ""]).encode()
    expected = [Qrel("q1", "d1", 2), Qrel("q1", "d2", -1), Qrel("q2", "文档", 0)]
    assert io.read_qrels(written(tmp_path / f"qrels.{suffix}", content)) == expected


def test_a_doc_may_be_judged_on_several_subtopics(tmp_path):
    path = written(tmp_path / "qrels", "q1 1 d1 1\nq1 2 d1 0\nq1 2 d1 0\nq2 Q0 d1 3\n")
    expected = [Qrel("q1", "d1", 1, "1"), Qrel("q1", "d1", 0, "2"), Qrel("q2", "d1", 3, "0")]
    assert io.read_qrels(path) == expected


def test_a_query_may_be_called_like_the_header(tmp_path):
    path = written(tmp_path / "q", "query-id\tcorpus-id\tscore\nquery-id\tcorpus-id\t1\n")
    assert io.read_qrels(path) == [Qrel("query-id", "corpus-id", 1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1 0 d1 1\nq1 d2 1\n", ", line 2: 3 columns, expected 4 (query_id iteration doc_id rel"),
        ("q1\td1\t1\n", ", line 1: 3 columns, expected 4 (query_id iteration doc_id relevance); a "
            "three-column file starts with the header 'query-id<TAB>corpus-id<TAB>score'"),
        ("q1 0 d1 relevant\n", ", line 1: relevance 'relevant' is not a whole number"),
        ("q1 0 d1 0.5\n", ", line 1: relevance '0.5' is not a whole number; grades"),
        ("q1 0 d1 1\n\nq1 0 d1 2\n",
            ", line 3: query 'q1', doc 'd1' is judged twice, 1 and 2; keep one line"),
        ("q1 1 d1 1\nq1 2 d1 2\nq1 1 d1 0\n",
            ", line 3: query 'q1', doc 'd1' is judged twice, 1 and 0; keep one line"),
        ("q1 Q0 d1 1\nq1 0 d1 0\n", ", line 2: query 'q1', doc 'd1' is judged twice, 1 and 0"),
        ("query-id\tcorpus-id\tscore\nq1\t0\td1\t1\n", ", line 2: 4 columns, expected 3 "
            "(query-id<TAB>corpus-id<TAB>score)"),
    ],
)  # fmt: skip
def test_broken_qrels(tmp_path, content, message):
    assert error_of(io.read_qrels, written(tmp_path / "qrels", content)).startswith(message)


# ----------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize("start", [b"", BOM])
def test_jsonl(tmp_path, start):
    path = written(tmp_path / "c.jsonl", start + b'{"a": 1}\r\n\r\n{"a": "\xe2\x80\xa8"}\n')
    # U+2028 ends a line for str.splitlines, not in a file.
    assert list(io.read_jsonl(path)) == [(1, {"a": 1}), (3, {"a": "\u2028"})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"_id": 1', ", line 2: not JSON (column 10: Expecting ',' delimiter); every line must"),
        ('["_id"]', ", line 2: a list, expected an object"),
        ("null", ", line 2: a NoneType, expected an object"),
    ],
)
def test_broken_jsonl(tmp_path, line, message):
    path = written(tmp_path / "c.jsonl", f'{{"_id": "1"}}\n{line}\n')
    assert error_of(io.read_jsonl, path).startswith(message)


def test_json(tmp_path):
    value = {"z": "größer", "a": [1, 0.1, None]}
    path = tmp_path / "new" / "folder" / "r.json"
    io.write_json(path, value)
    assert io.read_json(path) == value
    assert "größer" in path.read_text(encoding="utf-8")
    path.write_bytes(BOM + json.dumps(value).encode())
    assert io.read_json(path) == value
    path.write_text("{\n]", encoding="utf-8")
    assert error_of(io.read_json, path).startswith(", line 2: not JSON")


def test_json_refuses_what_json_cannot_say(tmp_path):
    path = tmp_path / "r.json"
    io.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        io.write_json(path, {"a": float("nan")})
    assert io.read_json(path) == {"a": 1}


# ------------------------------------------------------------------------------ arrays, Parquet


def test_parquet(tmp_path):
    path = tmp_path / "p.parquet"
    io.write_parquet(path, {"query_id": ["q1", "文"], "value": np.array([0.5, np.nan])})
    found = pq.read_table(path).to_pydict()
    assert found["query_id"] == ["q1", "文"]
    np.testing.assert_array_equal(found["value"], [0.5, np.nan])


def test_array(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    io.write_array(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), array)


# ------------------------------------------------------------------------------- atomic writing


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "r.txt"
    io.write_text(path, "old")

    def interrupted():
        with io.atomic(path) as temporary:
            temporary.write_text("half of the n")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.txt"]


def test_success_replaces_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "r.txt"
    for text in ("old, and longer", "new"):
        io.write_text(path, text)
    assert path.read_text() == "new"
    io.write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path) == ["r.txt"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        io.write_text(tmp_path / "r.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "r.txt").stat().st_mode) == mode
    assert os.umask(before) == before


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file: cannot be written .*hydra\.run\.dir=DIR"):
        io.write_text(tmp_path / "file" / "r.txt", "text")
    (tmp_path / "r.txt").mkdir()
    with pytest.raises(OutputError, match=r"r\.txt: cannot be written \(Is a directory\); choose"):
        io.write_text(tmp_path / "r.txt", "text")
    assert sorted(os.listdir(tmp_path)) == ["file", "r.txt"]


@pytest.mark.parametrize("call", [(os, "fsync"), (tempfile, "mkstemp")])
def test_a_full_disk_says_what_to_do(tmp_path, monkeypatch, call):
    def full(*_args, **_settings):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*call, full)
    with pytest.raises(OutputError, match=r"device\); free some space, or choose .* cache_dir=DIR"):
        io.write_text(tmp_path / "r.txt", "text")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_qrels_separated_by_commas_are_told_apart_and_whole_floats_are_whole(tmp_path):
    path = tmp_path / "qrels.tsv"
    path.write_text("query-id,corpus-id,score\nq1,d1,1\n")
    assert "line 1: separated by commas; save it with tabs" in error_of(io.read_qrels, path)
    path.write_text("query-id\tcorpus-id\tscore\nq1\td1\t1.0\n")
    assert io.read_qrels(path)[0].relevance == 1
