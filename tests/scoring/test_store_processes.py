"""Several processes on one store, and processes that are killed while they score."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored import SCORER, pairs, segments_in

import evalkit
from evalkit.scoring.segments import read_segment
from evalkit.scoring.store import ScoreStore
from evalkit.scoring.upkeep import compact, verify

PROGRAM = Path(__file__).with_name("killed_scoring.py")
ROUNDS, SIZE = 10, 20


def _append(folder: Path, writer: int, barrier) -> None:  # type: ignore[no-untyped-def]
    store = ScoreStore(folder, SCORER)
    barrier.wait(60)
    for part in range(ROUNDS):
        query, doc = pairs(SIZE, f"writer {writer}", start=SIZE * part)
        store.lookup(query, doc)
        store.add(query, doc, np.arange(SIZE * part, SIZE * (part + 1)) + 1000 * writer)


def _merge(folder: Path, barrier) -> None:  # type: ignore[no-untyped-def]
    barrier.wait(60)
    for _ in range(ROUNDS):
        compact(folder, SCORER)


def _watch(folder: Path, barrier) -> None:  # type: ignore[no-untyped-def]
    """What was once there stays, for those that start afresh too, and is right."""
    known = np.zeros(ROUNDS * SIZE, dtype=bool)
    query_doc = pairs(ROUNDS * SIZE, "writer 1")
    barrier.wait(60)
    for _ in range(3 * ROUNDS):
        found = ScoreStore(folder, SCORER).lookup(*query_doc)
        there = ~np.isnan(found)
        if not there[known].all():
            sys.exit(f"{int((~there & known).sum())} pairs are gone")
        if (found[there] != (np.arange(ROUNDS * SIZE) + 1000)[there]).any():
            sys.exit("a wrong score")
        known = there


@pytest.mark.parametrize("merging", [False, True])
def test_processes_that_use_one_store_at_once_lose_nothing(tmp_path, merging):
    context = multiprocessing.get_context("spawn")
    tasks: list[tuple[Any, tuple]] = [(_append, (tmp_path, 1)), (_append, (tmp_path, 2))]
    if merging:
        tasks += [(_merge, (tmp_path,)), (_watch, (tmp_path,))]
    barrier = context.Barrier(len(tasks))
    processes = [context.Process(target=task, args=(*args, barrier)) for task, args in tasks]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(tasks)
    for writer in (1, 2):
        found = ScoreStore(tmp_path, SCORER).lookup(*pairs(ROUNDS * SIZE, f"writer {writer}"))
        np.testing.assert_array_equal(found, np.arange(ROUNDS * SIZE) + 1000 * writer)
    if not merging:
        assert len(os.listdir(tmp_path / SCORER)) == 2 * ROUNDS
    for segment in segments_in(tmp_path):
        assert list(read_segment(segment))


def scored(folder: Path, moments: list[str]) -> list[dict[str, Any]]:
    """What the program's children did: the one left alone, those killed, the last one."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), ",".join(moments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(evalkit.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="NOT CHECKED: no fork on this system")
@pytest.mark.parametrize("where", ["at random", "inside a write"])
def test_scoring_killed_ten_times_goes_on_where_it_was(tmp_path, where):
    # Unseeded: the moments should be others every time, and what follows holds whatever they are.
    moments = [f"{random.uniform(0, 0.04):.4f}" for _ in range(10)]
    if where == "inside a write":
        moments = ["fsync", "replaced"] * 5
    whole, *children = scored(tmp_path, moments)
    expected, found = (np.load(tmp_path / name / "final.npy") for name in ("whole", "killed"))
    assert whole["ended"] == 0
    assert [child["ended"] for child in children] == [signal.SIGKILL] * 10 + [0]
    assert found.tobytes() == expected.tobytes()
    assert len(np.unique(found)) > 0.9 * len(found)
    stored, times = 0, Counter[tuple[str, str]]()
    for child in children:
        calls = child["scored"]
        # What it scored is stored, but for the segment in flight.
        lost = sum(map(len, calls)) - (child["stored"] - stored)
        assert lost == 0 or lost == len(calls[-1])
        stored = child["stored"]
        times.update(tuple(pair) for call in calls for pair in call)
    assert stored == len(found) == len(times)
    assert len(children[-1]["scored"]) > 1
    home = tmp_path / "killed" / "scores"
    checked = verify(home, "cheap")
    assert (checked.pairs, checked.damaged) == (len(found), [])
    assert json.loads((home / "cheap" / "scorer.json").read_text("utf-8")) == {
        "scorer": "CheapScorer",
        "model": "a digest of the texts",
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="NOT CHECKED: no fork on this system")
def test_what_a_killed_process_leaves_half_written_is_no_segment(tmp_path):
    _, killed, last = scored(tmp_path, ["fsync"])
    *stored, in_flight = map(len, killed["scored"])
    assert killed["stored"] == sum(stored) > 0
    assert sum(map(len, last["scored"])) == last["stored"] - killed["stored"]
    assert in_flight > 0
    home = tmp_path / "killed" / "scores"
    (left,) = [path for path in (home / "cheap").iterdir() if path.name.startswith(".")]
    assert verify(home, "cheap").stale == 0
    os.utime(left, (0, 0))
    assert verify(home, "cheap").stale == 1
    assert not left.exists()
