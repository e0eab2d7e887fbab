"""task=train: mine training data, check it for leaks, train a reranker, save it with its record."""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.errors import ConfigError
from evalkit.io import write_json, write_text
from evalkit.manifest import build_manifest
from evalkit.model_files import model_digest
from evalkit.models import resolve_device
from evalkit.output import WRITING, mark, marked
from evalkit.progress import PLAIN, stdout
from evalkit.remote.key import missing_keys
from evalkit.rerankers.folds_file import fold_folder
from evalkit.saved import MARKER
from evalkit.tasks import Job
from evalkit.tasks.log import log_results
from evalkit.tasks.train_plan import Plan, described, planned
from evalkit.training.checkpoints import clear, last_complete, work_folder
from evalkit.training.data import TrainingData
from evalkit.training.examples import usable_groups
from evalkit.training.folds import FoldOfDataset, deal, without_fold, write_folds
from evalkit.training.leaks import find_leaks
from evalkit.training.lineage import inherited
from evalkit.training.mined import remembered
from evalkit.training.model_card import model_card
from evalkit.training.processes import is_main, main_first, world_size
from evalkit.training.record import RECORD, few_queries, record, result_line, untrained
from evalkit.training.student import Student, build_student, save_student
from evalkit.training.teacher import taught
from evalkit.training.trainer import Fit, fit

log = logging.getLogger(__name__)


class Leaks(NamedTuple):
    """JSON data. found: a `LeakReport` of each evaluation. earlier: what the trainings that the
    model comes from have seen; see `lineage.inherited`."""

    found: list[dict[str, Any]]
    earlier: list[dict[str, Any]]


@dataclass(frozen=True)
class Settings:
    """training: what `training=` chose; see `TrainingSettings` and `FitSettings`."""

    training: dict[str, Any]


def perform(settings: Settings, job: Job) -> None:
    if job.dry_run:
        with missing_keys() as missing:
            plan = planned(settings.training, job)
        for line in [*described(plan), *(f"A run would be refused: {line}" for line in missing)]:
            stdout.print(line, **PLAIN)
        return
    plan = planned(settings.training, job)
    if not is_main():  # a helper of several: it trains along and writes nothing
        train(plan)
        return
    with marked(job.folder):
        trained = train(plan, job)
    if job.tracking.kind == "mlflow":
        for folder in trained:
            log_results(folder, job.tracking, required=False)


def train(plan: Plan, job: Job | None = None) -> list[Path]:
    """All of it. The folders that then hold model and record; `job` in the process that writes."""
    # Every process looks: all must train on the same data.
    data = prepared(plan)
    if plan.training.folds is not None:
        return train_folds(plan, data, job)
    kept, leaks = without_leaks(data, plan, list(plan.evaluations.values()))
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


def train_one(plan: Plan, data: TrainingData, leaks: Leaks, job: Job | None) -> Path:
    """Train on this data, and save where `job` says. The folder of the checkpoints, still there."""
    settings = plan.training.fit
    student = build_student(settings, resolve_device(plan.training.device))
    work = work_folder(
        plan.cache, settings.plain(), data.digest, student.checkpoint.digest, world_size()
    )
    with main_first():
        if is_main() and not plan.training.resume:
            clear(work)
        start = last_complete(work)
    if start is not None:
        log.info("going on from %s", start)
    queries = len(usable_groups(data, "validation"))
    if job is not None and (doubt := few_queries(queries, settings.measure)):
        log.warning("%s", doubt)
    done = fit(student, data, settings, work)
    if job is not None:
        show(saved(plan, job, data, leaks, student, done), job.folder)
    return work


def without_leaks(
    data: TrainingData, plan: Plan, evaluations: Sequence[Any]
) -> tuple[TrainingData, Leaks]:
    """The data to train on, and what each evaluation has in common with what was prepared and with
    what the model to go on from has learned.

    DataError for evaluated queries in either, unless they are allowed on purpose, or dropped.
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
        leaks.append({**report.as_dict(), "test_queries": plan.training.test_queries})
    kept = data.without_queries(dropped) if dropped else data
    watched = kept.where(kept.split == "validation").queries
    allowed = plan.training.test_queries == "allow"
    earlier = inherited(plan.earlier, evaluations, watched, allowed)
    for each in earlier:
        if each["validation_queries"]:
            log.warning(
                "%d of the %d validation queries are among those that %s has learned from: their "
                "measure flatters", each["validation_queries"], len(watched), each["model"],
            )  # fmt: skip
    return kept, Leaks(leaks, earlier)


def saved(
    plan: Plan,
    job: Job,
    data: TrainingData,
    leaks: Leaks,
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
        leaks.found,
        leaks.earlier,
        teacher,
        student.base,
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
    learned = data.split == "train"
    if training.fit.needs_teacher and np.isnan(data.teacher[learned]).any():
        raise ConfigError(
            f"training.{training.fit.asks_teacher} needs another model's scores, and the data in "
            f"{training.data} has none; name a selected reranker: training.teacher=NAME"
        )
    return data


def command_line() -> str:
    """The command that was typed, as it can be typed again."""
    return shlex.join(["python", "-m", "evalkit", *sys.argv[1:]])


def show(found: Mapping[str, Any], folder: Path) -> None:
    if line := result_line(found):
        stdout.print(line, **PLAIN)
    if doubt := untrained(found):
        log.warning("%s: %s", folder, doubt)
    stdout.print(f"Model:   {folder / 'model'}", **PLAIN)
    stdout.print(f"Record:  {folder / RECORD}", **PLAIN)
