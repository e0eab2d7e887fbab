"""Where a training by folds keeps its models, and which query is in which fold."""

from __future__ import annotations

from pathlib import Path

from evalkit.errors import DataError
from evalkit.io import read_json
from evalkit.rerankers.lessons import normal_text

FOLDS_FILE = "folds.json"
SCHEMA = 1


def fold_folder(folder: Path, fold: int) -> Path:
    """Where the training of a fold is: an output folder of its own."""
    return folder / f"fold-{fold}"


def read_folds(folder: Path) -> tuple[int, dict[str, int]]:
    """The number of folds, and the fold of each query's text (see `normal_text`); DataError."""
    path = folder / FOLDS_FILE
    if not path.is_file():
        raise DataError(
            f"{path}: not found; expected the output folder of "
            "`python -m evalkit task=train training.folds=5`"
        )
    found = read_json(path)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise DataError(f"{path}: schema {SCHEMA} expected; train again with this evalkit")
    return found["folds"], {normal_text(text): fold for _, text, fold in found["queries"]}
