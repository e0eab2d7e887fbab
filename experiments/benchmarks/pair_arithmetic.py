"""The arithmetic behind a cross-encoder's scores, and how much of it a device does in a second.

An operation is a multiplication or an addition of a matrix product, attention's included. Padding,
what attention masks, softmax, normalisation, activations and embeddings do not count, so that the
share of a device's peak is what is left after all that and after everything that is no arithmetic.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from evalkit.scoring.products import packed_product, prefers_onednn

# How many matrices of hidden × inner a feed-forward layer has: one in and one out; GeGLU (Shazeer
# 2020) has two in. An architecture that is not listed is not counted.
INNER_MATRICES = {"bert": 2, "camembert": 2, "roberta": 2, "xlm-roberta": 2, "modernbert": 3}


def operations(config: Any, lengths: np.ndarray, first_alone: bool) -> float | None:
    """Operations for the scores of pairs of these lengths, in tokens; None for an architecture
    whose count is not known.

    config: transformers'. first_alone: whether of the last layer only the first token is computed,
    its keys and values apart, as `evalkit.scoring.encoder` does; it holds for global attention.
    """
    matrices = INNER_MATRICES.get(config.model_type)
    if matrices is None:
        return None
    hidden = config.hidden_size
    tokens, pairs = float(lengths.sum()), len(lengths)
    keys = 2 * 2 * hidden**2  # a token's keys and values
    layer = 2 * (4 * hidden**2 + matrices * hidden * config.intermediate_size)  # all of a token's
    meeting = [met(lengths, reach) for reach in reaches(config)]
    head = 2 * (hidden**2 + hidden) * pairs
    if not first_alone:
        return head + len(meeting) * layer * tokens + 4 * hidden * sum(meeting)
    last = keys * tokens + (layer - keys) * pairs + 4 * hidden * tokens
    return head + (len(meeting) - 1) * layer * tokens + 4 * hidden * sum(meeting[:-1]) + last


def reaches(config: Any) -> list[int | None]:
    """For each layer how many tokens a token sees to either side, None for all."""
    if config.model_type != "modernbert":
        return [None] * config.num_hidden_layers
    local = config.local_attention // 2
    return [local if kind == "sliding_attention" else None for kind in config.layer_types]


def met(lengths: np.ndarray, reach: int | None) -> float:
    """Pairs (token, token that it sees) in sequences of these lengths."""
    whole = lengths.astype(float)
    if reach is None:
        return float((whole**2).sum())
    # Each sees 2 × reach + 1, but for those near either end: 1 + 2 + … + reach fewer on a side.
    within = np.where(lengths <= reach, whole**2, whole * (2 * reach + 1) - reach * (reach + 1))
    return float(within.sum())


def matrix_peak(device: str, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product, the fastest of five tries, on the CPU by the
    faster of PyTorch's two libraries.

    float32 is as PyTorch has it by default: on CUDA without TF32.
    """
    cuda = device.startswith("cuda")
    size, products = (8192, 20) if cuda else (2048, 1)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    ways: list[Callable[[], torch.Tensor]] = [lambda: left @ right]
    if not cuda and prefers_onednn(dtype):
        packed = packed_product(right.T.contiguous(), torch.zeros(size, dtype=dtype))
        ways.append(lambda: packed(left))
    seconds = []
    for multiply in ways:
        multiply()  # the first one loads kernels
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(products):
                multiply()
            if cuda:
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - start)
    return products * 2 * size**3 / min(seconds)
