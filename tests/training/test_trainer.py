"""Training a tiny student: it learns, it repeats itself, it goes on where it was stopped."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from learnable import learnable_data
from tiny import save_adapter, save_bi_encoder, save_cross_encoder

from evalkit.errors import ConfigError, ScoreError
from evalkit.training.attention import use_float32_attention
from evalkit.training.checkpoints import WEIGHTS, last_complete, read_weights, work_folder
from evalkit.training.examples import ordered_examples
from evalkit.training.layers import keep_layers
from evalkit.training.pair_rows import PairRows
from evalkit.training.settings import FitSettings, LoraSettings
from evalkit.training.student import (
    build_student,
    restore,
    save_student,
    trained_state,
)
from evalkit.training.trainer import fit
from evalkit.training.validation import Validation, row_scores

LORA = LoraSettings(rank=4, alpha=8, dropout=0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_cross_encoder(tmp_path_factory.mktemp("models") / "ce")


@pytest.fixture(scope="module")
def data():
    return learnable_data(queries=32, validation=16)


@pytest.fixture
def settings(model):
    """Ten steps over all weights, in float32, with dropout."""
    return FitSettings(
        model=str(model), max_length=32, dtype="float32", steps=10, learning_rate=1e-3,
        docs_per_query=4, evaluate_every=5, checkpoint_every=5,
    )  # fmt: skip


def trained(settings, data, folder):
    student = build_student(settings, "cpu")
    return student, fit(student, data, settings, folder)


def weights(student) -> np.ndarray:
    return np.concatenate([w.numpy().ravel() for w in trained_state(student.network).values()])


def test_it_learns_what_can_be_learned(settings, data, tmp_path):
    settings = replace(settings, steps=60, learning_rate=1e-2, dropout=0.0, evaluate_every=20)
    data = learnable_data(queries=64, validation=16)
    student, done = trained(settings, data, tmp_path)
    first = done.curve[0]
    assert first["step"] == 0
    assert first["RR@10"] < 0.7
    assert done.best["RR@10"] > 0.95
    # It has the weights of the best step, not of the last.
    again = Validation(data, "RR@10").measures(student.encoder)
    assert again["RR@10"] == pytest.approx(done.best["RR@10"])


def test_the_best_step_is_kept_not_the_last(settings, data, tmp_path, monkeypatch):
    values = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr(Validation, "measures", lambda *_: {"RR@10": next(values)})
    student, done = trained(settings, data, tmp_path)
    assert done.best == {"step": 5, "RR@10": 0.9}
    at_5, at_10 = (
        np.concatenate([w.numpy().ravel() for w in read_weights(path).values()])
        for path in (tmp_path / "best-5.safetensors", tmp_path / "checkpoint-10" / WEIGHTS)
    )
    assert np.array_equal(np.sort(weights(student)), np.sort(at_5))
    assert not np.array_equal(np.sort(at_5), np.sort(at_10))


@pytest.mark.parametrize("lora", [None, LORA])
def test_the_same_seed_gives_the_same_weights(settings, tmp_path, lora):
    settings = replace(settings, lora=lora)
    data = learnable_data()  # nothing to validate with: the weights are the last step's
    one, first = trained(settings, data, tmp_path / "one")
    two, second = trained(settings, data, tmp_path / "two")
    other, _ = trained(replace(settings, seed=1), data, tmp_path / "other")
    assert np.array_equal(weights(one), weights(two))
    assert first.curve == second.curve
    assert not np.allclose(weights(one), weights(other), atol=1e-4)


class Killed(BaseException):
    """Not an Exception: nothing may catch it on the way."""


@pytest.mark.parametrize(("stop", "resumed"), [(7, 5), (5, 5), (3, 0)])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(
    settings, data, tmp_path, monkeypatch, stop, resumed
):
    data = data.where(data.split == "train") if resumed else data  # then the last weights count
    whole, expected = trained(settings, data, tmp_path / "whole")
    student = build_student(settings, "cpu")
    forward, calls = type(student.encoder).forward, []

    def until(self, features):
        calls.append(self.training)
        if sum(calls) > stop:
            raise Killed
        return forward(self, features)

    monkeypatch.setattr(type(student.encoder), "forward", until)
    with pytest.raises(Killed):
        fit(student, data, settings, tmp_path / "stopped")
    again, done = trained(settings, data, tmp_path / "stopped")
    assert done.resumed == resumed
    assert np.abs(weights(again) - weights(whole)).max() < 1e-6
    assert done.curve == expected.curve


def test_a_checkpoint_that_was_cut_short_is_passed_over(settings, data, tmp_path):
    _, expected = trained(settings, data, tmp_path)
    assert last_complete(tmp_path).name == "checkpoint-10"
    (tmp_path / "checkpoint-10" / "complete.json").unlink()
    (tmp_path / "checkpoint-10" / "optimizer.pt").write_bytes(b"half")
    assert last_complete(tmp_path).name == "checkpoint-5"
    _, done = trained(settings, data, tmp_path)
    assert (done.resumed, done.curve) == (5, expected.curve)


def test_a_checkpoint_is_found_by_what_decides_its_steps_only(tmp_path):
    def folder(settings=None, processes=1):
        return work_folder(tmp_path, (settings or FitSettings()).plain(), "data", "m", processes)

    assert folder() == folder(FitSettings(checkpoint_every=7))
    others = [folder(FitSettings(seed=1)), folder(processes=2), folder(processes=4)]
    assert len({folder(), *others}) == 4


def test_accumulated_batches_are_one_large_batch(settings, data, tmp_path):
    settings = replace(settings, dropout=0.0, queries_per_batch=8)
    halves = replace(settings, queries_per_batch=4, gradient_accumulation=2, pairs_per_forward=3)
    done = [
        trained(each, data, tmp_path / name)[1]
        for name, each in (("one", settings), ("two", halves))
    ]
    assert [each.queries_per_step for each in done] == [8, 8]
    curves = [
        [point[name] for point in each.curve if "loss" in point for name in ("loss", "grad_norm")]
        for each in done
    ]
    # The losses, not the weights: Adam turns the rounding of a gradient that is 0, such as that of
    # the head's bias, into whole steps.
    assert len(curves[0]) == 20  # losses and the gradients' norms: Adam would hide a factor
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)
    assert np.ptp(curves[0]) > 0.1


def test_it_stops_when_the_measure_no_longer_rises(settings, data, tmp_path, monkeypatch):
    values = iter([0.2, 0.5, 0.4, 0.3, 0.9])
    monkeypatch.setattr(Validation, "measures", lambda *_: {"RR@10": next(values)})
    patient = replace(settings, steps=50, patience=2)
    _, done = trained(patient, data, tmp_path)
    assert done.steps == 15
    assert done.best == {"step": 5, "RR@10": 0.5}
    # 15 steps of 8 queries with 4 docs were learned from, not the 50 that were asked for.
    assert (done.examples, done.pairs) == (120, 480)


@pytest.mark.parametrize("every", [5, 4])
def test_a_training_out_of_patience_is_over_when_it_is_started_again(
    settings, data, tmp_path, monkeypatch, every
):
    values = iter([0.2, 0.5, 0.4, 0.3, 0.9])
    monkeypatch.setattr(Validation, "measures", lambda *_: {"RR@10": next(values)})
    patient = replace(settings, steps=50, patience=2, checkpoint_every=every)
    student, done = trained(patient, data, tmp_path)
    again, same = trained(patient, data, tmp_path)
    assert (same.steps, same.best, same.curve) == (done.steps, done.best, done.curve)
    assert same.resumed == 15
    assert np.array_equal(weights(again), weights(student))


def test_patience_without_validation_queries_is_refused(settings, tmp_path):
    with pytest.raises(ConfigError, match=r"patience=2 needs queries for validation"):
        trained(replace(settings, patience=2), learnable_data(), tmp_path)


def test_without_validation_queries_the_last_step_counts(settings, tmp_path):
    _, done = trained(settings, learnable_data(), tmp_path)
    assert done.best is None
    assert [p["step"] for p in done.curve] == list(range(1, 11))


def test_a_loss_that_is_no_number_ends_it(settings, data, tmp_path):
    with pytest.raises(ScoreError, match=r"the loss is (nan|inf) at step \d+; lower"):
        trained(replace(settings, learning_rate=1e30, warmup=0.0), data, tmp_path)


def test_each_epoch_sees_each_query_once_in_another_order(settings, data):
    settings = replace(settings, steps=None, epochs=2, docs_per_query=3)
    examples = ordered_examples(data, settings, 8)
    query_of = [data.query_id[group.rows[0]] for group in examples]
    first, second = query_of[:32], query_of[32:]
    assert sorted(first) == sorted(second) == sorted(f"q{i}" for i in range(32))
    assert first != second
    assert {len(group.rows) for group in examples} == {3}
    assert all(group.labels[0] == 1 and not group.labels[1:].any() for group in examples)
    drawn = {q: set() for q in first}
    for q, group in zip(query_of, examples, strict=True):
        drawn[q].add(tuple(group.rows.tolist()))
    assert max(map(len, drawn.values())) == 2


def test_rows_are_what_the_tokenizer_makes(settings, data):
    tokenizer = build_student(settings, "cpu").encoder.tokenizer
    queries, docs = list(data.query), list(data.doc)
    rows = PairRows(tokenizer, queries, docs, 12)
    wanted = np.array([5, 0, 17, 3])
    expected = tokenizer(
        [queries[i] for i in wanted], [docs[i] for i in wanted], truncation="only_second",
        max_length=12, padding=True, return_tensors="pt",
    )  # fmt: skip
    found = rows.batch(wanted)
    assert found.keys() == set(expected)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    assert rows.lengths.max() == 12


def test_batches_have_few_widths_and_padding_changes_no_score(settings, data):
    encoder = build_student(settings, "cpu").encoder
    encoder.rows = PairRows(encoder.tokenizer, list(data.query), list(data.doc), 13)
    lengths = encoder.rows.lengths
    widths = [encoder.rows.batch(np.array([i]))["input_ids"].shape[1] for i in range(len(lengths))]
    assert widths == [min(-(-n // 8) * 8, 13) for n in lengths]
    assert set(widths) == {8, 13}
    alone = np.concatenate([row_scores(encoder, np.array([i])) for i in range(16)])
    assert np.abs(alone - row_scores(encoder, np.arange(16))).max() < 1e-5


def test_a_query_that_is_too_long_leaves_room_for_the_doc(settings):
    tokenizer = build_student(settings, "cpu").encoder.tokenizer
    rows = PairRows(tokenizer, ["search " * 40], ["index rerank score token"], 16)
    text = tokenizer.decode(rows.ids)
    assert rows.lengths.tolist() == [16]
    assert "index" in text
    assert text.count("search") == 12
    with pytest.raises(ConfigError, match="max_length=4: no room"):
        PairRows(tokenizer, ["search"], ["index"], 4)


@pytest.mark.parametrize("lora", [None, LORA])
def test_what_is_saved_scores_as_what_was_trained(settings, data, tmp_path, lora):
    from transformers import AutoTokenizer

    from evalkit.adapters import find_checkpoint, load_classifier

    student, _ = trained(replace(settings, lora=lora, learning_rate=1e-2), data, tmp_path / "work")
    rows = np.arange(12)
    expected = row_scores(student.encoder, rows)
    save_student(student, tmp_path / "saved", 32)
    checkpoint = find_checkpoint(str(tmp_path / "saved"))
    assert (checkpoint.base is None) == (lora is None)
    network = load_classifier(checkpoint, "float32", "cpu")
    tokenizer = AutoTokenizer.from_pretrained(str(checkpoint.tokenizer))
    inputs = tokenizer(
        list(data.query[:12]), list(data.doc[:12]), truncation="only_second", max_length=32,
        padding=True, return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad():
        found = network(**inputs).logits.reshape(-1).numpy()
    assert np.abs(found - expected).max() < (1e-5 if lora is None else 2e-2)
    assert np.ptp(expected) > 0.5


def test_training_goes_on_from_an_adapter(settings, data, model, tmp_path):
    save_adapter(tmp_path / "adapter", model, target_modules=["query", "value"])
    start = replace(settings, model=str(tmp_path / "adapter"), base_model=str(model))
    with pytest.raises(ConfigError, match=r"rank=4, alpha=9.*has 4 and 8; set these"):
        build_student(replace(start, lora=LoraSettings(rank=4, alpha=9)), "cpu")
    adapted = build_student(replace(start, lora=LORA), "cpu")
    merged = build_student(start, "cpu")
    rows = np.arange(8)
    for student in (adapted, merged):
        student.encoder.rows = PairRows(
            student.encoder.tokenizer, list(data.query), list(data.doc), 32
        )
    one, two = (row_scores(student.encoder, rows) for student in (adapted, merged))
    assert np.abs(one - two).max() < 1e-4
    fit(adapted, data, replace(start, lora=LORA), tmp_path / "work")
    save_student(adapted, tmp_path / "saved", 32)
    saved = json.loads((tmp_path / "saved" / "adapter_config.json").read_text(encoding="utf-8"))
    assert len(set(saved["modules_to_save"])) == len(saved["modules_to_save"])
    learning = [weights.requires_grad for weights in merged.network.parameters()]
    assert learning
    assert all(learning)
    assert fit(merged, data, start, tmp_path / "merged").trained_weights > 0
    # The card of what was trained further names the base, not the adapter.
    assert adapted.base == saved["base_model_name_or_path"]
    assert merged.base == start.model


def test_a_model_without_a_head_gets_one_by_the_seed(settings, tmp_path):
    plain = save_bi_encoder(tmp_path / "plain")
    first, second, other = (
        trained_state(build_student(replace(settings, model=str(plain), seed=s), "cpu").network)
        for s in (0, 0, 1)
    )
    assert torch.equal(first["classifier.weight"], second["classifier.weight"])
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_an_adapter_names_the_layers_that_it_cannot_find(settings):
    with pytest.raises(ConfigError, match=r"no linear layers of these names.*all-linear"):
        build_student(replace(settings, lora=LoraSettings(modules=["q_proj"])), "cpu")


def test_a_smaller_student_has_the_first_layers(settings):
    whole = build_student(settings, "cpu")
    small = build_student(replace(settings, num_layers=1), "cpu")
    assert small.network.config.num_hidden_layers == 1
    name = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(trained_state(small.network)[name], trained_state(whole.network)[name])
    assert not any("layer.1." in key for key in trained_state(small.network))
    with pytest.raises(ConfigError, match="num_layers=5: the model has 2"):
        keep_layers(whole.network, 5)


def test_weights_of_another_model_are_not_put_back(settings):
    student = build_student(settings, "cpu")
    with pytest.raises(ConfigError, match=r"set training\.resume=false"):
        restore(student.network, {"classifier.weight": torch.zeros(1, 32)})


def test_attention_in_float32_is_the_same_attention(settings, data):
    student = build_student(settings, "cpu")
    student.encoder.rows = PairRows(student.encoder.tokenizer, list(data.query), list(data.doc), 32)
    rows = np.arange(20)
    expected = row_scores(student.encoder, rows)
    use_float32_attention(student.network)
    assert student.network.config._attn_implementation != "sdpa"
    assert np.abs(row_scores(student.encoder, rows) - expected).max() < 1e-5


def test_bfloat16_trains_as_float32_does_within_its_precision(settings, data, tmp_path):
    settings = replace(settings, dropout=0.0)
    exact, _ = trained(settings, data, tmp_path / "one")
    half, _ = trained(replace(settings, dtype="bfloat16"), data, tmp_path / "two")
    one, two = (row_scores(student.encoder, np.arange(64)) for student in (exact, half))
    assert np.corrcoef(one, two)[0, 1] > 0.95
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "training.steps=0: expected at least 1"),
        ({"learning_rate": -1.0}, "training.learning_rate=-1.0"),
        ({"warmup": 1.0}, "training.warmup=1.0"),
        ({"dropout": 1.0}, "training.dropout=1.0"),
        ({"docs_per_query": 1}, "training.docs_per_query=1"),
        ({"teacher_share": 1.5}, "training.teacher_share=1.5: expected from 0 to 1"),
        ({"teacher_share": 0.5, "objective": "kl"}, "training.objective=listwise"),
        ({"lora": LORA, "num_layers": 1}, "training.num_layers=1 with training.lora"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        FitSettings(**changes)
