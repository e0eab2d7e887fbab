"""BERT and (XLM-)RoBERTa classifiers over sequences without padding.

The same mathematics as transformers' own classes, on their weights, arranged for scoring pairs:
sequences lie one after the other, so that no padding is computed; query, key and value are one
matrix product, where they are in one dtype; and the last layer is computed for each sequence's
first token alone, the only one that the classification head reads (its keys and values are still
those of all tokens). For a model of n layers that saves about 5/6 of one of them: 14 % of
MiniLM-L6, 42 % of TinyBERT-L2.

Matrix products are in the dtype that is asked for. On CUDA attention and residual stream are in it
too, as in transformers. On the CPU they are float32, which is faster there than bfloat16, and so
are the products whose rounding moves a score most and that cost least: those that give queries and
keys, whose errors are exponents in the softmax, and the last layer's for first tokens, which are
few. Embeddings, normalisation and the head have float32 weights always, so that neither they nor
the logits are rounded to eight bits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.errors import ConfigError
from evalkit.scoring.kernels import Kernel, kernel_for
from evalkit.scoring.products import product, products
from evalkit.scoring.varlen import padding_of_positions, positions

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

# Counts up whenever half precision comes to round other values than before, which moves its scores.
ROUNDING = 2
FAMILIES = (
    "BertForSequenceClassification",
    "CamembertForSequenceClassification",
    "RobertaForSequenceClassification",
    "XLMRobertaForSequenceClassification",
)


class Sequences(NamedTuple):
    """Where B sequences begin and end, on the device: int32, shape (B + 1,); and the longest."""

    starts: Tensor
    longest: int


class PackedClassifier:
    """Logits of packed sequences under a classifier of transformers.

    model: one of FAMILIES, in float32, on its device. dtype: of matrix products. kernel: one of
    `kernels`, None for the fastest at hand.
    """

    def __init__(self, model: Any, dtype: torch.dtype, kernel: Kernel | None = None) -> None:
        import torch

        if not supports(model):
            raise ConfigError(f"{type(model).__name__}: no classifier that can be packed")
        body = getattr(model, model.base_model_prefix)
        config = model.config
        self.heads = config.num_attention_heads
        self._padding = padding_of_positions(model)
        self.device, self.dtype = model.device, dtype
        self.residual = torch.float32 if self.device.type == "cpu" else dtype
        self.width = config.hidden_size // self.heads
        self.kernel = kernel or kernel_for(self.device, self.residual, self.width)
        embeddings = body.embeddings
        self._words, self._places, self._types = (
            table.weight.detach()
            for table in (
                embeddings.word_embeddings,
                embeddings.position_embeddings,
                embeddings.token_type_embeddings,
            )
        )
        self._norm = self.normaliser(embeddings.LayerNorm, torch.float32)
        *before, last = body.encoder.layer
        self._layers = [_Layer(layer, self) for layer in before]
        self._last = _Layer(last, self, only_first=True)
        self._head = _float_head(model, body)

    def logits(self, ids: Tensor, types: Tensor | None, offsets: Tensor) -> Tensor:
        """float32, shape (B, labels). ids, types: int64, shape (T,), on the model's device, no
        types for those of a first text; offsets: int64, shape (B + 1,), on the CPU."""
        starts = offsets.int().to(self.device, non_blocking=True)
        sequences = Sequences(starts, int(offsets.diff().max()))
        return self.forward(ids, types, self.places(ids, starts), sequences)

    def places(self, ids: Tensor, starts: Tensor) -> Tensor:
        """Position ids of packed tokens: int64, shape (T,)."""
        return positions(ids, starts, self._padding)

    def forward(
        self, ids: Tensor, types: Tensor | None, places: Tensor, sequences: Sequences
    ) -> Tensor:
        """`logits` of what is on the device: nothing here asks the device for a value, so that a
        CUDA graph can record it."""
        kinds = self._types[0] if types is None else self._types[types]
        hidden = self._words[ids] + kinds + self._places[places]
        hidden = self._norm(hidden).to(self.residual)
        for layer in self._layers:
            hidden = layer(hidden, sequences)
        return self._head(self._last(hidden, sequences).float())

    def normaliser(self, norm: nn.LayerNorm, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """The layer normalisation of values of this dtype."""
        from torch.nn.functional import layer_norm

        weight, bias = (p.detach().to(dtype) for p in (norm.weight, norm.bias))
        return lambda x: layer_norm(x, weight.shape, weight, bias, norm.eps)


class _Layer:
    """One transformer layer (post-norm), on packed sequences.

    only_first: of first tokens alone, which see all tokens.
    """

    def __init__(self, layer: Any, owner: PackedClassifier, only_first: bool = False) -> None:
        attention, own = layer.attention, layer.attention.self
        exact, dtype = owner.residual, owner.residual if only_first else owner.dtype
        seen = [(own.query, exact), (own.key, exact), (own.value, owner.dtype)]
        self._owner = owner
        self._first = product([own.query], exact) if only_first else None
        self._seen = products(seen[1:] if only_first else seen)
        self._out = product([attention.output.dense], dtype)
        self._norm_out = owner.normaliser(attention.output.LayerNorm, exact)
        act = layer.intermediate.intermediate_act_fn
        self._wide = product([layer.intermediate.dense], dtype, act)
        self._narrow = product([layer.output.dense], dtype)
        self._norm = owner.normaliser(layer.output.LayerNorm, exact)

    def __call__(self, hidden: Tensor, sequences: Sequences) -> Tensor:
        """The next hidden states, shape (T, h); of first tokens alone: shape (B, h)."""
        import torch

        residual, asking = self._owner.residual, sequences
        seen = [part for given in self._seen for part in self._heads(given(hidden))]
        if self._first is not None:
            first = sequences.starts[:-1]
            counted = torch.arange(len(first) + 1, dtype=torch.int32, device=hidden.device)
            hidden, asking = hidden[first], Sequences(counted, 1)
            seen = [*self._heads(self._first(hidden)), *seen]
        query, key, value = seen
        starts, longest = zip(asking, sequences, strict=True)
        scale = query.shape[-1] ** -0.5
        attended = self._owner.kernel(query, key, value, starts, longest, scale, -1)
        hidden = self._norm_out(hidden + self._out(attended.flatten(1)).to(residual))
        return self._norm(hidden + self._narrow(self._wide(hidden)).to(residual))

    def _heads(self, mixed: Tensor) -> tuple[Tensor, ...]:
        """What lies side by side in `mixed`, each of shape (T, heads, head width)."""
        owner = self._owner
        parts = mixed.to(owner.residual).view(len(mixed), -1, owner.heads, owner.width)
        return parts.unbind(1)


def supports(model: Any) -> bool:
    """Whether PackedClassifier computes what this model does."""
    if type(model).__name__ not in FAMILIES:
        return False
    config = model.config
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    return absolute and not (config.is_decoder or config.add_cross_attention)


def _float_head(model: Any, body: Any) -> Callable[[Tensor], Tensor]:
    """The classification head in float32: first tokens' states, shape (B, h), to logits."""
    if model.base_model_prefix == "bert":
        pooler, classifier = (
            copy.deepcopy(part).float() for part in (body.pooler, model.classifier)
        )
        return lambda first: classifier(pooler(first.unsqueeze(1)))
    head = copy.deepcopy(model.classifier).float()
    return lambda first: head(first.unsqueeze(1))
