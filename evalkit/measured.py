"""What components know of being measured: nothing kept of a query is served; stages are told.

A service meets each query for the first time. Inside `cold()` no ranking, score, answer, query
vector or query token is taken from what was kept, and none is kept. What an index is made of stays
at hand, as in a service: postings, vectors and tokens of docs.

`with stage("query_encoding"):` marks a part of a component's work. Outside of a measurement both
cost a look at a variable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

# The time in nanoseconds, from any start; never backwards.
Clock = Callable[[], int]

_blocks = 0
_lock = threading.Lock()
_thread = threading.local()
_NOTHING: AbstractContextManager[None] = nullcontext()


def is_cold() -> bool:
    """Whether what was kept must not be used."""
    return _blocks > 0


@contextmanager
def cold() -> Iterator[None]:
    """For all threads; blocks may be nested."""
    global _blocks
    with _lock:
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1


class Spans:
    """Nanoseconds by stage. clock: read at both ends of a stage. A stage inside another is part of
    that one."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.spent: dict[str, int] = {}
        self._open = False

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        if self._open:
            yield
            return
        self._open = True
        start = self.clock()
        try:
            yield
        finally:
            self.spent[name] = self.spent.get(name, 0) + self.clock() - start
            self._open = False


@contextmanager
def listening(spans: Spans) -> Iterator[None]:
    """The stages of what runs in this thread meanwhile go into `spans`."""
    _thread.spans = spans
    try:
        yield
    finally:
        del _thread.spans


def stage(name: str) -> AbstractContextManager[None]:
    """A part of a component's work, such as "query_encoding"."""
    spans: Spans | None = getattr(_thread, "spans", None)
    return _NOTHING if spans is None else spans.span(name)
