"""CUDA graphs: the shapes that batches are filled up to, and logits that do not notice.

A graph reads its inputs where they were when it was recorded. On the CPU a recording is played by a
function that computes again from that very memory, so that what would go stale there does here.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import ConfigError
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.scoring import graphs as graphs_module
from evalkit.scoring.encoder import PackedClassifier
from evalkit.scoring.forward import WithoutPadding, forward_for
from evalkit.scoring.graphs import Graphs, filled, shape_of
from evalkit.scoring.templates import Packed

PAD, VOCABULARY = 1, 60
FAMILIES = ("Bert", "XLMRoberta")
LONGEST = 90


def _model(family: str):
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=64, initializer_range=0.3, num_labels=1, type_vocab_size=2,
        pad_token_id=PAD, max_position_embeddings=LONGEST + 2,
    )  # fmt: skip
    return getattr(transformers, f"{family}ForSequenceClassification")(config).eval()


def _batch(lengths, seed=0) -> Packed:
    generator = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = generator.integers(2, VOCABULARY, offsets[-1])
    return Packed(ids, generator.integers(0, 2, offsets[-1]), offsets)


def played(run):
    """A recorder for the CPU: `repeat` writes to the tensor of the first run, as a graph does."""
    logits = run().clone()
    return lambda: logits.copy_(run()), logits


lengths_of_batches = st.lists(st.integers(1, LONGEST), min_size=1, max_size=200)


@given(lengths=lengths_of_batches)
def test_a_batch_fits_its_shape(lengths):
    batch = _batch(lengths)
    shape = shape_of(len(batch.ids), len(lengths), max(lengths))
    whole = filled(batch, shape, PAD)
    assert (len(whole.ids), len(whole.lengths)) == shape[:2]
    assert len(whole.types) == shape.tokens
    assert whole.lengths.min() >= 1
    assert whole.lengths.max() <= shape.longest
    np.testing.assert_array_equal(whole.offsets[: len(lengths) + 1], batch.offsets)
    np.testing.assert_array_equal(whole.ids[: len(batch.ids)], batch.ids)
    np.testing.assert_array_equal(whole.types[: len(batch.ids)], batch.types)
    assert set(whole.ids[len(batch.ids) :].tolist()) == {PAD}


@given(tokens=st.integers(1, 16_384), sequences=st.integers(1, 512))
def test_little_is_added_to_a_batch_and_shapes_are_few(tokens, sequences):
    tokens = max(tokens, sequences)
    longest = -(-tokens // sequences)
    shape = shape_of(tokens, sequences, longest)
    # An eighth, and a token for each sequence that is added, of which there may be many.
    assert shape.tokens - tokens <= max(tokens / 8, 128) + (shape.sequences - sequences)
    for number in (shape.sequences, shape.longest):
        assert number & (number - 1) == 0


@pytest.mark.parametrize("types", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_by_graphs_are_those_without(family, types):
    classifier = PackedClassifier(_model(family), torch.float32)
    plain = WithoutPadding(classifier, types)
    graphs = Graphs(classifier, record=played)
    by_graph = WithoutPadding(classifier, types, graphs, PAD)
    generator = np.random.default_rng(4)
    with torch.inference_mode():
        for seed in range(30):
            # Batches of two shapes in turn, each of other texts and lengths.
            count = (5, 11)[seed % 2]
            batch = _batch(generator.integers(20, 33, count), seed)
            found, expected = by_graph.logits(batch), plain.logits(batch)
            assert found.shape == (count,)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert graphs._graphs


def test_logits_are_not_overwritten_by_the_next_batch():
    classifier = PackedClassifier(_model("Bert"), torch.float32)
    forward = WithoutPadding(classifier, True, Graphs(classifier, record=played), PAD)
    with torch.inference_mode():
        batches = [_batch([20, 25, 30], seed) for seed in range(6)]
        found = [forward.logits(batch) for batch in batches]
        alone = [WithoutPadding(classifier, True).logits(batch) for batch in batches]
    torch.testing.assert_close(torch.stack(found), torch.stack(alone), atol=1e-5, rtol=0)


def test_a_shape_is_recorded_once_and_only_when_it_comes_often(monkeypatch):
    recorded = []
    classifier = PackedClassifier(_model("Bert"), torch.float32)
    graphs = Graphs(classifier, record=lambda run: recorded.append(1) or played(run))
    forward = WithoutPadding(classifier, True, graphs, PAD)
    monkeypatch.setattr(graphs_module, "MOST_GRAPHS", 1)
    with torch.inference_mode():
        counts = []
        for seed in range(5):
            forward.logits(_batch([20, 25, 30], seed))
            counts.append(len(recorded))
        assert counts == [0, 0, 1, 1, 1]
        for seed in range(5):
            forward.logits(_batch([20] * 40, seed))  # another shape, for which no place is left
    assert len(recorded) == 1


def test_a_large_batch_is_left_alone(monkeypatch):
    monkeypatch.setattr(graphs_module, "MOST_TOKENS", 50)
    graphs = Graphs(PackedClassifier(_model("Bert"), torch.float32), record=played)
    assert all(graphs.shape_for(_batch([30, 30])) is None for _ in range(5))
    assert [graphs.shape_for(_batch([20, 30])) is None for _ in range(3)] == [True, True, False]


def test_graphs_where_there_are_none_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="cuda_graphs=true: BertForSequenceClassification on cpu"):
        forward_for(_model("Bert"), torch.float32, types=True, graphs=True)
    with pytest.raises(ConfigError, match="cuda_graphs=True: engine=reference has none"):
        CrossEncoderReranker("a-model", engine="reference", cuda_graphs=True)
    _model("Bert").save_pretrained(tmp_path / "model")
    reranker = CrossEncoderReranker(
        str(tmp_path / "model"), cuda_graphs=True, device="cpu", cache_dir=tmp_path
    )
    with pytest.raises(ConfigError, match="cuda_graphs=true with device=cpu"):
        reranker.check(10)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT CHECKED: no CUDA device")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_graphs_give_the_logits_of_the_kernels_they_recorded(family, dtype):
    model = _model(family).to("cuda")
    classifier = PackedClassifier(model, dtype)
    graphs = Graphs(classifier)
    by_graph, plain = (
        WithoutPadding(classifier, True, graphs, PAD),
        WithoutPadding(classifier, True),
    )
    generator = np.random.default_rng(4)
    with torch.inference_mode():
        batches = [
            _batch(generator.integers(20, 33, (5, 11)[seed % 2]), seed) for seed in range(30)
        ]
        found = [by_graph.logits(batch) for batch in batches]
        expected = [plain.logits(batch) for batch in batches]
    assert len(graphs._graphs) >= 2
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0)
