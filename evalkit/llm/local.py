"""A language model on this machine, through transformers: folders, hub names and GGUF files.

Each answer is on disk as soon as it is there, so that a repeated question costs nothing and a run
that ends midway goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.cache import resolve_cache_dir
from evalkit.errors import ConfigError, ScoreError
from evalkit.llm.loaded import LoadedModel, Row, loaded_model
from evalkit.llm.weights import Weights, find_weights
from evalkit.models import resolve_device
from evalkit.progress import track
from evalkit.remote.responses import ResponseStore
from evalkit.types import Message, fingerprint

Prompts = Sequence[Sequence[Message]]


class LocalModel:
    """LanguageModel over transformers' AutoModelForCausalLM, by greedy decoding.

    model: path or hub name, or the path of a GGUF file. gguf_file: a GGUF file in that folder or
    repository. chat_settings: more variables of the chat template, such as
    {"enable_thinking": False} for Qwen3. What is answered is kept under cache_dir. One loaded model
    serves all that ask for the same.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        gguf_file: str | None = None,
        chat_settings: dict[str, Any] | None = None,
        dtype: str = "float32",
        batch_size: int = 8,
        device: str | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}: expected at least 1")
        self.name, self.revision, self.gguf_file = model, revision, gguf_file
        self.chat_settings = dict(chat_settings or {})
        self.dtype, self.batch_size, self.device = dtype, batch_size, device
        self._store = ResponseStore(resolve_cache_dir(cache_dir) / "responses")
        self.work = {"requests": 0, "reused": 0, "input_tokens": 0, "output_tokens": 0}

    @cached_property
    def _weights(self) -> Weights:
        return find_weights(self.name, self.revision, self.gguf_file)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "LocalModel",
            model=self._weights.digest,
            chat_settings=self.chat_settings,
            dtype=self.dtype,
        )

    def check(self) -> None:
        self._weights.check()

    @cached_property
    def _loaded(self) -> LoadedModel:
        self.check()
        return loaded_model(self._weights, self.dtype, resolve_device(self.device))

    def generate(self, prompts: Prompts, max_tokens: int) -> list[str]:
        """An answer that is longer than max_tokens is cut there."""
        if max_tokens < 1:
            raise ConfigError(f"max_tokens={max_tokens}: expected at least 1")

        def answer(rows: list[Row]) -> list[str]:
            answers = self._loaded.continued(rows, max_tokens)
            self.work["output_tokens"] += sum(map(len, answers))
            return [self._loaded.text(ids) for ids in answers]

        return self._answered(prompts, ["generate", max_tokens], max_tokens, answer)

    def choose(self, prompts: Prompts, options: Sequence[str]) -> np.ndarray:
        """ConfigError where two options begin with the same token."""

        def answer(rows: list[Row]) -> list[list[float]]:
            tokens = self._loaded.first_tokens(options)
            self.work["output_tokens"] += len(rows)
            values = self._loaded.log_probabilities(rows)[:, tokens]
            if np.isnan(values).any():
                raise ScoreError(
                    f"model '{self.name}' gives NaN for the answer's first token; look for an "
                    "overflow in half precision (dtype=float32)"
                )
            return [[float(value) for value in row] for row in values]

        found = self._answered(prompts, ["choose", *options], 1, answer)
        return np.array(found, dtype=np.float32).reshape(len(prompts), len(options))

    def _answered(
        self,
        prompts: Prompts,
        asked: list[Any],
        room: int,
        answer: Callable[[list[Row]], list[Any]],
    ) -> list[Any]:
        """Answers in the order of the prompts; those on disk are taken from there.

        asked: what makes it another question, besides the prompt. room: tokens of the answer.
        """
        keys = [self._key(asked, prompt) for prompt in prompts]
        answers: dict[bytes, Any] = {}
        missing: dict[bytes, Sequence[Message]] = {}
        for key, prompt in zip(keys, prompts, strict=True):
            if key not in answers and key not in missing:
                stored = self._store.get(key)
                if stored is None:
                    missing[key] = prompt
                else:
                    answers[key] = json.loads(stored)
        self.work["reused"] += len(prompts) - len(missing)
        rows = {key: self._row(prompt, room) for key, prompt in missing.items()}
        # Longest first: memory shows at once whether it is enough, and batches pad little.
        order = sorted(rows, key=lambda key: -len(rows[key]))
        starts = range(0, len(order), self.batch_size)
        for start in track(starts, "Asking the language model", len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            for key, found in zip(batch, answer([rows[key] for key in batch]), strict=True):
                self._store.put(key, json.dumps(found))
                answers[key] = found
            self.work["requests"] += len(batch)
            self.work["input_tokens"] += sum(len(rows[key]) for key in batch)
        return [answers[key] for key in keys]

    def _key(self, asked: list[Any], prompt: Sequence[Message]) -> bytes:
        messages = [dict(message) for message in prompt]
        text = json.dumps([self.fingerprint, asked, messages], sort_keys=True)
        return blake2b(text.encode(), digest_size=32).digest()

    def _row(self, prompt: Sequence[Message], room: int) -> Row:
        row = self._loaded.tokens(prompt, self.chat_settings)
        most = self._loaded.positions
        if most is not None and len(row) + room > most:
            raise ConfigError(
                f"a prompt of {len(row):,} tokens with {room:,} for the answer does not fit the "
                f"{most:,} of model '{self.name}'; set a smaller doc_words, or fewer docs a prompt"
            )
        return row
