"""What a model's folder holds: its settings, the weight files that are loaded, and their digest.

One digest identifies a model wherever it is from: only files that change its output count.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalkit.errors import ModelNotFound

# In a directory, the first of these (or its shards) is what transformers loads; peft, the first of
# the others.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "bpe.codes")
# The other files that change a model's output. Read-me files, training scripts, data_config.json
# and exports to other formats do not, so that every copy of a model has one digest.
_SETTINGS = (
    "config.json", "adapter_config.json", "config_sentence_transformers.json", "modules.json",
    "sentence_*_config.json", "router_config.json", "cnn_config.json", "lstm_config.json",
    "wordembedding_config.json", "whitespacetokenizer_config.json", "tokenizer.json",
    "tokenizer_config.json", "vocab.*", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "*.model", "*.tiktoken", "bpe.codes", "chat_template*.jinja",
    "chat_template.json", "generation_config.json",
)  # fmt: skip


def one_line(reason: object) -> str:
    """A reason fit for one line: at most 160 characters, no line breaks."""
    return " ".join(str(reason).split())[:160]


def read_json(path: Path) -> Any:
    """A model's settings file; ModelNotFound when it is broken, None when it is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelNotFound(
            f"{path}: cannot be read as JSON ({one_line(error)}); get the model anew"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """A model's config.json. Empty for models of static vectors, which only have a modules.json."""
    config = read_json(folder / "config.json")
    if (folder / "modules.json").is_file() and (config is None or isinstance(config, dict)):
        return config or {}
    if config is None:
        raise ModelNotFound(f"{folder}: no config.json in it; give the folder of a saved model")
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelNotFound(f"{folder / 'config.json'}: names no model_type; get the model anew")
    return config


def has_tokenizer(folder: Path) -> bool:
    """Whether a vocabulary is there; without one, transformers makes an empty tokenizer."""
    return any(next(folder.glob(pattern), None) for pattern in _VOCABULARIES)


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds a peft adapter: what was learned on top of another model."""
    return (folder / "adapter_config.json").is_file()


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """An adapter's adapter_config.json."""
    config = read_json(folder / "adapter_config.json")
    if not isinstance(config, dict) or "peft_type" not in config:
        raise ModelNotFound(
            f"{folder / 'adapter_config.json'}: names no peft_type; get the adapter anew"
        )
    return config


def _directories(folder: Path) -> list[Path]:
    """The directories that a model is loaded from: its folder, and what modules.json names."""
    modules = read_json(folder / "modules.json") or []
    try:
        found = {folder, *(folder / module["path"] for module in modules)}
    except (TypeError, KeyError) as error:
        raise ModelNotFound(f"{folder / 'modules.json'}: no list of modules in it") from error
    for routed in [path for path in found if (path / "router_config.json").is_file()]:
        found.update(path for path in routed.rglob("*") if path.is_dir())
    return sorted(path for path in found if path.is_dir() and path.is_relative_to(folder))


def _weight_files(directory: Path) -> tuple[str, ...]:
    return _ADAPTER_WEIGHTS if is_adapter(directory) else _WEIGHTS


def _weights(directory: Path) -> list[Path]:
    """The weight files that are loaded from one directory; ModelNotFound when a shard is gone."""
    for name in _weight_files(directory):
        if (directory / name).is_file():
            return [directory / name]
        index = read_json(directory / f"{name}.index.json")
        if index is not None:
            named = index.get("weight_map", {}) if isinstance(index, dict) else {}
            shards = [directory / shard for shard in sorted(set(named.values()))]
            gone = [shard.name for shard in shards if not shard.is_file()]
            if gone:
                raise ModelNotFound(f"{directory}: {gone[0]} is missing; complete the download")
            return shards
    return []


def weight_names(folder: Path) -> set[str]:
    """The names of all parameters in a model's or adapter's weight files; no weights are read."""
    import torch
    from safetensors import safe_open

    names: set[str] = set()
    for path in (path for directory in _directories(folder) for path in _weights(directory)):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                names.update(file.keys())
        else:
            names.update(torch.load(path, map_location="meta", weights_only=True))
    return names


def check_whole(folder: Path, name: str, remedy: str, adapter: bool = False) -> Path:
    """The folder, if it holds a whole model; ModelNotFound for missing weights.

    remedy: what to do about missing weights. adapter: whether a peft adapter will do, too.
    """
    directories = _directories(folder)
    for directory in directories:
        # Even beside whole weights: the libraries then load the model that it names elsewhere.
        if is_adapter(directory) and not (adapter and directory == folder):
            raise ModelNotFound(
                f"model '{name}' is an adapter ({directory / 'adapter_config.json'}), which cannot "
                "be used; merge it into its base model (merge_and_unload in peft), give that folder"
            )
    found = {directory: _weights(directory) for directory in directories}
    for directory, weights in found.items():
        settings = read_json(directory / "config.json")
        needed = isinstance(settings, dict) and "model_type" in settings
        if not weights and (needed or not any(found.values())):
            raise ModelNotFound(
                f"model '{name}': no weights in {directory} "
                f"({' or '.join(_weight_files(directory))}); {remedy}"
            )
    return folder


@lru_cache(maxsize=64)
def _digest_of(folder: str, stamps: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, _ in stamps:
        digest.update(f"{name}:{sha256(Path(folder) / name)}\n".encode())
    return digest.hexdigest()[:16]


def model_digest(folder: Path) -> str:
    """A digest of a model's or adapter's weights, tokenizer and settings: 16 hex digits.

    An adapter's says nothing about the model that it is put on.
    """
    directories = _directories(folder)
    weights = {path for directory in directories for path in _weights(directory)}
    if not weights:
        raise ModelNotFound(f"{folder}: no weights in it; give the folder of a saved model")
    settings = {path for d in directories for pattern in _SETTINGS for path in d.glob(pattern)}
    stamps = tuple(
        (p.relative_to(folder).as_posix(), p.stat().st_size, p.stat().st_mtime_ns)
        for p in sorted(weights | settings)
    )
    return _digest_of(str(folder), stamps)


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ModelNotFound(f"{path}: cannot be read ({error.strerror}); reinstall it") from error
    return digest.hexdigest()
