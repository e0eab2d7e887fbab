"""The model that is trained: a cross-encoder of sentence-transformers over ready-made token rows.

Whole, or frozen with a LoRA adapter through peft; with all of its layers, or some of them. The
adapter's layers are put into the model itself, so that every loss and trainer sees an ordinary one.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evalkit.adapters import Checkpoint, find_checkpoint, load_classifier
from evalkit.errors import ConfigError
from evalkit.model_files import read_adapter_config
from evalkit.models import loading, quiet_transformers
from evalkit.training.attention import use_float32_attention
from evalkit.training.layers import keep_layers, set_dropout
from evalkit.training.libraries import require_peft
from evalkit.training.pair_rows import PairRows
from evalkit.training.settings import FitSettings, LoraSettings

if TYPE_CHECKING:
    import torch
    from sentence_transformers import CrossEncoder

MIN_WIDTH = 64  # pairs scored at a time when nothing is learned from them


class Student(NamedTuple):
    """encoder: what trainer and losses see. network: transformers' model in it. adapter: peft's
    view of the network, None where all weights are trained. checkpoint: what it started from."""

    encoder: CrossEncoder
    network: Any
    adapter: Any
    checkpoint: Checkpoint

    @property
    def base(self) -> str:
        """Name of the model below an adapter that is trained further; else of the start itself."""
        if self.adapter is None or self.checkpoint.base is None:
            return self.checkpoint.name
        return str(self.adapter.peft_config["default"].base_model_name_or_path)


def find_start(settings: FitSettings) -> Checkpoint:
    """The model to start from; ConfigError where an adapter and the LoRA settings do not agree."""
    start = find_checkpoint(settings.model, base_model=settings.base_model)
    if start.base is not None and settings.lora is not None:
        config = read_adapter_config(start.folder)
        theirs = config.get("r"), config.get("lora_alpha")
        ours = settings.lora.rank, settings.lora.alpha
        if theirs != ours:
            raise ConfigError(
                f"training.lora.rank={ours[0]}, alpha={ours[1]}: the adapter '{settings.model}' "
                f"that training goes on from has {theirs[0]} and {theirs[1]}; set these, or "
                "training.lora=null to train the merged model whole"
            )
    return start


def build_student(settings: FitSettings, device: str) -> Student:
    """The model before its first step; a head that the base lacks is random, by the seed."""
    import torch

    start = find_start(settings)
    torch.manual_seed(settings.seed)
    quiet_transformers()
    transformer = _transformer(start)
    if start.base is not None and settings.lora is None:
        # What lies below an adapter is frozen; merged, all of it learns.
        transformer.model = load_classifier(start, "float32", "cpu").requires_grad_(True)
    if settings.num_layers is not None:
        keep_layers(transformer.model, settings.num_layers)
    if settings.dropout is not None:
        set_dropout(transformer.model, settings.dropout)
    if device == "cpu" and settings.dtype == "bfloat16":
        use_float32_attention(transformer.model)
    adapter = None if settings.lora is None else _adapted(transformer.model, start, settings)
    # Rows come cut; nothing that is scored may be longer.
    transformer.max_seq_length = settings.max_length
    encoder = _row_encoder(transformer, device, settings)
    return Student(encoder, transformer.model, adapter, start)


def _transformer(start: Checkpoint) -> Any:
    import torch
    from sentence_transformers.base.modules import Transformer

    with loading(start.name):
        module = Transformer(
            str(start.body),
            transformer_task="sequence-classification",
            model_kwargs={"dtype": torch.float32},
            config_kwargs={"num_labels": 1},
        )
    if module.tokenizer is None or not getattr(module.tokenizer, "is_fast", False):
        raise ConfigError(
            f"training.model={start.name}: it has no fast tokenizer; choose another model"
        )
    return module


def _adapted(network: Any, start: Checkpoint, settings: FitSettings) -> Any:
    """peft's model around the network, whose linear layers it replaces by adapted ones."""
    require_peft()
    from peft import LoraConfig, PeftModel, get_peft_model

    if start.base is not None:
        with loading(start.name), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # see below
            adapted = PeftModel.from_pretrained(network, str(start.folder), is_trainable=True)
        config = adapted.peft_config["default"]
        # peft adds the usual names of heads to it at each load.
        config.modules_to_save = list(dict.fromkeys(config.modules_to_save or ()))
        return adapted
    lora = settings.lora or LoraSettings()
    heads = _heads(network)
    config = LoraConfig(
        task_type="SEQ_CLS",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.modules,
        # "dense" is in many a pooler and head, too.
        exclude_modules=rf"(.*\.)?({'|'.join(map(re.escape, heads))})(\..*)?",
        modules_to_save=heads,
    )
    try:
        with warnings.catch_warnings():
            # It asks transformers in an old way.
            warnings.simplefilter("ignore", FutureWarning)
            adapted = get_peft_model(network, config)
    except ValueError as error:
        if "arget modules" not in str(error):
            raise
        raise ConfigError(
            f"training.lora.modules={lora.modules}: the model '{settings.model}' has no linear "
            "layers of these names; set training.lora.modules=all-linear"
        ) from error
    adapted.peft_config["default"].base_model_name_or_path = shown_name(settings.model)
    return adapted


def shown_name(name: str) -> str:
    """A hub name as it is, a folder in full: an adapter is read from elsewhere later."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() else name


def _heads(network: Any) -> list[str]:
    """Modules that stand above the encoder's layers: the head and, where there is one, a pooler."""
    body = f"{network.base_model_prefix}."
    names = [name for name, _ in network.named_parameters()]
    heads = {name.split(".")[0] for name in names if not name.startswith(body)}
    poolers = {"pooler" for name in names if name.startswith(f"{body}pooler.")}
    return sorted(heads | poolers)


def _row_encoder(transformer: Any, device: str, settings: FitSettings) -> CrossEncoder:
    """A CrossEncoder whose inputs may be (anything, row) pairs: rows of its `rows`, token ids made
    before. It scores each distinct row of a call once, in batches of similar length."""
    import torch
    from sentence_transformers import CrossEncoder

    class RowCrossEncoder(CrossEncoder):
        rows: PairRows
        read = slots = 0  # tokens of the pairs that were learned from; with padding

        @property
        def padding_share(self) -> float:
            return 1.0 - self.read / max(self.slots, 1)

        def preprocess(self, inputs: Sequence[Any], **options: Any) -> dict[str, Any]:
            if inputs and isinstance(inputs[0][1], int):
                return {"row": torch.tensor([row for _, row in inputs])}
            return super().preprocess(inputs, **options)

        def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
            if "row" not in features:
                return super().forward(features, **options)
            asked = features["row"].cpu().numpy()
            distinct, inverse = np.unique(asked, return_inverse=True)
            # Longest first: memory shows at once whether it is enough.
            order = np.argsort(-self.rows.lengths[distinct], kind="stable")
            width = settings.pairs_per_forward if self.training else MIN_WIDTH
            parts = [
                self._scores(distinct[order[i : i + width]]) for i in range(0, len(order), width)
            ]
            place = torch.from_numpy(np.argsort(order)[inverse]).to(parts[0].device)
            return {"scores": torch.cat(parts)[place]}

        def _scores(self, rows: np.ndarray) -> torch.Tensor:
            batch = {name: t.to(self.device) for name, t in self.rows.batch(rows).items()}
            if self.training:
                self.read += int(self.rows.lengths[rows].sum())
                self.slots += batch["input_ids"].numel()
            half = settings.dtype == "bfloat16"
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
                return self[0](batch)["scores"].float()

    return RowCrossEncoder(modules=[transformer], device=device)


def trained_state(network: Any) -> dict[str, torch.Tensor]:
    """The weights that training changes, by name, on the CPU."""
    return {
        name: weights.detach().cpu().contiguous()
        for name, weights in network.named_parameters()
        if weights.requires_grad
    }


def restore(network: Any, state: dict[str, torch.Tensor]) -> None:
    """Put back what `trained_state` gave."""
    import torch

    own = {name: weights for name, weights in network.named_parameters() if weights.requires_grad}
    if own.keys() != state.keys():
        raise ConfigError(
            "a checkpoint holds other weights than the model; set training.resume=false"
        )
    with torch.no_grad():
        for name, weights in own.items():
            weights.copy_(state[name])


def save_student(student: Student, folder: Path, max_length: int) -> None:
    """The adapter, in float16, or the whole model with its tokenizer, as transformers saves it."""
    if student.adapter is not None:
        student.adapter.save_pretrained(str(folder), save_embedding_layers=False)
        _halve(folder / "adapter_model.safetensors")
        (folder / "README.md").unlink(missing_ok=True)  # peft's own, empty
        return
    student.network.save_pretrained(str(folder))
    tokenizer = student.encoder.tokenizer
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(str(folder))


def _halve(path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from evalkit.io import atomic

    tensors = {name: tensor.to(torch.float16) for name, tensor in load_file(path).items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
