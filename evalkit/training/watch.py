"""What happens between the steps: the best weights are kept, old ones end it, figures are told."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import ScoreError
from evalkit.progress import track
from evalkit.training.checkpoints import best_weights, write_weights
from evalkit.training.processes import is_main
from evalkit.training.settings import FitSettings
from evalkit.training.student import Student, trained_state
from evalkit.training.validation import Validation

log = logging.getLogger(__name__)


def watch(
    student: Student, settings: FitSettings, validation: Validation, folder: Path, steps: int
) -> Any:
    """The trainer's callback. steps: of the whole training."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        """Keeps the best weights, stops when they are old, and says how it goes.

        All is told from the log of evaluations, which a checkpoint holds: a training that goes on
        decides as one that was never interrupted.
        """

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            left = range(state.global_step, steps)
            self._bar = iter(track(left, "Training", len(left)))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            next(self._bar, None)
            # The last step counts, also where it is no multiple of `evaluate_every`.
            control.should_evaluate |= state.global_step >= steps and len(validation) > 0

        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any
        ) -> None:
            if not np.isfinite(logs.get("loss", 0.0)):
                raise ScoreError(
                    f"the loss is {logs['loss']} at step {state.global_step}; lower "
                    "training.learning_rate, or set training.dtype=float32"
                )

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            for _step in self._bar:  # those that were spared
                pass

        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            curve = curve_of(state.log_history)
            best = best_of(curve, validation.measure)
            if best is None:
                return
            if is_main():
                if best["step"] == state.global_step:
                    kept = best_weights(folder, state.global_step)
                    write_weights(kept, trained_state(student.network))
                _say(curve[-1], state, steps)
            if out_of_patience(curve, validation.measure, settings.patience):
                # Saved, too: what goes on from here must know that it is over.
                control.should_training_stop = control.should_save = True

    return Watch()


def _say(point: Mapping[str, float], state: Any, steps: int) -> None:
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    shown = [f"{name} {value:.4f}" for name, value in point.items() if name != "step"]
    if losses:
        shown.insert(0, f"loss {losses[-1]:.4f}")
    log.info("step %d of %d: %s", state.global_step, steps, ", ".join(shown))


def curve_of(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, float]]:
    """Losses and measures by step, from the trainer's log; times and totals left out."""
    curve: list[Mapping[str, float]] = []
    for entry in history:
        point: dict[str, float] = {"step": int(entry["step"])}
        if "loss" in entry:
            named = ("loss", "learning_rate", "grad_norm")
            point |= {name: float(entry[name]) for name in named if name in entry}
        measured = {k.removeprefix("eval_"): v for k, v in entry.items() if k.startswith("eval_")}
        times = ("runtime", "samples_per_second", "steps_per_second")
        point |= {name: float(value) for name, value in measured.items() if name not in times}
        if len(point) > 1:
            curve.append(point)
    return curve


def best_of(curve: Sequence[Mapping[str, float]], measure: str) -> Mapping[str, float] | None:
    """The first point with the highest value of the measure; None where it was never taken."""
    points = [point for point in curve if measure in point]
    return max(points, key=lambda point: (point[measure], -point["step"]), default=None)


def ended(start: Path, measure: str, patience: int | None) -> Any:
    """The state in a checkpoint whose training was out of patience; None where it is to go on.

    transformers stops a training at the end of a step: one that had ended would learn on.
    """
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(start / "trainer_state.json"))
    return state if out_of_patience(curve_of(state.log_history), measure, patience) else None


def out_of_patience(
    curve: Sequence[Mapping[str, float]], measure: str, patience: int | None
) -> bool:
    """Whether the measure has not risen for `patience` evaluations; never for None."""
    best = best_of(curve, measure)
    if best is None or patience is None:
        return False
    return sum(measure in point and point["step"] > best["step"] for point in curve) >= patience
