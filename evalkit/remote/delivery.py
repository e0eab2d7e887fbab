"""How requests are sent: how many at once, how patiently, and how long to wait between tries."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime

from evalkit.errors import ConfigError

_FIRST_WAIT_S = 1.0


@dataclass(frozen=True)
class Delivery:
    """concurrency: requests under way at once. timeout: seconds without a byte from the server.
    retries: further tries of a request at most. longest_wait: seconds between two tries at most; a
    server that asks for more ends the run."""

    concurrency: int = 4
    timeout: float = 60.0
    retries: int = 5
    longest_wait: float = 60.0

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ConfigError(f"concurrency={self.concurrency}: expected at least 1")
        if not self.timeout > 0:
            raise ConfigError(f"timeout={self.timeout}: expected seconds above 0")
        if self.retries < 0:
            raise ConfigError(f"retries={self.retries}: expected 0 or more")
        if not self.longest_wait > 0:
            raise ConfigError(f"longest_wait={self.longest_wait}: expected seconds above 0")

    def backoff(self, retry: int) -> float:
        """Seconds before retry 0, 1, ...: doubled each time; jitter keeps clients out of step."""
        most = min(self.longest_wait, _FIRST_WAIT_S * 2.0**retry)
        return most * random.uniform(0.5, 1.0)


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or an HTTP date (RFC 9110, 10.2.3).

    now: seconds since the epoch. None for no header, or one that says neither.
    """
    if not header:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, date.timestamp() - now)
