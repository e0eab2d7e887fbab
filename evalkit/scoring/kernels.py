"""Attention over sequences that lie end to end, each seeing itself alone.

Every function here takes query of shape (T, heads, head dimension) and key and value of shape
(S, heads, head dimension); `starts`, the cumulative lengths of the B sequences in query and in key,
int32, shape (B + 1,) each; `longest`, the tokens of the longest in either; `scale`, by which scores
are multiplied before the softmax; and `reach`, how many tokens a token sees to either side, -1 for
all. It gives what has the shape and dtype of query.

On CUDA in half precision the work is done by FlashAttention-2 (Dao, 2023), as PyTorch or the
flash-attn package brings it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import torch

Kernel = Callable[..., "torch.Tensor"]


@cache
def kernel_for(device: torch.device, dtype: torch.dtype, width: int) -> Kernel:
    """The fastest kernel at hand; width: the head dimension.

    FlashAttention-2 takes fp16 and bf16 on compute capability 8.0 (Ampere) or later, and head
    dimensions to 256, PyTorch's build multiples of 8 only.
    """
    import torch

    if (
        device.type != "cuda"
        or torch.version.hip is not None
        or dtype not in (torch.float16, torch.bfloat16)
        or width > 256
        or torch.cuda.get_device_capability(device) < (8, 0)
    ):
        return per_sequence
    built_in = torch.backends.cuda.is_flash_attention_available() and torch_has_varlen()
    if built_in and width % 8 == 0:
        return torch_varlen
    return flash_varlen if find_spec("flash_attn") is not None else per_sequence


def torch_has_varlen() -> bool:
    """Whether PyTorch has `varlen_attn` with a window and a scale, which came after it."""
    if find_spec("torch.nn.attention.varlen") is None:
        return False
    from torch.nn.attention.varlen import varlen_attn

    return {"window_size", "scale"} <= set(inspect.signature(varlen_attn).parameters)


def torch_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
    scale: float,
    reach: int,
) -> torch.Tensor:
    """PyTorch's FlashAttention-2 on CUDA."""
    from torch.nn.attention.varlen import varlen_attn

    sides = (reach, reach)
    out = varlen_attn(query, key, value, *starts, *longest, scale=scale, window_size=sides)
    # With what else it can compute it gives a tuple, which is not asked for here.
    return cast("torch.Tensor", out)


def flash_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
    scale: float,
    reach: int,
) -> torch.Tensor:
    """The flash-attn package's FlashAttention-2 on CUDA."""
    attend = importlib.import_module("flash_attn").flash_attn_varlen_func
    window = (reach, reach)
    return attend(query, key, value, *starts, *longest, softmax_scale=scale, window_size=window)


def per_sequence(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
    scale: float,
    reach: int,
) -> torch.Tensor:
    """The reference, on any device and in any dtype: one sequence after another."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    near = None
    if 0 <= reach < max(longest) - 1:
        at = torch.arange(max(longest), device=query.device)
        near = (at[:, None] - at).abs() <= reach
    out = torch.empty_like(query)
    of_query, of_key = (pairwise(cumulative.tolist()) for cumulative in starts)
    for (start, end), (first, last) in zip(of_query, of_key, strict=True):
        # (length, heads, width) → (1, heads, length, width): PyTorch's attention wants the batch,
        # without which it is right and, on the CPU, three times as slow.
        asking = query[start:end].transpose(0, 1).unsqueeze(0)
        keys, values = (x[first:last].transpose(0, 1).unsqueeze(0) for x in (key, value))
        mask = None if near is None else near[: end - start, : last - first]
        attended = scaled_dot_product_attention(asking, keys, values, attn_mask=mask, scale=scale)
        out[start:end] = attended[0].transpose(0, 1)
    return out
