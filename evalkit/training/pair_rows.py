"""The pairs of the training data as token ids, made once: no text is tokenised in a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evalkit.errors import ConfigError

_PAIRS = 4096  # tokenised at a time
# Batches are padded to a multiple of it. For each shape of a bfloat16 product on a CPU oneDNN makes
# and keeps a kernel: those of three layers hold .6 GB for all widths from 20 to 190 tokens, and
# .2 GB for multiples of 8 (torch 2.13); a step is no slower.
_MULTIPLE = 8
# Of max_length; where only the doc is cut, a query must leave room for it. FlagEmbedding's share.
_QUERY_SHARE = 0.75


class PairRows:
    """Token ids of n pairs, as the tokenizer joins query and doc.

    truncation: what a pair longer than `max_length` loses: "only_second" the doc's end (a query of
    more than three quarters of max_length is cut to that first), "longest_first" of the longer
    text. offsets: int64, shape (n + 1,). ids: int32, and types (token type ids, uint8; None for
    models without) of all pairs in a row.
    """

    def __init__(
        self,
        tokenizer: Any,
        queries: Sequence[str],
        docs: Sequence[str],
        max_length: int,
        truncation: str = "only_second",
    ) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length
        ids: list[np.ndarray] = []
        types: list[np.ndarray] = []
        lengths: list[int] = []
        if truncation == "only_second":
            queries = self._shortened(queries, _longest_query(tokenizer, max_length))
        for start in range(0, len(queries), _PAIRS):
            encoded = tokenizer(
                list(queries[start : start + _PAIRS]),
                list(docs[start : start + _PAIRS]),
                truncation=truncation,
                max_length=max_length,
                return_attention_mask=False,
                verbose=False,
            )
            lengths += [len(row) for row in encoded["input_ids"]]
            ids += [np.asarray(row, dtype=np.int32) for row in encoded["input_ids"]]
            types += [np.asarray(r, dtype=np.uint8) for r in encoded.get("token_type_ids", ())]
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.ids = np.concatenate(ids) if ids else np.empty(0, dtype=np.int32)
        self.types = np.concatenate(types) if types else None

    def _shortened(self, queries: Sequence[str], most: int) -> list[str]:
        """The queries, those of more than `most` tokens cut after so many."""
        cut: dict[str, str] = {}
        distinct = list(dict.fromkeys(queries))
        for start in range(0, len(distinct), _PAIRS):
            part = distinct[start : start + _PAIRS]
            encoded = self._tokenizer(
                part, add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
            for query, places in zip(part, encoded["offset_mapping"], strict=True):
                if len(places) > most:
                    cut[query] = query[: places[most - 1][1]]
        return [cut.get(query, query) for query in queries]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each pair, special tokens included: int64, shape (n,)."""
        return np.diff(self.offsets)

    def batch(self, rows: np.ndarray) -> dict[str, Any]:
        """What the model reads: tensors padded on the right, of shape (len(rows), width), which is
        that of the longest rounded up to a multiple of 8, `max_length` at most."""
        import torch

        lengths = self.lengths[rows]
        width = min(-(-int(lengths.max()) // _MULTIPLE) * _MULTIPLE, self._max_length)
        mask = np.arange(width)[None, :] < lengths[:, None]
        places = np.concatenate([np.arange(self.offsets[r], self.offsets[r + 1]) for r in rows])
        ids = np.full(mask.shape, self._tokenizer.pad_token_id or 0, dtype=np.int64)
        ids[mask] = self.ids[places]
        features = {"input_ids": torch.from_numpy(ids)}
        if self.types is not None:
            types = np.zeros(mask.shape, dtype=np.int64)
            types[mask] = self.types[places]
            features["token_type_ids"] = torch.from_numpy(types)
        features["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
        return features


def _longest_query(tokenizer: Any, max_length: int) -> int:
    """Tokens of the longest query that leaves room for at least one of the doc."""
    room = max_length - int(tokenizer.num_special_tokens_to_add(pair=True)) - 1
    most = min(int(_QUERY_SHARE * max_length), room)
    if most < 1:
        raise ConfigError(
            f"training.max_length={max_length}: no room for a query and a doc; give more tokens"
        )
    return most
