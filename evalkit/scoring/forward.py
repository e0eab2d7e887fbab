"""From packed pairs to logits: the ways in which a classifier can be run, and which one fits it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from evalkit.scoring.encoder import PackedClassifier
from evalkit.scoring.templates import Packed

if TYPE_CHECKING:
    import torch


class Forward(Protocol):
    """padded: whether a batch costs what its longest sequence costs, times their number."""

    padded: bool

    def logits(self, batch: Packed) -> torch.Tensor:
        """float32, shape (B,), on the model's device; does not wait for it."""
        ...


def forward_for(model: Any, dtype: torch.dtype, types: bool, pad: int) -> Forward:
    """model: in float32, and not to be used elsewhere. dtype: of matrix products. types: whether
    the model's tokenizer makes token types. pad: the padding token's id."""
    from evalkit.scoring import encoder, varlen

    width = model.config.hidden_size // model.config.num_attention_heads
    fused = varlen.kernel_for(model.device, dtype, width) is not varlen.per_sequence
    if encoder.supports(model) and (fused or model.device.type == "cpu"):
        return WithoutPadding(PackedClassifier(model, dtype), types)
    for parameter in model.parameters():  # and no buffer: rotary frequencies stay in float32
        parameter.data = parameter.data.to(dtype)
    model = with_float_head(model)
    if fused and varlen.supports(model):
        return ThroughTransformers(model, types)
    return WithPadding(model, types, pad)


def with_float_head(model: Any) -> Any:
    """The model with a head in float32, so that its logits are not rounded to half precision."""

    def widened(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        floating = (hasattr(x, "is_floating_point") and x.is_floating_point() for x in inputs)
        return tuple(x.float() if yes else x for x, yes in zip(inputs, floating, strict=True))

    for name, part in model.named_children():
        if name != model.base_model_prefix:
            part.float().register_forward_pre_hook(widened)
    return model


class WithoutPadding:
    """BERT and (XLM-)RoBERTa by `PackedClassifier`."""

    padded = False

    def __init__(self, classifier: PackedClassifier, types: bool) -> None:
        self._classifier, self._types = classifier, types

    def logits(self, batch: Packed) -> torch.Tensor:
        ids, types, offsets = tensors(batch, self._classifier.device)
        return self._classifier.logits(ids, types if self._types else None, offsets)[:, 0]


class ThroughTransformers:
    """ModernBERT on CUDA, through transformers' attention interface."""

    padded = False

    def __init__(self, model: Any, types: bool) -> None:
        self._model, self._types = model, types

    def logits(self, batch: Packed) -> torch.Tensor:
        from evalkit.scoring.varlen import packed_logits

        ids, types, offsets = tensors(batch, self._model.device)
        starts = offsets.int().to(self._model.device, non_blocking=True)
        longest = int(batch.lengths.max())
        kinds = types if self._types else None
        return packed_logits(self._model, ids, kinds, None, starts, longest)[:, 0].float()


class WithPadding:
    """Any classifier of transformers, padded, by the model's own forward."""

    padded = True

    def __init__(self, model: Any, types: bool, pad: int) -> None:
        self._model, self._types, self._pad = model, types, pad

    def logits(self, batch: Packed) -> torch.Tensor:
        import torch

        arrays = zip(
            ("input_ids", "token_type_ids", "attention_mask"),
            batch.padded(self._pad),
            strict=True,
        )
        device = self._model.device
        inputs = {name: torch.from_numpy(array).to(device) for name, array in arrays}
        if not self._types:
            del inputs["token_type_ids"]
        return self._model(**inputs).logits[:, 0].float()


def tensors(batch: Packed, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch's ids and types on the device, by a copy that nobody waits for; its offsets here."""
    import torch

    ids, types, offsets = map(torch.from_numpy, (batch.ids, batch.types, batch.offsets))
    if device.type == "cuda":
        ids, types = (x.pin_memory().to(device, non_blocking=True) for x in (ids, types))
    return ids, types, offsets
