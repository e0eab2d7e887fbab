"""A scoring process on one device: what runs in it, and how its owner sees it.

The two talk over a pipe of their own, in turn, so that neither writes while the other does: the
process says that it is ready, then answers each part with its scores; or it says what went wrong
and ends.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import numpy as np

from evalkit.errors import EvalkitError, ScoreError
from evalkit.scoring.parts import pack, unpack

# The pipe's end tells of nearly every death at once. Where something that the worker started holds
# the pipe open, a look at the exit code every so often does.
_LOOK_S = 1.0
# For a worker to end by itself before it is killed.
_GRACE_S = 5.0

_READY, _SCORES, _ERROR, _LOST = "ready", "scores", "error", "lost"


class WorkerError(RuntimeError):
    """An error in a worker that is no EvalkitError; the message holds the worker's traceback."""


class Death(NamedTuple):
    """How a process ended that should not have, to follow "the worker on cuda:0"."""

    how: str


class WorkerProcess:
    """A process that scores on `device`. part: the number of the part it is at, or None."""

    def __init__(self, make: Callable[[str], Any], device: str) -> None:
        self.device = device
        self.ready = False
        self.part: int | None = None
        # Spawned: a fork would inherit CUDA's state, which does not survive it.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, device), daemon=True)
        try:
            with _interrupts_held():
                self._process.start()
        finally:
            # As long as we held its end too, the pipe would outlive the process.
            theirs.close()

    def give(self, part: int, items: Sequence[Any], rows: np.ndarray) -> None:
        """Have it score the items at `rows`, as part number `part`; it must be ready and free."""
        self.part = part
        # Where it has died in the meantime, `read` finds out.
        with suppress(OSError):
            self._pipe.send(pack(items, rows))

    def read(self) -> np.ndarray | Death | None:
        """The scores of its part, how it died, or None where it became ready or has no news.

        Raises what its functions raised: an EvalkitError as it is, others as a WorkerError.
        """
        kind, content = self._receive()
        if kind == _READY:
            self.ready = True
        elif kind == _ERROR:
            raise content
        elif kind == _LOST:
            return Death(self._bury(content))
        elif kind == _SCORES:
            self.part = None
            return content
        return None

    def dismiss(self, now: bool) -> None:
        """Have it end, by force if `now` or while it starts; `join` waits for it."""
        if now or not self.ready:
            self._process.kill()
        self._pipe.close()

    def join(self) -> None:
        """Wait until it has ended, so that no zombie stays; by force where it takes long."""
        self._process.join(_GRACE_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()

    @property
    def ended(self) -> bool:
        return self._process.exitcode is not None

    def _receive(self) -> tuple[str | None, Any]:
        # In this order: what it sent before it ended is in the pipe once it has ended.
        ended = self.ended
        if not self._pipe.poll():
            return (_LOST, "") if ended else (None, None)
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            return _LOST, ""

    def _bury(self, reason: str) -> str:
        """Reap the process; how it died."""
        if reason:
            # It told us so itself, and may hang in the ruins of its device.
            self._process.kill()
        self._pipe.close()
        self.join()
        code = self._process.exitcode or 0
        if reason:
            return f"lost its device ({reason})"
        return f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"


def with_news(workers: Iterable[WorkerProcess]) -> list[WorkerProcess]:
    """Wait a little for those that start or work; the ones to be read."""
    at = {w._pipe: w for w in workers if not w.ready or w.part is not None}
    heard = wait(list(at), timeout=_LOOK_S)
    return [worker for pipe, worker in at.items() if pipe in heard or worker.ended]


def checked_scores(scores: Any, count: int) -> np.ndarray:
    """The scores as float32; ScoreError unless there is one for each item."""
    found = np.asarray(scores, dtype=np.float32)
    if found.shape != (count,):
        raise ScoreError(f"scores of shape {found.shape} for {count} items; expected ({count},)")
    return found


def _serve(pipe: Connection, make: Callable[[str], Any], device: str) -> None:
    """What runs in the process, until its owner closes the pipe or something goes wrong."""
    # Ctrl-C reaches every process of a terminal: the owner alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The owner is gone: so is the reason to go on.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError), pipe:
        try:
            score = make(device)
        except Exception as error:  # noqa: BLE001  it is raised in the owner
            pipe.send(_report(error, device))
            return
        pipe.send((_READY, None))
        while True:
            items = unpack(pipe.recv())
            try:
                answer = (_SCORES, checked_scores(score(items), len(items)))
            except Exception as error:  # noqa: BLE001  as above
                answer = _report(error, device)
            pipe.send(answer)
            if answer[0] != _SCORES:
                return


def _report(error: Exception, device: str) -> tuple[str, Any]:
    """What to tell the owner of an error.

    After an error of CUDA's, other than memory that PyTorch could not get, a process can use its
    device no more, and a new one can.
    """
    first_line = str(error).partition("\n")[0]
    if isinstance(error, RuntimeError) and "CUDA error" in first_line:
        return _LOST, first_line
    if isinstance(error, EvalkitError):
        # An exception class may well pickle and then fail to load.
        with suppress(Exception):
            return _ERROR, pickle.loads(pickle.dumps(error))
    return _ERROR, WorkerError(f"the worker on {device} failed:\n{traceback.format_exc()}")


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until this is over, and never comes to a process started in it: one that is
    still importing would print a traceback."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
