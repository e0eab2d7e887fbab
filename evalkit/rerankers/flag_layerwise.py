"""FlagEmbedding's layerwise reranker (MiniCPM with a head on every layer) under transformers 5.

FlagEmbedding 1.4 cannot load it there: its constructor asks transformers for a rotary scaling that
is named otherwise since version 5, and then for remote code. Its model and its scoring do work. So
the model is built from FlagEmbedding's class, no remote code is run, every weight must be in the
files, and `compute_score` stays FlagEmbedding's.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evalkit.errors import ConfigError, ModelNotFound
from evalkit.models import loading, resolve_dtype

LAYERWISE = "LayerWiseMiniCPMForCausalLM"


def check_layerwise(config: Mapping[str, Any], name: str, cutoff_layer: int | None) -> None:
    """ConfigError for a layer without a head, or for rotary scaling; config: config.json."""
    first, last = config.get("start_layer", 8), config.get("num_hidden_layers", 32)
    if cutoff_layer is not None and not first <= cutoff_layer <= last:
        raise ConfigError(
            f"cutoff_layer={cutoff_layer}: the layers of '{name}' that score are {first} to {last}"
        )
    if config.get("rope_scaling") is not None:
        raise ConfigError(
            f"model '{name}' scales its rotary positions (rope_scaling in config.json), which "
            "FlagEmbedding's class cannot under transformers 5; choose a model without"
        )


def load_layerwise(
    folder: Path,
    name: str,
    dtype: str,
    tokenizer: Any,
    cutoff_layer: int | None,
    settings: Mapping[str, Any],
) -> Any:
    """A LayerWiseFlagLLMReranker over the model in `folder`; settings: AbsReranker's."""
    from FlagEmbedding import LayerWiseFlagLLMReranker
    from FlagEmbedding.abc.inference import AbsReranker

    class Loaded(LayerWiseFlagLLMReranker):
        def __init__(self) -> None:
            AbsReranker.__init__(self, str(folder), **settings)
            self.cutoff_layers = None if cutoff_layer is None else [cutoff_layer]
            self.tokenizer = tokenizer
            with loading(name), _no_warnings_of_the_future():
                self.model = _model(folder, name, dtype)

        def compute_score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
            with _no_warnings_of_the_future():
                return super().compute_score(pairs)

    return Loaded()


@contextmanager
def _no_warnings_of_the_future() -> Iterator[None]:
    """The model's attention masks and rotary settings are APIs that transformers is to drop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _model(folder: Path, name: str, dtype: str) -> Any:
    """FlagEmbedding's model with the folder's weights; half precision for float16 comes later."""
    import torch
    from FlagEmbedding.inference.reranker.decoder_only.models import (
        configuration_minicpm_reranker as configuration,
    )
    from FlagEmbedding.inference.reranker.decoder_only.models import (
        modeling_minicpm_reranker as modeling,
    )
    from safetensors.torch import load_file

    config = configuration.LayerWiseMiniCPMConfig.from_pretrained(str(folder))
    # The heads are no embeddings that could be tied; a cache of keys serves generation only.
    config.rope_parameters, config.tie_word_embeddings, config.use_cache = None, False, False
    with torch.device("meta"):
        model = getattr(modeling, LAYERWISE)(config)
    stored = resolve_dtype("bfloat16" if dtype == "bfloat16" else "float32")
    weights = {
        key: tensor.to(stored)
        for path in sorted(folder.glob("*.safetensors"))
        for key, tensor in load_file(path).items()
    }
    missing = sorted(model.load_state_dict(weights, strict=False, assign=True).missing_keys)
    if missing:
        raise ModelNotFound(
            f"model '{name}': {missing[0]} is in no *.safetensors of {folder}; get the model anew"
        )
    for layer in model.model.layers:
        layer.self_attn._init_rope()  # rotary tables are in no file: computed, in float32
    return model.eval()
