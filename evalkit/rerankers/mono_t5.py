"""monoT5: a seq2seq model says "true" or "false" to a query and a doc (Nogueira, Jiang, Pradeep
and Lin, Findings of EMNLP 2020).

The score is the log-probability of the word for relevant against that for not relevant, after one
step of the decoder, as in the authors' pygaggle. A pair that is too long loses the doc's end and
keeps " Relevant:", as in PyTerrier_t5; pygaggle cuts that word off as well. Pairs that fit have the
same input in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.errors import ConfigError, nearest
from evalkit.model_files import model_digest, read_config
from evalkit.models import loading, resolve_device, resolve_dtype, resolve_model
from evalkit.rerankers.pair_tokens import PairTokens, checked_length, load_tokenizer, score_rows
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.types import DOC_TEMPLATE, fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEMPLATE = "Query: {query} Document: {doc} Relevant:"
ACTIVATIONS = ("log_probability", "probability", "logit_difference")


class MonoT5Scorer:
    """PairScorer over transformers' AutoModelForSeq2SeqLM.

    model: path or hub id. max_length: tokens of the whole prompt. template: with {query} before
    {doc}. true_token, false_token: the two answers, as the vocabulary writes them ("▁" is the
    space before a word). activation, of the difference d of their logits: "log_probability"
    (log-sigmoid of d, which is the log-softmax over the two), "probability" (its sigmoid) or
    "logit_difference" (d itself); all rank alike, but for rounding.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        max_length: int = 512,
        template: str = TEMPLATE,
        true_token: str = "▁true",
        false_token: str = "▁false",
        activation: str = "log_probability",
        dtype: str = "float32",
        batch_size: int = 32,
        device: str | None = None,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation={activation}: expected one of {', '.join(ACTIVATIONS)}")
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}: expected at least 1")
        if true_token == false_token:
            raise ConfigError(
                f"true_token and false_token are both '{true_token}'; they must differ"
            )
        self.name, self.revision = model, revision
        self.max_length = checked_length(max_length)
        self.template = _checked_prompt(template)
        self.true_token, self.false_token = true_token, false_token
        self.activation, self.dtype = activation, dtype
        self.batch_size, self.device = batch_size, device

    @cached_property
    def _folder(self) -> Path:
        return resolve_model(self.name, self.revision)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "MonoT5",
            model=model_digest(self._folder),
            max_length=self.max_length,
            template=self.template,
            tokens=[self.true_token, self.false_token],
            activation=self.activation,
            dtype=self.dtype,
        )

    def check(self) -> None:
        """ConfigError for a model that is no encoder-decoder, or lacks one of the two answers.

        Reads config.json and the tokenizer; loads no weights.
        """
        config = read_config(self._folder)
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        )

        kind = str(config.get("model_type", "static vectors"))
        if kind not in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
            heads = ", ".join(config.get("architectures") or ["no architecture named"])
            raise ConfigError(
                f"model '{self.name}' is a {kind} model ({heads}), no encoder-decoder; expected a "
                "T5, mT5 or the like trained as monoT5"
            )
        _ = self._answers, self._prompt

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._folder, self.name)

    @cached_property
    def _answers(self) -> tuple[int, int]:
        """The ids of true_token and false_token."""
        vocabulary = self._tokenizer.get_vocab()
        for setting, token in (("true_token", self.true_token), ("false_token", self.false_token)):
            if token not in vocabulary:
                raise ConfigError(
                    f"{setting}='{token}' is no single token of model '{self.name}'."
                    + nearest(token, vocabulary)
                )
        return vocabulary[self.true_token], vocabulary[self.false_token]

    @cached_property
    def _prompt(self) -> PairTokens:
        before, after = self.template.split("{doc}")
        head = before.rstrip()
        doc = before[len(head) :] + "{doc}"
        opening, tail = self._ends(after)
        return PairTokens(self._tokenizer, head, doc, self.max_length, opening, tail=tail)

    def _ends(self, text: str) -> tuple[list[int], list[int]]:
        """Special tokens that open an input, and `text` with those that close one."""
        bare = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        closed = self._tokenizer(text)["input_ids"]
        extra = len(closed) - len(bare)
        opening = next(n for n in range(extra + 1) if closed[n : n + len(bare)] == bare)
        return closed[:opening], closed[opening:]

    @cached_property
    def _model(self) -> PreTrainedModel:
        self.check()
        from transformers import AutoModelForSeq2SeqLM

        with loading(self.name):
            model, found = AutoModelForSeq2SeqLM.from_pretrained(
                str(self._folder), dtype=resolve_dtype(self.dtype), output_loading_info=True
            )
        missing = sorted(found["missing_keys"])
        if missing:
            raise ConfigError(
                f"model '{self.name}': its weights hold no whole encoder-decoder ({missing[0]} is "
                "missing), its scores would be random; choose a model trained as monoT5"
            )
        return model.to(resolve_device(self.device)).eval()

    def truncated(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Which pairs lose tokens to max_length: bool, shape (len(pairs),)."""
        return self._prompt.truncated(pairs)

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        if not pairs:
            return np.empty(0, dtype=np.float32)
        import torch

        model = self._model
        start = model.config.decoder_start_token_id

        def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            first = torch.full((len(ids), 1), start, device=ids.device)
            logits = model(input_ids=ids, attention_mask=mask, decoder_input_ids=first).logits
            answers = logits[:, 0, list(self._answers)].float()
            return self._activated(answers[:, 0] - answers[:, 1])

        rows, pad = self._prompt.rows(pairs), self._tokenizer.pad_token_id
        return score_rows(rows, forward, self.batch_size, pad, str(model.device))

    def _activated(self, difference: Any) -> Any:
        import torch

        if self.activation == "log_probability":
            # log-softmax over two, without its rounding to 0 where the answer is almost sure.
            return torch.nn.functional.logsigmoid(difference)
        return torch.sigmoid(difference) if self.activation == "probability" else difference


def _checked_prompt(template: str) -> str:
    query, doc = template.find("{query}"), template.find("{doc}")
    if not 0 <= query < doc or template.count("{query}") + template.count("{doc}") != 2:
        raise ConfigError(
            f"template='{template}': expected {{query}}, then {{doc}}, each once, such as "
            f"template='{TEMPLATE}'"
        )
    return template


class MonoT5Reranker(PointwiseReranker):
    """monoT5 behind the score store; settings as in `MonoT5Scorer`."""

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        max_length: int = 512,
        template: str = TEMPLATE,
        true_token: str = "▁true",
        false_token: str = "▁false",
        activation: str = "log_probability",
        dtype: str = "float32",
        batch_size: int = 32,
        device: str | None = None,
        chunk_size: int = 1024,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        scorer = MonoT5Scorer(
            model, revision, max_length, template, true_token, false_token, activation, dtype,
            batch_size, device,
        )  # fmt: skip
        super().__init__(scorer, doc_template, cache_dir, chunk_size)
