"""Each objective against its formula, computed in float64 from the model's own scores."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from learnable import learnable_data
from tiny import save_cross_encoder

from evalkit.training.objectives import (
    OBJECTIVES,
    Group,
    Teacher,
    arranged,
    build_loss,
    gains_of,
)
from evalkit.training.pair_rows import PairRows
from evalkit.training.settings import FitSettings
from evalkit.training.student import build_student
from evalkit.training.validation import row_scores

# Lists of different sizes, graded labels, a tie between labels, a grade below 0.
SIZES = (4, 3, 5)
LABELS = np.array([2, 0, 0, 1, 1, 0, -1, 3, 1, 1, 0, 0], dtype=np.float32)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = save_cross_encoder(tmp_path_factory.mktemp("models") / "ce")
    settings = FitSettings(model=str(folder), max_length=32, dtype="float32", pairs_per_forward=4)
    data = learnable_data(queries=4)
    encoder = build_student(settings, "cpu").encoder
    encoder.rows = PairRows(encoder.tokenizer, list(data.query), list(data.doc), 32)
    return encoder.eval()


@pytest.fixture(scope="module")
def groups():
    teacher = np.random.default_rng(0).normal(size=len(LABELS)).astype(np.float32)
    bounds = pairwise(np.cumsum([0, *SIZES]))
    # Rows out of order: a score must find its way back to its doc.
    rows = np.random.default_rng(1).permutation(len(LABELS))
    return [Group(rows[a:b], LABELS[a:b], teacher[a:b]) for a, b in bounds]


def loss_of(encoder, groups, objective, gains="linear", temperature=1.0) -> float:
    highest = float(gains_of(LABELS, gains).max())
    columns = arranged(groups, objective, gains, highest)
    labels = columns.pop("label")
    loss = build_loss(objective, encoder, temperature)
    return loss(list(columns.values()), labels).item()


def scores_of(encoder, groups) -> list[np.ndarray]:
    return [row_scores(encoder, group.rows).astype(np.float64) for group in groups]


def softplus(x):
    return np.logaddexp(0.0, x)


def log_softmax(x):
    return x - np.logaddexp.reduce(x)


def worth(labels, gains):
    grades = np.maximum(labels.astype(np.float64), 0)
    return 2**grades - 1 if gains == "exponential" else grades


def pointwise(scores, groups, gains):
    s = np.concatenate(scores)
    y = np.concatenate([worth(g.labels, gains) for g in groups]) / worth(LABELS, gains).max()
    return np.mean(y * softplus(-s) + (1 - y) * softplus(s))


def ranknet(scores, groups, gains):
    return np.mean(
        [
            softplus(-(s[i] - s[j]))
            for s, g in zip(scores, groups, strict=True)
            for i in range(len(s))
            for j in range(len(s))
            if g.labels[i] > g.labels[j]
        ]
    )


def listwise(scores, groups, gains):
    values = [worth(g.labels, gains) for g in groups]
    return np.mean(
        [-(v / v.sum() * log_softmax(s)).sum() for s, v in zip(scores, values, strict=True)]
    )


def lambda_loss(scores, groups, gains):
    terms = []
    for s, g in zip(scores, groups, strict=True):
        order = np.argsort(-s)
        s, grades = s[order], g.labels[order]
        value = worth(grades, gains)
        ideal = (np.sort(value)[::-1] / np.log2(2 + np.arange(len(s)))).sum()
        gain = value / ideal
        for i in range(len(s)):
            for j in range(len(s)):
                if worth(grades, gains)[i] <= worth(grades, gains)[j]:
                    continue
                apart = abs(i - j)
                two = abs(1 / np.log2(1 + apart) - 1 / np.log2(2 + apart))
                rank = abs(1 / np.log2(2 + i) - 1 / np.log2(2 + j))
                weight = (10 * two + rank) * abs(gain[i] - gain[j])
                terms.append(weight * softplus(-(s[i] - s[j])))
    return np.mean(terms)


def margin_mse(scores, groups, gains):
    return np.mean(
        [
            ((s[i] - s[j]) - (float(g.teacher[i]) - float(g.teacher[j]))) ** 2
            for s, g in zip(scores, groups, strict=True)
            for i in np.flatnonzero(g.labels > 0)
            for j in np.flatnonzero(g.labels <= 0)
        ]
    )


def kl(scores, groups, gains, temperature=1.0):
    found = []
    for s, g in zip(scores, groups, strict=True):
        p = log_softmax(g.teacher.astype(np.float64) / temperature)
        found.append((np.exp(p) * (p - log_softmax(s / temperature))).sum())
    return temperature**2 * np.mean(found)


FORMULAS = {
    "pointwise": pointwise, "pairwise": ranknet, "listwise": listwise, "lambda": lambda_loss,
    "margin_mse": margin_mse, "kl": kl,
}  # fmt: skip


def test_every_objective_has_a_formula_here():
    assert set(FORMULAS) == set(OBJECTIVES)


@pytest.mark.parametrize("gains", ["linear", "exponential"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_loss_is_its_formula(encoder, groups, objective, gains):
    expected = FORMULAS[objective](scores_of(encoder, groups), groups, gains)
    assert loss_of(encoder, groups, objective, gains) == pytest.approx(expected, rel=2e-5)


def test_the_temperature_of_kl(encoder, groups):
    expected = kl(scores_of(encoder, groups), groups, "linear", temperature=2.5)
    found = loss_of(encoder, groups, "kl", temperature=2.5)
    assert found == pytest.approx(expected, rel=2e-5)
    assert found != pytest.approx(kl(scores_of(encoder, groups), groups, "linear"), rel=1e-2)


@pytest.mark.parametrize("objective", ["kl", "margin_mse"])
def test_a_student_that_scores_as_its_teacher_has_no_loss(encoder, groups, objective):
    own = [scores.astype(np.float32) for scores in scores_of(encoder, groups)]
    same = [group._replace(teacher=s) for group, s in zip(groups, own, strict=True)]
    assert loss_of(encoder, same, objective) == pytest.approx(0, abs=1e-6)


def test_one_positive_makes_listwise_the_cross_entropy_of_its_softmax(encoder, groups):
    one = [g._replace(labels=np.eye(len(g.rows), dtype=np.float32)[0]) for g in groups]
    expected = np.mean([-log_softmax(s)[0] for s in scores_of(encoder, groups)])
    assert loss_of(encoder, one, "listwise") == pytest.approx(expected, rel=2e-5)


def test_a_teacher_has_its_share_of_listwise_targets(encoder, groups):
    teacher = Teacher(share=0.3, temperature=0.5)
    columns = arranged(groups, "listwise", "linear", 3.0, teacher)
    labels = columns.pop("label")
    found = build_loss("listwise", encoder, 1.0)(list(columns.values()), labels).item()
    expected = []
    for s, g in zip(scores_of(encoder, groups), groups, strict=True):
        gains = worth(g.labels, "linear")
        said = np.exp(log_softmax(g.teacher.astype(np.float64) / 0.5))
        expected.append(-((0.7 * gains / gains.sum() + 0.3 * said) * log_softmax(s)).sum())
    assert found == pytest.approx(np.mean(expected), rel=2e-5)


def test_a_teacher_without_a_share_is_not_asked(encoder, groups):
    without = [g._replace(teacher=np.full_like(g.teacher, np.nan)) for g in groups]
    assert loss_of(encoder, without, "listwise") == loss_of(encoder, groups, "listwise")


def test_a_doc_that_stands_in_several_pairs_is_scored_once(encoder, groups, monkeypatch):
    asked: list[int] = []
    scored = type(encoder)._scores
    monkeypatch.setattr(
        type(encoder), "_scores", lambda self, rows: asked.extend(rows) or scored(self, rows)
    )
    loss_of(encoder, groups, "margin_mse")
    positives = sum(int((g.labels > 0).sum()) for g in groups)
    others = sum(int((g.labels <= 0).sum()) for g in groups)
    assert len(asked) == positives + others


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_reaches_the_weights(encoder, groups, objective):
    columns = arranged(groups, objective, "linear", 3.0)
    labels = columns.pop("label")
    encoder.zero_grad()
    build_loss(objective, encoder, 1.0)(list(columns.values()), labels).backward()
    weight = encoder[0].model.classifier.weight.grad
    assert torch.isfinite(weight).all()
    assert weight.abs().max() > 0
