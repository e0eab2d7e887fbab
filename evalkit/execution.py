"""What a run cost and met; beside the results, since it differs each time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


@dataclass
class ExecutionLog:
    """seconds: per stage. pairs: reranker → asked, reused, scored. warnings: a line each."""

    seconds: dict[str, float] = field(default_factory=dict)
    pairs: dict[str, dict[str, int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, line: str) -> None:
        """Say it now, and keep it for the report."""
        log.warning("%s", line)
        self.warnings.append(line)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = round(time.perf_counter() - start, 3)
