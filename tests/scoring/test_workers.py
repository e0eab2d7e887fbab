"""Real processes on the CPU: order, balance, deaths, errors, interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import worker_makers as makers

from evalkit.errors import ConfigError, EvalkitError, RemoteError, ScoreError
from evalkit.scoring.worker_process import WorkerError
from evalkit.scoring.workers import DevicePool

TWO = ("cpu", "cpu")


def _items(count=100, seed=0):
    """Token ids of `count` texts: (items, their lengths, the scores that are expected)."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 50, count)
    items = [generator.integers(0, 1000, n).astype(np.int32) for n in lengths]
    return items, lengths, np.array([x.sum() for x in items], dtype=np.float32)


def _gone(pid: int) -> bool:
    """Whether no process of this id is left, not even as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _pids(folder: Path, prefix: str) -> list[int]:
    return [int(path.name.rpartition("-")[2]) for path in folder.glob(f"{prefix}*")]


def _eventually(condition, seconds=60.0) -> bool:
    until = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < until:
        time.sleep(0.02)
    return bool(held)


def test_scores_are_in_order_and_processes_made_once(tmp_path):
    items, lengths, expected = _items()
    with DevicePool(partial(makers.noting, tmp_path), TWO) as pool:
        found = pool.map(items, lengths)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(pool.map(items[::-1], lengths[::-1]), expected[::-1])
        made = _pids(tmp_path, "made-cpu-")
        assert 1 <= len(made) <= 2
        assert os.getpid() not in made
        calls = [
            line for path in tmp_path.glob("calls-*") for line in path.read_text().splitlines()
        ]
        assert len(calls) == 2 * 16  # two maps, two workers, eight parts each
    assert all(map(_gone, made))


def test_pairs_and_arrays_of_items():
    items, lengths, expected = _items(30)
    with DevicePool(makers.sums, TWO) as pool:
        pairs = [(np.array([5], dtype=np.int64), item) for item in items]
        np.testing.assert_array_equal(pool.map(pairs, lengths), expected + 5)
        matrix = np.arange(60, dtype=np.int64).reshape(30, 2)
        np.testing.assert_array_equal(pool.map(matrix, lengths), matrix.sum(1))
        texts_too = [*items[:-1], np.array([0.5])]
        assert pool.map(texts_too, lengths)[-1] == 0.5


def test_a_faster_device_takes_more(tmp_path):
    items, _, expected = _items(64)
    with DevicePool(partial(makers.uneven, tmp_path), ("slow", "fast")) as pool:
        # Both are made before the clock of either matters.
        assert _eventually(lambda: pool.map(items, np.ones(64)) is not None and _both(tmp_path))
        for path in tmp_path.iterdir():
            path.unlink()
        np.testing.assert_array_equal(pool.map(items, np.ones(64)), expected)
    parts = {name: len((tmp_path / name).read_text().splitlines()) for name in ("slow", "fast")}
    assert sum(parts.values()) == 16
    assert parts["slow"] <= 2


def _both(folder):
    return {path.name for path in folder.iterdir()} == {"slow", "fast"}


def test_nothing_to_score_starts_nothing(tmp_path):
    with DevicePool(partial(makers.noting, tmp_path), TWO) as pool:
        found = pool.map([], np.empty(0))
    assert (found.shape, found.dtype) == ((0,), np.float32)
    assert not list(tmp_path.iterdir())


def test_one_item_starts_one_process(tmp_path):
    with DevicePool(partial(makers.noting, tmp_path), TWO) as pool:
        assert pool.map([np.array([3])], np.array([1])).tolist() == [3.0]
    assert len(_pids(tmp_path, "made-")) == 1


def test_one_device_is_this_process(tmp_path):
    items, lengths, expected = _items()
    with DevicePool(partial(makers.noting, tmp_path), ["cpu"]) as pool:
        np.testing.assert_array_equal(pool.map(items, lengths), expected)
        pool.map(items, lengths)
    assert _pids(tmp_path, "made-cpu-") == [os.getpid()]
    with pytest.raises(ScoreError, match="101"):
        DevicePool(makers.miscounting, ["cpu"]).map(items, lengths)


def test_a_killed_worker_is_replaced_and_its_part_done_again(tmp_path, caplog):
    items, lengths, expected = _items()
    with DevicePool(partial(makers.dying, tmp_path, 2), TWO) as pool:
        np.testing.assert_array_equal(pool.map(items, lengths), expected)
    assert len(list(tmp_path.glob("death-*"))) == 2
    assert caplog.text.count("SIGKILL") == 2


def test_a_death_is_seen_though_a_child_holds_the_pipe_open(tmp_path):
    items, lengths, expected = _items()
    with DevicePool(partial(makers.dying_with_its_pipe_held, tmp_path), TWO) as pool:
        started = time.monotonic()
        np.testing.assert_array_equal(pool.map(items, lengths), expected)
        assert time.monotonic() - started < 50  # the child would hold it open for 60 seconds
        (tmp_path / "done").touch()


def test_a_worker_killed_between_two_calls_is_replaced(tmp_path):
    items, lengths, expected = _items()
    with DevicePool(partial(makers.noting, tmp_path), TWO) as pool:
        pool.map(items, lengths)
        for worker in pool._alive:
            worker._process.kill()
        assert _eventually(lambda: all(worker.ended for worker in pool._alive))
        np.testing.assert_array_equal(pool.map(items, lengths), expected)


def test_a_part_that_kills_every_worker_is_given_up(tmp_path):
    items, lengths, _ = _items()
    with DevicePool(partial(makers.dying, tmp_path, 99), TWO, restarts=1) as pool:
        with pytest.raises(
            EvalkitError, match=r"on cpu was ended by SIGKILL over .* 2 times.*memory"
        ):
            pool.map(items, lengths)
        assert not pool._alive


def test_a_worker_that_cannot_start_is_given_up():
    items, lengths, _ = _items()
    pool = DevicePool(makers.dying_at_the_start, ("cuda:7", "cuda:8"), restarts=1)
    with pytest.raises(EvalkitError, match=r"cuda:[78] ended with exit code 7 before it was ready"):
        pool.map(items, lengths)


def test_a_lost_device_is_a_death_and_no_error(tmp_path, caplog):
    items, lengths, expected = _items()
    with DevicePool(partial(makers.losing_its_device, tmp_path), TWO) as pool:
        np.testing.assert_array_equal(pool.map(items, lengths), expected)
    assert "lost its device (CUDA error: an illegal memory access was encountered)" in caplog.text


def test_errors_come_through_and_the_pool_stays_usable():
    items, lengths, expected = _items()
    with DevicePool(makers.refusing, TWO) as pool:
        with pytest.raises(RemoteError, match="no more tokens") as refused:
            pool.map(items, lengths)
        assert refused.value.status == 429
        assert not pool._alive
        pool.make = makers.sums
        np.testing.assert_array_equal(pool.map(items, lengths), expected)
        pool.close()
        pool.make = makers.refusing_at_the_start
        with pytest.raises(RemoteError, match="no such model"):
            pool.map(items, lengths)
        pool.make = makers.failing
        with pytest.raises(
            WorkerError, match=r"on cpu failed(.|\n)*in score(.|\n)*KeyError: 'missing'"
        ):
            pool.map(items, lengths)
        pool.make = makers.miscounting
        with pytest.raises(ScoreError):
            pool.map(items, lengths)


def test_an_interrupt_ends_every_process(tmp_path):
    """Ctrl-C reaches the whole process group, as in a terminal: no hang, zombie or stray output."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom functools import partial\nfrom pathlib import Path\nimport numpy as np\n"
        "import worker_makers as makers\nfrom evalkit.scoring.workers import DevicePool\n"
        "if __name__ == '__main__':\n"
        "    pool = DevicePool(partial(makers.sleeping, Path(sys.argv[1])), ('cpu', 'cpu'))\n"
        "    try:\n        pool.map(list(np.ones((64, 3))), np.ones(64))\n"
        "    except KeyboardInterrupt:\n        print('interrupted')\n"
    )
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(root / "tests")])
    process = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    try:
        assert _eventually(lambda: len(_pids(tmp_path, "asleep-")) == 2)
        asleep = _pids(tmp_path, "asleep-")
        for pid in asleep:
            os.kill(pid, signal.SIGINT)
        time.sleep(0.5)
        assert not any(map(_is_zombie, asleep))  # a worker leaves it to its owner to answer
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "interrupted\n", "")
    assert all(map(_gone, asleep))


def test_what_a_killed_owner_leaves_behind_ends_by_itself(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal, sys\nfrom functools import partial\nfrom pathlib import Path\n"
        "import numpy as np\nimport worker_makers as makers\n"
        "from evalkit.scoring.workers import DevicePool\n"
        "if __name__ == '__main__':\n"
        "    pool = DevicePool(partial(makers.noting, Path(sys.argv[1])), ('cpu', 'cpu'))\n"
        "    pool.map(list(np.ones((64, 3))), np.ones(64))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(root / "tests")])
    subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths}, timeout=60,
    )  # fmt: skip
    made = _pids(tmp_path, "made-")
    assert made
    # Orphans are reaped by init, which not every container has: a zombie has no memory map.
    assert _eventually(lambda: all(_gone(pid) or _is_zombie(pid) for pid in made))


def _is_zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def test_large_parts_both_ways_do_not_block():
    """64 MB out and 4 MB back at once through pipes that hold 64 KB."""
    generator = np.random.default_rng(0)
    matrix = generator.integers(0, 9, (1_000_000, 8))
    with DevicePool(makers.sums, TWO, parts_per_worker=1) as pool:
        found = pool.map(matrix, np.ones(len(matrix)))
    np.testing.assert_array_equal(found, matrix.sum(1))


def test_wrong_settings():
    for wrong in [{"devices": []}, {"devices": "cuda"}, {"parts_per_worker": 0}, {"restarts": -1}]:
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            DevicePool(makers.sums, **{"devices": TWO, **wrong})
    with pytest.raises(ValueError, match="costs"):
        DevicePool(makers.sums, TWO).map([np.ones(1)], np.ones(2))
