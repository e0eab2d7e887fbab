"""How fast is the score store, and what does a pair take on disk and in memory?

    python experiments/benchmarks/store.py [--pairs 2000000] [--lookups 1000000] [--segment 2048]

Random pairs of --queries queries and --docs docs are added in segments as the pointwise adapter
adds them, each durable before the next; then found again: by the process that added them, by a
fresh one, and after `compact`. Beside it what one would pick instead: SQLite with the same keys
(32 bytes, a WITHOUT ROWID table), one transaction a segment, in WAL mode; asked key by key, and in
one join with a temporary table of the keys. Each part runs in a process of its own, whose resident
memory is the kernel's figure (Linux: VmHWM and VmRSS of /proc/self/status), less what is there
before the part begins: Python, the libraries and the keys to ask for.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet  # noqa: F401  (its import is no part of any figure)

from evalkit.scoring.store import ScoreStore
from evalkit.scoring.upkeep import compact

SCORER = "benchmark"
MB = 1e6


class Pairs:
    """Distinct pairs (query i, doc j) in random order, digests as random as BLAKE2b's."""

    def __init__(self, settings: argparse.Namespace) -> None:
        generator = np.random.default_rng(0)
        self.queries, self.docs = (
            generator.integers(0, 2**64, (count, 2), dtype=np.uint64)
            for count in (settings.queries, settings.docs)
        )
        # A stride prime to the number of pairs meets each pair once, with nothing to keep in
        # memory; the golden ratio of it spreads any run of pairs evenly over queries and docs.
        self.total = settings.queries * settings.docs
        golden = int(self.total * (5**0.5 - 1) / 2)
        self.stride = next(s for s in range(golden, self.total) if np.gcd(s, self.total) == 1)

    def digests(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Python's integers: the product outgrows 64 bits.
        place = np.array([int(n) * self.stride % self.total for n in numbers])
        return self.queries[place % len(self.queries)], self.docs[place // len(self.queries)]


def score_of(numbers: np.ndarray) -> np.ndarray:
    """A score that a lookup can be checked against."""
    return np.sin(numbers).astype(np.float32)


def memory(field: str) -> float:
    """VmRSS (resident now) or VmHWM (its peak) of this process, MB."""
    status = Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(rf"{field}:\s+(\d+) kB", status)
    return int(kilobytes) * 1024 / MB


class Timed(NamedTuple):
    """Seconds by the clock and of processor time: on a busy machine the second is the steadier."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} s ({self.cpu:.2f} CPU)"


def timed(work: Callable[[], Any]) -> tuple[Timed, Any]:
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    return Timed(time.perf_counter() - start, time.process_time() - cpu), result


def asked(settings: argparse.Namespace) -> np.ndarray:
    """Numbers of the pairs looked up: nine in ten are stored."""
    top = int(settings.pairs / 0.9)
    return np.random.default_rng(1).integers(0, top, settings.lookups)


def check(found: np.ndarray, numbers: np.ndarray, settings: argparse.Namespace) -> None:
    expected = np.where(numbers < settings.pairs, score_of(numbers), np.nan)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def fill(settings: argparse.Namespace, folder: Path) -> dict[str, Any]:
    pairs, numbers = Pairs(settings), asked(settings)
    keys, store = pairs.digests(numbers), ScoreStore(folder, SCORER)
    before = memory("VmRSS")

    def add() -> None:
        for first in range(0, settings.pairs, settings.segment):
            part = np.arange(first, min(first + settings.segment, settings.pairs))
            store.add(*pairs.digests(part), score_of(part))

    added, _ = timed(add)
    resident = memory("VmRSS") - before
    again_time, found = timed(lambda: store.lookup(*keys))
    check(found, numbers, settings)
    return {"add": added, "lookup": again_time, "resident, MB": resident,
            "peak, MB": memory("VmHWM") - before}  # fmt: skip


def reopen(settings: argparse.Namespace, folder: Path) -> dict[str, Any]:
    numbers = asked(settings)
    keys = Pairs(settings).digests(numbers)
    few = tuple(column[:1] for column in keys)
    before = memory("VmRSS")
    store = ScoreStore(folder, SCORER)
    read_time, _ = timed(lambda: store.lookup(*few))
    resident = memory("VmRSS") - before
    lookup_time, found = timed(lambda: store.lookup(*keys))
    check(found, numbers, settings)
    return {"read": read_time, "lookup": lookup_time, "resident, MB": resident,
            "peak, MB": memory("VmHWM") - before}  # fmt: skip


def merge(settings: argparse.Namespace, folder: Path) -> dict[str, Any]:
    before = memory("VmRSS")
    merge_time, found = timed(lambda: compact(folder, SCORER))
    if found.pairs != settings.pairs:
        raise SystemExit(f"{found.pairs} pairs after compact, expected {settings.pairs}")
    return {"compact": merge_time, "peak, MB": memory("VmHWM") - before}


def sqlite(settings: argparse.Namespace, folder: Path) -> dict[str, Any]:
    pairs, numbers = Pairs(settings), asked(settings)
    keys = packed(*pairs.digests(numbers))
    before = memory("VmRSS")
    base = sqlite3.connect(folder / "scores.sqlite")
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    base.execute("CREATE TABLE scores (pair BLOB PRIMARY KEY, score REAL) WITHOUT ROWID")

    def add() -> None:
        for first in range(0, settings.pairs, settings.segment):
            part = np.arange(first, min(first + settings.segment, settings.pairs))
            rows = zip(packed(*pairs.digests(part)), score_of(part).tolist(), strict=True)
            with base:
                base.executemany("INSERT INTO scores VALUES (?, ?)", rows)

    def by_key() -> np.ndarray:
        one = "SELECT score FROM scores WHERE pair = ?"
        rows = (base.execute(one, (key,)).fetchone() for key in keys)
        return np.array([np.nan if row is None else row[0] for row in rows], dtype=np.float32)

    def by_join() -> np.ndarray:
        base.execute("CREATE TEMP TABLE asked (place INTEGER PRIMARY KEY, pair BLOB)")
        base.executemany("INSERT INTO asked VALUES (?, ?)", enumerate(keys))
        rows = base.execute(
            "SELECT score FROM asked LEFT JOIN scores USING (pair) ORDER BY place"
        ).fetchall()
        return np.array([np.nan if row[0] is None else row[0] for row in rows], dtype=np.float32)

    added, _ = timed(add)
    by_key_time, found = timed(by_key)
    check(found, numbers, settings)
    by_join_time, found = timed(by_join)
    check(found, numbers, settings)
    base.commit()
    base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return {"add": added, "lookup": by_key_time, "lookup by join": by_join_time,
            "peak, MB": memory("VmHWM") - before}  # fmt: skip


def packed(query: np.ndarray, doc: np.ndarray) -> list[bytes]:
    whole = np.concatenate([query, doc], axis=1)
    return [row.tobytes() for row in whole]


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def warm_up() -> None:
    """Load what the libraries load at the first use: its memory does not grow with the store."""
    with tempfile.TemporaryDirectory() as name:
        for _ in range(2):
            store = ScoreStore(Path(name), SCORER)
            keys = np.zeros((1, 2), dtype=np.uint64), np.zeros((1, 2), dtype=np.uint64)
            store.lookup(*keys)
            store.add(*keys, np.zeros(1))
        compact(Path(name), SCORER)


def alone(part: Callable[..., dict[str, Any]], settings: argparse.Namespace, folder: Path) -> Any:
    """The part in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1, warm_up) as pool:
        return pool.apply(part, (settings, folder))


def shown(name: str, figures: dict[str, Any], pairs: int, size: int | None = None) -> None:
    if size is not None:
        figures = {**figures, "disk, bytes a pair": size / pairs}
    if "resident, MB" in figures:
        figures = {**figures, "resident, bytes a pair": figures["resident, MB"] * MB / pairs}
    print(name)
    for key, value in figures.items():
        print(f"  {key:26}{value if isinstance(value, Timed) else f'{value:.1f}'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=2_000_000, help="pairs added")
    parser.add_argument("--lookups", type=int, default=1_000_000, help="pairs asked for at once")
    parser.add_argument("--segment", type=int, default=2048, help="pairs a segment")
    parser.add_argument("--queries", type=int, default=20_000, help="distinct queries")
    parser.add_argument("--docs", type=int, default=500_000, help="distinct docs")
    parser.add_argument("--folder", help="where to write, on the disk to measure; else a temporary")
    settings = parser.parse_args()
    print(
        f"{settings.pairs:,} pairs of {settings.queries:,} queries and {settings.docs:,} docs, "
        f"{settings.segment:,} a segment; {settings.lookups:,} looked up"
    )
    with tempfile.TemporaryDirectory(dir=settings.folder) as name:
        ours, theirs = Path(name) / "store", Path(name) / "sqlite"
        theirs.mkdir()
        show = partial(shown, pairs=settings.pairs)
        figures = alone(fill, settings, ours)
        show("store, process that adds", figures, size=on_disk(ours))
        show("store, fresh process", alone(reopen, settings, ours))
        figures = alone(merge, settings, ours)
        show("store, compact", figures, size=on_disk(ours))
        show("store, fresh, compacted", alone(reopen, settings, ours))
        figures = alone(sqlite, settings, theirs)
        show("SQLite", figures, size=on_disk(theirs))


if __name__ == "__main__":
    main()
