"""How many tokens texts have under a model's tokenizer: what tells whether a model cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evalkit.scoring.keys import text_digests

_BATCH = 4096


class TokenCounter:
    """Counts tokens, special tokens left out; a text is counted once in a process.

    tokenizer: a fast tokenizer of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[bytes, int] = {}

    def lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of each text: int64, shape (len(texts),)."""
        keys = [digest.tobytes() for digest in text_digests(texts)]
        new = {key: i for i, key in enumerate(keys) if key not in self._known}
        places = list(new.values())
        for start in range(0, len(places), _BATCH):
            part = places[start : start + _BATCH]
            encoded = self._tokenizer(
                [texts[i] for i in part], add_special_tokens=False, truncation=False, verbose=False
            )
            for i, ids in zip(part, encoded["input_ids"], strict=True):
                self._known[keys[i]] = len(ids)
        return np.fromiter((self._known[key] for key in keys), dtype=np.int64, count=len(keys))
