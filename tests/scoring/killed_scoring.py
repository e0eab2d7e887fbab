"""A program for test_store_processes: scores pairs in a child that is killed, again and again.

    python killed_scoring.py FOLDER MOMENTS

A first child scores into FOLDER/whole and is left alone. MOMENTS: what ends each of the next ones,
which score into FOLDER/killed, separated by commas: how long after it began, as a share of the time
that the first one took; or "fsync" or "replaced": before a segment is whole on the disk, and right
after. A last child runs to the end. Prints a JSON object a child: how it ended, the pairs that it
scored, each call of the scorer a list (and a segment), and how many are stored so far. Both folders
get the scores as final.npy. The imports are done once, here: a child is a fork.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet  # noqa: F401  (once for all children)

from evalkit.rerankers.pointwise import PointwiseReranker

QUERIES, DOCS, CHUNK, BLOCK = 20, 150, 32, 250
PAIRS = [(f"query {q}", f"doc {d} of query {q}") for q in range(QUERIES) for d in range(DOCS)]


class CheapScorer:
    """Scores that depend on the texts alone; every call is a line in a file."""

    fingerprint = "cheap"
    about = {"model": "a digest of the texts"}  # noqa: RUF012

    def __init__(self, log: Path) -> None:
        self.log = log

    def score(self, pairs):
        time.sleep(0.0001 * len(pairs))
        digests = [hashlib.blake2b("\t".join(pair).encode(), digest_size=3) for pair in pairs]
        with open(self.log, "a") as file:
            file.write(json.dumps(pairs) + "\n")
        return np.array([int(d.hexdigest(), 16) / 1000 for d in digests], dtype=np.float32)


def reranker(cache: Path, log: Path) -> PointwiseReranker:
    return PointwiseReranker(CheapScorer(log), cache_dir=cache, chunk_size=CHUNK)


def dying(call, number: int, after: bool):
    """The function, but its n-th call kills this process, before or after it does its work."""
    calls: list[None] = []

    def wrapped(*arguments):
        calls.append(None)
        if len(calls) == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        call(*arguments)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return wrapped


def child(cache: Path, log: Path, moment: str, begun: int) -> None:
    """Score all pairs, in a process of its own; `begun` is told when it starts."""
    # Every write syncs its file and its folder: an odd call is a file's, before it is renamed.
    if moment == "fsync":
        os.fsync = dying(os.fsync, 5, after=False)
    elif moment == "replaced":
        os.replace = dying(os.replace, 3, after=True)
    os.write(begun, b"!")
    ours = reranker(cache, log)
    blocks = [PAIRS[start : start + BLOCK] for start in range(0, len(PAIRS), BLOCK)]
    np.save(cache / "final.npy", np.concatenate([ours.score_texts(b).scores for b in blocks]))


def run_child(cache: Path, log: Path, moment: str, patience_s: float | None) -> dict[str, object]:
    """Fork, score, kill after `patience_s` if there is one; how the child did."""
    reading, writing = os.pipe()
    log.touch()
    process = os.fork()
    if process == 0:
        try:
            child(cache, log, moment, writing)
        finally:
            os._exit(int(sys.exc_info()[0] is not None))
    os.read(reading, 1)
    if patience_s is not None:
        time.sleep(patience_s)
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return {
        "ended": os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status),
        "scored": [json.loads(line) for line in log.read_text().splitlines()],
        "stored": reranker(cache, log).count_texts(PAIRS).reused,
    }


def main() -> None:
    whole, killed = Path(sys.argv[1]) / "whole", Path(sys.argv[1]) / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    start = time.perf_counter()
    told = [run_child(whole, whole / "scored.txt", "", None)]
    took_s = time.perf_counter() - start
    for number, moment in enumerate([*sys.argv[2].split(","), "end"]):
        patience_s = None if moment.isalpha() else float(moment) * took_s
        told.append(run_child(killed, killed / f"scored-{number}.txt", moment, patience_s))
    sys.stdout.write("".join(json.dumps(one) + "\n" for one in told))


if __name__ == "__main__":
    main()
