"""What a run cost and met; beside the results, since it differs each time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


@dataclass
class ExecutionLog:
    """seconds: per stage. work: component, such as
    "reranker.ltr" → what it cost, by unit. warnings: a line each."""

    seconds: dict[str, float] = field(default_factory=dict)
    work: dict[str, dict[str, int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, line: str) -> None:
        """Say it now, and keep it for the report."""
        log.warning("%s", line)
        self.warnings.append(line)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keep the warnings that other modules say meanwhile, such as of a model's stand-in."""
        handler = _Collector(self)
        logger = logging.getLogger("evalkit")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)

    def add_work(self, name: str, work: Mapping[str, int]) -> None:
        """Add what one more call of a component cost."""
        if not work:
            return
        total = self.work.setdefault(name, {})
        for unit, amount in work.items():
            total[unit] = total.get(unit, 0) + int(amount)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = round(time.perf_counter() - start, 3)


class _Collector(logging.Handler):
    """Puts warnings of the package's loggers into an ExecutionLog, each once."""

    def __init__(self, execution: ExecutionLog) -> None:
        super().__init__(logging.WARNING)
        self.execution = execution

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        # What `warn` says is kept there already.
        if record.name != log.name and line not in self.execution.warnings:
            self.execution.warnings.append(line)
