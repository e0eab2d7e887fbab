"""An HTTP server on loopback that answers like the rerank and chat APIs, and misbehaves by script.

    with Loopback() as server:
        server.script += [status(429, retry_after="2"), cut()]    # the next two requests
        ... server.url ... server.requests ... server.most_at_once ...

Rerank answers: /cohere/rerank, /jina/rerank and /rerank give {"results": [...]}, /voyage/rerank
{"data": [...]}, and a request with "texts", TEI's, a plain list; each best first, scored by
`relevance`. /v1/chat/completions answers what `server.answer(messages)` says, with
`server.first_tokens(messages)` as the log-probabilities of its first token; a test sets both.
"""

from __future__ import annotations

import json
import math
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Messages = Sequence[dict[str, str]]


def relevance(query: str, doc: str) -> float:
    """The rule of the rerank answers: the words that two texts share, and a little of the doc."""
    shared = len(set(query.lower().split()) & set(doc.lower().split()))
    return shared + zlib.crc32(doc.encode()) % 997 / 1000


def last_word(messages: Messages) -> str:
    """The default answer of the chat: the last word of the last message."""
    return (messages[-1]["content"].split() or ["nothing"])[-1]


class Received(NamedTuple):
    """A request as it came: path, headers (names in lower case), body, monotonic time."""

    path: str
    headers: dict[str, str]
    payload: Any
    at: float


class Fault(NamedTuple):
    """What goes wrong with one answer."""

    status: int = 200
    headers: dict[str, str] | None = None
    body: str | None = None
    delay: float = 0.0
    cut: bool = False
    change: Callable[[Any], Any] | None = None


def status(code: int, retry_after: str | None = None, body: str = '{"message": "no"}') -> Fault:
    return Fault(code, {"Retry-After": retry_after} if retry_after else None, body)


def slow(seconds: float) -> Fault:
    """The right answer, too late."""
    return Fault(delay=seconds)


def garbage(body: str = '{"results": [{"index": 0, "rel') -> Fault:
    """An answer that is not JSON."""
    return Fault(body=body)


def cut() -> Fault:
    """The connection ends in the middle of the answer."""
    return Fault(cut=True)


def changed(change: Callable[[Any], Any]) -> Fault:
    """The right answer, with `change` applied to its JSON."""
    return Fault(change=change)


def on_ranks(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Fault:
    """The ranks of a rerank answer, changed; in any of the formats."""

    def apply(answer: Any) -> Any:
        if isinstance(answer, list):
            return change(answer)
        key = "results" if "results" in answer else "data"
        return {**answer, key: change(answer[key])}

    return changed(apply)


def too_few() -> Fault:
    return on_ranks(lambda ranks: ranks[:-1])


def duplicate() -> Fault:
    return on_ranks(lambda ranks: [*ranks[:-1], ranks[0]])


def out_of_range() -> Fault:
    return on_ranks(lambda ranks: [*ranks[:-1], {**ranks[-1], "index": len(ranks)}])


class Loopback:
    """The server: its `url`, what it `requests`, how many it handled `most_at_once`.

    script: faults of the next requests, in order of arrival; None for none. fault: a fault by
    request, asked when the script is empty. delay: seconds that every answer takes.
    """

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.script: deque[Fault | None] = deque()
        self.fault: Callable[[Received], Fault | None] = lambda received: None
        self.delay = 0.0
        self.answer: Callable[[Messages], str] = last_word
        self.first_tokens: Callable[[Messages], dict[str, float]] = lambda messages: {
            self.answer(messages).split()[0]: math.log(0.9), "other": math.log(0.1),
        }  # fmt: skip
        self.logprobs = True
        self.most_at_once = self._now = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Loopback:
        handler = type("Handler", (_Handler,), {"loopback": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.daemon = True
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def count(self) -> int:
        """Requests received so far."""
        return len(self.requests)

    def arrived(self, received: Received) -> Fault | None:
        with self._lock:
            self.requests.append(received)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            return self.script.popleft() if self.script else self.fault(received)

    def left(self) -> None:
        with self._lock:
            self._now -= 1

    def answered(self, received: Received) -> Any:
        """The right answer to a request."""
        payload = received.payload
        if received.path.endswith("/chat/completions"):
            return self._chat(payload)
        docs = payload.get("texts", payload.get("documents"))
        scores = [relevance(payload["query"], doc) for doc in docs]
        order = sorted(range(len(docs)), key=lambda i: -scores[i])
        if "texts" in payload:
            return [{"index": i, "score": scores[i]} for i in order]
        order = order[: payload.get("top_n", payload.get("top_k", len(docs)))]
        ranks = [{"index": i, "relevance_score": scores[i]} for i in order]
        tokens = sum(len(text.split()) for text in [payload["query"], *docs])
        if "/voyage/" in received.path:
            return {"object": "list", "data": ranks, "usage": {"total_tokens": tokens}}
        if "/cohere/" in received.path:
            return {"id": "1", "results": ranks, "meta": {"billed_units": {"search_units": 1}}}
        return {"model": payload.get("model"), "results": ranks, "usage": {"total_tokens": tokens}}

    def _chat(self, payload: dict[str, Any]) -> dict[str, Any]:
        messages = payload["messages"]
        limit = payload.get("max_tokens", payload.get("max_completion_tokens"))
        words = self.answer(messages).split(" ")[:limit]
        choice: dict[str, Any] = {
            "index": 0, "finish_reason": "stop", "logprobs": None,
            "message": {"role": "assistant", "content": " ".join(words)},
        }  # fmt: skip
        if payload.get("logprobs") and self.logprobs:
            likely = sorted(self.first_tokens(messages).items(), key=lambda item: -item[1])
            top = [{"token": token, "logprob": value} for token, value in likely]
            top = top[: payload["top_logprobs"]]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        read = sum(len(message["content"].split()) for message in messages)
        usage = {"prompt_tokens": read, "completion_tokens": len(words)}
        return {"object": "chat.completion", "choices": [choice], "usage": usage}


class _Handler(BaseHTTPRequestHandler):
    loopback: Loopback
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.path, headers, json.loads(body), time.monotonic())
        fault = self.loopback.arrived(received) or Fault()
        try:
            time.sleep(self.loopback.delay + fault.delay)
            self._reply(received, fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has gone, as it does after its timeout
        finally:
            self.loopback.left()

    def _reply(self, received: Received, fault: Fault) -> None:
        if fault.body is None:
            answer = self.loopback.answered(received)
            text = json.dumps(fault.change(answer) if fault.change else answer)
        else:
            text = fault.body
        data = text.encode()
        self.send_response(fault.status)
        for name, value in (fault.headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if fault.cut:
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        else:
            self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        """Nothing: a test's output is its own."""
