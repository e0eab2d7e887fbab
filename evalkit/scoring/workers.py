"""Several devices of one machine: work split by cost, results in order, the dead replaced.

    with DevicePool(make, ["cuda:0", "cuda:1"]) as pool:
        scores = pool.map(items, costs)

Each device has a process of its own, started when there is work for it. A free process takes the
next part, so that an uneven device holds up the rest for one part at most.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

from evalkit.errors import ConfigError, EvalkitError
from evalkit.scoring.parts import parts_of
from evalkit.scoring.worker_process import Death, WorkerProcess, checked_scores, with_news

log = logging.getLogger(__name__)

T = TypeVar("T")
Scorer = Callable[[Sequence[T]], np.ndarray]


class DevicePool(Generic[T]):
    """Scores items on several devices at once; on a single one, in this very process.

    make: device → (items → scores, one an item, in their order). It is called once in each process
    and travels by pickle, as items do: a function at the top of a module, or an object of a class
    there. parts_per_worker: a part is this fraction of a device's equal share. restarts: how often
    a part is done again whose worker died over it.

    A pool is for one thread. After an error or an interrupt its processes are gone, and the next
    call starts new ones.
    """

    def __init__(
        self,
        make: Callable[[str], Scorer[T]],
        devices: Sequence[str],
        parts_per_worker: int = 8,
        restarts: int = 3,
    ) -> None:
        if isinstance(devices, str) or not devices:
            raise ConfigError(f"devices={devices!r}; expected a list such as ['cuda:0', 'cuda:1']")
        if parts_per_worker < 1:
            raise ConfigError(f"parts_per_worker={parts_per_worker}; expected at least 1")
        if restarts < 0:
            raise ConfigError(f"restarts={restarts}; expected 0 or more")
        self.make, self.devices = make, tuple(devices)
        self.parts_per_worker, self.restarts = parts_per_worker, restarts
        self._workers: list[WorkerProcess | None] = [None] * len(self.devices)
        self._here: Scorer[T] | None = None

    def map(self, items: Sequence[T], costs: np.ndarray) -> np.ndarray:
        """Scores of n items: float32, shape (n,), in their order. costs: shape (n,), as tokens.

        Raises what a worker's function raised: an EvalkitError as it is, others as a WorkerError
        with their traceback. EvalkitError where workers died over one part, or before they were
        ready, more than `restarts` times.
        """
        if np.shape(costs) != (len(items),):
            raise ValueError(f"costs of shape {np.shape(costs)} for {len(items)} items")
        if not len(items):
            return np.empty(0, dtype=np.float32)
        if len(self.devices) == 1:
            self._here = self._here or self.make(self.devices[0])
            return checked_scores(self._here(items), len(items))
        # NaN, so that no item could pass for scored that was not.
        scores = np.full(len(items), np.nan, dtype=np.float32)
        parts = parts_of(costs, self.parts_per_worker * len(self.devices))
        try:
            for rows, found in self._results(items, parts):
                scores[rows] = found
        except BaseException:
            # Those that are still at work would answer the next call with this one's scores.
            self._end(now=True)
            raise
        return scores

    def close(self) -> None:
        """End the processes, and let go of the function of this one. `map` starts anew."""
        self._end(now=False)
        self._here = None

    def __enter__(self) -> DevicePool[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _results(
        self, items: Sequence[T], parts: Sequence[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(rows, their scores) of each part, as they come."""
        waiting = deque(range(len(parts)))
        deaths = Counter[tuple[str, int]]()
        while waiting or any(worker.part is not None for worker in self._alive):
            self._hand_out(waiting, items, parts)
            for worker in with_news(self._alive):
                part, answer = worker.part, worker.read()
                if isinstance(answer, np.ndarray) and part is not None:
                    yield parts[part], answer
                elif isinstance(answer, Death):
                    slot = self._workers.index(worker)
                    self._workers[slot] = None
                    over = ("starting", slot) if part is None else ("part", part)
                    deaths[over] += 1
                    size = 0 if part is None else len(parts[part])
                    self._note(worker.device, answer.how, deaths[over], size)
                    if part is not None:
                        waiting.appendleft(part)

    def _hand_out(
        self, waiting: deque[int], items: Sequence[T], parts: Sequence[np.ndarray]
    ) -> None:
        """Parts for those that are free, and processes for parts that nobody is free to take."""
        for worker in self._alive:
            if waiting and worker.ready and worker.part is None:
                part = waiting.popleft()
                worker.give(part, items, parts[part])
        missing = len(waiting) - sum(not worker.ready for worker in self._alive)
        for slot, held in enumerate(self._workers):
            if held is None and missing > 0:
                self._workers[slot] = WorkerProcess(self.make, self.devices[slot])
                missing -= 1

    def _note(self, device: str, how: str, times: int, size: int) -> None:
        """Log a death; EvalkitError where it was one too many. size: of its part, 0 for none."""
        over = f"over {size} items" if size else "before it was ready"
        if times <= self.restarts:
            log.warning(
                "the worker on %s %s %s; starting again (%d of %d)",
                device, how, over, times, self.restarts,
            )  # fmt: skip
            return
        remedy = (
            "SIGKILL mostly means that memory ran out: score fewer tokens at once, or on fewer "
            "devices"
            if size
            else "what it printed says why; in a script of your own, the work belongs under "
            "`if __name__ == '__main__':`"
        )
        raise EvalkitError(f"the worker on {device} {how} {over}, {times} times in all; {remedy}")

    @property
    def _alive(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers if worker is not None]

    def _end(self, now: bool) -> None:
        alive = self._alive
        for worker in alive:
            worker.dismiss(now)
        for worker in alive:
            worker.join()
        self._workers = [None] * len(self.devices)
