"""A smaller or steadier start: fewer of a model's layers, another dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from evalkit.errors import ConfigError


def keep_layers(network: Any, count: int) -> None:
    """Leave `count` of the encoder's layers, evenly spaced, the first and the last among them."""
    import torch

    total = int(network.config.num_hidden_layers)
    if count > total:
        raise ConfigError(f"training.num_layers={count}: the model has {total}; expected fewer")
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ModuleList) and len(child) == total:
                kept = [child[i] for i in evenly_spaced(total, count)]
                setattr(module, name, torch.nn.ModuleList(kept))
                network.config.num_hidden_layers = count
                return
    raise ConfigError(
        f"training.num_layers={count}: a {type(network).__name__} has no list of layers to choose "
        "from; set training.num_layers=null"
    )


def set_dropout(network: Any, share: float) -> None:
    """The same dropout in all of the network's layers, attention included."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        # Some architectures hand attention its dropout as a number.
        for name in ("dropout_prob", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, share)


def evenly_spaced(total: int, count: int) -> list[int]:
    """Indices of `count` of `total` layers; one alone is the first."""
    return np.linspace(0, total - 1, count).round().astype(int).tolist()
