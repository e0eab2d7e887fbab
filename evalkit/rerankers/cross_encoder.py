"""Cross-encoder: query and doc read together by one transformer (Nogueira and Cho 2019).

Two implementations of one thing: evalkit's own engine, the faster one, for classifiers of
transformers and LoRA adapters over encoders; and sentence-transformers' CrossEncoder, for every
model that it reads. Raw logits are kept (a sigmoid changes no order and loses differences near 0
and 1) unless an activation is asked for, which is then computed in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from evalkit.errors import ConfigError
from evalkit.rerankers.classifier import ClassifierScorer
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.rerankers.reference import ReferenceScorer
from evalkit.types import DOC_TEMPLATE


class CrossEncoderReranker(PointwiseReranker):
    """A cross-encoder behind the score store.

    engine: "fast" (settings as in `ClassifierScorer`) or "reference" (as in `ReferenceScorer`, with
    a batch_size instead of a token budget, on one device, and without adapters).
    """

    def __init__(
        self,
        model: str,
        base_model: str | None = None,
        revision: str | None = None,
        max_length: int | None = None,
        activation: str = "identity",
        engine: Literal["fast", "reference"] = "fast",
        dtype: str = "auto",
        token_budget: int | None = None,
        batch_size: int = 32,
        device: str | None = None,
        devices: list[str] | None = None,
        chunk_size: int = 256,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        if engine == "reference":
            for name, value in (("base_model", base_model), ("devices", devices)):
                if value is not None:
                    raise ConfigError(f"{name}={value}: engine=reference has none; use engine=fast")
        scorer: ClassifierScorer | ReferenceScorer
        if engine == "fast":
            scorer = ClassifierScorer(
                model, base_model, revision, max_length, activation, dtype=dtype,
                token_budget=token_budget, device=device, devices=devices, cache_dir=cache_dir,
            )  # fmt: skip
        else:
            scorer = ReferenceScorer(
                model, revision, max_length, activation, dtype, batch_size, device
            )
        super().__init__(scorer, doc_template, cache_dir, chunk_size)
