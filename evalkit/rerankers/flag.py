"""BGE rerankers: FlagEmbedding's template and truncation, by its code or by evalkit's engine.

The engine reads encoders alone (bge-reranker-base, -large, -v2-m3) and gives them the same scores,
to rounding, in less time. Only of an empty doc it makes a pair like any other, where
FlagEmbedding lets the model read the query alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from evalkit.errors import ConfigError
from evalkit.rerankers.classifier import ClassifierScorer
from evalkit.rerankers.flag_scorer import QUERY_SHARE, FlagScorer
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.types import DOC_TEMPLATE, PairScorer


class FlagReranker(PointwiseReranker):
    """A BGE reranker behind the score store; settings as in `FlagScorer`.

    engine: "reference", FlagEmbedding's own code, or "fast", evalkit's engine (kind="encoder" only,
    with a token budget instead of a batch_size).
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
        engine: Literal["reference", "fast"] = "reference",
        dtype: str = "float32",
        batch_size: int = 32,
        device: str | None = None,
        chunk_size: int = 256,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        scorer: PairScorer
        if engine == "fast":
            for name, value in (("prompt", prompt), ("cutoff_layer", cutoff_layer)):
                if kind != "encoder" or value is not None:
                    wrong = f"{name}={value}" if kind == "encoder" else f"kind={kind}"
                    raise ConfigError(f"{wrong}: engine=fast reads kind=encoder, without a prompt")
            scorer = ClassifierScorer(
                model, None, revision, max_length, activation, "only_second",
                max_length * QUERY_SHARE[0] // QUERY_SHARE[1],
                (query_instruction or "", passage_instruction or ""), dtype,
                device=device, cache_dir=cache_dir,
            )  # fmt: skip
        else:
            scorer = FlagScorer(
                model, kind, revision, max_length, activation, query_instruction,
                passage_instruction, prompt, cutoff_layer, dtype, batch_size, device,
            )  # fmt: skip
        super().__init__(scorer, doc_template, cache_dir, chunk_size)
