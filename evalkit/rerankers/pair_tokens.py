"""A query and a doc as one row of tokens, for models that read both in a prompt of their own.

What is too long loses the doc's end, and never the prompt's: the words after the doc are what the
model was trained to answer to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import ConfigError, ModelNotFound
from evalkit.model_files import has_tokenizer
from evalkit.models import loading, quiet_transformers
from evalkit.token_counts import TokenCounter

Pairs = Sequence[tuple[str, str]]


def load_tokenizer(folder: Path, name: str) -> Any:
    """transformers' tokenizer of a model's folder; ConfigError when a package for it is missing."""
    if not has_tokenizer(folder):
        raise ModelNotFound(f"model '{name}': no tokenizer in {folder}; save it beside the model")
    quiet_transformers()
    only_sentencepiece = any(folder.glob("*.model")) and not (folder / "tokenizer.json").is_file()
    if only_sentencepiece and find_spec("sentencepiece") is None:
        raise ConfigError(
            f"model '{name}' has a SentencePiece vocabulary, which needs sentencepiece: "
            'pip install "evalkit[llm]"'
        )
    from transformers import AutoTokenizer

    with loading(name):
        return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)


def checked_length(max_length: int) -> int:
    """max_length, if it leaves room for anything at all; ConfigError."""
    if max_length < 1:
        raise ConfigError(f"max_length={max_length}: expected at least 1 token")
    return max_length


class PairTokens:
    """Rows of tokens: opening, head, between, doc, tail.

    head: the prompt up to the doc, with {query}. doc: with {doc}. opening, between, tail: token ids
    put before the head, before the doc and at the end; what is cut is the end of all before the
    tail. Head and doc are tokenised apart, so that each is counted once however often it is paired;
    for SentencePiece models that is the same as together.
    """

    def __init__(
        self,
        tokenizer: Any,
        head: str,
        doc: str,
        max_length: int,
        opening: Sequence[int] = (),
        between: Sequence[int] = (),
        tail: Sequence[int] = (),
    ) -> None:
        self._tokenizer, self._head, self._doc = tokenizer, head, doc
        self._opening, self._between, self._tail = list(opening), list(between), list(tail)
        self._counter = TokenCounter(tokenizer)
        self.max_length = max_length
        fixed = self._extra + int(self._counter.lengths(self._texts([("", "")])).sum())
        if max_length <= fixed:
            raise ConfigError(
                f"max_length={max_length}: the prompt alone takes {fixed} tokens; expected more"
            )

    @property
    def _extra(self) -> int:
        return len(self._opening) + len(self._between) + len(self._tail)

    def _texts(self, pairs: Pairs) -> list[str]:
        """The heads of all pairs, then their docs."""
        heads = [self._head.replace("{query}", query) for query, _ in pairs]
        return heads + [self._doc.replace("{doc}", doc) for _, doc in pairs]

    def truncated(self, pairs: Pairs) -> np.ndarray:
        """Which pairs lose tokens to max_length: bool, shape (len(pairs),)."""
        lengths = self._counter.lengths(self._texts(pairs)).reshape(2, -1).sum(axis=0)
        return lengths + self._extra > self.max_length

    def rows(self, pairs: Pairs) -> list[list[int]]:
        """The token ids of each pair, max_length of them at most."""
        texts = list(dict.fromkeys(self._texts(pairs)))
        encoded = self._tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False)
        ids = dict(zip(texts, encoded["input_ids"], strict=True))
        room = self.max_length - len(self._tail)
        both = self._texts(pairs)
        return [
            (self._opening + ids[head] + self._between + ids[doc])[:room] + self._tail
            for head, doc in zip(both[: len(pairs)], both[len(pairs) :], strict=True)
        ]


def score_rows(
    rows: Sequence[Sequence[int]],
    forward: Callable[[Any, Any], Any],
    batch_size: int,
    pad: int,
    device: str,
) -> np.ndarray:
    """Scores of rows of tokens: float32, shape (len(rows),), in input order.

    forward: (ids, mask), both int64 of shape (b, longest), to b scores. Rows are padded on the
    right, to the longest of a batch; a batch holds rows of similar length, longest first.
    """
    import torch

    scores = np.empty(len(rows), dtype=np.float32)
    order = np.argsort([-len(row) for row in rows], kind="stable")
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            lengths = torch.tensor([len(rows[i]) for i in batch])
            mask = (torch.arange(int(lengths[0])) < lengths[:, None]).long()
            ids = torch.full(mask.shape, pad)
            ids[mask.bool()] = torch.tensor([token for i in batch for token in rows[i]])
            scores[batch] = forward(ids.to(device), mask.to(device)).float().cpu().numpy()
    return scores
