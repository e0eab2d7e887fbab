"""What a packed classifier rounds in half precision, and what it does not."""

import pytest
import torch
import transformers

from evalkit.scoring.encoder import PackedClassifier
from evalkit.scoring.kernels import per_sequence

LENGTHS = (9, 4, 1, 17)


def _model(layers: int, act: str = "gelu"):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=64, initializer_range=0.3, num_labels=1, max_position_embeddings=24,
        hidden_act=act,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config).eval()


class Watched:
    """A kernel that keeps what it is given and what it gives; or gives what `instead` says."""

    def __init__(self, instead: "list[torch.Tensor] | None" = None) -> None:
        self.given: list[tuple[torch.Tensor, ...]] = []
        self.gave: list[torch.Tensor] = []
        self._instead = iter(instead or [])

    def __call__(self, query, key, value, *rest):
        self.given.append((query, key, value))
        self.gave.append(next(self._instead, None))
        if self.gave[-1] is None:
            self.gave[-1] = per_sequence(query, key, value, *rest)
        return self.gave[-1]


def _logits(model, dtype, kernel=None) -> torch.Tensor:
    offsets = torch.tensor([0, *LENGTHS]).cumsum(0)
    ids = torch.randint(2, 60, (sum(LENGTHS),), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return PackedClassifier(model, dtype, kernel).logits(ids, None, offsets)[:, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_on_the_cpu_values_are_rounded_and_queries_and_keys_are_not(dtype):
    exact, half = Watched(), Watched()
    _logits(_model(2), torch.float32, exact)
    _logits(_model(2), dtype, half)
    for ours, theirs, same in zip(half.given[0], exact.given[0], (True, True, False), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5) is same
        assert torch.equal(ours, ours.to(dtype).float()) is not same
        assert torch.allclose(ours, theirs, atol=0.1)


@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_on_the_cpu_the_last_layer_rounds_nothing_of_first_tokens(act):
    exact, half = Watched(), Watched()
    whole = _logits(_model(1, act), torch.float32, exact)
    rounded = _logits(_model(1, act), torch.bfloat16, half)
    assert torch.allclose(half.given[0][0], exact.given[0][0], atol=1e-5)
    assert not torch.allclose(rounded, whole, atol=1e-5)  # the values'
    told = _logits(_model(1, act), torch.bfloat16, Watched(exact.gave))
    assert torch.allclose(told, whole, atol=1e-5)


@pytest.mark.parametrize("act", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"])
def test_every_activation_is_transformers_own(act):
    model = _model(3, act)
    ids = torch.randint(2, 60, (sum(LENGTHS),), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = torch.cat([model(input_ids=x[None]).logits[:, 0] for x in ids.split(LENGTHS)])
    assert torch.allclose(_logits(model, torch.float32), wanted, atol=1e-5)
