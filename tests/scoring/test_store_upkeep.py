"""stats, verify and compact: right figures, the same scores, and nothing lost in a race."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from stored import SCORER, everything, filled, pairs, segments_in

from evalkit.errors import DataError, OutputError
from evalkit.scoring import segment_folder, upkeep
from evalkit.scoring.store import ScoreStore
from evalkit.scoring.upkeep import compact, scorers, stats, verify


def assert_sound(folder: Path, count: int) -> None:
    found = ScoreStore(folder, SCORER).lookup(*pairs(count))
    np.testing.assert_array_equal(found, np.arange(count))


def test_stats_count_what_is_there(tmp_path):
    assert scorers(tmp_path / "missing") == []
    filled(tmp_path, segments=3)
    ScoreStore(tmp_path, "another", {"model": "a model"}).add(*pairs(1), np.zeros(1))
    assert scorers(tmp_path) == ["another", SCORER]
    segments = segments_in(tmp_path)
    for segment, when in zip(segments, (3000, 1000, 2000), strict=True):
        os.utime(segment, (when, when))
    found = stats(tmp_path, SCORER)
    size = sum(segment.stat().st_size for segment in segments)
    assert found == (SCORER, {}, 30, 3, size, 3000.0, 0)
    assert stats(tmp_path, "another").about == {"model": "a model"}
    segments[0].rename(segments[0].with_suffix(".damaged"))
    segments[1].write_bytes(b"no footer")
    assert stats(tmp_path, SCORER)[2:] == (10, 1, segments[2].stat().st_size, 2000.0, 2)
    assert len(segments_in(tmp_path)) == 2, "stats change nothing"


def test_a_footer_that_makes_no_sense_is_counted_as_damage(tmp_path):
    filled(tmp_path)
    segment = segments_in(tmp_path)[0]
    content = bytearray(segment.read_bytes())
    for at in range(len(content) - 60, len(content) - 8):
        content[at] ^= 0xFF
    segment.write_bytes(content)
    assert stats(tmp_path, SCORER).damaged == 1


@pytest.mark.parametrize("content", ["{", "[]", "\ud800"])
def test_a_damaged_description_says_how_to_put_it_right(tmp_path, content):
    filled(tmp_path)
    path = tmp_path / SCORER / "scorer.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=r"scorer\.json: holds no JSON object; delete it"):
        stats(tmp_path, SCORER)


def test_verify_finds_every_damaged_segment_and_only_those(tmp_path):
    filled(tmp_path, segments=4)
    assert verify(tmp_path, SCORER) == (40, 4, [], 0)
    segments = segments_in(tmp_path)
    broken = segments[1], segments[3]
    for segment in broken:
        content = bytearray(segment.read_bytes())
        content[len(content) // 2] ^= 1
        segment.write_bytes(content)
    aside = [segment.with_suffix(".damaged") for segment in broken]
    assert verify(tmp_path, SCORER) == (20, 2, aside, 0)
    assert verify(tmp_path, SCORER) == (20, 2, [], 0)


@pytest.mark.parametrize("clean", [verify, compact])
def test_what_killed_processes_left_goes_after_an_hour(tmp_path, clean):
    filled(tmp_path)
    home = tmp_path / SCORER
    names = (".0-0.parquet.a1", ".scorer.json.b2", ".0-0.parquet.new", ".nfs0001", "notes.txt")
    for name in names:
        (home / name).write_bytes(b"half a segm")
    hour_ago = time.time() - 3700
    for name in names:
        if "new" not in name:
            os.utime(home / name, (hour_ago, hour_ago))
    clean(tmp_path, SCORER)
    left = {path.name for path in home.iterdir() if path not in segments_in(tmp_path)}
    # One may be written at this moment; the others are not ours.
    assert left == {".0-0.parquet.new", ".nfs0001", "notes.txt"}
    assert_sound(tmp_path, 10)


def test_the_first_write_of_a_process_cleans_too(tmp_path):
    store = filled(tmp_path)
    old = tmp_path / SCORER / ".0-0.parquet.a1"
    old.write_bytes(b"")
    os.utime(old, (0, 0))
    store.add(*pairs(1, "other"), np.zeros(1))
    assert old.exists()
    ScoreStore(tmp_path, SCORER).add(*pairs(1, "another"), np.zeros(1))
    assert not old.exists()


def test_compact_leaves_one_segment_and_every_score(tmp_path):
    before = filled(tmp_path, segments=20)
    # A pair for the second and third time, with other last bits: the oldest score counts.
    for offset in (0.25, 0.5):
        ScoreStore(tmp_path, SCORER).add(*pairs(5), np.arange(5) + offset)
    sizes = sum(path.stat().st_size for path in segments_in(tmp_path))
    found = compact(tmp_path, SCORER)
    (merged,) = segments_in(tmp_path)
    assert found == (22, 200, 10, sizes, merged.stat().st_size)
    assert found.size_after < found.size_before
    assert_sound(tmp_path, 200)
    np.testing.assert_array_equal(before.lookup(*pairs(200)), np.arange(200))
    assert len(before) == 200, "a process that goes on does not hold the merged pairs twice"
    assert compact(tmp_path, SCORER).segments == 1
    assert segments_in(tmp_path) == [merged]
    before.add(*pairs(10, start=200), np.arange(200, 210))
    assert compact(tmp_path, SCORER).pairs == 210
    assert_sound(tmp_path, 210)


def test_compact_of_nothing(tmp_path):
    (tmp_path / SCORER).mkdir()
    assert compact(tmp_path, SCORER) == (0, 0, 0, 0, 0)


def test_compact_sets_damaged_segments_aside_and_merges_the_others(tmp_path):
    filled(tmp_path, segments=3)
    segments_in(tmp_path)[2].write_bytes(b"")
    assert compact(tmp_path, SCORER)[:2] == (2, 20)
    assert_sound(tmp_path, 20)
    assert len(list((tmp_path / SCORER).glob("*.damaged"))) == 1


def test_a_merged_segment_that_was_there_already_is_kept(tmp_path):
    # Killed between writing the merged segment and removing the others; then run again.
    filled(tmp_path, segments=2)
    before = everything(tmp_path)
    compact(tmp_path, SCORER)
    for name, content in before.items():
        (tmp_path / SCORER / name).write_bytes(content)
    assert compact(tmp_path, SCORER).segments == 3
    assert len(segments_in(tmp_path)) == 1
    assert_sound(tmp_path, 20)


def test_a_segment_that_cannot_be_removed_is_one_line(tmp_path, monkeypatch):
    filled(tmp_path, segments=2)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".parquet":
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match=r"cannot be removed \(Permission denied\)"):
        compact(tmp_path, SCORER)
    assert_sound(tmp_path, 20)


def before_the(call: int, monkeypatch, module, name: str, happens) -> None:  # type: ignore[no-untyped-def]
    """Let something happen right before the n-th call (from 1) of a module's function."""
    real, calls = getattr(module, name), []

    def wrapped(*arguments, **settings):
        calls.append(None)
        if len(calls) == call:
            happens()
        return real(*arguments, **settings)

    monkeypatch.setattr(module, name, wrapped)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_reader_whose_segments_are_merged_under_its_hands_finds_all(tmp_path, monkeypatch, call):
    filled(tmp_path, segments=3)
    reader = ScoreStore(tmp_path, SCORER)

    def merge() -> None:
        compact(tmp_path, SCORER)

    before_the(call, monkeypatch, segment_folder, "read_segment", merge)
    np.testing.assert_array_equal(reader.lookup(*pairs(30)), np.arange(30))
    assert len(segments_in(tmp_path)) == 1


def test_a_listing_that_a_merge_runs_through_misses_nothing(tmp_path, monkeypatch):
    # os.listdir is no snapshot: of a long folder it may show neither the new nor the old.
    filled(tmp_path, segments=3)
    listings = []

    def listing(folder: Path) -> list[str]:
        listings.append(folder)
        if len(listings) == 1:
            monkeypatch.setattr(segment_folder, "file_names", real)
            compact(tmp_path, SCORER)
            return []
        return real(folder)

    real = segment_folder.file_names
    monkeypatch.setattr(segment_folder, "file_names", listing)
    np.testing.assert_array_equal(ScoreStore(tmp_path, SCORER).lookup(*pairs(30)), np.arange(30))


def test_what_is_added_during_a_merge_counts_as_newer(tmp_path, monkeypatch):
    filled(tmp_path, segments=2)
    late = ScoreStore(tmp_path, SCORER)

    def add() -> None:
        late.add(*pairs(20), np.arange(20) + 0.5)

    before_the(1, monkeypatch, upkeep, "write_segment", add)
    compact(tmp_path, SCORER)
    assert len(segments_in(tmp_path)) == 2
    assert_sound(tmp_path, 20)


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        (segment_folder, "read_segment", 1),
        (segment_folder, "read_segment", 2),
        (upkeep, "write_segment", 1),
        (upkeep, "_remove", 1),
        (upkeep, "_remove", 2),
    ],
)
@pytest.mark.parametrize("added", [False, True])
def test_two_that_merge_at_once_lose_nothing(tmp_path, monkeypatch, module, name, call, added):
    store = filled(tmp_path, segments=3)

    def other_process() -> None:
        if added:
            store.add(*pairs(10, start=30), np.arange(30, 40))
        compact(tmp_path, SCORER)

    before_the(call, monkeypatch, module, name, other_process)
    compact(tmp_path, SCORER)
    assert_sound(tmp_path, 40 if added else 30)
    compact(tmp_path, SCORER)
    assert_sound(tmp_path, 40 if added else 30)
    assert len(segments_in(tmp_path)) == 1
