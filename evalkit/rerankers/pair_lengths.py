"""Which pairs a cross-encoder cuts, told from its tokenizer and settings; loads no weights.

The rule is sentence-transformers' own: a pair of texts is cut longest first where its tokens and
the special tokens exceed the longest input; a model that was saved with a chat template reads the
rendered conversation instead, cut from the right.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.model_files import read_json
from evalkit.models import loading, quiet_transformers
from evalkit.token_counts import TokenCounter

_SETTINGS = "sentence_bert_config.json"


def load_tokenizer(folder: Path, name: str) -> Any:
    """The tokenizer in a model's folder; ModelNotFound, naming the model, where there is none."""
    quiet_transformers()
    from transformers import AutoTokenizer

    with loading(name), warnings.catch_warnings():
        # It reads config.json too, and warns of what older models have in it.
        warnings.simplefilter("ignore", FutureWarning)
        # False, not left out: transformers would ask on the terminal whether to run remote code.
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    kind = _saved(folder, "config_sentence_transformers.json").get("model_type")
    if kind == "CrossEncoder" and _saved(folder, _SETTINGS).get("do_lower_case"):
        _lower_case(tokenizer)
    return tokenizer


def _saved(folder: Path, name: str) -> dict[str, Any]:
    """A file of sentence-transformers', which reads none where there is no list of modules."""
    return (read_json(folder / name) or {}) if (folder / "modules.json").is_file() else {}


def _lower_case(tokenizer: Any) -> None:
    """Have a fast tokenizer put texts in lower case first, as sentence-transformers does where a
    model was saved so."""
    from tokenizers.normalizers import Lowercase, Sequence

    backend = tokenizer.backend_tokenizer
    own = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = Sequence([Lowercase(), *own])


class PairLengths:
    """Lengths of (query, doc) pairs under a model of sentence-transformers' CrossEncoder.

    folder: the model's. name: for messages. max_length: tokens; None for the model's own.
    """

    def __init__(self, folder: Path, name: str, max_length: int | None = None) -> None:
        self._root, self._name, self._max_length = folder, name, max_length

    @cached_property
    def _folder(self) -> Path:
        """Where the transformer is: its place in modules.json, most often the root."""
        modules = read_json(self._root / "modules.json") or [{"path": ""}]
        return self._root / modules[0]["path"]

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self._folder, self._name)

    @cached_property
    def _counter(self) -> TokenCounter:
        return TokenCounter(self.tokenizer)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """What sentence-transformers saved about the transformer; empty for plain models."""
        listed = (self._root / "modules.json").is_file()
        return (read_json(self._folder / _SETTINGS) or {}) if listed else {}

    @cached_property
    def _processing(self) -> dict[str, Any]:
        return self._settings.get("processing_kwargs") or {}

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        with loading(self._name):
            return AutoConfig.from_pretrained(str(self._folder), trust_remote_code=False)

    @cached_property
    def limit(self) -> int:
        """The longest input in tokens, special tokens included."""
        own = (self._processing.get("text") or {}).get("max_length")
        given = own or self._max_length or self._settings.get("max_seq_length")
        if given is not None:
            return int(given)
        positions = getattr(self._config, "max_position_embeddings", -1)
        longest = int(self.tokenizer.model_max_length)
        return longest if positions == -1 else min(longest, positions)

    @cached_property
    def prompt(self) -> str:
        """The text that sentence-transformers puts before every pair; most models have none."""
        saved = _saved(self._root, "config_sentence_transformers.json")
        return (saved.get("prompts") or {}).get(saved.get("default_prompt_name")) or ""

    @cached_property
    def _message_format(self) -> str | None:
        """How a pair becomes chat messages, "auto" where nothing is saved; None: it does not."""
        modalities = self._settings.get("modality_config")
        if modalities is None:
            return "auto" if self.tokenizer.chat_template else None
        return modalities["message"].get("format", "auto") if "message" in modalities else None

    @property
    def reads_messages(self) -> bool:
        """Whether a pair is put to the model as a conversation."""
        return self._message_format is not None

    def lengths(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Tokens of each pair before it is cut, special tokens included: int64, shape (n,)."""
        if self._message_format is not None:
            return self._counter.lengths(self._rendered(pairs, self._message_format))
        queries = self._counter.lengths([self.prompt + query for query, _ in pairs])
        docs = self._counter.lengths([doc for _, doc in pairs])
        return queries + docs + int(self.tokenizer.num_special_tokens_to_add(pair=True))

    def _rendered(self, pairs: Sequence[tuple[str, str]], message_format: str) -> list[str]:
        from sentence_transformers.base.modality import InputFormatter

        formatter = InputFormatter(self._config.model_type, message_format, self.tokenizer)
        messages = [formatter.pair_to_messages(pair) for pair in pairs]
        if self.prompt:
            messages = formatter.prepend_prompt_to_messages(messages, self.prompt)
        template = {**self._processing.get("chat_template", {})}
        template.pop("restore_suffix", None)
        return self.tokenizer.apply_chat_template(messages, tokenize=False, **template)

    def truncated(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Which pairs lose text: bool, shape (n,)."""
        if not pairs:
            return np.zeros(0, dtype=bool)
        return self.lengths(pairs) > self.limit
