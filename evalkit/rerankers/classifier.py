"""Classifiers with one logit through evalkit's own engine (see `scoring.engine`).

The same scores as sentence-transformers' CrossEncoder, to rounding, for what transformers calls a
model for sequence classification, or a LoRA adapter that makes one of an encoder. Models of several
modules and models that read a conversation are for the reference implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.adapters import Checkpoint, check_classifier, find_checkpoint, load_classifier
from evalkit.cache import resolve_cache_dir
from evalkit.errors import ConfigError
from evalkit.model_files import read_config
from evalkit.models import dtype_name, resolve_device, resolve_dtype
from evalkit.rerankers.pair_lengths import PairLengths, load_tokenizer
from evalkit.rerankers.reference import (
    ACTIVATIONS,
    CLASSIFIER,
    check_classifier_named,
    is_saved_cross_encoder,
)
from evalkit.scoring.encoder import ROUNDING
from evalkit.scoring.engine import Pair, PairEngine
from evalkit.scoring.templates import Truncation
from evalkit.scoring.workers import DevicePool
from evalkit.types import fingerprint

# Position ids of these begin after that of padding.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert")


@dataclass(frozen=True)
class EngineMaker:
    """device → an engine's `score` for a checkpoint; travels to other processes.

    query_limit: tokens to which a query is cut first, None for no such cut.
    """

    checkpoint: Checkpoint
    dtype: str
    tokens: Path
    max_length: int
    truncation: Truncation
    query_limit: int | None
    token_budget: int | None
    cuda_graphs: bool

    def engine(self, device: str) -> PairEngine:
        return PairEngine(
            # float32: what the engine wants in half precision it makes so itself.
            lambda: load_classifier(self.checkpoint, "float32", device),
            load_tokenizer(self.checkpoint.tokenizer, self.checkpoint.name),
            self.tokens,
            self.max_length,
            resolve_dtype(self.dtype),
            self.truncation,
            self.query_limit,
            self.token_budget,
            self.cuda_graphs,
        )

    def __call__(self, device: str) -> Any:
        return self.engine(device).score


class ClassifierScorer:
    """PairScorer over the engine; one logit a pair.

    model: path or hub id of a whole model or of a LoRA adapter. base_model: path or hub id of the
    adapter's base, None for the one that it names. max_length: tokens of query and doc together;
    None for the model's own. truncation, query_limit: see `scoring.templates`. prefixes: text
    before query and doc. dtype: of matrix products; "auto" for `models.dtype_name`'s. token_budget:
    tokens a batch, None to find it. cuda_graphs: see `scoring.graphs`. devices: several to use at
    once, a process each.
    """

    def __init__(
        self,
        model: str,
        base_model: str | None = None,
        revision: str | None = None,
        max_length: int | None = None,
        activation: str = "identity",
        truncation: Truncation = "longest_first",
        query_limit: int | None = None,
        prefixes: tuple[str, str] = ("", ""),
        dtype: str = "auto",
        token_budget: int | None = None,
        device: str | None = None,
        devices: Sequence[str] | None = None,
        cache_dir: str | Path | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation={activation}: expected one of {', '.join(ACTIVATIONS)}")
        if token_budget is not None and token_budget < 1:
            raise ConfigError(f"token_budget={token_budget}: expected at least 1, or null")
        self.name, self.base_model, self.revision = model, base_model, revision
        self.activation, self.truncation, self.query_limit = activation, truncation, query_limit
        self.prefixes, self.token_budget = prefixes, token_budget
        self._max_length, self._dtype = max_length, dtype
        self._device, self._devices, self.cuda_graphs = device, devices, cuda_graphs
        self.cache_dir = resolve_cache_dir(cache_dir)

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return find_checkpoint(self.name, self.revision, self.base_model)

    @cached_property
    def devices(self) -> list[str]:
        wanted: Sequence[str | None] = self._devices or [self._device]
        return [resolve_device(device) for device in wanted]

    @cached_property
    def dtype(self) -> str:
        return dtype_name(self._dtype, self.devices[0])

    def with_dtype(self, dtype: str) -> ClassifierScorer:
        """The same scorer with its matrix products in `dtype`, the model loaded anew; without CUDA
        graphs, which are for half precision."""
        return ClassifierScorer(
            self.name, self.base_model, self.revision, self._max_length, self.activation,
            self.truncation, self.query_limit, self.prefixes, dtype, self.token_budget,
            self._device, self._devices, self.cache_dir,
        )  # fmt: skip

    @property
    def about(self) -> dict[str, Any]:
        return {"model": self.name, "dtype": self.dtype, "max_length": self.max_length}

    @cached_property
    def fingerprint(self) -> str:
        half = {} if self.dtype == "float32" else {"rounding": ROUNDING}
        return fingerprint(
            "Classifier",
            model=self._checkpoint.digest,
            max_length=self._max_length,
            activation=self.activation,
            truncation=[self.truncation, self.query_limit],
            prefixes=list(self.prefixes),
            dtype=self.dtype,
            **half,
        )

    def check(self) -> None:
        """ConfigError for what the engine cannot score; loads no weights."""
        config, other = read_config(self._checkpoint.body), "use engine=reference"
        if self.cuda_graphs and not self.devices[0].startswith("cuda"):
            raise ConfigError(
                f"cuda_graphs=true with device={self.devices[0]}: there are graphs on CUDA only; "
                "set cuda_graphs=false"
            )
        if self._checkpoint.base is None:
            heads = config.get("architectures") or [""]
            if is_saved_cross_encoder(self._checkpoint.body) and not heads[0].endswith(CLASSIFIER):
                raise ConfigError(
                    f"model '{self.name}' ({heads[0]}) is no plain classifier, which engine=fast "
                    f"needs; {other}"
                )
            check_classifier_named(config, self.name)
        check_classifier(self._checkpoint)
        if self._plain.reads_messages:
            raise ConfigError(
                f"model '{self.name}' reads a conversation, which engine=fast cannot; {other}"
            )
        _ = self.max_length
        try:
            _ = self._engine
        except ConfigError as error:
            raise ConfigError(f"model '{self.name}': {error}; {other}") from error

    @cached_property
    def _plain(self) -> PairLengths:
        """What sentence-transformers would do with the model."""
        return PairLengths(self._checkpoint.body, self.name, self._max_length)

    @cached_property
    def max_length(self) -> int:
        """Tokens of a pair; ConfigError for more than the model has positions."""
        config = read_config(self._checkpoint.body)
        most = config.get("max_position_embeddings")
        if most is not None and config.get("model_type") in _OFFSET_POSITIONS:
            most -= config.get("pad_token_id", 1) + 1
        if self._max_length is None:
            return self._plain.limit if most is None else min(self._plain.limit, most)
        if most is not None and self._max_length > most:
            raise ConfigError(
                f"max_length={self._max_length}: model '{self.name}' reads {most} tokens; set "
                f"max_length={most} or less"
            )
        return self._max_length

    @cached_property
    def _maker(self) -> EngineMaker:
        return EngineMaker(
            self._checkpoint,
            self.dtype,
            self.cache_dir / "tokens",
            self.max_length,
            self.truncation,
            self.query_limit,
            self.token_budget,
            self.cuda_graphs,
        )

    @cached_property
    def _engine(self) -> PairEngine:
        return self._maker.engine(self.devices[0])

    @cached_property
    def _pool(self) -> DevicePool[Pair]:
        return DevicePool(self._maker, self.devices)

    def _with_prefixes(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        query_prefix, doc_prefix = self._plain.prompt + self.prefixes[0], self.prefixes[1]
        if not query_prefix and not doc_prefix:
            return pairs
        return [(query_prefix + query, doc_prefix + doc) for query, doc in pairs]

    @property
    def tokenizer(self) -> Any:
        """A tokenizer of the model's, for others to use; loads no weights."""
        return load_tokenizer(self._checkpoint.tokenizer, self.name)

    def truncated(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Which pairs lose tokens to max_length: bool, shape (n,); loads no weights."""
        return self._engine.truncated(self._with_prefixes(pairs))

    def score(self, pairs: Sequence[Pair]) -> np.ndarray:
        if not pairs:
            return np.empty(0, dtype=np.float32)
        texts = self._with_prefixes(pairs)
        if len(self.devices) == 1:
            logits = self._engine.score(texts)
        else:
            logits = self._pool.map(texts, self._engine.window(texts).lengths)
        return _sigmoid(logits) if self.activation == "sigmoid" else logits


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """The logistic function without overflow: float32."""
    import torch

    return torch.sigmoid(torch.from_numpy(logits)).numpy()
