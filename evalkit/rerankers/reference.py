"""Cross-encoders by the reference implementation, sentence-transformers' CrossEncoder.

It covers classifiers with one label, models of several modules (the ettin rerankers), and chat
models that sentence-transformers saved with a LogitScore, whose score is the log-odds of "yes"
(mxbai-rerank-v2, Qwen3-Reranker).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.errors import ConfigError
from evalkit.model_files import model_digest, read_config, read_json, weight_names
from evalkit.models import (
    dtype_name,
    loading,
    quiet_transformers,
    resolve_device,
    resolve_dtype,
    resolve_model,
)
from evalkit.rerankers.pair_lengths import PairLengths
from evalkit.types import fingerprint

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from transformers import PreTrainedModel

ACTIVATIONS = ("identity", "sigmoid")
CLASSIFIER = "ForSequenceClassification"


class ReferenceScorer:
    """PairScorer over sentence-transformers' CrossEncoder; one logit a pair.

    model: path or hub id. max_length: tokens of query and doc together, longest first truncated;
    None for the model's own. activation: "identity" (raw logits) or "sigmoid". dtype: "auto" for
    `models.dtype_name`'s.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        max_length: int | None = None,
        activation: str = "identity",
        dtype: str = "float32",
        batch_size: int = 32,
        device: str | None = None,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation={activation}: expected one of {', '.join(ACTIVATIONS)}")
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}: expected at least 1")
        self.name, self.revision, self._dtype = model, revision, dtype
        self.max_length, self.activation = max_length, activation
        self.batch_size, self.device = batch_size, device

    @cached_property
    def _folder(self) -> Path:
        return resolve_model(self.name, self.revision)

    @cached_property
    def dtype(self) -> str:
        return dtype_name(self._dtype, resolve_device(self.device))

    @property
    def about(self) -> dict[str, Any]:
        return {"model": self.name, "dtype": self.dtype, "max_length": self.max_length}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "CrossEncoder",
            model=model_digest(self._folder),
            max_length=self.max_length,
            activation=self.activation,
            dtype=self.dtype,
        )

    def check(self) -> None:
        """ConfigError for a model that is no reranker, from its config.json; loads no weights.

        ModelNotFound for a model that is not there or not whole.
        """
        config = read_config(self._folder)
        # sentence-transformers makes a scorer, with a random head if need be, of any model that
        # was not saved as a cross-encoder; of a chat model, one by its words "yes" and "no".
        if not is_saved_cross_encoder(self._folder):
            check_classifier_named(config, self.name)
        check_labels(config, self.name)

    @cached_property
    def _lengths(self) -> PairLengths:
        return PairLengths(self._folder, self.name, self.max_length)

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer; loads no weights."""
        return self._lengths.tokenizer

    def truncated(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Which pairs the model's longest input cuts: bool, shape (n,); loads no weights."""
        return self._lengths.truncated(pairs)

    @cached_property
    def _model(self) -> CrossEncoder:
        self.check()
        quiet_transformers()
        from sentence_transformers import CrossEncoder

        settings: dict[str, Any] = {"dtype": resolve_dtype(self.dtype)}
        device = resolve_device(self.device)
        with loading(self.name):
            model = CrossEncoder(
                str(self._folder), device=device, max_length=self.max_length, model_kwargs=settings
            )
        _refuse_labels(model.num_labels, self.name)
        check_head(model.model, self._folder, self.name)
        return model

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        if not pairs:
            return np.empty(0, dtype=np.float32)
        import torch

        logits = self._model.predict(
            list(pairs),
            batch_size=self.batch_size,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
            convert_to_tensor=True,
        )
        logits = logits.float().reshape(-1)
        scores = torch.sigmoid(logits) if self.activation == "sigmoid" else logits
        return scores.cpu().numpy()


def is_saved_cross_encoder(folder: Path) -> bool:
    """Whether sentence-transformers saved this folder as a CrossEncoder, of whatever modules."""
    saved = read_json(folder / "config_sentence_transformers.json") or {}
    return (folder / "modules.json").is_file() and saved.get("model_type") == "CrossEncoder"


def check_classifier_named(config: Mapping[str, Any], name: str) -> None:
    """ConfigError where a config.json names no classifier."""
    heads = config.get("architectures") or []
    if not (heads and heads[0].endswith(CLASSIFIER)):
        named = ", ".join(heads) or "config.json names no architecture"
        raise ConfigError(
            f"model '{name}' ({named}) has no classification head, its scores would be "
            "random; use it as reranker=[bi_encoder] or choose a cross-encoder"
        )


def check_labels(config: Mapping[str, Any], name: str) -> None:
    """ConfigError where a config.json of a classifier tells of other than one label."""
    heads = config.get("architectures") or []
    if heads and heads[0].endswith(CLASSIFIER):
        # As transformers reads it: a config.json without labels means two.
        _refuse_labels(len(config.get("id2label") or (0, 1)), name)


def _refuse_labels(labels: int, name: str) -> None:
    if labels != 1:
        raise ConfigError(f"model '{name}' has {labels} labels, a reranker has one logit")


def check_head(model: PreTrainedModel | None, folder: Path, name: str) -> None:
    """ConfigError when a classifier's weight files lack the head, which is then random."""
    if model is None or not type(model).__name__.endswith(CLASSIFIER):
        return
    body = f"{model.base_model_prefix}."
    head = {parameter for parameter, _ in model.named_parameters()}
    head = {parameter for parameter in head if not parameter.startswith(body)}
    missing = sorted(head - weight_names(folder))
    if missing:
        raise ConfigError(
            f"model '{name}': its weights have no classification head ({missing[0]} is missing), "
            "its scores would be random; train it, or choose a cross-encoder"
        )
