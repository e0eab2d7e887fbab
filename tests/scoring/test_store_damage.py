"""Damaged files and full disks: never a wrong score, one clear line, what was stored stays."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from stored import SCORER, everything, filled, pairs, segments_in

from evalkit.errors import DataError, OutputError
from evalkit.scoring.store import ScoreStore
from evalkit.scoring.upkeep import compact


def assert_set_aside(folder: Path, segment: Path, caplog: pytest.LogCaptureFixture) -> str:
    """The damaged segment misses, the other answers, what misses can be added; the warning."""
    query, doc = pairs(20)
    with caplog.at_level(logging.WARNING):
        found = ScoreStore(folder, SCORER).lookup(query, doc)
    missing = np.isnan(found)
    assert int(missing.sum()) == 10
    assert missing[:10].all() or missing[10:].all()
    np.testing.assert_array_equal(found[~missing], np.arange(20)[~missing])
    assert not segment.exists()
    aside = segment.with_suffix(".damaged")
    assert aside.exists()
    (warning,) = [r.getMessage() for r in caplog.records if r.name.startswith("evalkit.scoring")]
    assert str(aside) in warning
    assert "scored again" in warning
    ScoreStore(folder, SCORER).add(query[missing], doc[missing], np.arange(20)[missing])
    caplog.clear()
    np.testing.assert_array_equal(
        ScoreStore(folder, SCORER).lookup(query, doc), np.arange(20, dtype=np.float32)
    )
    assert not caplog.records
    return warning


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_segment_is_set_aside(tmp_path, caplog, share):
    filled(tmp_path, segments=2)
    segment = segments_in(tmp_path)[0]
    content = segment.read_bytes()
    segment.write_bytes(content[: int(len(content) * share)])
    assert "its checksum differs" in assert_set_aside(tmp_path, segment, caplog)


def test_sound_parquet_with_another_score_is_set_aside(tmp_path, caplog):
    import pyarrow as pa
    import pyarrow.parquet as pq

    filled(tmp_path, segments=2)
    segment = segments_in(tmp_path)[0]
    with open(segment, "rb") as file:
        table = pq.read_table(file)
    scores = table["score"].to_numpy().copy()
    scores[3] += 0.5
    pq.write_table(table.set_column(2, "score", pa.array(scores)), segment)
    assert "its checksum differs" in assert_set_aside(tmp_path, segment, caplog)


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_no_byte_can_change_unnoticed(tmp_path, caplog, flip):
    # Page data, footer, magic numbers: every single byte, and each is found.
    filled(tmp_path)
    segment = segments_in(tmp_path)[0]
    content, query_doc = segment.read_bytes(), pairs(10)
    for at in range(len(content)):
        broken = bytearray(content)
        broken[at] ^= flip
        segment.write_bytes(broken)
        assert np.isnan(ScoreStore(tmp_path, SCORER).lookup(*query_doc)).all()
        assert not segment.exists()
    segment.write_bytes(content)
    np.testing.assert_array_equal(ScoreStore(tmp_path, SCORER).lookup(*query_doc), np.arange(10))


@pytest.mark.parametrize("other", ["0" * 20 + "-" + "0" * 32, "renamed"])
def test_a_checksum_that_is_damaged_itself_counts_as_damage(tmp_path, caplog, other):
    filled(tmp_path, segments=2)
    segment = segments_in(tmp_path)[0]
    renamed = segment.rename(segment.with_name(f"{other}.parquet"))
    assert_set_aside(tmp_path, renamed, caplog)


def test_a_file_that_is_no_segment_is_set_aside_even_with_a_checksum(tmp_path, caplog):
    import hashlib

    import pyarrow as pa
    import pyarrow.parquet as pq

    filled(tmp_path, segments=2)
    segment = segments_in(tmp_path)[0]
    pq.write_table(pa.table({"query": ["a text"], "score": [1.0]}), segment)
    checksum = hashlib.blake2b(segment.read_bytes(), digest_size=16).hexdigest()
    renamed = segment.rename(segment.with_name(f"{segment.name[:20]}-{checksum}.parquet"))
    assert_set_aside(tmp_path, renamed, caplog)


def test_damage_that_cannot_be_set_aside_is_one_line(tmp_path, monkeypatch):
    filled(tmp_path)
    segment = segments_in(tmp_path)[0]
    segment.write_bytes(b"")
    monkeypatch.setattr(os, "replace", _failing(errno.EROFS))
    with pytest.raises(OutputError, match=r"cannot be set aside \(Read-only file system\)"):
        ScoreStore(tmp_path, SCORER).lookup(*pairs(1))


def test_a_segment_that_cannot_be_opened_is_no_damage(tmp_path):
    filled(tmp_path)
    segment = segments_in(tmp_path)[0]
    in_the_way = segment.with_name("z.parquet")
    in_the_way.mkdir()
    store = ScoreStore(tmp_path, SCORER)
    with pytest.raises(DataError, match=r"z\.parquet: cannot be read \(Is a directory\)"):
        store.lookup(*pairs(1))
    assert in_the_way.exists()
    assert segment.exists()
    in_the_way.rmdir()
    np.testing.assert_array_equal(store.lookup(*pairs(10)), np.arange(10))


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="NOT CHECKED: root may read everything"
)
def test_a_segment_without_permission_is_no_damage(tmp_path):
    filled(tmp_path)
    segments_in(tmp_path)[0].chmod(0)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\); make it readable"):
        ScoreStore(tmp_path, SCORER).lookup(*pairs(1))
    assert segments_in(tmp_path)


def _failing(number: int):
    def fail(*arguments: object, **settings: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", [(os, "fsync"), (os, "replace"), (tempfile, "mkstemp")])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_leaves_the_store_as_it_was(tmp_path, monkeypatch, call, code):
    store = filled(tmp_path, segments=2)
    before = everything(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(*call, _failing(code))
        with pytest.raises(OutputError) as caught:
            store.add(*pairs(10, start=20), np.arange(20, 30))
    message = str(caught.value)
    for part in (str(tmp_path / SCORER), "the disk is full", "free some space", "cache_dir=DIR"):
        assert part in message
    assert "\n" not in message
    assert everything(tmp_path) == before
    found = store.lookup(*pairs(30))
    np.testing.assert_array_equal(found[:20], np.arange(20))
    assert np.isnan(found[20:]).all()
    store.add(*pairs(10, start=20), np.arange(20, 30))
    np.testing.assert_array_equal(ScoreStore(tmp_path, SCORER).lookup(*pairs(30)), np.arange(30))


def test_another_failure_to_write_is_not_called_a_full_disk(tmp_path, monkeypatch):
    store = filled(tmp_path)
    monkeypatch.setattr(os, "fsync", _failing(errno.EIO))
    with pytest.raises(OutputError, match=r"cannot be written \(Input/output error\)"):
        store.add(*pairs(10, start=20), np.arange(10))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB, where one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    try:
        mounted = sys.platform == "linux" and subprocess.run(command, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("NOT CHECKED: a small disk can be mounted by root on Linux only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_runs_full(small_disk, caplog):
    store, size, stored = ScoreStore(small_disk, SCORER, {"model": "a model"}), 500, 0

    def add_for_ever() -> None:
        nonlocal stored
        while True:
            store.add(*pairs(size, start=stored), np.arange(stored, stored + size))
            stored += size

    with pytest.raises(OutputError, match="the disk is full"):
        add_for_ever()
    assert stored >= size
    query_doc, expected = pairs(stored + size), np.arange(stored + size, dtype=np.float32)
    expected[stored:] = np.nan
    for one in (store, ScoreStore(small_disk, SCORER)):
        np.testing.assert_array_equal(one.lookup(*query_doc), expected)
    assert len(segments_in(small_disk)) == stored // size
    assert {path.suffix for path in (small_disk / SCORER).iterdir()} == {".parquet", ".json"}

    # Merging needs room for the merged segment: without it, nothing is lost.
    (small_disk / "filler").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    before = everything(small_disk)
    with pytest.raises(OutputError, match="the disk is full"):
        compact(small_disk, SCORER)
    assert everything(small_disk) == before

    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    store.add(*pairs(size, start=stored), np.arange(stored, stored + size))
    assert compact(small_disk, SCORER).pairs == stored + size
    found = ScoreStore(small_disk, SCORER).lookup(*query_doc)
    np.testing.assert_array_equal(found, np.arange(stored + size))
    assert not caplog.records
