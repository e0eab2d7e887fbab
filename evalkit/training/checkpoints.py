"""The folder of a training that goes on: checkpoints, the best weights so far, and nothing else.

It depends on settings, data and model, so that the same command finds it again. A checkpoint counts
once its mark is there, which is written last: one that a kill cut short is passed over.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from evalkit.io import atomic, write_json
from evalkit.types import fingerprint

MARK = "complete.json"
WEIGHTS = "trained.safetensors"

# Settings that a training may go on with changed: the weights differ by rounding, and by the draws
# of dropout, which depend on how many pairs are computed together.
_INDIFFERENT = ("checkpoint_every", "pairs_per_forward")


def work_folder(
    cache_dir: Path, settings: dict[str, Any], data: str, model: str, processes: int = 1
) -> Path:
    """Where the training of these settings on this data and model keeps its checkpoints.

    settings: those of `FitSettings`. data, model: digests. processes: that train together; a step
    of two takes twice the queries, so that one's checkpoint is no start for the other.
    """
    decisive = {key: value for key, value in settings.items() if key not in _INDIFFERENT}
    if processes > 1:
        decisive["processes"] = processes
    key = fingerprint("training", settings=decisive, data=data, model=model)
    return cache_dir / "training" / key


def last_complete(folder: Path) -> Path | None:
    """The latest checkpoint that was written whole."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{MARK}")]
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def mark_complete(folder: Path) -> None:
    """Say that a checkpoint's files are all there; each is on disk before its mark is."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    write_json(folder / MARK, {"files": sorted(path.name for path in folder.iterdir())})


def write_weights(path: Path, state: dict[str, Any]) -> None:
    """Tensors by name, whole or not at all."""
    from safetensors.torch import save_file

    with atomic(path) as temporary:
        save_file(state, temporary)


def read_weights(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)


def best_weights(folder: Path, step: int) -> Path:
    """Where the weights of a step are kept that was the best when it was met."""
    return folder / f"best-{step}.safetensors"


def forget_worse(folder: Path, step: int) -> None:
    """Take away what was the best before `step`.

    To be called after a checkpoint only: a training that goes on from an earlier one needs them.
    """
    for path in folder.glob("best-*.safetensors"):
        if path != best_weights(folder, step):
            path.unlink()


def clear(folder: Path) -> None:
    """Take all checkpoints away: a training begins anew, or is done and saved."""
    shutil.rmtree(folder, ignore_errors=True)
