"""What task=train is to do: checked in full before anything is computed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from evalkit.assembly import Parts, connected_rerankers, connected_retrievers
from evalkit.cache import resolve_cache_dir
from evalkit.errors import ConfigError, DataError, nearest
from evalkit.models import resolve_device
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.settings import checked
from evalkit.tasks import Job
from evalkit.training.folds import deal
from evalkit.training.libraries import require_datasketch, require_peft, require_trainer
from evalkit.training.lineage import Earlier, earlier_trainings
from evalkit.training.negative_settings import NegativeSettings
from evalkit.training.objectives import NEEDS_TEACHER
from evalkit.training.settings import FitSettings, LoraSettings, TrainingSettings
from evalkit.training.student import find_start
from evalkit.training.teacher import find_teacher
from evalkit.types import Dataset, Reranker, Retriever

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is to be done, checked: settings, components, and the datasets to be kept clean of."""

    training: TrainingSettings
    negatives: NegativeSettings
    parts: Parts
    retrievers: Mapping[str, Retriever]
    rerankers: Mapping[str, Reranker]
    teacher: PointwiseReranker | None
    evaluations: Mapping[str, Dataset]
    earlier: list[Earlier]
    cache: Path


def training_settings(values: Mapping[str, Any]) -> tuple[TrainingSettings, NegativeSettings]:
    """The checked settings of a `training` node; ConfigError."""
    own = {field.name for field in fields(TrainingSettings)} - {"fit"}
    fitting = {field.name for field in fields(FitSettings)}
    for key in values:
        if key not in own | fitting:
            raise ConfigError(f"training.{key} is not a setting.{nearest(key, own | fitting)}")
    negatives = checked(NegativeSettings, values.get("negatives", {}), "training.negatives")
    for_fit = {key: value for key, value in values.items() if key in fitting}
    if for_fit.get("lora") is not None:
        for_fit["lora"] = checked(LoraSettings, for_fit["lora"], "training.lora")
    others = {key: value for key, value in values.items() if key in own}
    found = checked(FitSettings, for_fit, "training")
    return checked(TrainingSettings, {"fit": found, **others}, "training"), negatives


def planned(values: Mapping[str, Any], job: Job) -> Plan:
    """Everything that can be checked before anything is computed."""
    training, negatives = training_settings(values)
    if ":" in resolve_device(training.device):
        raise ConfigError(
            f"training.device={training.device}: expected a kind of device; choose which with "
            "CUDA_VISIBLE_DEVICES, and several with `accelerate launch -m evalkit ...`"
        )
    start = find_start(training.fit)
    require_trainer()
    if training.fit.lora is not None:
        require_peft()
    elif start.base is not None:
        require_peft(f"training.model={training.fit.model}, an adapter,")
    parts = job.parts()
    retrievers = connected_retrievers(parts.retrievers)
    rerankers = connected_rerankers(parts.dataset, retrievers, parts.rerankers)
    shown = {name: each for name, each in retrievers.items() if name not in parts.hidden}
    teacher = None if training.teacher is None else find_teacher(training.teacher, rerankers)
    if training.fit.needs_teacher and teacher is None and training.data is None:
        raise ConfigError(
            f"training.{training.fit.asks_teacher} learns from another model's scores; name a "
            "selected reranker: training.teacher=cross_encoder"
        )
    if teacher is not None and not training.fit.needs_teacher:
        raise ConfigError(
            f"training.teacher={training.teacher}: objective {training.fit.objective} learns from "
            f"judgements, not from a teacher; set training.objective={NEEDS_TEACHER[0]} or "
            f"{NEEDS_TEACHER[1]}, listwise with a training.teacher_share, or training.teacher=null"
        )
    if training.data is None:
        _check_enough(training.fit, negatives)
        _trained_on(training, parts.dataset)
    evaluations = _evaluations(training, parts.dataset, job)
    if evaluations or training.folds is not None:
        require_datasketch()
    used = [*([] if training.data else shown.values()), *filter(None, [teacher])]
    for check in filter(None, (getattr(component, "check", None) for component in used)):
        check(negatives.max_rank)
    return Plan(
        training,
        negatives,
        parts,
        shown,
        rerankers,
        teacher,
        evaluations,
        earlier_trainings(start.folder),
        resolve_cache_dir(job.cache_dir),
    )


def _check_enough(fit: FitSettings, negatives: NegativeSettings) -> None:
    """ConfigError where an example has room for more negatives than are mined of a query."""
    room = fit.docs_per_query - fit.positives_per_query
    if room > negatives.num:
        raise ConfigError(
            f"training.docs_per_query={fit.docs_per_query} with positives_per_query="
            f"{fit.positives_per_query} leaves room for {room} negatives, and "
            f"training.negatives.num={negatives.num} are mined of a query; set "
            f"training.negatives.num={room}, or training.docs_per_query="
            f"{fit.positives_per_query + negatives.num}"
        )


def _evaluations(training: TrainingSettings, dataset: Dataset, job: Job) -> dict[str, Dataset]:
    """The datasets whose queries must not be in the training data, by a name for messages."""
    found = {name: job.component(f"training.evaluate.{name}") for name in training.evaluate}
    if training.folds is not None:
        _check_folds(training, dataset)
    elif dataset.split != training.split:
        found["dataset"] = dataset
    elif dataset.split != "test" and dataset.has_split("test"):
        found["dataset"] = dataset.with_split("test")
    if not found and training.folds is None:
        log.warning(
            "%s has no other split to keep clean of: the training data is checked against no "
            "evaluation; name one: '+dataset@training.evaluate.mine=folder'", dataset.dataset_id,
        )  # fmt: skip
    return found


def _check_folds(training: TrainingSettings, dataset: Dataset) -> None:
    """ConfigError where folds of the evaluated queries are not what would be trained on."""
    if training.split != dataset.split or training.data is not None:
        raise ConfigError(
            f"training.folds={training.folds} trains and tests on the queries of "
            f"{dataset.dataset_id}, split '{dataset.split}': set training.split={dataset.split} "
            "and training.data=null"
        )
    deal(dataset, training.folds or 0, seed=0)


def _trained_on(training: TrainingSettings, dataset: Dataset) -> Dataset:
    """The split whose judgements are learned from, which need not be the evaluated one; the
    dataset's own error where it has none of that name."""
    if dataset.split == training.split:
        return dataset
    try:
        return dataset.with_split(training.split)
    except (ConfigError, DataError) as error:
        raise type(error)(
            f"{error}. Without a split to train on, train by folds of the evaluated queries: "
            f"training.folds=5 training.split={dataset.split}"
        ) from error


def described(plan: Plan) -> list[str]:
    """What would be done, a line each; computes nothing."""
    training, settings = plan.training, plan.training.fit
    source, by = training.data, ""
    if source is None:
        source = _trained_on(training, plan.parts.dataset).dataset_id
        by = f", negatives by {', '.join(plan.retrievers)}"
    teacher = "" if plan.teacher is None else f", taught by {training.teacher}"
    amount = f"{settings.steps} steps" if settings.steps else f"{settings.epochs:g} epoch(s)"
    kind = "whole" if settings.lora is None else f"LoRA adapter of rank {settings.lora.rank}"
    folds = "" if training.folds is None else f", in {training.folds} folds, a model each"
    return [
        f"Training data: {source}{by}{folds}",
        f"Checked against: {', '.join(d.dataset_id for d in plan.evaluations.values()) or 'none'}",
        f"Model: {settings.model} ({kind}), objective {settings.objective}{teacher}, {amount} of "
        f"{settings.queries_per_batch * settings.gradient_accumulation} queries",
    ]
