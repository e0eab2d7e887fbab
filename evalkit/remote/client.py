"""JSON over HTTP to a paid or local model server: nothing lost, nothing paid twice.

Requests run side by side; those that fail for the moment (429, 5xx, timeouts, cut connections,
malformed answers) are tried again, with exponential backoff, or when the server's Retry-After says.
Every good answer is on disk before anything else happens: a run that ends midway, through an error,
the budget or Ctrl-C, goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.errors import ConfigError, RemoteError, without_credentials
from evalkit.progress import track
from evalkit.remote.address import checked_address
from evalkit.remote.budget import Budget, Ledger
from evalkit.remote.delivery import Delivery, retry_after
from evalkit.remote.key import ApiKey
from evalkit.remote.responses import ResponseStore

if TYPE_CHECKING:
    import httpx

Payload = dict[str, Any]
# Raises Malformed for an answer that does not fit its payload, an EvalkitError for a hopeless one;
# what it returns is not looked at.
Check = Callable[[Payload, Any], object]
_TIMEOUT, _TOO_MANY = 408, 429


class Malformed(ValueError):
    """An answer that is not what was asked for; the request is tried again."""


class Trouble(NamedTuple):
    """Why a try gave no answer. wait: seconds the server asks for. final: no use to try again."""

    reason: str
    wait: float | None = None
    final: bool = False
    status: int | None = None


class HttpClient:
    """Posts JSON to one address.

    url: without credentials, which belong into the environment variable `api_key_env`. version: the
    user's own name for the model that answers; another one asks everything anew. `sleep` and `now`
    can be replaced by a test.
    """

    def __init__(
        self,
        url: str,
        api_key_env: str | None,
        delivery: Delivery,
        budget: Budget,
        cache_dir: Path,
        version: str = "",
    ) -> None:
        self.address, self.version = checked_address(url), version
        self.delivery = delivery
        self.prefix = ""  # of its settings in messages: "reranker.cohere.", once it is known
        self._key = ApiKey(api_key_env)
        self._ledger = Ledger(budget)
        self._store = ResponseStore(cache_dir / "responses")
        self.sleep: Callable[[float, threading.Event], Any] = lambda s, stopped: stopped.wait(s)
        self.now: Callable[[], float] = time.time

    @property
    def work(self) -> dict[str, int]:
        """What was spent since the client was made, by unit."""
        return self._ledger.work

    def check(self) -> None:
        """ConfigError for a key that is not there, or no httpx; sends nothing."""
        self._key.check(self.prefix)
        try:
            import httpx  # noqa: F401
        except ImportError as error:
            raise ConfigError("httpx is not installed; run: pip install httpx") from error

    @cached_property
    def _http(self) -> httpx.Client:
        import httpx

        most = self.delivery.concurrency
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most)
        return httpx.Client(auth=self._key, timeout=self.delivery.timeout, limits=limits)

    def post_all(
        self,
        path: str,
        payloads: Sequence[Payload],
        check: Check = lambda payload, answer: None,
        what: str = "Asking the server",
    ) -> list[Any]:
        """The answers' JSON, in the order of the payloads; equal payloads are asked once.

        check: see `Check`. what: the progress bar's label. RemoteError where an answer cannot be
        had; those that came before are kept.
        """
        keys = [self._digest(path, payload) for payload in payloads]
        answers: dict[bytes, Any] = {}
        missing: dict[bytes, Payload] = {}
        for key, payload in zip(keys, payloads, strict=True):
            if key not in answers and key not in missing:
                stored = self._stored(key, payload, check)
                if stored is None:
                    missing[key] = payload
                else:
                    answers[key] = stored
        self._ledger.reuse(len(payloads) - len(missing))
        if missing:
            self.check()
            answers |= self._send_all(path, missing, check, what)
        return [answers[key] for key in keys]

    def _digest(self, path: str, payload: Payload) -> bytes:
        text = json.dumps([self.address, path, self.version, payload], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=32).digest()

    def _stored(self, key: bytes, payload: Payload, check: Check) -> Any:
        """The answer on disk; None where there is none that still passes the check."""
        text = self._store.get(key)
        if text is None:
            return None
        try:
            answer = json.loads(text)
            check(payload, answer)
        except ValueError:
            return None
        return answer

    def _send_all(
        self, path: str, missing: dict[bytes, Payload], check: Check, what: str
    ) -> dict[bytes, Any]:
        answers: dict[bytes, Any] = {}
        stopped = threading.Event()
        with ThreadPoolExecutor(self.delivery.concurrency) as pool:
            running = {
                pool.submit(self._send, path, key, payload, check, stopped): key
                for key, payload in missing.items()
            }
            try:
                for done in track(as_completed(running), what, len(running)):
                    answers[running[done]] = done.result()
            except BaseException:
                # Ctrl-C too. What is under way is paid for: leaving the block waits for it.
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return answers

    def _send(
        self, path: str, key: bytes, payload: Payload, check: Check, stopped: threading.Event
    ) -> Any:
        """One request, tried until it is answered; the answer is stored."""
        trouble = Trouble("not sent")
        for attempt in range(1 + self.delivery.retries):
            if stopped.is_set():
                break
            self._ledger.reserve(retry=attempt > 0)
            answer, found = None, None
            try:
                answer, found = self._try(path, payload)
            finally:
                self._ledger.settle(answer)
            if found is None:
                found = self._unfit(payload, answer, check)
            if found is None:
                self._store.put(key, json.dumps(answer))
                return answer
            trouble = found
            if trouble.final:
                break
            if attempt < self.delivery.retries:
                self._rest(trouble, attempt, stopped)
        tries = f" ({attempt + 1} tries)" if attempt else ""
        raise RemoteError(f"{self.address}{path}: {trouble.reason}{tries}", trouble.status)

    def _unfit(self, payload: Payload, answer: Any, check: Check) -> Trouble | None:
        try:
            check(payload, answer)
        except Malformed as error:
            return Trouble(self._key.scrub(str(error)))
        return None

    def _rest(self, trouble: Trouble, attempt: int, stopped: threading.Event) -> None:
        longest = self.delivery.longest_wait
        if trouble.wait is not None and trouble.wait > longest:
            raise RemoteError(
                f"{self.address}: {trouble.reason}, and to wait {trouble.wait:.0f} s, more than "
                f"longest_wait={longest:g}; run again later, the answers so far are kept",
                trouble.status,
            )
        backoff = self.delivery.backoff(attempt)
        self.sleep(backoff if trouble.wait is None else max(trouble.wait, backoff), stopped)

    def _try(self, path: str, payload: Payload) -> tuple[Any, Trouble | None]:
        """The answer's JSON, or why there is none.

        Exceptions of httpx end here, and are not chained to ours: they hold the request's headers.
        """
        import httpx

        try:
            # In ASCII: a lone surrogate in a text is no reason to fail.
            response = self._http.post(
                f"{self.address}{path}",
                content=json.dumps(payload).encode(),
                headers={"Content-Type": "application/json"},
            )
        except httpx.TimeoutException:
            return None, Trouble(f"no answer within timeout={self.delivery.timeout:g} s")
        except httpx.RequestError as error:
            cause = self._key.scrub(f"{type(error).__name__}: {error}")
            return None, Trouble(f"connection failed ({' '.join(cause.split())})")
        trouble = self._refusal(response)
        if trouble is not None:
            return None, trouble
        try:
            return json.loads(self._key.scrub_answer(response.text)), None
        except ValueError:
            return None, Trouble(f"the answer is no JSON ('{self._excerpt(response)}')")

    def _refusal(self, response: httpx.Response) -> Trouble | None:
        """What a status other than success says; None for success."""
        status = response.status_code
        if response.is_success:
            return None
        if status in (_TIMEOUT, _TOO_MANY) or status >= 500:
            wait = retry_after(response.headers.get("Retry-After"), self.now())
            return Trouble(f"the server answers {status}", wait, status=status)
        if status in (401, 403):
            # Not a word of the answer: some servers repeat the key in it.
            variable = self._key.variable
            known = f"the key in {variable} is not accepted"
            setting = f"{self.prefix}api_key_env"
            unknown = f"it wants a key; export one and give the variable's name as {setting}"
            return Trouble(f"refused ({status}): {known if variable else unknown}", final=True)
        return Trouble(f"refused ({status}): {self._excerpt(response)}", final=True, status=status)

    def _excerpt(self, response: httpx.Response) -> str:
        text = " ".join(response.text.split())
        return without_credentials(self._key.scrub(text))[:300]
