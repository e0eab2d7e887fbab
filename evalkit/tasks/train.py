"""task=train: mine training data, check it for leaks, train a reranker, save it with its record."""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from evalkit.assembly import Parts, connected_rerankers, connected_retrievers
from evalkit.cache import resolve_cache_dir
from evalkit.errors import ConfigError, nearest
from evalkit.io import write_json, write_text
from evalkit.manifest import build_manifest
from evalkit.model_files import model_digest
from evalkit.models import resolve_device
from evalkit.output import WRITING, mark, marked
from evalkit.progress import PLAIN, stdout
from evalkit.rerankers.folds_file import fold_folder
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.saved import MARKER
from evalkit.settings import checked
from evalkit.tasks import Job
from evalkit.tasks.log import log_results
from evalkit.training.checkpoints import clear, last_complete, work_folder
from evalkit.training.data import TrainingData
from evalkit.training.folds import FoldOfDataset, deal, without_fold, write_folds
from evalkit.training.leaks import find_leaks
from evalkit.training.mined import remembered
from evalkit.training.model_card import model_card
from evalkit.training.negative_settings import NegativeSettings
from evalkit.training.processes import is_main, main_first
from evalkit.training.record import RECORD, before_and_after, record
from evalkit.training.settings import FitSettings, LoraSettings, TrainingSettings
from evalkit.training.student import Student, build_student, find_start, save_student
from evalkit.training.teacher import find_teacher, taught
from evalkit.training.trainer import Fit, fit
from evalkit.types import Dataset, Reranker, Retriever

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """training: what `training=` chose; see `TrainingSettings` and `FitSettings`."""

    training: dict[str, Any]


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
    cache: Path


def perform(settings: Settings, job: Job) -> None:
    plan = planned(settings, job)
    if job.dry_run:
        for line in described(plan):
            stdout.print(line, **PLAIN)
        return
    if not is_main():  # a helper of several: it trains along and writes nothing
        train(plan)
        return
    with marked(job.folder):
        trained = train(plan, job)
    if job.tracking.kind == "mlflow":
        for folder in trained:
            log_results(folder, job.tracking, required=False)


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


def planned(settings: Settings, job: Job) -> Plan:
    """Everything that can be checked before anything is computed."""
    training, negatives = training_settings(settings.training)
    if ":" in resolve_device(training.device):
        raise ConfigError(
            f"training.device={training.device}: expected a kind of device; choose which with "
            "CUDA_VISIBLE_DEVICES, and several with `accelerate launch -m evalkit ...`"
        )
    find_start(training.fit)
    parts = job.parts()
    retrievers = connected_retrievers(parts.retrievers)
    rerankers = connected_rerankers(parts.dataset, retrievers, parts.rerankers)
    shown = {name: each for name, each in retrievers.items() if name not in parts.hidden}
    teacher = None if training.teacher is None else find_teacher(training.teacher, rerankers)
    if training.fit.needs_teacher and teacher is None and training.data is None:
        raise ConfigError(
            f"training.objective={training.fit.objective} learns from another model's scores; name "
            "a selected reranker: training.teacher=cross_encoder"
        )
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
        _evaluations(training, parts.dataset, job),
        resolve_cache_dir(job.cache_dir),
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


def described(plan: Plan) -> list[str]:
    """What would be done, a line each; computes nothing."""
    training, settings = plan.training, plan.training.fit
    source = training.data or f"{plan.parts.dataset.dataset_id}, split {training.split}"
    by = "" if training.data else f", negatives by {', '.join(plan.retrievers)}"
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


def train(plan: Plan, job: Job | None = None) -> list[Path]:
    """All of it. The folders that then hold model and record; `job` in the process that writes."""
    # Every process looks: all must train on the same data.
    data = prepared(plan)
    if plan.training.folds is not None:
        return train_folds(plan, data, job)
    kept, leaks = without_leaks(data, plan, plan.evaluations.values())
    work = train_one(plan, kept, leaks, job)
    if job is None:
        return []
    clear(work)
    return [job.folder]


def train_folds(plan: Plan, data: TrainingData, job: Job | None) -> list[Path]:
    """A model for each fold of the dataset's queries, in a folder each; then which query is whose.

    After a kill, the folds that were trained are at the end of theirs and cost nothing.
    """
    dataset, seed = plan.parts.dataset, plan.negatives.seed
    fold_of = deal(dataset, plan.training.folds or 0, seed)
    folds = range(max(fold_of.values()) + 1)
    works = []
    for fold in folds:
        log.info("fold %d of %d", fold + 1, len(folds))
        own = None if job is None else replace(job, folder=fold_folder(job.folder, fold))
        fold_data = without_fold(data, fold_of, fold)
        kept_out = [FoldOfDataset(dataset, fold_of, fold), *plan.evaluations.values()]
        works.append(train_one(plan, *without_leaks(fold_data, plan, kept_out), own))
    if job is None:
        return []
    write_folds(job.folder, dataset, fold_of, seed)
    (job.folder / MARKER).unlink(missing_ok=True)
    for work in works:
        clear(work)
    stdout.print(f"Use:     reranker=[by_fold] reranker.by_fold.path={job.folder}", **PLAIN)
    return [fold_folder(job.folder, fold) for fold in folds]


def train_one(plan: Plan, data: TrainingData, leaks: list[dict[str, Any]], job: Job | None) -> Path:
    """Train on this data, and save where `job` says. The folder of the checkpoints, still there."""
    settings = plan.training.fit
    student = build_student(settings, resolve_device(plan.training.device))
    work = work_folder(plan.cache, settings.plain(), data.digest, student.checkpoint.digest)
    with main_first():
        if is_main() and not plan.training.resume:
            clear(work)
        start = last_complete(work)
    if start is not None:
        log.info("going on from %s", start)
    done = fit(student, data, settings, work)
    if job is not None:
        show(saved(plan, job, data, leaks, student, done), job.folder)
    return work


def without_leaks(
    data: TrainingData, plan: Plan, evaluations: Iterable[Any]
) -> tuple[TrainingData, list[dict[str, Any]]]:
    """The data to train on, and what each evaluation has in common with what was prepared.

    DataError for evaluated queries in it, unless they are dropped or allowed on purpose.
    """
    leaks, dropped = [], set[str]()
    for evaluation in evaluations:
        report = find_leaks(data, evaluation)
        for line in report.lines():
            log.info("%s", line)
        if plan.training.test_queries == "drop":
            dropped.update(report.training_query_ids)
        else:
            report.require(plan.training.test_queries == "allow")
        leaks.append(report.as_dict())
    return (data.without_queries(dropped) if dropped else data), leaks


def saved(
    plan: Plan,
    job: Job,
    data: TrainingData,
    leaks: list[dict[str, Any]],
    student: Student,
    done: Fit,
) -> dict[str, Any]:
    """Write model, card, data and, last, the record, which is returned."""
    folder, training = job.folder, plan.training
    mark(folder, WRITING)
    remove_stale(folder)
    save_student(student, folder / "model", training.fit.max_length)
    data.save(folder / "data")
    teacher = None if plan.teacher is None else plan.teacher.fingerprint
    fingerprints = {f"retriever.{name}": each.fingerprint for name, each in plan.retrievers.items()}
    fingerprints |= {} if teacher is None else {f"reranker.{training.teacher}": teacher}
    found = record(
        job.config["name"],
        training,
        plan.parts.dataset,
        data,
        leaks,
        teacher,
        {"base": student.checkpoint.digest, "model": model_digest(folder / "model")},
        done,
        build_manifest(job.config, fingerprints, plan.parts.dataset.warnings),
    )
    write_text(folder / "model" / "README.md", model_card(found, command_line()))
    write_json(folder / RECORD, found)
    (folder / MARKER).unlink(missing_ok=True)
    return found


def remove_stale(folder: Path) -> None:
    """What an earlier training left in the same folder must not mix with this one's."""
    (folder / RECORD).unlink(missing_ok=True)
    for name in ("model", "data"):
        shutil.rmtree(folder / name, ignore_errors=True)


def prepared(plan: Plan) -> TrainingData:
    """The training data, with the teacher's scores; what was mined is kept in the cache."""
    training = plan.training
    if training.data is not None:
        data = TrainingData.load(Path(training.data).expanduser())
    else:
        with main_first():
            data = remembered(
                plan.parts.dataset, plan.retrievers, plan.negatives, training.split,
                plan.rerankers, plan.cache,
            )  # fmt: skip
    if plan.teacher is not None:
        with main_first():
            data = taught(data, plan.teacher)
    if training.fit.needs_teacher and not (data.teacher == data.teacher).all():
        raise ConfigError(
            f"training.objective={training.fit.objective} needs another model's scores, and the "
            f"data in {training.data} has none; name a selected reranker: training.teacher=NAME"
        )
    return data


def command_line() -> str:
    """The command that was typed, as it can be typed again."""
    return shlex.join(["python", "-m", "evalkit", *sys.argv[1:]])


def show(found: Mapping[str, Any], folder: Path) -> None:
    figures = [f"{name} {a:.4f} → {b:.4f}" for name, a, b in before_and_after(found)]
    if figures:
        queries, step = found["data"]["queries"]["validation"], found["fit"]["best"]["step"]
        stdout.print(f"On {queries} validation queries, step {step}: {', '.join(figures)}", **PLAIN)
    stdout.print(f"Model:   {folder / 'model'}", **PLAIN)
    stdout.print(f"Record:  {folder / RECORD}", **PLAIN)
