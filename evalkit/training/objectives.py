"""What training minimises, by name; sentence-transformers' losses, fed groups of one query's docs.

    pointwise   binary cross entropy of each score with its gain over the highest gain
    pairwise    RankNet (Burges et al., ICML 2005): log(1 + exp(s_j - s_i)), mean over the pairs of
                a query's docs in which i has the higher label
    listwise    softmax cross entropy over a query's docs; the target is gain / sum of gains, which
                with one positive is that of Gao et al. (ECIR 2021); a `Teacher` has a share in it
    lambda      LambdaLoss (Wang et al., CIKM 2018), weights NDCG-Loss2++
    margin_mse  squared error of score differences between a positive and each other doc, against
                the teacher's (Hofstätter et al., 2020)
    kl          Kullback-Leibler divergence of the scores' softmax from the teacher's, both at a
                temperature T, times T² as in Hinton et al. (2015)

A gain is the label itself, or 2**label - 1 with gains=exponential. The losses ask the model by
(query, row) pairs, see `student.Student`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

if TYPE_CHECKING:
    import torch

Objective = Literal["pointwise", "pairwise", "listwise", "lambda", "margin_mse", "kl"]
Gains = Literal["linear", "exponential"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)
NEEDS_TEACHER = ("margin_mse", "kl")


class Teacher(NamedTuple):
    """A teacher's part in listwise targets: (1 - share) · gain / sum of gains + share · softmax of
    the teacher's scores over the temperature, as Hinton et al. (2015) mix what is right with what a
    teacher says. Unlike in kl, the student's scores are not divided by the temperature."""

    share: float = 0.0
    temperature: float = 1.0


class Group(NamedTuple):
    """One query's docs in an example: rows of the training data, int64, shape (n,); labels and the
    teacher's scores (NaN without one), float32, shape (n,)."""

    rows: np.ndarray
    labels: np.ndarray
    teacher: np.ndarray


def gains_of(labels: np.ndarray, gains: str) -> np.ndarray:
    """What each grade is worth: float64, the shape of `labels`; grades below 0 count as 0."""
    grades = np.maximum(np.asarray(labels, dtype=np.float64), 0.0)
    return np.exp2(grades) - 1.0 if gains == "exponential" else grades


def arranged(
    groups: Sequence[Group],
    objective: str,
    gains: str,
    highest: float,
    teacher: Teacher = Teacher(),  # noqa: B008  (a constant)
) -> dict[str, list[Any] | torch.Tensor]:
    """The columns that the objective's loss expects, in its order, "label" last.

    highest: the highest gain in all of the data, which pointwise takes as certain relevance.
    teacher: what part another model's scores have in listwise targets.
    """
    if objective == "margin_mse":
        return _margins(groups)
    if objective == "pointwise":
        rows = np.concatenate([group.rows for group in groups])
        values = np.concatenate([gains_of(group.labels, gains) / highest for group in groups])
        return {"query": [0] * len(rows), "doc": rows.tolist(), "label": _tensor(values)}
    labels = [_labels(group, objective, gains, teacher) for group in groups]
    return {
        "query": [0] * len(groups),
        "docs": [group.rows.tolist() for group in groups],
        "label": [_tensor(values) for values in labels],
    }


def _labels(group: Group, objective: str, gains: str, teacher: Teacher) -> np.ndarray:
    if objective == "pairwise":
        return group.labels
    if objective == "kl":
        return group.teacher
    values = gains_of(group.labels, gains)
    if objective == "lambda":
        # The loss itself raises 2 to the label and takes 1 away.
        return np.log2(1.0 + values)
    target = values / values.sum()
    if teacher.share:
        target = (1.0 - teacher.share) * target + teacher.share * _softmax(
            group.teacher.astype(np.float64) / teacher.temperature
        )
    with np.errstate(divide="ignore"):
        # ListNet's target is the labels' softmax: of the logarithms, that is the target itself.
        return np.log(target)


def _softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def _margins(groups: Sequence[Group]) -> dict[str, list[Any] | torch.Tensor]:
    """Triplets (query, positive, other doc) with the teacher's margin between the two."""
    positives: list[int] = []
    others: list[int] = []
    margins: list[float] = []
    for rows, labels, teacher in groups:
        for i in np.flatnonzero(labels > 0):
            for j in np.flatnonzero(labels <= 0):
                positives.append(int(rows[i]))
                others.append(int(rows[j]))
                margins.append(float(teacher[i]) - float(teacher[j]))
    return {
        "query": [0] * len(positives),
        "positive": positives,
        "other": others,
        "label": _tensor(np.array(margins)),
    }


def _tensor(values: np.ndarray) -> torch.Tensor:
    import torch

    return torch.tensor(values, dtype=torch.float32)


def build_loss(objective: str, model: Any, temperature: float) -> Any:
    """The loss module over `model`: what arranges the docs is asked for scores in one call.

    model: sentence-transformers' CrossEncoder. temperature: of kl.
    """
    from sentence_transformers.cross_encoder import losses

    # One call for all docs: the model itself makes batches of similar length of them.
    whole = {"mini_batch_size": -1}
    makers: dict[str, Callable[[], Any]] = {
        "pointwise": lambda: losses.BinaryCrossEntropyLoss(model),
        "pairwise": lambda: losses.RankNetLoss(model, reduction_log="natural", **whole),
        "listwise": lambda: losses.ListNetLoss(model, **whole),
        "lambda": lambda: losses.LambdaLoss(model, reduction_log="natural", **whole),
        "margin_mse": lambda: losses.MarginMSELoss(model),
        "kl": lambda: _kl_loss(model, temperature),
    }
    return makers[objective]()


def _kl_loss(model: Any, temperature: float) -> Any:
    """ListNet's cross entropy with the teacher's softmax, less that softmax's own entropy.

    sentence-transformers has the first part; the second is a constant for the gradient and makes 0
    the loss of a perfect student.
    """
    import torch
    from sentence_transformers.cross_encoder.losses import ListNetLoss

    class Cooled(torch.nn.Module):
        def forward(self, logits: torch.Tensor) -> torch.Tensor:
            return logits / temperature

    class KLLoss(ListNetLoss):
        def forward(self, inputs: Any, labels: Any, **settings: Any) -> torch.Tensor:
            cooled = [scores / temperature for scores in labels]
            logs = [torch.log_softmax(scores, dim=0) for scores in cooled]
            entropy = -torch.stack([(log.exp() * log).sum() for log in logs]).mean()
            crossed = super().forward(inputs, cooled, **settings)
            return math.pow(temperature, 2) * (crossed - entropy.to(crossed.device))

    return KLLoss(model, activation_fn=Cooled(), mini_batch_size=-1)
