"""Work done one step ahead, in a thread, while its last result is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """function(item) of each item in order, the next one begun before this one is handed out."""
    with ThreadPoolExecutor(1) as thread:
        futures = (thread.submit(function, item) for item in items)
        following = next(futures, None)
        while following is not None:
            current, following = following, next(futures, None)
            yield current.result()
