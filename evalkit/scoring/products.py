"""Linear layers side by side as one matrix product, by the fastest library for the device.

On CUDA that is what `torch.nn.functional.linear` calls. On the CPU PyTorch has two libraries: MKL,
which `linear` uses for float32, and oneDNN, which it uses for bfloat16 and whose weights can be
laid out once and for all. MKL leaves AVX-512 unused on AMD's processors: there oneDNN's products of
float32 are more than twice as fast (seen on an EPYC, family 26). Their last bits differ, as other
batches' do. oneDNN also computes a product's GELU before it rounds to half precision.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Product = Callable[["Tensor"], "Tensor"]
Activation = Callable[["Tensor"], "Tensor"]
# Rows for which oneDNN lays weights out; it takes any number.
_ROWS = 1024
_OPERATORS = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
CPUINFO = Path("/proc/cpuinfo")  # of Linux


def product(
    layers: Sequence[nn.Linear], dtype: torch.dtype, activation: Activation | None = None
) -> Product:
    """x of shape (T, in) → shape (T, what the layers give, one after another) in `dtype`, in which
    they are multiplied; under an activation, if there is one."""
    import torch
    from torch.nn.functional import linear

    weight = torch.cat([layer.weight.detach() for layer in layers]).to(dtype)
    bias = torch.cat([layer.bias.detach() for layer in layers]).to(dtype)
    onednn = weight.device.type == "cpu" and prefers_onednn(dtype)
    fused = onednn and activation is not None and is_gelu(activation)
    multiply = (
        packed_product(weight, bias, fused) if onednn else partial(linear, weight=weight, bias=bias)
    )
    if activation is None or fused:
        return lambda x: multiply(x.to(dtype))
    return lambda x: activation(multiply(x.to(dtype)))


def products(layers: Iterable[tuple[nn.Linear, torch.dtype]]) -> list[Product]:
    """Layers that read the same, each in a dtype: neighbours in the same one as one `product`."""
    together = groupby(layers, key=itemgetter(1))
    return [product([layer for layer, _ in group], dtype) for dtype, group in together]


def is_gelu(activation: Activation) -> bool:
    """Whether it is transformers' exact GELU, x Φ(x), which oneDNN fuses."""
    from torch.nn.functional import gelu

    return getattr(activation, "act", None) is gelu


def hasten(model: nn.Module) -> None:
    """Have oneDNN multiply in a model's linear layers, where it is on the CPU and that is faster.

    Its weights are then in memory twice: code of its own may read them elsewhere.
    """
    from torch import nn

    for part in model.modules():
        if type(part) is not nn.Linear or part.weight.device.type != "cpu":
            continue
        if prefers_onednn(part.weight.dtype):
            bias = None if part.bias is None else part.bias.detach()
            part.forward = packed_product(part.weight.detach(), bias)  # type: ignore[assignment]


def packed_product(weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Product:
    """The product (its exact GELU) by oneDNN, on the CPU, with weights in the layout that it wants.

    Its operators are those of PyTorch's own compiler, which has no public name for them.
    """
    import torch

    packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
    run = torch.ops.mkldnn._linear_pointwise
    then, algorithm = ("gelu", "none") if gelu else ("none", "")
    return lambda x: run(x, packed, bias, then, [], algorithm)


@cache
def prefers_onednn(dtype: torch.dtype) -> bool:
    """Whether oneDNN's operators are there and the faster ones for this dtype on this processor."""
    import torch

    there = all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
    if not there or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return dtype == torch.float32 and wide and is_amd()


def is_amd() -> bool:
    """Whether this machine's processor says that it is AMD's."""
    try:
        said = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        said = platform.processor()
    return "AuthenticAMD" in said
