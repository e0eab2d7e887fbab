"""What worker processes of the tests run: functions that a spawned process can import.

Each is a `make` of evalkit.scoring.workers, with functools.partial around those that take a folder:
device → (items → scores). An item is an array, or a tuple of them, and its score their sum.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from evalkit.errors import RemoteError


def _sum(item) -> float:
    return float(sum(np.sum(array) for array in item) if isinstance(item, tuple) else np.sum(item))


def sums(device):
    def score(items):
        rows = isinstance(items, np.ndarray)
        return items.sum(1) if rows else np.array([_sum(item) for item in items])

    return score


def noting(folder: Path, device):
    """Notes in the folder which process on which device was made, and the items of each call."""
    (folder / f"made-{device}-{os.getpid()}").touch()

    def score(items):
        with open(folder / f"calls-{os.getpid()}", "a") as file:
            file.write(" ".join(f"{_sum(item):.0f}" for item in items) + "\n")
        return sums(device)(items)

    return score


def dying(folder: Path, deaths: int, device):
    """Kills itself in the middle of a part, as often as told, over all processes."""

    def score(items):
        for number in range(deaths):
            try:
                (folder / f"death-{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return sums(device)(items)

    return score


def dying_with_its_pipe_held(folder: Path, device):
    """A process that scores first leaves a child that holds its end of the pipe open, and dies."""

    def score(items):
        if not (folder / "death").exists():
            (folder / "death").touch()
            if os.fork() == 0:
                until = time.monotonic() + 60
                while not (folder / "done").exists() and time.monotonic() < until:
                    time.sleep(0.05)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        return sums(device)(items)

    return score


def dying_at_the_start(device):
    os._exit(7)


def losing_its_device(folder: Path, device):
    """The first process to score meets what PyTorch raises after a fault on the GPU."""

    def score(items):
        try:
            (folder / f"lost-{device}").touch(exist_ok=False)
        except FileExistsError:
            return sums(device)(items)
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore lines")

    return score


def refusing(device):
    def score(items):
        raise RemoteError("no more tokens", status=429)

    return score


def refusing_at_the_start(device):
    raise RemoteError("no such model", status=404)


def failing(device):
    def score(items):
        return {}["missing"]

    return score


def miscounting(device):
    return lambda items: np.zeros(len(items) + 1)


def sleeping(folder: Path, device):
    """Notes its process, then sleeps; one that is left alone would sleep for an hour."""

    def score(items):
        (folder / f"asleep-{os.getpid()}").touch()
        time.sleep(3600)

    return score


def uneven(folder: Path, device):
    """One device is much slower than the other: a part takes it half a second."""

    def score(items):
        with open(folder / device, "a") as file:
            file.write("part\n")
        time.sleep(0.5 if device == "slow" else 0.0)
        return sums(device)(items)

    return score
