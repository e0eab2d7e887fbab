"""Where the numbers of a run come from: versions, commit, device, settings, fingerprints."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import evalkit
from evalkit.errors import ConfigError, without_credentials
from evalkit.models import resolve_device

LIBRARIES = (
    "bm25s", "faiss-cpu", "FlagEmbedding", "hydra-core", "ir-datasets", "ir-measures", "jieba",
    "mlflow", "numpy", "peft", "pyarrow", "PyStemmer", "pytrec_eval-terrier", "scipy",
    "sentence-transformers", "tokenizers", "torch", "transformers",
)  # fmt: skip


def build_manifest(
    config: Mapping[str, Any], fingerprints: Mapping[str, str], warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """Plain JSON data. `created` and nothing else in it changes when a run is repeated.

    config: its "device" is the one described, as the models resolve it. fingerprints: by
    "retriever.NAME" and "reranker.NAME". warnings: what the dataset says about itself, a line
    each. Raises ConfigError for a device that is not usable here.
    """
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "evalkit": evalkit.__version__,
        "git_commit": git_commit(Path(evalkit.__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": _described(config.get("device")),
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
        "config": _scrubbed(config),
        "fingerprints": dict(fingerprints),
        "warnings": list(warnings),
    }


def git_commit(folder: Path) -> str | None:
    """The commit of evalkit's own checkout, "+dirty" when it has changes; None for a wheel.

    Changes: tracked files that differ, and new ones in `folder` and in conf/. Other new files are
    results and notes; what git cannot tell counts as a change.
    """
    checkout = folder.parent
    if not (checkout / ".git").exists():
        return None
    commit = _git(checkout, "rev-parse", "HEAD")
    if not commit:
        return None
    new = ("ls-files", "--others", "--exclude-standard", "--", folder.name, "conf")
    changes = [_git(checkout, *command) for command in (("status", "--porcelain", "-uno"), new)]
    return commit if changes == ["", ""] else f"{commit}+dirty"


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None if it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _described(configured: str | None) -> str:
    """The device that the models get for `configured`, and what it is."""
    import torch

    device = resolve_device(configured)
    kind = device.split(":")[0]
    if kind == "cuda":
        try:
            return f"{device}: {torch.cuda.get_device_name(device)}"
        except (RuntimeError, AssertionError, ValueError) as error:  # torch raises any of them
            count = torch.cuda.device_count()
            raise ConfigError(
                f"device={device} is not usable here; this machine has {count} CUDA device(s), "
                "counted from cuda:0"
            ) from error
    if kind == "mps":
        return device
    count = torch.get_num_threads()
    threads = f"{count} thread{'s' if count > 1 else ''}"
    return f"cpu: {threads}, {torch.backends.cpu.get_cpu_capability()}"


def _scrubbed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _scrubbed(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(part) for part in value]
    return without_credentials(value) if isinstance(value, str) else value
