"""The libraries that a training needs and an experiment does not: asked for before it begins."""

from __future__ import annotations

from importlib.util import find_spec

from evalkit.errors import ConfigError


def require_trainer() -> None:
    """ConfigError without what sentence-transformers trains with."""
    for name in ("accelerate", "datasets"):
        _require(name, "task=train", "sentence-transformers[train]")


def require_peft(what: str = "training.lora") -> None:
    """ConfigError without what makes and reads adapters."""
    _require("peft", what, "evalkit[llm]")


def require_datasketch() -> None:
    """ConfigError without what finds near-duplicates."""
    _require("datasketch", "the leak check, which looks for near-duplicates,", "evalkit[diversity]")


def _require(name: str, what: str, package: str) -> None:
    if find_spec(name) is None:
        raise ConfigError(f'{what} needs {name}, which is not installed: pip install "{package}"')
