"""A language model in memory: its chat template, greedy decoding, and one copy for all who ask.

Prompts go through the tokenizer's own chat template. A model that has none is shown each message
under a line with its role, and continues after the last:

    ### User:
    ...

    ### Assistant:

GGUF weights are dequantised when they are loaded, as transformers does, so that they take the room
of their `dtype`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from evalkit.errors import ConfigError
from evalkit.llm.weights import Weights
from evalkit.models import loading, quiet_transformers, resolve_dtype
from evalkit.types import Message

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Row = list[int]  # the tokens of a prompt or of an answer


class LoadedModel:
    """Weights and tokenizer in memory."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, name: str) -> None:
        from transformers import GenerationConfig

        self.model: Any = model
        self.tokenizer, self.name = tokenizer, name
        ends = model.generation_config.eos_token_id if model.generation_config else None
        ends = ends if isinstance(ends, list) else [ends]
        self.ends = sorted({end for end in (*ends, tokenizer.eos_token_id) if end is not None})
        # Nothing else of the model's own settings: no sampling, no repetition penalty.
        model.generation_config = GenerationConfig(
            eos_token_id=self.ends or None, pad_token_id=self.ends[0] if self.ends else 0
        )

    @property
    def positions(self) -> int | None:
        """The longest input and output together, in tokens."""
        config = self.model.config.get_text_config()
        return getattr(config, "max_position_embeddings", None)

    def tokens(self, prompt: Sequence[Message], settings: dict[str, Any]) -> Row:
        """The tokens of a prompt, up to where the answer begins."""
        messages = [dict(message) for message in prompt]
        has_template = bool(self.tokenizer.chat_template)
        if has_template:
            text = self._templated(messages, settings)
        else:
            parts = [f"### {m['role'].capitalize()}:\n{m['content']}\n\n" for m in messages]
            text = "".join(parts) + "### Assistant:\n"
        # A template writes the start token itself.
        encoded = self.tokenizer(text, add_special_tokens=not has_template, verbose=False)
        return list(encoded["input_ids"])

    def _templated(self, messages: list[dict[str, str]], settings: dict[str, Any]) -> str:
        from jinja2 import TemplateError

        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True, **settings
                )
            )
        except TemplateError as error:
            raise ConfigError(
                f"the chat template of model '{self.name}' refuses the prompt ({error}); copy the "
                "prompt's YAML and change its messages, such as the roles"
            ) from error

    def first_tokens(self, options: Sequence[str]) -> list[int]:
        """The token that each option begins with; one of white space alone is passed over."""
        firsts: list[int] = []
        for option in options:
            ids = self.tokenizer(option, add_special_tokens=False)["input_ids"]
            shown = [token for token in ids if self.tokenizer.decode([token]).strip()]
            if not shown:
                raise ConfigError(f"model '{self.name}' has no token for the answer '{option}'")
            firsts.append(shown[0])
        for place, first in enumerate(firsts):
            if first in firsts[:place]:
                twin = options[firsts.index(first)]
                raise ConfigError(
                    f"'{twin}' and '{options[place]}' begin with the same token of model "
                    f"'{self.name}', which cannot tell them apart; use the reranker's generate mode"
                )
        return firsts

    def text(self, ids: Row) -> str:
        """The text of an answer's tokens, special ones left out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def continued(self, rows: list[Row], max_tokens: int) -> list[Row]:
        """The tokens that greedy decoding puts after each row, up to its end token."""
        found = self._generate(rows, max_tokens).sequences[:, max(map(len, rows)) :].tolist()
        for row in found:
            stops = [place for place, token in enumerate(row) if token in self.ends]
            del row[stops[0] + 1 if stops else len(row) :]
        return found

    def log_probabilities(self, rows: list[Row]) -> np.ndarray:
        """Of every token as the next one: float32, shape (len(rows), tokens)."""
        logits: torch.Tensor = self._generate(rows, 1, output_logits=True).logits[0]
        return logits.float().log_softmax(dim=-1).cpu().numpy()

    def _generate(self, rows: list[Row], max_tokens: int, **more: Any) -> Any:
        import torch

        longest = max(map(len, rows))
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        # Left of a row stands any token: the mask hides it, and positions are counted without it.
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
        device = self.model.device
        with torch.inference_mode():
            return self.model.generate(
                ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=max_tokens,
                do_sample=False,
                return_dict_in_generate=True,
                **more,
            )


_LOADED: WeakValueDictionary[tuple[Weights, str, str], LoadedModel] = WeakValueDictionary()


def loaded_model(weights: Weights, dtype: str, device: str) -> LoadedModel:
    """The model in memory; one that someone still holds is not loaded again."""
    key = (weights._replace(name=""), dtype, device)
    found = _LOADED.get(key)
    if found is None:
        found = _LOADED[key] = _load(weights, dtype, device)
    return found


def _load(weights: Weights, dtype: str, device: str) -> LoadedModel:
    quiet_transformers()
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoTokenizer,
        modeling_gguf_pytorch_utils,
    )
    from transformers.utils import logging as transformers_logging

    # The bar of a GGUF file, too, obeys transformers' switch.
    modeling_gguf_pytorch_utils.tqdm = transformers_logging.tqdm
    folder = str(weights.folder)
    given: dict[str, Any] = {} if weights.gguf_file is None else {"gguf_file": weights.gguf_file}
    with loading(weights.name):
        # Said once: transformers takes seconds to read what a GGUF file says of itself.
        given["config"] = AutoConfig.from_pretrained(folder, **given)
        tokenizer = AutoTokenizer.from_pretrained(folder, **given)
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=resolve_dtype(dtype), output_loading_info=True, **given
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise ConfigError(
            f"model '{weights.name}': its weights have no {missing[0]}, its answers would be "
            "random; choose a causal language model"
        )
    return LoadedModel(model.to(device).eval(), tokenizer, weights.name)
