"""How many tokens a batch holds on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Tokens a batch. On the CPU larger batches only fall out of its caches; on CUDA more than this
# gains nothing, and what memory there is may set less.
CPU_BUDGET, CUDA_BUDGET = 4096, 131_072
# Of CUDA's free memory, what a batch may take; the rest is for what the estimate leaves out.
_MEMORY_SHARE = 0.5


def cuda_budget(model: Any, dtype: torch.dtype) -> int:
    """Tokens a batch that fit into half of CUDA's free memory, by the widest layer's activations.

    At the widest place a token has its residual (h), its attention (4 h) and twice the inner layer;
    generously so for every family here. An estimate that is too high costs one failed batch.
    """
    import torch

    wide = 8 * model.config.hidden_size + 3 * _widest(model)
    free, _ = torch.cuda.mem_get_info(model.device)
    fitting = int(free * _MEMORY_SHARE / (wide * dtype.itemsize))
    return max(min(fitting, CUDA_BUDGET), 1)


def _widest(model: Any) -> int:
    """Values a token has in the widest layer, by the weights: configs name it in many ways."""
    from torch import nn

    layers = (part for part in model.modules() if not isinstance(part, nn.Embedding))
    weights = (weight for layer in layers for weight in layer.parameters(recurse=False))
    return max(max(weight.shape) for weight in weights if weight.ndim == 2)
