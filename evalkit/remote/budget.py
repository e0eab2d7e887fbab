"""What a run may spend on requests, and what it has spent."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

from evalkit.errors import ConfigError, RemoteError

_MICRO = 1_000_000


class Usage(NamedTuple):
    """What one answer says it took; units: what is billed as requests, 1 where it does not say."""

    input_tokens: int = 0
    output_tokens: int = 0
    units: int = 1


def usage_of(answer: Any) -> Usage:
    """Usage of an answer: `usage` as OpenAI, Jina, Voyage and vLLM give it, or Cohere's `meta`."""
    usage, meta = _part(answer, "usage"), _part(answer, "meta")
    tokens, billed = _part(meta, "tokens"), _part(meta, "billed_units")
    written = _count(usage, "completion_tokens") or _count(tokens, "output_tokens")
    # Jina gives a total and a prompt_tokens of 0.
    read = max(_count(usage, "total_tokens") - written, _count(usage, "prompt_tokens"))
    read = read or _count(tokens, "input_tokens")
    return Usage(read, written, max(1, _count(billed, "search_units")))


def _part(answer: Any, name: str) -> dict[str, Any]:
    found = answer.get(name) if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else {}


def _count(fields: dict[str, Any], name: str) -> int:
    found = fields.get(name)
    return int(found) if isinstance(found, int | float) else 0


@dataclass(frozen=True)
class Budget:
    """Limits of one run, None for none: requests sent (retries count), US dollars.

    price_per_request: dollars a request, or a unit where the answer counts units (Cohere's search
    units). input_price, output_price: dollars per million tokens.
    """

    max_requests: int | None = None
    max_cost: float | None = None
    price_per_request: float = 0.0
    input_price: float = 0.0
    output_price: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value >= 0:
                raise ConfigError(f"{name}={value}: expected 0 or more")
        if self.max_cost is not None and not self.priced:
            raise ConfigError(
                f"max_cost={self.max_cost} needs a price to count with; give what the provider "
                "asks a request or per million tokens"
            )

    @property
    def priced(self) -> bool:
        return self.price_per_request + self.input_price + self.output_price > 0

    def cost(self, usage: Usage) -> float:
        """Dollars of one answer."""
        tokens = usage.input_tokens * self.input_price + usage.output_tokens * self.output_price
        return usage.units * self.price_per_request + tokens / _MICRO


class Ledger:
    """Counts requests and their cost over threads, and refuses what would pass the budget.

    A request's cost is known when it is answered. Until then it counts as much as the dearest so
    far (at first: price_per_request), so that with token prices the first answers, as many as are
    sent at once, are all that can go past max_cost.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.requests = self.retries = self.reused = 0
        self.input_tokens = self.output_tokens = 0
        self.cost = 0.0
        self._dearest = budget.price_per_request
        self._open = 0
        self._lock = threading.Lock()

    @property
    def work(self) -> dict[str, int]:
        """What was spent: requests (retries among them), answers from the store, tokens."""
        counts = {
            "requests": self.requests,
            "reused": self.reused,
            "retries": self.retries,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
        }
        return counts | ({"cost_microusd": round(self.cost * _MICRO)} if self.budget.priced else {})

    def reserve(self, retry: bool) -> None:
        """Called before a request is sent; RemoteError where it is one too many."""
        limits = self.budget
        with self._lock:
            if limits.max_requests is not None and self.requests >= limits.max_requests:
                raise self._spent(f"max_requests={limits.max_requests}")
            expected = self.cost + (self._open + 1) * self._dearest
            if limits.max_cost is not None and expected > limits.max_cost + 0.5 / _MICRO:
                raise self._spent(f"max_cost={limits.max_cost}")
            self.requests += 1
            self.retries += retry
            self._open += 1

    def settle(self, answer: Any) -> None:
        """Called once after each `reserve`; `answer` is None where there was none to pay."""
        with self._lock:
            self._open -= 1
            if answer is not None:
                usage = usage_of(answer)
                cost = self.budget.cost(usage)
                self.cost += cost
                self._dearest = max(self._dearest, cost)
                self.input_tokens += usage.input_tokens
                self.output_tokens += usage.output_tokens

    def reuse(self, count: int) -> None:
        with self._lock:
            self.reused += count

    def _spent(self, limit: str) -> RemoteError:
        paid = f", {self.cost:.4f} USD" if self.budget.priced else ""
        return RemoteError(
            f"{limit} reached after {self.requests} requests{paid}; the answers are kept: raise "
            f"{limit.split('=')[0]} and run again to go on from there"
        )
