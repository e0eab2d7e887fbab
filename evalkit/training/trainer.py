"""Training a student: sentence-transformers' CrossEncoderTrainer over rows that are tokens already.

The trainer gives optimiser, schedule, accumulation, checkpoints with random states, and several
processes under `accelerate launch` or torchrun. What is ours: the order of the examples (fixed
before the first step), batches by length, checkpoints that hold the trained weights alone, and the
choice of the best step by a ranking measure on the validation queries.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.errors import ConfigError
from evalkit.training.checkpoints import (
    WEIGHTS,
    best_weights,
    forget_worse,
    last_complete,
    mark_complete,
    read_weights,
    write_weights,
)
from evalkit.training.examples import ordered_examples, steps_of
from evalkit.training.objectives import Group, arranged, build_loss, gains_of
from evalkit.training.pair_rows import PairRows
from evalkit.training.processes import is_main, world_size
from evalkit.training.settings import FitSettings
from evalkit.training.student import Student, restore, trained_state
from evalkit.training.validation import Validation
from evalkit.training.watch import best_of, curve_of, ended, watch

if TYPE_CHECKING:
    from evalkit.training.data import TrainingData

log = logging.getLogger(__name__)
_KEPT = 2  # checkpoints: the last may be cut short by a kill
_LOGGED = 200  # points of the loss curve, at most, however long the training


@dataclass(frozen=True)
class Fit:
    """What a training did. steps, examples, pairs: those that were learned from, fewer than asked
    for where `patience` ended it. curve: a point per logged step, {"step", "loss", "learning_rate"}
    or {"step", measures by name}. best: the step whose weights the student has now, with its
    measures; None without validation. resumed: the step it went on from, 0 for a fresh one.
    seconds, padding (share of the training tokens): since then. truncated: share of the pairs that
    fill `max_length`. queries_per_step: of all processes and accumulated batches."""

    steps: int
    queries_per_step: int
    examples: int
    curve: list[Mapping[str, float]]
    best: Mapping[str, float] | None
    resumed: int
    seconds: float
    pairs: int
    padding: float
    truncated: float
    trained_weights: int


def fit(student: Student, data: TrainingData, settings: FitSettings, folder: Path) -> Fit:
    """Train the student in place, with checkpoints in `folder`, from the last one that is there.

    Afterwards it has the weights of the best step on the validation queries, or of the last step
    where there are none.
    """
    batch = settings.queries_per_batch * settings.gradient_accumulation * world_size()
    examples = ordered_examples(data, settings, batch)
    validation = Validation(data, settings.measure, settings.gains)
    if settings.patience is not None and not len(validation):
        raise ConfigError(
            f"training.patience={settings.patience} needs queries for validation; set "
            "training.negatives.validation_share above 0, or training.patience=null"
        )
    rows = _rows(student, data, settings)
    student.encoder.rows = rows
    start = last_complete(folder)
    began = time.perf_counter()
    trainer = _trainer(student, data, settings, examples, validation, folder, start, batch)
    state = None if start is None else ended(start, validation.measure, settings.patience)
    if state is None:
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
        state = trainer.state
    student.encoder.eval()
    curve = curve_of(state.log_history)
    best = _take_best(student, folder, curve, validation.measure)
    learned = examples[: state.global_step * batch]
    seen = [row for group in learned for row in group.rows.tolist()]
    return Fit(
        steps=state.global_step,
        queries_per_step=batch,
        examples=len(learned),
        curve=curve,
        best=best,
        resumed=0 if start is None else int(start.name.split("-")[1]),
        seconds=time.perf_counter() - began,
        pairs=len(seen),
        padding=student.encoder.padding_share,
        truncated=float((rows.lengths[seen] >= settings.max_length).mean()),
        trained_weights=sum(w.numel() for w in trained_state(student.network).values()),
    )


def _rows(student: Student, data: TrainingData, settings: FitSettings) -> PairRows:
    return PairRows(
        student.encoder.tokenizer,
        data.query.tolist(),
        data.doc.tolist(),
        settings.max_length,
        settings.truncation,
    )


def _trainer(
    student: Student,
    data: TrainingData,
    settings: FitSettings,
    examples: Sequence[Group],
    validation: Validation,
    folder: Path,
    start: Path | None,
    batch: int,
) -> Any:
    from datasets import Dataset, disable_progress_bars
    from sentence_transformers.cross_encoder import CrossEncoderTrainer
    from torch.utils.data import BatchSampler, SequentialSampler
    from transformers import PrinterCallback

    disable_progress_bars()
    highest = float(gains_of(np.asarray(data.label), settings.gains).max())

    class Collator:
        valid_label_columns = ("label",)

        def __call__(self, features: Sequence[dict[str, int]]) -> dict[str, Any]:
            groups = [examples[feature["example"]] for feature in features]
            return arranged(
                groups, settings.objective, settings.gains, highest, settings.teacher_part
            )

    class RowTrainer(CrossEncoderTrainer):
        def get_batch_sampler(
            self, dataset: Any, batch_size: int, drop_last: bool, **_: Any
        ) -> Any:
            return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)

        def add_model_card_callback(self, _: Any) -> None:
            """The model card is written by `model_card`, from what was measured."""

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            write_weights(Path(output_dir or folder) / WEIGHTS, trained_state(student.network))

        def _load_from_checkpoint(self, checkpoint: str, model: Any = None) -> None:
            restore(student.network, read_weights(Path(checkpoint) / WEIGHTS))

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each process writes its own random state
            if is_main():
                mark_complete(folder / f"checkpoint-{self.state.global_step}")
                best = best_of(curve_of(self.state.log_history), validation.measure)
                if best is not None:
                    forget_worse(folder, int(best["step"]))

    steps = steps_of(examples, batch, world_size() > 1)
    trainer = RowTrainer(
        model=student.encoder,
        args=_arguments(settings, folder, steps, len(validation) > 0, start, student),
        train_dataset=Dataset.from_dict({"example": np.arange(len(examples))}),
        loss=build_loss(settings.objective, student.encoder, settings.temperature),
        evaluator=_evaluator(validation) if len(validation) else None,
        data_collator=Collator(),
        callbacks=[watch(student, settings, validation, folder, steps)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(
    settings: FitSettings,
    folder: Path,
    steps: int,
    validates: bool,
    start: Path | None,
    student: Student,
) -> Any:
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

    arguments = CrossEncoderTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.queries_per_batch,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.warmup * steps),
        weight_decay=settings.weight_decay,
        lr_scheduler_type="linear",
        seed=settings.seed,
        use_cpu=student.encoder.device.type == "cpu",
        logging_steps=max(1, steps // _LOGGED),
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validates else "no",
        eval_steps=settings.evaluate_every,
        # Before the first step, too: what training gains is the difference.
        eval_on_start=validates and start is None,
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        save_total_limit=_KEPT,
        dataloader_pin_memory=False,
        dataloader_drop_last=world_size() > 1,
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to="none",
    )
    # Several GPUs in one process would mean DataParallel; a process each is faster.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _evaluator(validation: Validation) -> Any:
    from sentence_transformers.base.evaluation import BaseEvaluator

    class RerankingEvaluator(BaseEvaluator):
        def __call__(self, model: Any, *_: Any, **__: Any) -> dict[str, float]:
            return validation.measures(model)

    return RerankingEvaluator()


def _take_best(
    student: Student, folder: Path, curve: Sequence[Mapping[str, float]], measure: str
) -> Mapping[str, float] | None:
    """Give the student the best weights that were met."""
    best = best_of(curve, measure)
    if best is not None and is_main():
        restore(student.network, read_weights(best_weights(folder, int(best["step"]))))
    return best
