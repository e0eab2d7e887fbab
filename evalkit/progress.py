"""Progress bars on steps over two seconds, on a terminal only; and the shared consoles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
PATIENCE_S = 2.0

stdout = Console()
stderr = Console(stderr=True)
# Paths and commands are printed as they are, on one line.
PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}


def track(
    items: Iterable[T],
    what: str,
    total: int | None = None,
    step: int | Callable[[T], int] = 1,
) -> Iterator[T]:
    """Yield the items; after two seconds show a bar that counts `step` units an item.

    total: units in all; without it only the count is shown. step: or the units of an item. Nothing
    is drawn off a terminal.
    """
    if not stderr.is_terminal:
        yield from items
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
    )
    task = bar.add_task(what, total=total)
    # A timer, not a look at the clock between items: the first item may be the one that takes long.
    timer = threading.Timer(PATIENCE_S, bar.start)
    timer.daemon = True
    timer.start()
    done = 0
    try:
        for item in items:
            yield item
            done += step(item) if callable(step) else step
            done = done if total is None else min(done, total)
            bar.update(task, completed=done)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
