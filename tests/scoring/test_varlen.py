"""Packed models give what they give on padded input; the registered attention is really used."""

from __future__ import annotations

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.scoring import varlen
from evalkit.scoring.kernels import per_sequence

SIZES = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4,
    "intermediate_size": 64, "initializer_range": 0.3,
}  # fmt: skip
PAD, CLS, FIRST_WORD = 1, 0, 4
LENGTHS = [1, 100, 2, 17, 64, 5, 99, 33, 1, 16]


def _model(family: str, **changes):
    """A random classifier; ModernBERT's local layers see 8 tokens to either side."""
    torch.manual_seed(0)
    sizes = {**SIZES, "num_labels": 2, "pad_token_id": PAD, **changes}
    if family == "modernbert":
        special = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id"), 2)
        config = transformers.ModernBertConfig(
            **sizes, **special, sep_token_id=2, local_attention=16, global_attn_every_n_layers=2,
            max_position_embeddings=160,
        )  # fmt: skip
        return transformers.ModernBertForSequenceClassification(config).eval()
    config_class, model_class = {
        "bert": (transformers.BertConfig, transformers.BertForSequenceClassification),
        "roberta": (transformers.RobertaConfig, transformers.RobertaForSequenceClassification),
        "xlm-roberta": (
            transformers.XLMRobertaConfig,
            transformers.XLMRobertaForSequenceClassification,
        ),
    }[family]
    return model_class(config_class(**sizes, max_position_embeddings=160, type_vocab_size=2)).eval()


MODELS = {
    "bert": lambda: _model("bert"),
    "roberta": lambda: _model("roberta"),
    "xlm-roberta": lambda: _model("xlm-roberta"),
    "modernbert-cls": lambda: _model("modernbert"),
    "modernbert-mean": lambda: _model("modernbert", classifier_pooling="mean"),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


def _batch(lengths, seed=0, types=True):
    """Random sequences: ids and types, each a list of int64 tensors."""
    generator = torch.Generator().manual_seed(seed)
    high = SIZES["vocab_size"]
    ids = [torch.randint(FIRST_WORD, high, (n,), generator=generator) for n in lengths]
    kinds = [(torch.arange(n) >= n // 2).long() if types else None for n in lengths]
    return ids, kinds


def _cumulative(lengths, device="cpu"):
    return torch.tensor([0, *lengths], device=device).cumsum(0).int()


def _padded(model, ids, kinds):
    """The model's own logits on padded input."""
    pad = torch.nn.utils.rnn.pad_sequence
    inputs = {
        "input_ids": pad(ids, batch_first=True, padding_value=PAD),
        "attention_mask": pad([torch.ones_like(x) for x in ids], batch_first=True),
    }
    if kinds[0] is not None:
        inputs["token_type_ids"] = pad(kinds, batch_first=True)
    with torch.inference_mode():
        return model(**{name: x.to(model.device) for name, x in inputs.items()}).logits


def _packed(model, ids, kinds, **settings):
    types = None if kinds[0] is None else torch.cat(kinds).to(model.device)
    cu_seqlens = _cumulative([len(x) for x in ids], model.device)
    tokens = torch.cat(ids).to(model.device)
    with torch.inference_mode():
        return varlen.packed_logits(model, tokens, types, None, cu_seqlens, **settings)


def _has_types(model) -> bool:
    return model.config.model_type != "modernbert"


def test_packed_logits_are_the_models_own(model):
    ids, kinds = _batch(LENGTHS, types=_has_types(model))
    own, ours = _padded(model, ids, kinds), _packed(model, ids, kinds)
    assert ours.shape == (len(LENGTHS), 2)
    torch.testing.assert_close(ours, own, atol=1e-5, rtol=0)
    # The logits differ well beyond the tolerance, so that a mix-up of sequences would show.
    assert own.std(0).min() > 0.05


@settings(max_examples=15)
@given(
    lengths=st.lists(st.integers(1, 100), min_size=1, max_size=8),
    family=st.sampled_from(sorted(MODELS)),
    seed=st.integers(0, 99),
)
def test_any_lengths(lengths, family, seed):
    model = MODELS[family]()
    ids, _ = _batch(lengths, seed)
    kinds = [None] * len(ids)
    own, ours = _padded(model, ids, kinds), _packed(model, ids, kinds)
    torch.testing.assert_close(ours, own, atol=1e-5, rtol=0)


def test_a_literal_padding_token_in_a_text(model):
    """RoBERTa gives it no position of its own; the others count it as any token."""
    ids, kinds = _batch([9, 30, 4], types=_has_types(model))
    ids[1][7] = ids[1][8] = ids[2][0] = PAD
    own, ours = _padded(model, ids, kinds), _packed(model, ids, kinds)
    torch.testing.assert_close(ours, own, atol=1e-5, rtol=0)


def test_no_sequence_sees_another(model):
    ids, kinds = _batch([40, 8, 60], types=_has_types(model))
    before = _packed(model, ids, kinds)
    ids[1] = ids[1].flip(0)
    after = _packed(model, ids, kinds)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], atol=0, rtol=0)
    assert (after[1] - before[1]).abs().max() > 1e-3


def test_shapes_max_length_and_positions_may_be_given(model):
    ids, kinds = _batch([12, 3], types=_has_types(model))
    expected = _packed(model, ids, kinds)
    tokens, cu_seqlens = torch.cat(ids)[None], _cumulative([12, 3])
    positions = varlen.packed_positions(model, tokens, cu_seqlens)
    types = None if kinds[0] is None else torch.cat(kinds)[None]
    with torch.inference_mode():
        given_all = varlen.packed_logits(model, tokens, types, positions[None], cu_seqlens, 12)
        shifted = varlen.packed_logits(model, tokens, types, positions.flip(0), cu_seqlens, 12)
    assert torch.equal(given_all, expected)
    assert not torch.allclose(shifted, expected, atol=1e-3)


def test_positions():
    cu_seqlens, ids = _cumulative([3, 1, 2]), torch.tensor([5, 6, PAD, 7, 8, 9])
    bert = varlen.packed_positions(_model("bert"), ids, cu_seqlens)
    roberta = varlen.packed_positions(_model("roberta"), ids, cu_seqlens)
    assert bert.tolist() == [0, 1, 2, 0, 0, 1]
    assert roberta.tolist() == [2, 3, PAD, 2, 2, 3]


def test_the_registered_attention_is_used_without_a_mask(model):
    """Every attention layer gets no mask and the cumulative lengths; a long row makes no T × T."""
    lengths = [30, 50]
    ids, kinds = _batch(lengths, types=_has_types(model))
    seen = []

    def note(module, args, kwargs, output):
        mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
        seen.append((mask, kwargs["cu_seq_lens_q"].tolist(), model.config._attn_implementation))

    layers = [
        x for x in model.modules() if type(x).__name__.endswith(("SelfAttention", "BertAttention"))
    ]
    layers = [x for x in layers if hasattr(x, "is_causal")]
    hooks = [layer.register_forward_hook(note, with_kwargs=True) for layer in layers]
    _packed(model, ids, kinds)
    for hook in hooks:
        hook.remove()
    assert len(seen) == SIZES["num_hidden_layers"]
    assert all(one == (None, [0, 30, 80], varlen.ATTENTION) for one in seen)


def test_local_layers_get_their_window(monkeypatch):
    reaches = []

    def noting(*arguments):
        reaches.append(arguments[-1])
        return per_sequence(*arguments)

    monkeypatch.setattr(varlen, "kernel_for", lambda *_: noting)
    model = _model("modernbert")
    ids, kinds = _batch([50], types=False)
    _packed(model, ids, kinds)
    assert reaches == [-1, 8, -1, 8]


def test_the_models_attention_is_given_back(model):
    before = model.config._attn_implementation
    ids, kinds = _batch([4, 9], types=_has_types(model))
    own = _padded(model, ids, kinds)
    _packed(model, ids, kinds)
    assert model.config._attn_implementation == before != varlen.ATTENTION
    assert torch.equal(_padded(model, ids, kinds), own)
    with varlen.packed_attention(model):
        assert model.config._attn_implementation == varlen.ATTENTION
        _packed(model, ids, kinds)
        assert model.config._attn_implementation == varlen.ATTENTION
    assert model.config._attn_implementation == before
    with pytest.raises(IndexError):  # a token that the model does not have
        _packed(model, [torch.tensor([SIZES["vocab_size"]])], [None])
    assert model.config._attn_implementation == before


def test_padded_input_is_refused_by_the_packed_attention():
    model = _model("bert")
    with varlen.packed_attention(model), pytest.raises(ValueError, match="one row"):
        model(torch.full((2, 5), 7))
    with pytest.raises(ValueError, match=r"model\.eval"):
        varlen.packed_logits(model.train(), torch.full((5,), 7), None, None, _cumulative([2, 3]))


def test_a_model_that_keeps_its_attention_is_no_silent_mistake(monkeypatch):
    """Its own attention, without a mask, would let every sequence see all others."""
    model = _model("bert")
    monkeypatch.setattr(type(model), "_can_set_attn_implementation", lambda _: False)
    with pytest.raises(RuntimeError, match="did not give BertForSequenceClassification"):
        varlen.packed_logits(model, torch.full((5,), 7), None, None, _cumulative([2, 3]))


def test_what_is_supported(model):
    assert varlen.supports(model)
    assert not varlen.fused(model)  # fp32 on the CPU

    class Changed(transformers.BertForSequenceClassification):
        pass

    small = transformers.BertConfig(**SIZES, is_decoder=False)
    assert not varlen.supports(Changed(small))
    chunked = transformers.BertConfig(**SIZES, chunk_size_feed_forward=8)
    assert not varlen.supports(transformers.BertForSequenceClassification(chunked))
    decoder = transformers.BertConfig(**SIZES, is_decoder=True)
    assert not varlen.supports(transformers.BertForSequenceClassification(decoder))
    other = transformers.ElectraForSequenceClassification(transformers.ElectraConfig(**SIZES))
    assert not varlen.supports(other)
    assert not varlen.supports(torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="ElectraForSequenceClassification"):
        varlen.packed_logits(other, torch.tensor([5]), None, None, _cumulative([1]))


def _in_half_precision(family, device, dtype):
    """(fp32 on the CPU, padded), (half precision on the device, packed): logits of one model."""
    family, _, pooling = family.partition("-") if family.startswith("modern") else (family, "", "")
    changes = {"classifier_pooling": pooling} if pooling else {}
    model = _model(family, initializer_range=0.1, **changes)
    ids, kinds = _batch(LENGTHS, types=_has_types(model))
    own = _padded(model, ids, kinds)
    # The weights alone, as from_pretrained(dtype=...) does: the frequencies of rotary positions,
    # which are buffers, stay in float32.
    for weights in model.parameters():
        weights.data = weights.data.to(dtype)
    ours = _packed(model.to(device), ids, kinds, max_length=max(LENGTHS))
    assert ours.dtype == dtype
    assert varlen.fused(model) == (device == "cuda")
    return own, ours.float().cpu()


@pytest.mark.parametrize("family", MODELS)
def test_half_precision_stays_near(family):
    own, ours = _in_half_precision(family, "cpu", torch.bfloat16)
    torch.testing.assert_close(ours, own, atol=0.05, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT CHECKED: no CUDA device")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", MODELS)
def test_cuda_kernels_stay_near_fp32(family, dtype):
    own, ours = _in_half_precision(family, "cuda", dtype)
    torch.testing.assert_close(ours, own, atol=0.05, rtol=0)
