"""Rerankers as transformers loads them: a whole model, or a peft adapter over its base model.

An adapter (LoRA; Hu et al., ICLR 2022) holds what was learned on top of a base model that is kept
elsewhere: small matrices, and the classification head. It is merged into the base's weights once,
when it is loaded, so that scoring costs no more than with a whole model (peft, merge_and_unload).
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.errors import ConfigError, ModelNotFound
from evalkit.model_files import (
    has_tokenizer,
    is_adapter,
    model_digest,
    one_line,
    read_adapter_config,
    read_config,
    weight_names,
)
from evalkit.models import loading, quiet_transformers, resolve_dtype, resolve_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_IN_ADAPTER = "base_model.model."  # what peft puts before a parameter's own name


class Checkpoint(NamedTuple):
    """Where a reranker's weights are: `folder` holds a whole model and `base` is None, or `folder`
    holds an adapter and `base` the model that it changes. `name` is for messages."""

    name: str
    folder: Path
    base: Path | None

    @property
    def body(self) -> Path:
        """The folder of the model itself: its config.json and most of its weights."""
        return self.base or self.folder

    @property
    def tokenizer(self) -> Path:
        """The folder of the tokenizer: the adapter's own, where it was saved with one."""
        return self.folder if has_tokenizer(self.folder) else self.body

    @property
    def digest(self) -> str:
        """A digest of all weights, tokenizer and settings, those of the base included."""
        own = model_digest(self.folder)
        return own if self.base is None else f"{own}+{model_digest(self.base)}"


def find_checkpoint(
    name: str, revision: str | None = None, base_model: str | None = None
) -> Checkpoint:
    """The whole model or adapter of this name, found as `resolve_model` does, and its base.

    base_model: path or hub id to use instead of the base that the adapter names, which may be a
    path on the machine it was trained on; the weights must be the same.
    """
    folder = resolve_model(name, revision, adapter=True)
    if not is_adapter(folder):
        if base_model is not None:
            raise ConfigError(
                f"base_model={base_model}: model '{name}' is a whole model, which has no base; "
                "leave base_model=null"
            )
        return Checkpoint(name, folder, None)
    config = read_adapter_config(folder)
    asked = base_model or config.get("base_model_name_or_path")
    if not asked:
        raise ConfigError(f"model '{name}' is an adapter that names no base; set base_model")
    try:
        base = resolve_model(asked, None if base_model else config.get("revision"))
    except ModelNotFound as error:
        raise ModelNotFound(
            f"model '{name}' is an adapter, and its base is missing; set base_model to a path or "
            f"hub name of it, or: {error}"
        ) from error
    return Checkpoint(name, folder, base)


def check_classifier(checkpoint: Checkpoint) -> PreTrainedModel:
    """ConfigError for what gives no trained score; loads no weights.

    A head of other than one logit; a head that is in no weight file and would be random. Returns
    the model's layers without any memory behind them (torch's meta device).
    """
    if checkpoint.base is not None:
        _check_adapter(checkpoint)
    skeleton = _skeleton(checkpoint)
    missing = sorted(_head(skeleton) - _available(checkpoint))
    if missing:
        raise ConfigError(
            f"model '{checkpoint.name}': its weights have no classification head ({missing[0]} is "
            "missing), its scores would be random; choose a model trained as a reranker"
        )
    labels = skeleton.config.num_labels
    if labels != 1:
        raise ConfigError(
            f"model '{checkpoint.name}' has {labels} labels, a reranker has one logit"
        )
    return skeleton


def _check_adapter(checkpoint: Checkpoint) -> None:
    kind = read_adapter_config(checkpoint.folder)["peft_type"]
    if kind != "LORA":
        raise ConfigError(f"model '{checkpoint.name}' is an adapter of type {kind}; expected LORA")
    if find_spec("peft") is None:
        raise ConfigError(
            f"model '{checkpoint.name}' is an adapter, which needs peft: "
            'pip install "evalkit[llm]"'
        )


def load_classifier(checkpoint: Checkpoint, dtype: str, device: str) -> PreTrainedModel:
    """The model with one logit, on `device`, in evaluation mode, the adapter merged."""
    check_classifier(checkpoint)
    quiet_transformers()
    from transformers import AutoModelForSequenceClassification

    labels = {} if checkpoint.base is None else {"num_labels": 1}
    with loading(checkpoint.name):
        model = AutoModelForSequenceClassification.from_pretrained(
            str(checkpoint.body), dtype=resolve_dtype(dtype), **labels
        )
        # Before merging: on a GPU it takes seconds rather than minutes.
        model = model.to(device)
        if checkpoint.base is not None:
            model = _merged(model, checkpoint)
    return model.eval()


def _skeleton(checkpoint: Checkpoint) -> PreTrainedModel:
    read_config(checkpoint.body)
    quiet_transformers()
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    labels = {} if checkpoint.base is None else {"num_labels": 1}
    with loading(checkpoint.name), torch.device("meta"):
        config = AutoConfig.from_pretrained(str(checkpoint.body), **labels)
        return AutoModelForSequenceClassification.from_config(config)


def _head(model: Any) -> set[str]:
    """The names of the classification head's parameters."""
    body = f"{model.base_model_prefix}."
    return {name for name, _ in model.named_parameters() if not name.startswith(body)}


def _available(checkpoint: Checkpoint) -> set[str]:
    """The names of all parameters in the files, as the model itself names them."""
    names = weight_names(checkpoint.body)
    if checkpoint.base is not None:
        names |= {_own_name(name) for name in weight_names(checkpoint.folder)}
    return names


def _own_name(name: str) -> str:
    """A parameter's name in the model, from its name in an adapter's file."""
    return name.removeprefix(_IN_ADAPTER).replace(".modules_to_save", "")


def _merged(model: Any, checkpoint: Checkpoint) -> Any:
    """The base model with the adapter in its weights; what fits only in part is refused."""
    from peft import PeftModel, get_peft_model_state_dict

    stored = weight_names(checkpoint.folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what peft warns of is looked at below, and refused
        try:
            adapted = PeftModel.from_pretrained(
                model, str(checkpoint.folder), config=_config(checkpoint, model, stored)
            )
        except RuntimeError as error:
            if "size mismatch" not in str(error):
                raise
            reason = one_line(str(error).split("size mismatch for ")[1])
            raise _misfit(checkpoint, reason) from error
    placed = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    for names, fault in ((placed - stored, "missing"), (stored - placed, "spare")):
        found = sorted(name for name in names if "lora_" in name)
        if found:
            raise _misfit(checkpoint, f"{found[0]} is {fault}")
    return adapted.merge_and_unload()


def _config(checkpoint: Checkpoint, model: Any, stored: set[str]) -> Any:
    """The adapter's settings; whole modules (the head, a pooler) are those that its file holds.

    peft itself goes by what the settings say: a head that they do not name is left random, one
    that they name and the file lacks is an error even where the base has it.
    """
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(checkpoint.folder))
    modules = {*(config.modules_to_save or ()), *(name.split(".")[0] for name in _head(model))}
    whole = {name for name in stored if "lora_" not in name}
    config.task_type = None
    config.modules_to_save = sorted(
        module for module in modules if any(f".{module}." in name for name in whole)
    )
    return config


def _misfit(checkpoint: Checkpoint, reason: str) -> ModelNotFound:
    return ModelNotFound(
        f"model '{checkpoint.name}': the adapter does not fit its base {checkpoint.base} "
        f"({reason}); give the base it was trained on as base_model"
    )
