"""RankLLaMA: a causal language model with a head of one logit on the last token of query and doc
(Ma, Wang, Yang, Wei and Lin, SIGIR 2024).

The input is that of the authors' model cards and of Tevatron's rankllama example: the start token,
"query: ...", the start token again, "document: <title> <text>", and no end token. Models trained
with Tevatron since have one start token and may have an end token: repeat_bos=false,
append_eos=true. A LoRA adapter is merged into its base model (see `adapters`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.adapters import Checkpoint, check_classifier, find_checkpoint, load_classifier
from evalkit.errors import ConfigError
from evalkit.models import resolve_device
from evalkit.rerankers.pair_tokens import PairTokens, checked_length, load_tokenizer, score_rows
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.types import DOC_TEMPLATE, fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RankLlamaScorer:
    """PairScorer over transformers' AutoModelForSequenceClassification of a causal model.

    model: path or hub id of a whole model or of a peft adapter. base_model: path or hub id of the
    adapter's base; None for the one that it names. max_length: tokens of query and doc together;
    the doc's end is cut. query_prefix, doc_prefix: text before either. repeat_bos: whether the
    start token comes before the doc, too; without one, a byte-level tokenizer wants a doc_prefix
    that starts with a space. append_eos: whether the end token follows the doc, for the head to
    read.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        base_model: str | None = None,
        max_length: int = 196,
        query_prefix: str = "query: ",
        doc_prefix: str = "document: ",
        repeat_bos: bool = True,
        append_eos: bool = False,
        dtype: str = "float32",
        batch_size: int = 8,
        device: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}: expected at least 1")
        self.name, self.revision, self.base_model = model, revision, base_model
        self.max_length = checked_length(max_length)
        self.query_prefix, self.doc_prefix = query_prefix, doc_prefix
        self.repeat_bos, self.append_eos = repeat_bos, append_eos
        self.dtype, self.batch_size, self.device = dtype, batch_size, device

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return find_checkpoint(self.name, self.revision, self.base_model)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "RankLlama",
            model=self._checkpoint.digest,
            max_length=self.max_length,
            prefixes=[self.query_prefix, self.doc_prefix],
            repeat_bos=self.repeat_bos,
            append_eos=self.append_eos,
            dtype=self.dtype,
        )

    def check(self) -> None:
        """ConfigError for what is no causal model with a trained head of one logit.

        Reads settings, names of weights and the tokenizer; loads no weights.
        """
        layers = check_classifier(self._checkpoint)
        if not hasattr(layers, "score"):
            raise ConfigError(
                f"model '{self.name}' is a {layers.config.model_type} model "
                f"({type(layers).__name__}), which has no head on its last token; use it as "
                "reranker=[cross_encoder]"
            )
        _ = self._prompt

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._checkpoint.tokenizer, self.name)

    @cached_property
    def _prompt(self) -> PairTokens:
        tokenizer = self._tokenizer
        start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        if self.append_eos and tokenizer.eos_token_id is None:
            raise ConfigError(f"append_eos=true: model '{self.name}' has no end token")
        return PairTokens(
            tokenizer,
            f"{self.query_prefix}{{query}}",
            f"{self.doc_prefix}{{doc}}",
            self.max_length,
            opening=start,
            between=start if self.repeat_bos else [],
            tail=[tokenizer.eos_token_id] if self.append_eos else [],
        )

    @cached_property
    def _model(self) -> PreTrainedModel:
        self.check()
        return load_classifier(self._checkpoint, self.dtype, resolve_device(self.device))

    def truncated(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Which pairs lose tokens to max_length: bool, shape (len(pairs),)."""
        return self._prompt.truncated(pairs)

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        if not pairs:
            return np.empty(0, dtype=np.float32)
        import torch

        model: Any = self._model

        def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            # The model's own search for the last token fails where padding and end are one token.
            last = mask.sum(dim=1) - 1
            hidden = model.base_model(ids, attention_mask=mask, use_cache=False).last_hidden_state
            return model.score(hidden[torch.arange(len(ids), device=ids.device), last])[:, 0]

        # Any token will do as padding: on the right, a causal model never sees it.
        return score_rows(self._prompt.rows(pairs), forward, self.batch_size, 0, str(model.device))


class RankLlamaReranker(PointwiseReranker):
    """RankLLaMA behind the score store; settings as in `RankLlamaScorer`."""

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        base_model: str | None = None,
        max_length: int = 196,
        query_prefix: str = "query: ",
        doc_prefix: str = "document: ",
        repeat_bos: bool = True,
        append_eos: bool = False,
        dtype: str = "float32",
        batch_size: int = 8,
        device: str | None = None,
        chunk_size: int = 512,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        scorer = RankLlamaScorer(
            model, revision, base_model, max_length, query_prefix, doc_prefix, repeat_bos,
            append_eos, dtype, batch_size, device,
        )  # fmt: skip
        super().__init__(scorer, doc_template, cache_dir, chunk_size)
