"""Adapters over their base: merged as peft means it, whole, and with a trained head."""

import json
import shutil

import numpy as np
import pytest
from tiny import save_adapter, save_bi_encoder, save_cross_encoder, save_llama

from evalkit import adapters
from evalkit.adapters import check_classifier, find_checkpoint, load_classifier
from evalkit.errors import ConfigError, ModelNotFound
from evalkit.model_files import read_adapter_config

SHARED_ADAPTER = "minilm-squad-lora"


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT without a head; as sentence-transformers saves it, so its tokenizer is there."""
    folder = tmp_path_factory.mktemp("models")
    save_bi_encoder(folder / "bi")
    return folder / "bi-plain"


def forward(model, folder, texts=("search index", "query token merge", "缓存")):
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return np.array([model(**tokenizer(t, return_tensors="pt")).logits.item() for t in texts])


def load(folder, **settings):
    return load_classifier(find_checkpoint(str(folder), **settings), "float32", "cpu")


def edit(folder, **settings):
    config = read_adapter_config(folder)
    (folder / "adapter_config.json").write_text(json.dumps(config | settings))


def test_an_adapter_over_an_encoder_equals_peft_unmerged(tmp_path, bert):
    adapted = save_adapter(tmp_path / "lora", bert, target_modules=["query", "value", "dense"])
    expected = forward(adapted, bert)
    merged = load(tmp_path / "lora")
    assert type(merged).__name__ == "BertForSequenceClassification"
    assert not any("lora" in name for name, _ in merged.named_parameters())
    np.testing.assert_allclose(forward(merged, bert), expected, atol=1e-4)


@pytest.mark.parametrize("task", [None, "FEATURE_EXTRACTION", "CAUSAL_LM"])
def test_a_head_is_loaded_whatever_task_the_adapter_names(tmp_path, bert, task):
    adapted = save_adapter(tmp_path / "lora", bert)
    edit(tmp_path / "lora", task_type=task, modules_to_save=None)
    np.testing.assert_allclose(
        forward(load(tmp_path / "lora"), bert), forward(adapted, bert), atol=1e-4
    )


def test_an_adapter_in_a_bin_file_is_the_same(tmp_path, bert):
    import torch
    from safetensors.torch import load_file

    adapted = save_adapter(tmp_path / "lora", bert)
    weights = tmp_path / "lora" / "adapter_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    np.testing.assert_allclose(
        forward(load(tmp_path / "lora"), bert), forward(adapted, bert), atol=1e-4
    )


def test_an_adapter_without_a_head_is_refused_before_loading(tmp_path, bert):
    save_adapter(tmp_path / "lora", bert, task_type=None, target_modules=["query"])
    checkpoint = find_checkpoint(str(tmp_path / "lora"))
    with pytest.raises(ConfigError, match=r"no classification head \(classifier\.bias is missing"):
        check_classifier(checkpoint)
    with pytest.raises(ConfigError, match="its scores would be random"):
        load_classifier(checkpoint, "float32", "cpu")


def test_an_adapter_over_a_model_with_a_head_may_leave_the_head_alone(tmp_path):
    base = save_cross_encoder(tmp_path / "cross")
    adapted = save_adapter(tmp_path / "lora", base, task_type=None, target_modules=["query"])
    np.testing.assert_allclose(
        forward(load(tmp_path / "lora"), base), forward(adapted, base), atol=1e-4
    )


def test_an_adapter_that_does_not_fit_its_base_is_refused(tmp_path):
    base = save_llama(tmp_path / "base", num_labels=None)
    lora = tmp_path / "lora"
    save_adapter(lora, base)
    wide = save_llama(tmp_path / "wide", num_labels=None, width=64)
    with pytest.raises(ModelNotFound, match=r"does not fit its base .*base_model") as error:
        load(lora, base_model=str(wide))
    assert "\n" not in str(error.value)
    edit(lora, target_modules=["q_proj"])
    with pytest.raises(ModelNotFound, match=r"does not fit its base .*v_proj.* is spare"):
        load(lora)
    edit(lora, target_modules=["q_proj", "v_proj", "k_proj"])
    with pytest.raises(ModelNotFound, match=r"does not fit its base .*k_proj.* is missing"):
        load(lora)
    edit(lora, target_modules=["elsewhere"])
    with pytest.raises(ModelNotFound, match="cannot be loaded"):
        load(lora)


def test_an_adapter_that_cannot_be_merged_is_refused(tmp_path, bert):
    from peft import PromptTuningConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(str(bert), num_labels=1)
    config = PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2)
    get_peft_model(model, config).save_pretrained(str(tmp_path / "prompt"))
    with pytest.raises(ConfigError, match=r"is an adapter of type PROMPT_TUNING; expected LORA"):
        load(tmp_path / "prompt")


def test_the_base_is_found_or_its_absence_explained(tmp_path, bert):
    lora = tmp_path / "lora"
    save_adapter(lora, bert)
    found = find_checkpoint(str(lora))
    assert (found.folder, found.base, found.body, found.tokenizer) == (lora, bert, bert, bert)
    edit(lora, base_model_name_or_path="/elsewhere/base")
    with pytest.raises(
        ModelNotFound, match=r"set base_model to .*/elsewhere/base': no such folder"
    ):
        find_checkpoint(str(lora))
    assert find_checkpoint(str(lora), base_model=str(bert)).base == bert
    edit(lora, base_model_name_or_path=None)
    with pytest.raises(ConfigError, match="names no base; set base_model"):
        find_checkpoint(str(lora))
    with pytest.raises(ConfigError, match="is a whole model, which has no base"):
        find_checkpoint(str(bert), base_model=str(bert))
    (lora / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelNotFound, match="names no peft_type"):
        find_checkpoint(str(lora))


def test_an_adapters_own_tokenizer_comes_first(tmp_path, bert):
    save_adapter(tmp_path / "lora", bert)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bert / name, tmp_path / "lora")
    assert find_checkpoint(str(tmp_path / "lora")).tokenizer == tmp_path / "lora"


def test_the_digest_follows_the_adapter_and_its_base(tmp_path, bert):
    lora = tmp_path / "lora"
    save_adapter(lora, bert)
    digests = [find_checkpoint(str(lora)).digest]
    copy = shutil.copytree(bert, tmp_path / "copy")
    assert find_checkpoint(str(lora), base_model=str(copy)).digest == digests[0]
    for changed in (copy / "model.safetensors", lora / "adapter_model.safetensors"):
        weights = bytearray(changed.read_bytes())
        weights[-1] ^= 1
        changed.write_bytes(weights)
        digests.append(find_checkpoint(str(lora), base_model=str(copy)).digest)
    edit(lora, lora_alpha=9)
    digests.append(find_checkpoint(str(lora), base_model=str(copy)).digest)
    assert len(set(digests)) == 4


def test_without_peft_the_remedy_is_named(tmp_path, bert, monkeypatch):
    save_adapter(tmp_path / "lora", bert)
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'needs peft: pip install "evalkit\[llm\]"'):
        load(tmp_path / "lora")


def test_a_real_adapter_over_minilm_knows_an_answer_from_a_stranger(shared_data):
    """The figures are those of peft's own unmerged model."""
    folder = shared_data.parent / "models" / SHARED_ADAPTER
    if not folder.is_dir():
        pytest.skip(f"NOT CHECKED: the shared adapter is missing ({folder})")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    checkpoint = find_checkpoint(str(folder))
    base = AutoModelForSequenceClassification.from_pretrained(str(checkpoint.base), num_labels=1)
    theirs = PeftModel.from_pretrained(base, str(folder)).eval()
    ours = load_classifier(checkpoint, "float32", "cpu")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.tokenizer)
    docs = ["Hamlet. A tragedy written by William Shakespeare.", "Bread. Flour and water."]
    features = tokenizer(["who wrote hamlet?"] * 2, docs, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected, found = theirs(**features).logits, ours(**features).logits
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found[0] > found[1] + 5
