"""The fast cross-encoder against sentence-transformers, and what it refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from tiny import save_adapter, save_bi_encoder, save_cross_encoder, save_tokenizer, toy_dataset

from evalkit.errors import ConfigError
from evalkit.models import dtype_name
from evalkit.rerankers import classifier
from evalkit.rerankers.classifier import ClassifierScorer
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.rerankers.reference import ReferenceScorer
from evalkit.run import Run

PAIRS = [
    ("search index", "the index is merged when a shard is full. " * 4),
    ("缓存 命中", "缓存命中时不再计算分词结果，索引合并在后台进行。"),
    ("", "recall"),
    ("rerank the query " * 9, ""),
    ("🚀?", "🚀 deploy 🙂"),
    ("search index", "token vector cache"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(folder):
    return str(save_cross_encoder(folder / "cross"))


def scorer(model, tmp_path, **settings):
    settings = {"dtype": "float32", **settings}
    return ClassifierScorer(str(model), cache_dir=tmp_path, **settings)


@pytest.mark.parametrize("settings", [{}, {"max_length": 16}, {"activation": "sigmoid"}])
def test_the_scores_of_sentence_transformers(model, tmp_path, settings):
    ours = scorer(model, tmp_path, **settings)
    theirs = ReferenceScorer(model, **settings)
    np.testing.assert_allclose(ours.score(PAIRS), theirs.score(PAIRS), atol=1e-5)
    assert (ours.truncated(PAIRS) == theirs.truncated(PAIRS)).all()
    assert ours.max_length == settings.get("max_length", 64)


def test_a_prompt_that_was_saved_is_read(model, folder, tmp_path):
    from sentence_transformers import CrossEncoder

    prompted = str(folder / "prompted")
    CrossEncoder(
        model, prompts={"search": "query "}, default_prompt_name="search", device="cpu"
    ).save_pretrained(prompted)
    ours = scorer(prompted, tmp_path).score(PAIRS)
    np.testing.assert_allclose(ours, ReferenceScorer(str(prompted)).score(PAIRS), atol=1e-5)
    assert np.abs(ours - scorer(model, tmp_path).score(PAIRS)).max() > 1e-3


def test_an_adapter_scores_as_it_does_in_peft(folder, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = save_bi_encoder(folder / "base")
    adapter = folder / "adapter"
    save_adapter(adapter, base, modules_to_save=["classifier"], target_modules=["query", "value"])
    found = scorer(adapter, tmp_path).score(PAIRS)
    whole = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    whole = PeftModel.from_pretrained(whole, str(adapter)).eval()
    inputs = AutoTokenizer.from_pretrained(base)(
        PAIRS, padding=True, truncation=True, return_tensors="pt"
    )
    with torch.inference_mode():
        theirs = whole(**inputs).logits[:, 0].numpy()
    np.testing.assert_allclose(found, theirs, atol=1e-5)


def test_several_devices_score_as_one(model, tmp_path):
    pairs = PAIRS * 6
    one = scorer(model, tmp_path / "one").score(pairs)
    two = scorer(model, tmp_path / "two", devices=["cpu", "cpu"])
    np.testing.assert_allclose(two.score(pairs), one, atol=1e-5)
    two._pool.close()


def test_what_can_change_a_score_is_in_the_fingerprint(model, tmp_path):
    plain = scorer(model, tmp_path).fingerprint
    changes = [
        {"max_length": 32}, {"activation": "sigmoid"}, {"truncation": "only_second"},
        {"query_limit": 9}, {"prefixes": ("q: ", "")}, {"dtype": "bfloat16"},
    ]  # fmt: skip
    others = {scorer(model, tmp_path, **change).fingerprint for change in changes}
    assert len(others) == len(changes)
    assert plain not in others
    assert ReferenceScorer(model).fingerprint != plain
    same = [{"token_budget": 9}, {"device": "cpu"}, {"devices": ["cpu", "cpu"]}]
    assert {scorer(model, tmp_path, **change).fingerprint for change in same} == {plain}
    auto = dtype_name("auto", "cpu")
    assert (scorer(model, tmp_path, dtype="auto").fingerprint == plain) == (auto == "float32")


def test_half_precision_that_rounds_other_values_is_another_scorer(model, tmp_path, monkeypatch):
    def fingerprints():
        dtypes = ("float32", "bfloat16", "float16")
        return [scorer(model, tmp_path, dtype=dtype).fingerprint for dtype in dtypes]

    before = fingerprints()
    monkeypatch.setattr(classifier, "ROUNDING", classifier.ROUNDING + 1)
    assert [a == b for a, b in zip(before, fingerprints(), strict=True)] == [True, False, False]


def test_it_never_scores_twice_whatever_the_engine_is_asked(model, tmp_path):
    dataset = toy_dataset(tmp_path / "toy")
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    ids = [query.query_id for query in dataset.queries]
    run = Run.from_dict({q: dict.fromkeys(docs, 0.0) for q in ids})
    for engine in ("fast", "reference"):
        reranker = CrossEncoderReranker(
            model, engine=engine, dtype="float32", cache_dir=tmp_path / "cache"
        )
        first = reranker.rerank(dataset.queries, dataset, run)
        assert reranker.counts.scored > 0
        again = reranker.rerank(dataset.queries, dataset, run)
        assert reranker.counts.scored == 0
        assert (first.scores == again.scores).all()


def refusal(model, tmp_path, **settings):
    with pytest.raises(ConfigError) as refused:
        scorer(model, tmp_path, **settings).check()
    return str(refused.value)


def test_what_is_no_classifier_is_refused(folder, model, tmp_path):
    bi_encoder = save_bi_encoder(folder / "bi")
    assert "has no classification head" in refusal(bi_encoder, tmp_path)
    two = save_cross_encoder(folder / "two", num_labels=2)
    assert "has 2 labels, a reranker has one logit" in refusal(two, tmp_path)
    message = refusal(model, tmp_path, max_length=65)
    assert message.startswith("max_length=65: model ")
    assert message.endswith("reads 64 tokens; set max_length=64 or less")
    assert "special tokens alone take 3" in refusal(model, tmp_path, max_length=3)


def test_a_model_that_reads_a_conversation_is_for_the_reference(model, folder, tmp_path):
    chat = shutil.copytree(model, folder / "chat")
    config = json.loads((chat / "tokenizer_config.json").read_text())
    config["chat_template"] = "{% for m in messages %}{{ m.content }}{% endfor %}"
    (chat / "tokenizer_config.json").write_text(json.dumps(config))
    assert refusal(chat, tmp_path).endswith(
        "reads a conversation, which engine=fast cannot; use engine=reference"
    )


def test_settings_of_the_other_engine_are_refused(model):
    for settings in ({"base_model": "x"}, {"devices": ["cpu"]}):
        with pytest.raises(ConfigError, match="engine=reference has none; use engine=fast"):
            CrossEncoderReranker(model, engine="reference", **settings)
    with pytest.raises(ConfigError, match="token_budget=0: expected at least 1"):
        ClassifierScorer(model, token_budget=0)


def test_auto_is_half_precision_only_where_the_processor_is_fast_at_it(monkeypatch):
    for supported, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda s=supported: s)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        assert dtype_name("auto", "cpu") == expected
    assert dtype_name("auto", "mps") == "float32"
    assert dtype_name("float16", "cpu") == "float16"


def test_a_tokenizer_without_its_library_is_said(folder, tmp_path, monkeypatch):
    broken = folder / "slow"
    save_cross_encoder(broken)
    save_tokenizer(broken)
    ours = scorer(broken, tmp_path)
    monkeypatch.setattr("evalkit.rerankers.classifier.load_tokenizer", lambda *_: SlowTokenizer())
    with pytest.raises(ConfigError, match="not one of the `tokenizers` library; use engine=ref"):
        ours.check()


class SlowTokenizer:
    model_input_names = ("input_ids",)
    pad_token_id = 0
