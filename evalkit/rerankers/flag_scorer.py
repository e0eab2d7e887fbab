"""BGE rerankers through FlagEmbedding's own classes (Xiao et al., C-Pack, SIGIR 2024).

Three kinds: "encoder" (FlagReranker: a classifier's logit), "llm" (FlagLLMReranker: the logit of
"Yes" after a prompt) and "layerwise" (LayerWiseFlagLLMReranker: a head on a chosen layer). Template
and truncation are FlagEmbedding's: the query is cut to 3/4 of max_length first, then the doc alone
is cut (sentence-transformers cuts the longer of both), and max_length is 512 unless set, where
sentence-transformers takes the model's own. So the two score long pairs differently, and the "llm"
and "layerwise" kinds also allow for the tokens of the prompt beside max_length.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import ConfigError
from evalkit.model_files import model_digest, read_config
from evalkit.models import loading, quiet_transformers, resolve_device, resolve_model
from evalkit.rerankers.flag_layerwise import LAYERWISE, check_layerwise, load_layerwise
from evalkit.rerankers.pair_lengths import load_tokenizer
from evalkit.rerankers.reference import ACTIVATIONS, CLASSIFIER, check_head, check_labels
from evalkit.token_counts import TokenCounter
from evalkit.types import fingerprint

KINDS = ("encoder", "llm", "layerwise")
# What FlagEmbedding asks unless another prompt is given, and what stands before query and doc.
PROMPT = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the "
    "query by providing a prediction of either 'Yes' or 'No'."
)
QUERY_SHARE = (3, 4)  # of max_length, to which a query is cut first
_MARKS = {"encoder": ("", ""), "llm": ("A: ", "B: "), "layerwise": ("A: ", "B: ")}


class FlagScorer:
    """PairScorer over one of FlagEmbedding's rerankers; one logit a pair.

    kind: encoder, llm or layerwise. max_length: tokens, see above. activation: "identity" (raw
    logits) or "sigmoid". query_instruction, passage_instruction: text before query and doc; None
    for FlagEmbedding's own ("A: " and "B: " for the language models, nothing for encoders).
    prompt: the language models' question, None for FlagEmbedding's. cutoff_layer: the layer whose
    head scores (layerwise only), None for the last.
    """

    def __init__(
        self,
        model: str,
        kind: str = "encoder",
        revision: str | None = None,
        max_length: int = 512,
        activation: str = "identity",
        query_instruction: str | None = None,
        passage_instruction: str | None = None,
        prompt: str | None = None,
        cutoff_layer: int | None = None,
        dtype: str = "float32",
        batch_size: int = 32,
        device: str | None = None,
    ) -> None:
        if kind not in KINDS:
            raise ConfigError(f"kind={kind}: expected one of {', '.join(KINDS)}")
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation={activation}: expected one of {', '.join(ACTIVATIONS)}")
        # FlagReranker has no bfloat16, and would ignore it.
        dtypes = ("float32", "float16") + (() if kind == "encoder" else ("bfloat16",))
        if dtype not in dtypes:
            raise ConfigError(
                f"dtype={dtype}: FlagEmbedding's {kind} reranker knows {', '.join(dtypes)}"
                + ("; engine=fast knows bfloat16 and auto, too" if kind == "encoder" else "")
            )
        if batch_size < 1 or max_length < 8:
            raise ConfigError(
                f"batch_size={batch_size}, max_length={max_length}: expected batch_size ≥ 1, "
                "max_length ≥ 8"
            )
        if cutoff_layer is not None and kind != "layerwise":
            raise ConfigError(f"cutoff_layer={cutoff_layer}: only kind=layerwise has layers to cut")
        if prompt is not None and kind == "encoder":
            raise ConfigError("prompt: kind=encoder reads none; leave it out, or use kind=llm")
        self.name, self.kind, self.revision = model, kind, revision
        self.max_length, self.activation, self.dtype = max_length, activation, dtype
        marks = (query_instruction, passage_instruction)
        self.instructions = tuple(
            own if mark is None else mark for mark, own in zip(marks, _MARKS[kind], strict=True)
        )
        self.prompt = PROMPT if prompt is None else prompt
        self.cutoff_layer, self.batch_size, self.device = cutoff_layer, batch_size, device

    @cached_property
    def _folder(self) -> Path:
        return resolve_model(self.name, self.revision)

    @cached_property
    def fingerprint(self) -> str:
        settings: dict[str, Any] = {} if self.kind == "encoder" else {"prompt": self.prompt}
        if self.kind == "layerwise":
            settings["cutoff_layer"] = self.cutoff_layer
        return fingerprint(
            "FlagReranker",
            kind=self.kind,
            model=model_digest(self._folder),
            max_length=self.max_length,
            activation=self.activation,
            instructions=list(self.instructions),
            dtype=self.dtype,
            **settings,
        )

    def check(self) -> None:
        """ConfigError for a model that is not of this kind, from its config.json; no weights."""
        config = read_config(self._folder)
        head = (config.get("architectures") or ["none named"])[0]
        fits = {
            "encoder": head.endswith(CLASSIFIER),
            "llm": head.endswith("ForCausalLM") and head != LAYERWISE,
            "layerwise": head == LAYERWISE,
        }
        if not fits[self.kind]:
            kinds = [kind for kind, fit in fits.items() if fit]
            hint = f"use kind={kinds[0]}" if kinds else "choose a BGE reranker"
            raise ConfigError(
                f"model '{self.name}' ({head}) is no reranker of kind={self.kind}; {hint}"
            )
        if self.kind == "layerwise":
            check_layerwise(config, self.name, self.cutoff_layer)
        if self.kind == "encoder":
            check_labels(config, self.name)
            self._check_positions(config)
        if self.dtype == "float16" and resolve_device(self.device) == "cpu":
            # FlagEmbedding would use float32 instead, and say nothing.
            raise ConfigError("dtype=float16: FlagEmbedding has none on the CPU; set dtype=float32")

    def _check_positions(self, config: dict[str, Any]) -> None:
        positions = config.get("max_position_embeddings")
        if positions is not None and config["model_type"] in ("xlm-roberta", "roberta"):
            positions -= config.get("pad_token_id", 1) + 1  # their positions start after padding
        if positions is not None and self.max_length > positions:
            raise ConfigError(
                f"max_length={self.max_length}: model '{self.name}' reads {positions} tokens; "
                f"set max_length={positions} or less"
            )

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer; loads no weights."""
        return load_tokenizer(self._folder, self.name)

    @cached_property
    def _counter(self) -> TokenCounter:
        return TokenCounter(self.tokenizer)

    def truncated(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Which pairs lose text, by FlagEmbedding's rule: bool, shape (n,); loads no weights."""
        query_mark, doc_mark = self.instructions
        queries = self._counter.lengths([query_mark + query for query, _ in pairs])
        docs = self._counter.lengths([doc_mark + doc for _, doc in pairs])
        most = self.max_length * QUERY_SHARE[0] // QUERY_SHARE[1]
        room = self.max_length - np.minimum(queries, most) - self._frame
        return (queries > most) | (docs > np.minimum(room, self.max_length))

    @cached_property
    def _frame(self) -> int:
        """Tokens of an input beside query and doc that count against max_length."""
        tokenizer = self.tokenizer
        if self.kind == "encoder":
            return int(tokenizer.num_special_tokens_to_add(pair=True))
        start = tokenizer.bos_token_id
        begins = self.kind == "layerwise" or start not in (None, tokenizer.pad_token_id)
        # The line break before the doc is allowed for; so is the prompt, which follows the cut, so
        # that its length is room for a pair.
        return int(begins) - int(self._counter.lengths([self.prompt])[0])

    @cached_property
    def _model(self) -> Any:
        self.check()
        quiet_transformers()
        import FlagEmbedding

        _silence_progress_bars()
        query_mark, doc_mark = self.instructions
        settings: dict[str, Any] = {
            "query_instruction_for_rerank": query_mark or None,
            "passage_instruction_for_rerank": doc_mark or None,
            "use_fp16": self.dtype == "float16",
            "devices": resolve_device(self.device),
            "batch_size": self.batch_size,
            "max_length": self.max_length,
            "normalize": self.activation == "sigmoid",
        }
        if self.kind != "encoder":
            settings["prompt"] = self.prompt
        if self.kind == "layerwise":
            return load_layerwise(
                self._folder, self.name, self.dtype, self.tokenizer, self.cutoff_layer, settings
            )
        with loading(self.name):
            if self.kind == "llm":
                bfloat16 = self.dtype == "bfloat16"
                return FlagEmbedding.FlagLLMReranker(
                    str(self._folder), use_bf16=bfloat16, **settings
                )
            reranker = FlagEmbedding.FlagReranker(str(self._folder), **settings)
        check_head(reranker.model, self._folder, self.name)
        return reranker

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        if not pairs:
            return np.empty(0, dtype=np.float32)
        return np.asarray(self._model.compute_score(list(pairs)), dtype=np.float32).reshape(-1)


def _silence_progress_bars() -> None:
    """FlagEmbedding's bars, which no setting of its turns off; ours counts the pairs."""
    import tqdm  # type: ignore[import-untyped]

    def silent(make: Any) -> Any:
        return lambda *args, **options: make(*args, **{**options, "disable": True})

    for name in ("encoder_only.base", "decoder_only.base", "decoder_only.layerwise"):
        module = sys.modules[f"FlagEmbedding.inference.reranker.{name}"]
        module.tqdm, module.trange = silent(tqdm.tqdm), silent(tqdm.trange)  # type: ignore[attr-defined]
