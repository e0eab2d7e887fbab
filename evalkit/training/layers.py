"""A smaller or steadier start: fewer of a model's layers, another dropout."""

from __future__ import annotations

from typing import Any

from evalkit.errors import ConfigError


def keep_layers(network: Any, count: int) -> None:
    """Leave the first `count` of the encoder's layers: the lower ones are those that another task
    keeps most of (Sajjad et al., "On the effect of dropping layers", Computer Speech & Language
    77, 2023)."""
    import torch

    total = int(network.config.num_hidden_layers)
    if count > total:
        raise ConfigError(f"training.num_layers={count}: the model has {total}; expected fewer")
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ModuleList) and len(child) == total:
                setattr(module, name, torch.nn.ModuleList(child[:count]))
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
