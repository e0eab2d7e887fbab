"""Which texts a bi-encoder cuts, told from its tokenizer and settings; loads no weights.

The rule is sentence-transformers' own: prompt and text are one input, cut from the right where its
tokens and the special tokens exceed the longest input.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.model_files import read_json
from evalkit.models import loading, quiet_transformers
from evalkit.token_counts import TokenCounter

# sentence-transformers keeps a model's prompts by name and takes the first of these that is there.
_PROMPT_NAMES = {"query": ("query",), "doc": ("document", "passage", "corpus")}


def cut(tokenizer: Any, counter: TokenCounter, texts: Sequence[str], limit: int) -> np.ndarray:
    """Which of n texts, prompts included, exceed `limit` tokens, special ones included: bool (n,).

    counter: the tokenizer's.
    """
    special = int(tokenizer.num_special_tokens_to_add(pair=False))
    return counter.lengths(texts) + special > limit


class InputLimit:
    """The longest input of a sentence-transformers model that reads one text at a time.

    folder: the model's. name: for messages. max_length: tokens; None for the model's own.
    """

    def __init__(self, folder: Path, name: str, max_length: int | None = None) -> None:
        self._root, self._name, self._max_length = folder, name, max_length

    @cached_property
    def _module(self) -> dict[str, Any]:
        """What reads the text: the first of modules.json; a plain model's is a Transformer."""
        return (read_json(self._root / "modules.json") or [{"path": "", "type": "Transformer"}])[0]

    @cached_property
    def _folder(self) -> Path:
        return self._root / self._module["path"]

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """What sentence-transformers saved about its transformer; empty for plain models."""
        for path in sorted(self._folder.glob("sentence_*_config.json")):
            return read_json(path) or {}
        return {}

    @cached_property
    def _tokenizer(self) -> Any:
        quiet_transformers()
        from transformers import AutoTokenizer

        with loading(self._name):
            return AutoTokenizer.from_pretrained(str(self._folder), trust_remote_code=False)

    @cached_property
    def _counter(self) -> TokenCounter:
        return TokenCounter(self._tokenizer)

    @cached_property
    def limit(self) -> int:
        """The longest input in tokens, special tokens and prompt included."""
        given = self._max_length or self._settings.get("max_seq_length")
        if given is not None:
            return int(given)
        from transformers import AutoConfig

        with loading(self._name):
            config = AutoConfig.from_pretrained(str(self._folder))
        longest = int(self._tokenizer.model_max_length)
        positions = getattr(config, "max_position_embeddings", -1)
        return longest if positions == -1 else min(longest, positions)

    def prompt(self, side: str) -> str:
        """The model's own text before a "query" or "doc"; most models have none."""
        saved = read_json(self._root / "config_sentence_transformers.json") or {}
        # Names that are not saved stand for no prompt: "query" and "document" always exist.
        prompts = {"query": None, "document": None, **(saved.get("prompts") or {})}
        return prompts[next(name for name in _PROMPT_NAMES[side] if name in prompts)] or ""

    def truncated(self, texts: Sequence[str], prompt: str) -> np.ndarray:
        """Which texts lose some behind this prompt: bool, shape (n,); none of a model that reads no
        tokens by a transformer, such as one of static vectors."""
        if not self._module["type"].endswith("Transformer"):
            return np.zeros(len(texts), dtype=bool)
        return cut(self._tokenizer, self._counter, self._as_read(texts, prompt), self.limit)

    def tokens(self, texts: Sequence[str], prompt: str) -> np.ndarray | None:
        """Tokens that the model reads of each text behind this prompt, special ones counted, those
        beyond its longest input not: int64, shape (n,); None where `truncated` cannot tell."""
        if not self._module["type"].endswith("Transformer"):
            return None
        special = int(self._tokenizer.num_special_tokens_to_add(pair=False))
        return np.minimum(self._counter.lengths(self._as_read(texts, prompt)) + special, self.limit)

    def _as_read(self, texts: Sequence[str], prompt: str) -> list[str]:
        """The inputs as the model reads them: lower case, where its settings say so."""
        whole = [prompt + text for text in texts]
        return [t.lower() for t in whole] if self._settings.get("do_lower_case") else whole
