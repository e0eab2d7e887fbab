"""From packed pairs to logits: the ways in which a classifier can be run, and which one fits it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from evalkit.errors import ConfigError
from evalkit.scoring.encoder import PackedClassifier
from evalkit.scoring.graphs import Graphs, filled
from evalkit.scoring.products import hasten
from evalkit.scoring.templates import Packed

if TYPE_CHECKING:
    import numpy as np
    import torch


class Forward(Protocol):
    """padded: whether a batch costs what its longest sequence costs, times their number."""

    padded: bool

    def logits(self, batch: Packed) -> torch.Tensor:
        """float32, shape (B,), on the model's device; does not wait for it."""
        ...


def forward_for(model: Any, dtype: torch.dtype, types: bool, graphs: bool = False) -> Forward:
    """model: in float32, and not to be used elsewhere. dtype: of matrix products. types: whether
    the model's tokenizer makes token types. graphs: compute small batches by CUDA graphs;
    ConfigError where that cannot be."""
    from evalkit.scoring import encoder, varlen

    width = model.config.hidden_size // model.config.num_attention_heads
    fused = varlen.kernel_for(model.device, dtype, width) is not varlen.per_sequence
    if graphs and not (encoder.supports(model) and fused):
        raise ConfigError(
            f"cuda_graphs=true: {type(model).__name__} on {model.device} in {dtype} is not "
            "computed without padding by CUDA kernels; set cuda_graphs=false"
        )
    if encoder.supports(model) and (fused or model.device.type == "cpu"):
        classifier, pad = PackedClassifier(model, dtype), model.config.pad_token_id or 0
        return WithoutPadding(classifier, types, Graphs(classifier) if graphs else None, pad)
    for parameter in model.parameters():  # and no buffer: rotary frequencies stay in float32
        parameter.data = parameter.data.to(dtype)
    model = with_float_head(model)
    if fused and varlen.supports(model):
        return ThroughTransformers(model, types)
    hasten(model)
    return WithPadding(model, types)


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
    """BERT and (XLM-)RoBERTa by `PackedClassifier`; small batches by graphs, where there are any.

    pad: the token that those are filled up with.
    """

    padded = False

    def __init__(
        self, classifier: PackedClassifier, types: bool, graphs: Graphs | None = None, pad: int = 0
    ) -> None:
        self._classifier, self._types = classifier, types
        self._graphs, self._pad = graphs, pad

    def logits(self, batch: Packed) -> torch.Tensor:
        shape = None if self._graphs is None else self._graphs.shape_for(batch)
        if self._graphs is None or shape is None:
            return self._classifier.logits(*self._inputs(batch))[:, 0]
        inputs = self._inputs(filled(batch, shape, self._pad))
        return self._graphs.logits(*inputs, shape)[: len(batch.lengths), 0]

    def _inputs(self, batch: Packed) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        ids, types, offsets = tensors(batch, self._classifier.device)
        return ids, types if self._types else None, offsets


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
    """Any classifier of transformers, padded, by the model's own forward.

    The padding token is the one that the model's config names, and not the tokenizer's: a decoder
    takes the last token that is another for the end of the pair. One whose config names none, or -1
    as Llama's did, cannot tell padding from text and is given one pair at a time.
    """

    padded = True

    def __init__(self, model: Any, types: bool) -> None:
        self._model, self._types = model, types
        pad = model.config.get_text_config().pad_token_id
        self._pad: int | None = None if pad is None or pad < 0 else pad

    def logits(self, batch: Packed) -> torch.Tensor:
        import torch

        if self._pad is not None:
            return self._padded(*batch.padded(self._pad))
        arrays = batch.padded(0)
        rows = enumerate(batch.lengths.tolist())
        alone = ([array[row : row + 1, :length] for array in arrays] for row, length in rows)
        return torch.cat([self._padded(*pair) for pair in alone])

    def _padded(self, ids: np.ndarray, types: np.ndarray, mask: np.ndarray) -> torch.Tensor:
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._types:
            inputs["token_type_ids"] = types
        copied = {name: on_device(array, self._model.device) for name, array in inputs.items()}
        return self._model(**copied).logits[:, 0].float()


def tensors(batch: Packed, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch's ids and types on the device; its offsets here."""
    import torch

    ids, types = (on_device(array, device) for array in (batch.ids, batch.types))
    return ids, types, torch.from_numpy(batch.offsets)


def on_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """The array on the device; on CUDA by a copy that nobody waits for: pinned memory allows it."""
    import torch

    here = torch.from_numpy(array)
    if device.type == "cuda":
        return here.pin_memory().to(device, non_blocking=True)
    return here.to(device)
