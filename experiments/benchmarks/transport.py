"""How long pairs take on their way to scoring processes and their scores back.

    python experiments/benchmarks/transport.py --pairs 100000 --processes 2

Pairs of a query and a doc, as a list of candidates has them (100 docs a query, each doc of several
queries), go through `DevicePool` to processes that score every pair 0: what is timed is the split
into parts, packing, pipes, unpacking and the way back, and no model. `shared`: a text is one object
for all its pairs, as the reranker makes them. `copied`: each pair has its own copy of both, as
prefixes make them. `token ids`: arrays of int32 instead of texts. Processes are started before the
clock; the median of the rounds counts, and all are printed. Beside it processor seconds a round of
the owner and of all its processes (Linux), which others on the machine hardly change.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.scoring.workers import DevicePool

# SciFact's docs have some 200 words of text, its queries a dozen.
QUERY_WORDS, DOC_WORDS, DOCS_A_QUERY = 12, 200, 100
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def no_model(device: str) -> Callable[[Sequence[Any]], np.ndarray]:
    """What stands in for an engine: as many scores as items."""
    return lambda items: np.zeros(len(items), dtype=np.float32)


def texts_of(generator: np.random.Generator, count: int, words: int) -> list[str]:
    made = generator.choice(LETTERS, size=(count, words, 6))
    return [" ".join("".join(word) for word in text) for text in made]


def workloads(pairs: int, docs: int) -> dict[str, list[Any]]:
    generator = np.random.default_rng(0)
    queries = texts_of(generator, -(-pairs // DOCS_A_QUERY), QUERY_WORDS)
    corpus = texts_of(generator, docs, DOC_WORDS)
    chosen = generator.integers(0, docs, size=pairs)
    shared = [(queries[i // DOCS_A_QUERY], corpus[doc]) for i, doc in enumerate(chosen)]
    copied = [("query: " + query, "passage: " + doc) for query, doc in shared]
    ids = [
        (np.arange(QUERY_WORDS, dtype=np.int32), np.arange(DOC_WORDS, dtype=np.int32))
        for _ in range(pairs)
    ]
    return {"texts, shared": shared, "texts, copied": copied, "token ids": ids}


def work_of_processes() -> float:
    """Processor seconds of this process's children so far, by /proc/PID/stat."""
    ticks = 0
    for process in multiprocessing.active_children():
        # After the name, which may hold spaces: fields 3 and on; 14 and 15 are user's and system's.
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--docs", type=int, default=5_000, help="distinct docs")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"{given.pairs:,} pairs, {given.docs:,} docs, {given.processes} processes")
    for name, items in workloads(given.pairs, given.docs).items():
        costs = np.random.default_rng(1).integers(50, 400, size=len(items))
        with DevicePool(no_model, ["cpu"] * given.processes) as pool:
            pool.map(items, costs)
            seconds = []
            owner, others = time.process_time(), work_of_processes()
            for _ in range(given.rounds):
                start = time.perf_counter()
                pool.map(items, costs)
                seconds.append(time.perf_counter() - start)
            owner = (time.process_time() - owner) / given.rounds
            others = (work_of_processes() - others) / given.rounds
        listed = " ".join(f"{value:.2f}" for value in seconds)
        print(
            f"  {name:16} {statistics.median(seconds):6.2f} s ({listed}); CPU: "
            f"{owner:.2f} s here, {others:.2f} s in all processes",
            flush=True,
        )


if __name__ == "__main__":
    main()
