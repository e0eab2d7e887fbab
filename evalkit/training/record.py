"""The record of a training, as training.json holds it: where the model comes from, how it went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.training.data import TrainingData
from evalkit.training.examples import usable_groups
from evalkit.training.settings import TrainingSettings
from evalkit.training.trainer import Fit
from evalkit.types import Dataset

RECORD = "training.json"
SCHEMA = 1
# Where all of so many queries rise, a two-sided sign test gives p = 2 × 0.5^10 = 0.002: the best of
# 25 steps is told from chance at 0.05, if only just. With fewer queries it is not.
MIN_VALIDATION = 10


def record(
    name: str,
    training: TrainingSettings,
    dataset: Dataset,
    data: TrainingData,
    leaks: Sequence[Mapping[str, Any]],
    earlier: Sequence[Mapping[str, Any]],
    teacher: str | None,
    base: str,
    digests: Mapping[str, str],
    done: Fit,
    manifest: Mapping[str, Any],
) -> dict[str, Any]:
    """Plain JSON data.

    dataset: what was chosen; the one that the data says it was mined from counts. leaks: a
    `LeakReport` each. earlier: as `lineage.inherited` tells. teacher: its fingerprint. base: name
    of the model below an adapter, or of the one that was trained. digests: "base", of what training
    started from, and "model".
    """
    mined = data.origin.get("dataset") or {}
    return {
        "schema": SCHEMA,
        "name": name,
        "settings": training.fit.plain(),
        "dataset": {
            "dataset_id": mined.get("dataset_id", dataset.dataset_id),
            "digest": mined.get("digest", dataset.digest),
        },
        "data": {
            "digest": data.digest,
            "rows": len(data),
            "queries": {
                "train": len(usable_groups(data, "train")),
                "validation": len(usable_groups(data, "validation")),
                "sentences": int((data.source == "cloze").sum()),
            },
            "sources": dict(Counter(data.source[data.label <= 0].tolist())),
            "origin": dict(data.origin),
        },
        "leaks": list(leaks),
        "earlier_trainings": list(earlier),
        "teacher": None if teacher is None else {"name": training.teacher, "fingerprint": teacher},
        "base": {"name": base, "started_from": training.fit.model, "digest": digests["base"]},
        "model": {
            "path": "model",
            "kind": "model" if training.fit.lora is None else "adapter",
            "digest": digests["model"],
        },
        "licence": training.licence,
        "fit": vars(done),
        "manifest": dict(manifest),
    }


def few_queries(count: int, measure: str) -> str:
    """What to say of so few validation queries; "" for enough, or for none, where nothing is
    chosen."""
    if not 0 < count < MIN_VALIDATION:
        return ""
    return (
        f"{_counted(count)} cannot choose a step: {measure} on fewer than {MIN_VALIDATION} differs "
        "by chance; raise training.negatives.validation_share, or set it to 0, which keeps the "
        "last step"
    )


def untrained(found: Mapping[str, Any]) -> str:
    """What to say where the best step is the one before training; "" elsewhere."""
    best = found["fit"]["best"]
    if best is None or best["step"] > 0:
        return ""
    queries = _counted(found["data"]["queries"]["validation"])
    return (
        f"no step was better than step 0 on {queries}: what is kept is the model as it was before "
        "training; train longer (training.epochs), or change training.learning_rate"
    )


def result_line(found: Mapping[str, Any]) -> str:
    """The measures before and after, in a line; "" without validation queries."""
    figures = [f"{name} {a:.4f} → {b:.4f}" for name, a, b in before_and_after(found)]
    if not figures:
        return ""
    queries, step = found["data"]["queries"]["validation"], found["fit"]["best"]["step"]
    return f"On {_counted(queries)}, step {step}: {', '.join(figures)}"


def _counted(queries: int) -> str:
    return f"{queries:,} validation {'query' if queries == 1 else 'queries'}"


def before_and_after(found: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """(measure, at the first evaluation, at the step that was kept) on the validation queries;
    empty where there were none."""
    best, curve = found["fit"]["best"], found["fit"]["curve"]
    if best is None:
        return []
    first = next(point for point in curve if best.keys() <= point.keys())
    return [(name, first[name], best[name]) for name in best if name != "step"]
