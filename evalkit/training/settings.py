"""The settings of a training run, checked as far as they can be without data and model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from evalkit.errors import ConfigError
from evalkit.training.objectives import NEEDS_TEACHER, Gains, Objective, Teacher

Truncation = Literal["only_second", "longest_first"]
TrainingDtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adaptation (Hu et al., ICLR 2022), as peft understands it.

    modules: names of the linear layers that get an adapter, or "all-linear" for every one of the
    encoder. The classification head (and a pooler below it) is trained in full beside them.
    """

    rank: int = 16
    alpha: float = 32
    dropout: float = 0.05
    modules: list[str] | Literal["all-linear"] = "all-linear"

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"training.lora: rank={self.rank}, dropout={self.dropout}; expected a rank of at "
                "least 1 and a dropout from 0 to below 1"
            )


@dataclass(frozen=True)
class FitSettings:
    """What decides the weights that come out, data aside; `vars` of it names a training.

    model: path or hub name of the model to start from: an encoder, a cross-encoder, or an adapter
    over either (`base_model` as in `evalkit.adapters.find_checkpoint`). num_layers: keep so many of
    its first layers. dropout: of hidden states and attention; None for the model's own.
    teacher_share: of another model's scores in the targets of `listwise`. temperature: see
    `objectives`. docs_per_query, positives_per_query: docs of one query in an example,
    drawn anew in each epoch. steps: optimiser steps, in place of `epochs`. warmup: share of the
    steps over which the learning rate rises from 0, at which the first step learns nothing, after
    which it falls to 0 in a line.
    queries_per_batch: a device, before accumulation. evaluate_every, checkpoint_every: steps.
    patience: evaluations without a better `measure` after which training stops; None for never.
    """

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    base_model: str | None = None
    num_layers: int | None = None
    max_length: int = 256
    truncation: Truncation = "only_second"
    dropout: float | None = None
    lora: LoraSettings | None = None
    objective: Objective = "listwise"
    gains: Gains = "linear"
    teacher_share: float = 0.0
    temperature: float = 1.0
    epochs: float = 1
    steps: int | None = None
    learning_rate: float = 3e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    queries_per_batch: int = 8
    docs_per_query: int = 5
    positives_per_query: int = 1
    gradient_accumulation: int = 1
    pairs_per_forward: int = 16
    dtype: TrainingDtype = "bfloat16"
    seed: int = 0
    measure: str = "RR@10"
    evaluate_every: int = 100
    patience: int | None = None
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for key in (
            "num_layers", "max_length", "steps", "queries_per_batch", "gradient_accumulation",
            "pairs_per_forward", "evaluate_every", "patience", "checkpoint_every",
        ):  # fmt: skip
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"training.{key}={value}: expected at least 1")
        for key in ("epochs", "learning_rate", "temperature"):
            if not getattr(self, key) > 0:
                raise ConfigError(f"training.{key}={getattr(self, key)}: expected more than 0")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ConfigError(f"training.dropout={self.dropout}: expected from 0 to below 1")
        if not 0 <= self.teacher_share <= 1:
            raise ConfigError(f"training.teacher_share={self.teacher_share}: expected from 0 to 1")
        if self.teacher_share and self.objective != "listwise":
            raise ConfigError(
                f"training.teacher_share={self.teacher_share} with objective={self.objective}: "
                "only listwise learns from judgements and a teacher together; set "
                "training.objective=listwise, or training.teacher_share=0"
            )
        if not 0 <= self.warmup < 1 or self.weight_decay < 0:
            raise ConfigError(
                f"training.warmup={self.warmup}, training.weight_decay={self.weight_decay}: "
                "expected a share of the steps from 0 to below 1, and no negative decay"
            )
        if not 1 <= self.positives_per_query < self.docs_per_query:
            raise ConfigError(
                f"training.docs_per_query={self.docs_per_query} with positives_per_query="
                f"{self.positives_per_query}: expected room for a positive and a negative doc"
            )
        if self.lora is not None and self.num_layers is not None:
            raise ConfigError(
                f"training.num_layers={self.num_layers} with training.lora: an adapter fits the "
                "whole base only; set training.lora=null, the student is then a model of its own"
            )

    @property
    def needs_teacher(self) -> bool:
        return self.objective in NEEDS_TEACHER or self.teacher_share > 0

    @property
    def asks_teacher(self) -> str:
        """The setting because of which a teacher is needed, for messages."""
        if self.objective in NEEDS_TEACHER:
            return f"objective={self.objective}"
        return f"teacher_share={self.teacher_share:g}"

    @property
    def teacher_part(self) -> Teacher:
        """What part of listwise targets a teacher's scores are."""
        return Teacher(self.teacher_share, self.temperature)

    def plain(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingSettings:
    """What `training=` chooses.

    data: a folder that an earlier training saved; None mines it from `split` of the dataset with
    the selected retrievers under `negatives`. evaluate: more datasets, by name, whose queries must
    not be trained on. test_queries: what becomes of an evaluated query in the training data: an
    error, left out, or kept on purpose. teacher: the name of a selected reranker whose scores are
    learned from. resume: go on from the last checkpoint of a training with the same settings, data
    and model.
    device: where to train. licence: of the model that comes out, for its model card.
    fit: the others; see `FitSettings`.
    """

    fit: FitSettings
    data: str | None = None
    split: str = "train"
    negatives: dict[str, Any] = field(default_factory=dict)
    evaluate: Mapping[str, Any] = field(default_factory=dict)
    test_queries: Literal["error", "drop", "allow"] = "error"
    teacher: str | None = None
    resume: bool = True
    folds: int | None = None
    device: str | None = None
    licence: str | None = None
