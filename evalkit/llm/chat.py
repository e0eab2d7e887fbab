"""A language model behind an OpenAI-compatible address: /chat/completions.

OpenAI, Azure, DeepSeek, Mistral and others; vLLM, SGLang, llama.cpp, Ollama and LM Studio on one's
own machine. Format: platform.openai.com/docs/api-reference/chat. As with every address, the model
behind it can change without a word: set another `version` then, and everything is asked anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.cache import resolve_cache_dir
from evalkit.errors import ConfigError, RemoteError
from evalkit.remote.budget import Budget
from evalkit.remote.client import HttpClient, Malformed
from evalkit.remote.delivery import Delivery
from evalkit.types import Message, fingerprint

log = logging.getLogger(__name__)

_PATH = "/chat/completions"
LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")


class ChatEndpoint:
    """LanguageModel over HTTP, at temperature 0 unless set otherwise.

    temperature, seed: null leaves them out, for models that take neither. limit_field: what the
    server calls the longest answer; OpenAI's reasoning models know max_completion_tokens only.
    top_logprobs: first tokens whose log-probabilities `choose` sees; servers tell 20 at most.
    extra: more fields of each request. The others: see `Delivery` and `Budget`.
    """

    def __init__(
        self,
        url: str,
        model: str | None,
        api_key_env: str | None = None,
        version: str = "",
        temperature: float | None = 0.0,
        seed: int | None = 0,
        limit_field: str = "max_tokens",
        top_logprobs: int = 20,
        extra: dict[str, Any] | None = None,
        concurrency: int = 4,
        timeout: float = 120.0,
        retries: int = 5,
        longest_wait: float = 60.0,
        max_requests: int | None = None,
        max_cost: float | None = None,
        input_price: float = 0.0,
        output_price: float = 0.0,
        cache_dir: str | Path | None = None,
    ) -> None:
        if limit_field not in LIMIT_FIELDS:
            raise ConfigError(f"limit_field={limit_field}: expected {' or '.join(LIMIT_FIELDS)}")
        if top_logprobs < 1:
            raise ConfigError(f"top_logprobs={top_logprobs}: expected at least 1")
        self.model, self.top_logprobs = model, top_logprobs
        self.limit_field = limit_field
        given = {"temperature": temperature, "seed": seed}
        self._fixed = {name: value for name, value in given.items() if value is not None}
        taken = (extra or {}).keys() & self._payload([], 1).keys()
        if taken:
            raise ConfigError(f"extra.{min(taken)} is set by evalkit; leave it out of extra")
        self._fixed |= extra or {}
        self.client = HttpClient(
            url.rstrip("/").removesuffix(_PATH),
            api_key_env,
            Delivery(concurrency, timeout, retries, longest_wait),
            Budget(max_requests, max_cost, 0.0, input_price, output_price),
            resolve_cache_dir(cache_dir),
            version,
        )
        self.client.prefix = "llm."

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "ChatEndpoint",
            address=self.client.address,
            version=self.client.version,
            model=self.model,
            top_logprobs=self.top_logprobs,
            fixed=self._fixed,
        )

    @property
    def work(self) -> dict[str, int]:
        return self.client.work

    def check(self) -> None:
        if not self.model:
            raise ConfigError(
                f"llm.model is not set; name the model that runs at {self.client.address}, as in "
                "llm.model=NAME"
            )
        self.client.check()

    def generate(self, prompts: Sequence[Sequence[Message]], max_tokens: int) -> list[str]:
        """An answer that is empty, as where a model refuses, is an empty text."""
        answers = self._ask([self._payload(prompt, max_tokens) for prompt in prompts], _text)
        return [_text(answer) for answer in answers]

    def choose(self, prompts: Sequence[Sequence[Message]], options: Sequence[str]) -> np.ndarray:
        """An option is found by the text of the token, white space around it removed, case kept;
        two tokens with one text, such as "Yes" and " Yes", count together."""
        extra = {"logprobs": True, "top_logprobs": self.top_logprobs}
        payloads = [self._payload(prompt, 1) | extra for prompt in prompts]
        try:
            answers = self._ask(payloads, self._first_tokens)
        except RemoteError as error:
            if error.status in (400, 422) and "logprob" in str(error):
                raise self._no_logprobs() from None
            raise
        told = [self._first_tokens(answer) for answer in answers]
        names = [option.strip() for option in options]
        if told and not any(name in tokens for tokens, _ in told for name in names):
            log.warning(
                "%s: none of %s is among the first tokens of any of %d answers (likeliest: '%s'); "
                "the scores all tie",
                self.model, ", ".join(names), len(told), next(iter(told[0][0]), ""),
            )  # fmt: skip
        rows = [[tokens.get(name, deepest) for name in names] for tokens, deepest in told]
        return np.array(rows, dtype=np.float32).reshape(len(prompts), len(options))

    def _payload(self, prompt: Sequence[Message], max_tokens: int) -> dict[str, Any]:
        messages = [dict(message) for message in prompt]
        limit = {self.limit_field: max_tokens}
        return {"model": self.model, "messages": messages, **limit, **self._fixed}

    def _ask(self, payloads: list[dict[str, Any]], read: Any) -> list[Any]:
        self.check()
        what = "Asking the language model"
        return self.client.post_all(_PATH, payloads, lambda _, answer: read(answer), what)

    def _first_tokens(self, answer: Any) -> tuple[dict[str, float], float]:
        """Text → log-probability of the likeliest first tokens, and the deepest of them."""
        logprobs = _choice(answer).get("logprobs")
        content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
        if not content:
            raise self._no_logprobs()
        try:
            top = [(str(one["token"]), float(one["logprob"])) for one in content[0]["top_logprobs"]]
        except (KeyError, TypeError, ValueError):
            raise Malformed("an answer whose logprobs have no top_logprobs") from None
        # Some servers tell minus infinity where a sampler has ruled a token out.
        top = [(token, value) for token, value in top if np.isfinite(value)]
        if not top:
            raise self._no_logprobs()
        found: dict[str, float] = {}
        for token, value in top:
            text = token.strip()
            found[text] = float(np.logaddexp(found[text], value)) if text in found else value
        return found, min(value for _, value in top)

    def _no_logprobs(self) -> ConfigError:
        return ConfigError(
            f"{self.client.address} tells no log-probabilities of '{self.model}'; use the "
            "reranker's generate mode, or a server that tells them"
        )


def _choice(answer: Any) -> Mapping[str, Any]:
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise Malformed("an answer without choices")
    return choices[0]


def _text(answer: Any) -> str:
    message = _choice(answer).get("message")
    if not isinstance(message, Mapping) or "content" not in message:
        raise Malformed("an answer without a message's content")
    return str(message["content"] or "")
