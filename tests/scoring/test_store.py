"""The store on real files: what comes back, what a damaged segment costs, two writers at once."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from evalkit.errors import OutputError
from evalkit.scoring.keys import text_digests
from evalkit.scoring.store import ScoreStore


def pairs(count: int, name: str = "doc", start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    numbers = range(start, start + count)
    return text_digests(["a query"] * count), text_digests([f"{name} {i}" for i in numbers])


def filled(folder: Path, segments: int = 1, size: int = 10) -> ScoreStore:
    """A store with `segments` × `size` pairs, scored 0, 1, 2, ..."""
    store = ScoreStore(folder, "scorer")
    for first in range(0, segments * size, size):
        store.add(*pairs(size, start=first), np.arange(first, first + size))
    return store


def segments_in(folder: Path) -> list[Path]:
    return sorted((folder / "scorer").glob("*.parquet"))


def test_digests_are_blake2b_of_the_text_alone():
    texts = ["doc", "", "文档 🙂", "doc"]
    digests = text_digests(texts)
    assert digests.shape == (4, 2)
    assert digests.dtype == np.uint64
    for text, digest in zip(texts, digests, strict=True):
        assert digest.tobytes() == hashlib.blake2b(text.encode(), digest_size=16).digest()
    assert text_digests([]).shape == (0, 2)


@pytest.mark.parametrize("reopened", [False, True])
def test_what_was_added_comes_back(tmp_path, reopened):
    store = filled(tmp_path, segments=3)
    if reopened:
        store = ScoreStore(tmp_path, "scorer")
    order = np.random.default_rng(0).permutation(40)
    query, doc = pairs(40)
    found = store.lookup(query[order], doc[order])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.where(order < 30, order, np.nan).astype(np.float32))


def test_scores_keep_every_bit_of_a_float32(tmp_path):
    scores = np.array([1e-45, -0.0, np.pi, 3.4028235e38, -np.inf, -1e-8], dtype=np.float32)
    query, doc = pairs(len(scores))
    ScoreStore(tmp_path, "scorer").add(query, doc, scores)
    found = ScoreStore(tmp_path, "scorer").lookup(query, doc)
    assert found.tobytes() == scores.tobytes()


def test_an_empty_store_and_an_empty_question(tmp_path):
    store = ScoreStore(tmp_path, "scorer")
    assert np.isnan(store.lookup(*pairs(3))).all()
    assert store.lookup(*pairs(0)).shape == (0,)
    assert filled(tmp_path).lookup(*pairs(0)).shape == (0,)


def test_a_changed_text_misses(tmp_path):
    store = ScoreStore(tmp_path, "scorer")
    store.add(text_digests(["query"]), text_digests(["doc"]), np.array([1.5]))

    def found(query: str, doc: str) -> float:
        return float(store.lookup(text_digests([query]), text_digests([doc]))[0])

    assert found("query", "doc") == 1.5
    for query, doc in [("query", "doc "), ("query", "Doc"), ("Query", "doc"), ("doc", "query")]:
        assert np.isnan(found(query, doc))


def test_another_scorer_sees_none_of_it(tmp_path):
    filled(tmp_path)
    assert np.isnan(ScoreStore(tmp_path, "another").lookup(*pairs(10))).all()


def test_equal_texts_share_one_score(tmp_path):
    # Two docs of a corpus with the same text: one pair, scored once, found for both.
    store = ScoreStore(tmp_path, "scorer")
    texts = ["same text", "other", "same text"]
    query = text_digests(["q"] * 3)
    store.add(query[:2], text_digests(texts[:2]), np.array([7.0, 1.0]))
    assert store.lookup(query, text_digests(texts)).tolist() == [7.0, 1.0, 7.0]
    # Added a second time by another process: still one answer.
    ScoreStore(tmp_path, "scorer").add(query[:1], text_digests(texts[:1]), np.array([7.0]))
    assert store.lookup(query, text_digests(texts)).tolist() == [7.0, 1.0, 7.0]


def test_another_writer_is_seen_without_reopening(tmp_path):
    store = filled(tmp_path)
    query, doc = pairs(20)
    assert np.isnan(store.lookup(query, doc)[10:]).all()
    ScoreStore(tmp_path, "scorer").add(query[10:], doc[10:], np.arange(10, 20))
    np.testing.assert_array_equal(store.lookup(query, doc), np.arange(20))


def assert_set_aside(folder: Path, segment: Path, caplog: pytest.LogCaptureFixture) -> str:
    """The damaged segment misses, the other answers, what misses can be added; the warning."""
    query, doc = pairs(20)
    with caplog.at_level(logging.WARNING):
        found = ScoreStore(folder, "scorer").lookup(query, doc)
    assert int(np.isnan(found).sum()) == 10
    assert np.isnan(found[:10]).all() or np.isnan(found[10:]).all()
    assert not segment.exists()
    aside = segment.with_suffix(".damaged")
    assert aside.exists()
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "evalkit.scoring.store"]
    assert str(aside) in warning
    assert "scored again" in warning
    missing = np.isnan(found)
    ScoreStore(folder, "scorer").add(query[missing], doc[missing], np.arange(20)[missing])
    caplog.clear()
    np.testing.assert_array_equal(
        ScoreStore(folder, "scorer").lookup(query, doc), np.arange(20, dtype=np.float32)
    )
    assert not caplog.records
    return warning


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_segment_is_set_aside(tmp_path, caplog, share):
    filled(tmp_path, segments=2)
    segment = segments_in(tmp_path)[0]
    content = segment.read_bytes()
    segment.write_bytes(content[: int(len(content) * share)])
    assert_set_aside(tmp_path, segment, caplog)


def test_a_segment_whose_scores_do_not_fit_its_checksum_is_set_aside(tmp_path, caplog):
    import pyarrow as pa
    import pyarrow.parquet as pq

    filled(tmp_path, segments=2)
    segment = segments_in(tmp_path)[0]
    table = pq.read_table(segment)
    scores = table["score"].to_numpy().copy()
    scores[3] += 0.5
    # Sound Parquet with the old checksum: only the checksum can tell.
    pq.write_table(table.set_column(2, "score", pa.array(scores)), segment)
    assert "checksum differs" in assert_set_aside(tmp_path, segment, caplog)


def test_no_flipped_byte_gives_a_wrong_score(tmp_path):
    query, doc = pairs(10)
    filled(tmp_path)
    segment = segments_in(tmp_path)[0]
    content = segment.read_bytes()
    aside, damaged = segment.with_suffix(".damaged"), 0
    for at in range(0, len(content), 3):
        broken = bytearray(content)
        broken[at] ^= 0xFF
        segment.write_bytes(broken)
        found = ScoreStore(tmp_path, "scorer").lookup(query, doc)
        # A byte that carries nothing (a statistic, a version) may go unnoticed; a score may not.
        if aside.exists():
            assert np.isnan(found).all()
            damaged += 1
            aside.unlink()
        else:
            np.testing.assert_array_equal(found, np.arange(10))
    assert damaged > len(content) / 3 / 2


def _append(folder: Path, writer: int, barrier) -> None:  # type: ignore[no-untyped-def]
    store = ScoreStore(folder, "scorer")
    barrier.wait()
    for part in range(10):
        query, doc = pairs(20, f"writer {writer}", start=20 * part)
        store.lookup(query, doc)
        store.add(query, doc, np.arange(20 * part, 20 * part + 20) + 1000 * writer)


def test_two_processes_that_append_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    writers = [context.Process(target=_append, args=(tmp_path, w, barrier)) for w in (1, 2)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(60)
    assert [process.exitcode for process in writers] == [0, 0]
    store = ScoreStore(tmp_path, "scorer")
    for writer in (1, 2):
        found = store.lookup(*pairs(200, f"writer {writer}"))
        np.testing.assert_array_equal(found, np.arange(200) + 1000 * writer)
    assert len(os.listdir(tmp_path / "scorer")) == 20


def test_a_million_keys(tmp_path):
    generator = np.random.default_rng(0)
    query, doc = (generator.integers(0, 2**63, (1_000_000, 2), dtype=np.uint64) for _ in "qd")
    scores = generator.normal(size=1_000_000).astype(np.float32)
    store = ScoreStore(tmp_path, "scorer")
    store._remember(query, doc, scores)
    order = generator.permutation(1_000_000)
    np.testing.assert_array_equal(store.lookup(query[order], doc[order]), scores[order])
    assert np.isnan(store.lookup(query, doc[::-1])).all()


def test_a_segment_follows_the_umask_and_leaves_no_temporary_file(tmp_path):
    before = os.umask(0o027)
    try:
        filled(tmp_path)
    finally:
        os.umask(before)
    (name,) = os.listdir(tmp_path / "scorer")
    assert name.endswith(".parquet")
    assert stat.S_IMODE((tmp_path / "scorer" / name).stat().st_mode) == 0o640


def test_a_cache_that_cannot_be_written_is_the_users_to_put_right(tmp_path):
    (tmp_path / "scorer").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        filled(tmp_path)
