"""The engine against transformers' own logits, whatever the batches, and when memory runs out."""

from __future__ import annotations

import random
import threading
import weakref

import numpy as np
import pytest
import tokenizers_made as made
import torch
import transformers

from evalkit.errors import ConfigError, ScoreError
from evalkit.scoring import engine as engine_module
from evalkit.scoring.budgets import CUDA_BUDGET, cuda_budget
from evalkit.scoring.encoder import PackedClassifier
from evalkit.scoring.engine import Loaded, PairEngine
from evalkit.scoring.forward import WithoutPadding, WithPadding

MAX_LENGTH = 64
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
    "initializer_range": 0.3, "num_labels": 1, "max_position_embeddings": MAX_LENGTH + 2,
}  # fmt: skip
FAMILIES = {
    "bert": ("wordpiece", "Bert", {}),
    "bert-without-types": ("byte-bpe", "Bert", {}),
    "roberta": ("byte-bpe", "Roberta", {"type_vocab_size": 1}),
    "xlm-roberta": ("sentencepiece", "XLMRoberta", {"type_vocab_size": 1}),
    "modernbert": ("byte-bpe", "ModernBert", {"local_attention": 16}),
    "modernbert-mean": ("byte-bpe", "ModernBert", {"classifier_pooling": "mean"}),
    "distilbert": ("wordpiece", "DistilBert", {}),
    "deberta": ("sentencepiece", "DebertaV2", {"type_vocab_size": 0}),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    kind, name, changes = FAMILIES[request.param]
    tokenizer = made.TOKENIZERS[kind]()
    torch.manual_seed(0)
    special = {
        f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "cls", "sep")
    }
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(tokenizer), **special, bos_token_id=None, eos_token_id=None,
        **{**SIZES, **changes},
    )  # fmt: skip
    model = getattr(transformers, f"{name}ForSequenceClassification")(config).eval()
    return request.param, tokenizer, model


@pytest.fixture(scope="module")
def pairs():
    generator = random.Random(3)
    texts = made.random_texts(generator, 60)
    return [(generator.choice(texts), generator.choice(texts)) for _ in range(90)]


def _engine(tokenizer, model, folder, dtype=torch.float32, **settings):
    return PairEngine(lambda: model, tokenizer, folder, MAX_LENGTH, dtype, **settings)


def _copy(model):
    """A model of its own: an engine may change the one that it is given."""
    twin = type(model)(model.config).eval()
    twin.load_state_dict(model.state_dict())
    return twin


def _own_logits(tokenizer, model, pairs, truncation="longest_first"):
    """What transformers gives each pair by itself, so that nothing is padded."""
    logits = []
    with torch.inference_mode():
        for pair in pairs:
            inputs = tokenizer(
                [pair], truncation=truncation, max_length=MAX_LENGTH, return_tensors="pt"
            )
            logits.append(model(**inputs).logits[0, 0].item())
    return np.array(logits)


def test_logits_equal_transformers_own(family, pairs, tmp_path):
    name, tokenizer, model = family
    engine = _engine(tokenizer, _copy(model), tmp_path)
    np.testing.assert_allclose(engine.score(pairs), _own_logits(tokenizer, model, pairs), atol=1e-4)
    # Without padding on the CPU, too; the way through transformers' attention is for CUDA.
    packed = name.startswith(("bert", "roberta", "xlm"))
    assert type(engine._loaded.forward) is (WithoutPadding if packed else WithPadding)


@pytest.mark.parametrize("budget", [1, 100, 100_000])
def test_the_batches_do_not_matter(family, pairs, tmp_path, budget):
    _, tokenizer, model = family
    found = _engine(tokenizer, _copy(model), tmp_path, budget=budget).score(pairs)
    alone = _engine(tokenizer, _copy(model), tmp_path, budget=1).score(pairs[::-1])[::-1]
    np.testing.assert_allclose(found, alone, atol=1e-5)


def test_bfloat16_is_near_float32_and_its_logits_are_not_rounded(family, pairs, tmp_path):
    _, tokenizer, model = family
    exact = _engine(tokenizer, _copy(model), tmp_path).score(pairs)
    half = _engine(tokenizer, _copy(model), tmp_path, torch.bfloat16).score(pairs)
    assert np.abs(exact - half).mean() < 0.1 * exact.std()
    assert half.dtype == np.float32
    rounded = torch.from_numpy(half).bfloat16().float().numpy()
    assert (half != rounded).mean() > 0.5


@pytest.mark.parametrize("truncation", ["longest_first", "only_second"])
def test_which_pairs_are_cut(family, pairs, tmp_path, truncation):
    _, tokenizer, model = family
    engine = _engine(tokenizer, model, tmp_path, truncation=truncation)
    lengths = [
        [len(ids) for ids in tokenizer(list(side), add_special_tokens=False).input_ids]
        for side in zip(*pairs, strict=True)
    ]
    cut = np.array(lengths).sum(axis=0) > engine.room
    assert 0.1 < cut.mean() < 0.9
    assert (engine.truncated(pairs) == cut).all()


def test_a_limited_query_is_cut_first(pairs, tmp_path):
    tokenizer = made.wordpiece()
    engine = _engine(tokenizer, None, tmp_path, truncation="only_second", query_limit=5)
    window = engine.window(pairs)
    queries, docs = (
        x[at]
        for x, at in zip(
            (window.queries.lengths, window.docs.lengths),
            (window.at_query, window.at_doc),
            strict=True,
        )
    )
    assert (window.kept[0] == np.minimum(queries, 5)).all()
    assert (window.kept[1] == np.minimum(docs, engine.room - window.kept[0])).all()
    assert (engine.truncated(pairs) == ((queries > 5) | (window.kept[1] < docs))).all()


def test_nothing_to_score(tmp_path):
    scores = _engine(made.wordpiece(), None, tmp_path).score([])
    assert scores.shape == (0,)


def test_windows_are_in_input_order(family, pairs, tmp_path, monkeypatch):
    _, tokenizer, model = family
    whole = _engine(tokenizer, _copy(model), tmp_path).score(pairs)
    monkeypatch.setattr(engine_module, "WINDOW", 7)
    np.testing.assert_allclose(
        _engine(tokenizer, _copy(model), tmp_path).score(pairs), whole, atol=1e-5
    )


class Short:
    """A forward that has memory for so many tokens; it tells the sizes that it was given."""

    padded = False

    def __init__(self, room, error=torch.OutOfMemoryError):
        self.room, self.error, self.given = room, error, []

    def logits(self, batch):
        size = int(batch.offsets[-1])
        self.given.append(size)
        if size > self.room:
            raise self.error("no memory")
        return torch.from_numpy(batch.lengths.astype(np.float32))


def _short(tmp_path, forward, budget=1000):
    engine = _engine(made.wordpiece(), None, tmp_path, budget=budget)
    engine._loaded = Loaded(forward, torch.device("cpu"), budget)
    return engine


def test_out_of_memory_halves_the_budget_and_loses_nothing(pairs, tmp_path, caplog):
    forward = Short(room=150)
    engine = _short(tmp_path, forward)
    lengths = engine.window(pairs).lengths
    assert engine.score(pairs).tolist() == lengths.tolist()
    assert "out of memory" in caplog.text
    assert 75 < engine._budget <= 150
    before = len(forward.given)
    engine.score(pairs)
    assert max(forward.given[before:]) <= 150  # what was found is kept


def test_one_pair_that_does_not_fit_is_said(pairs, tmp_path):
    engine = _short(tmp_path, Short(room=20))
    with pytest.raises(ScoreError, match="no memory for one pair of 64 tokens; set a smaller"):
        engine.score(pairs)


def test_other_errors_are_not_taken_for_a_lack_of_memory(pairs, tmp_path):
    forward = Short(room=20, error=RuntimeError)
    engine = _short(tmp_path, forward)
    with pytest.raises(RuntimeError, match="no memory"):
        engine.score(pairs)
    assert engine._budget == 1000


def test_memory_is_given_back_once_the_failed_batch_is_forgotten(pairs, tmp_path, monkeypatch):
    failed = []

    class Holding(Short):
        def logits(self, batch):
            states = np.zeros(int(batch.offsets[-1]))  # as a batch's tensors are in CUDA's memory
            if len(states) > self.room:
                failed.append(weakref.ref(states))
            return super().logits(batch)

    alive = []
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: alive.append(sum(r() is not None for r in failed))
    )
    _short(tmp_path, Holding(room=150)).score(pairs)
    assert set(alive) == {0}


def test_the_budget_of_cuda_is_found_for_every_family(family, monkeypatch):
    """Configs name the inner layer in many ways, or not at all."""
    free = 10**8
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    name, _, model = family
    # ModernBERT has two inner layers in one matrix; DistilBERT calls it hidden_dim.
    inner = {"modernbert": 2 * 64, "modernbert-mean": 2 * 64, "distilbert": 4 * 768}.get(name, 64)
    wide = 8 * 32 + 3 * inner
    assert cuda_budget(model, torch.bfloat16) == free // 2 // (wide * 2)
    assert cuda_budget(model, torch.float32) == free // 2 // (wide * 4)
    free = 10**13
    assert cuda_budget(model, torch.bfloat16) == CUDA_BUDGET


@pytest.mark.parametrize("kind", ["GPT2", "XLNet"])
def test_the_budget_of_cuda_where_weights_have_other_names(kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**6, 10**6))
    inner = {"n_inner": 64} if kind == "GPT2" else {"d_inner": 64, "d_head": 8}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, num_labels=1,
        **inner,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    widest = {"GPT2": 3 * 32, "XLNet": 64}[kind]  # GPT2 has query, key and value in one matrix
    assert cuda_budget(model, torch.float16) == 10**6 // 2 // ((8 * 32 + 3 * widest) * 2)


@pytest.mark.parametrize("padding", ["the tokenizer's", "another", "-1", None])
def test_a_decoder_finds_the_end_of_a_pair_in_any_batch(pairs, tmp_path, padding):
    tokenizer = made.byte_bpe()
    ids = {"the tokenizer's": tokenizer.pad_token_id, "another": 7, "-1": -1, None: None}
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), pad_token_id=ids[padding], bos_token_id=None, eos_token_id=None,
        **SIZES,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlamaForSequenceClassification(config).eval()
    expected = _own_logits(tokenizer, model, pairs)
    engine = _engine(tokenizer, _copy(model), tmp_path, budget=2000)
    np.testing.assert_allclose(engine.score(pairs), expected, atol=1e-4)


def test_each_core_computes_batches_of_its_own(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "_cores", lambda: 3)
    before = torch.get_num_threads()
    together = threading.Barrier(3, timeout=20)
    threads = []

    class Meeting(Short):
        def logits(self, batch):
            if len(threads) < 3:
                threads.append((threading.current_thread(), torch.get_num_threads()))
                together.wait()
            return super().logits(batch)

    engine = _short(tmp_path, Meeting(room=1000), budget=200)
    engine.score(pairs)
    assert len({thread for thread, _ in threads}) == 3
    assert [count for _, count in threads] == [1, 1, 1]
    torch.set_num_threads(before)


def test_batches_in_a_stream_give_what_cores_give(family, pairs, tmp_path, monkeypatch):
    """The way of CUDA's batches, on the CPU: nothing in it but the copies is CUDA's own."""
    _, tokenizer, model = family
    expected = _engine(tokenizer, _copy(model), tmp_path).score(pairs)
    monkeypatch.setattr(PairEngine, "_on_cores", PairEngine._in_stream)
    found = _engine(tokenizer, _copy(model), tmp_path, budget=150).score(pairs)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_too_short_an_input_for_the_special_tokens(tmp_path):
    with pytest.raises(ConfigError, match="max_length=3: the model's special tokens alone take 3"):
        PairEngine(lambda: None, made.wordpiece(), tmp_path, 3, torch.float32)


def test_the_last_layer_is_computed_for_first_tokens_alone(tmp_path):
    config = transformers.BertConfig(vocab_size=50, **SIZES)
    model = transformers.BertForSequenceClassification(config).eval()
    seen = []

    def spy(query, key, value, starts, longest, scale, reach):
        seen.append((len(query), len(key), [s.tolist() for s in starts], longest))
        return query

    ids = torch.arange(12) % 50
    with torch.inference_mode():
        PackedClassifier(model, torch.float32, spy).logits(ids, None, torch.tensor([0, 5, 12]))
    whole = (12, 12, [[0, 5, 12], [0, 5, 12]], (7, 7))
    assert seen == [whole, whole, (2, 12, [[0, 1, 2], [0, 5, 12]], (1, 7))]
