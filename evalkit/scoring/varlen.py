"""Cross-encoders without padding: the sequences of a batch are one row, and none sees another.

A batch of B sequences with T tokens in all is its tokens end to end and `cu_seqlens`, the
cumulative lengths [0, n₁, n₁+n₂, …, T]: int32, shape (B + 1,), each sequence at least one token.
Everything in an encoder works token by token, except attention, positions and the head:

- attention is registered in transformers' AttentionInterface under `ATTENTION`, and reads the
  cumulative lengths that transformers hands to it as it does for flash attention (`cu_seq_lens_q`,
  `max_length_q`). No mask is registered with it, so that transformers makes none;
- positions start again in each sequence (`packed_positions`);
- the head reads the first token of each sequence, or the mean over its tokens (`packed_logits`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from evalkit.scoring.kernels import kernel_for, per_sequence

if TYPE_CHECKING:
    import torch

# Without "flash", "sdpa" or "/" in it: transformers reads a meaning into each of them.
ATTENTION = "evalkit_varlen"


def supports(model: Any) -> bool:
    """Whether `packed_logits` can run this model: a sequence classifier of BERT, RoBERTa, XLM-R or
    ModernBERT, in transformers' own code and not changed by a wrapper."""
    config = getattr(model, "config", None)
    return (
        type(model) in _heads()
        # False for ModernBERT before transformers called it through the AttentionInterface.
        and getattr(model, "_supports_attention_backend", False)
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "chunk_size_feed_forward", 0)
    )


def fused(model: Any) -> bool:
    """Whether a CUDA kernel does the attention of this model, on the device and in the dtype it is
    in now. Where not, packing is right but slow on an accelerator: pad instead."""
    config = model.config
    width = config.hidden_size // config.num_attention_heads
    return kernel_for(model.device, model.dtype, width) is not per_sequence


def packed_positions(model: Any, input_ids: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """The position ids that the model itself would give each sequence: int64, shape (T,)."""
    return positions(input_ids.reshape(-1), cu_seqlens, padding_of_positions(model))


def padding_of_positions(model: Any) -> int | None:
    """The token after whose id a model's positions begin: None for one that counts from 0."""
    return getattr(getattr(model.base_model, "embeddings", None), "padding_idx", None)


def positions(ids: torch.Tensor, cu_seqlens: torch.Tensor, padding: int | None) -> torch.Tensor:
    """Position ids of packed tokens, int64, shape (T,).

    BERT and ModernBERT count from 0. RoBERTa and XLM-R count from padding + 1 and pass over tokens
    that are the padding token, also where a text holds it literally.
    """
    import torch

    # The size is given so that a GPU need not be asked for it.
    starts = cu_seqlens[:-1].long().repeat_interleave(cu_seqlens.diff(), output_size=len(ids))
    if padding is None:
        return torch.arange(len(ids), device=ids.device) - starts
    real = ids.ne(padding).long()
    counted = real.cumsum(0)
    before = counted[starts] - real[starts]
    return (counted - before) * real + padding


def packed_logits(
    model: Any,
    input_ids: torch.Tensor,
    token_type_ids: torch.Tensor | None,
    position_ids: torch.Tensor | None,
    cu_seqlens: torch.Tensor,
    max_length: int | None = None,
) -> torch.Tensor:
    """What the model's own forward gives for each sequence: shape (B, num_labels), its dtype.

    input_ids, token_type_ids, position_ids: int64, shape (T,) or (1, T); position_ids None: those
    of `packed_positions`. max_length: tokens of the longest sequence; on a GPU, asking for it costs
    a wait, so give it where it is known. TypeError for a model that is not supported.
    """
    if not supports(model):
        raise TypeError(f"{type(model).__name__} cannot be run without padding; see supports()")
    if max_length is None:
        max_length = int(cu_seqlens.diff().max())
    if position_ids is None:
        position_ids = packed_positions(model, input_ids, cu_seqlens)
    inputs = {"input_ids": input_ids.reshape(1, -1), "position_ids": position_ids.reshape(1, -1)}
    if token_type_ids is not None:
        inputs["token_type_ids"] = token_type_ids.reshape(1, -1)
    with packed_attention(model):
        hidden = model.base_model(
            **inputs,
            cu_seq_lens_q=cu_seqlens,
            cu_seq_lens_k=cu_seqlens,
            max_length_q=max_length,
            max_length_k=max_length,
        ).last_hidden_state[0]
    return _heads()[type(model)](model, hidden, cu_seqlens)


@contextmanager
def packed_attention(model: Any) -> Iterator[None]:
    """Inside it the model's attention is ours; padded input needs the one it had before.

    `packed_logits` does this by itself; around many calls it saves the change in each.
    """
    from transformers import AttentionInterface

    found = model.config._attn_implementation
    if found == ATTENTION:
        yield
        return
    AttentionInterface.register(ATTENTION, _attention)
    try:
        model.set_attn_implementation(ATTENTION)
        # Where transformers will not change it, it logs a warning and goes on.
        if model.config._attn_implementation != ATTENTION:
            raise RuntimeError(f"transformers did not give {type(model).__name__} {ATTENTION}")
        yield
    finally:
        model.set_attn_implementation(found)


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention function: in, shape (1, heads, T, head dimension); out, (1, T, heads,
    head dimension). sliding_window is one more than a token sees to either side, as transformers
    defines it for flash attention."""
    if cu_seq_lens_q is None or max_length_q is None or query.shape[0] != 1:
        raise ValueError(f"{ATTENTION}: expected one row with cu_seq_lens_q and max_length_q")
    if attention_mask is not None or dropout:
        raise ValueError(f"{ATTENTION}: expected neither a mask nor dropout; call model.eval()")
    packed = [states[0].transpose(0, 1) for states in (query, key, value)]
    kernel = kernel_for(query.device, query.dtype, query.shape[-1])
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    reach = -1 if sliding_window is None else sliding_window - 1
    starts, longest = (cu_seq_lens_q, cu_seq_lens_q), (max_length_q, max_length_q)
    return kernel(*packed, starts, longest, scale, reach).unsqueeze(0), None


Head = Callable[[Any, "torch.Tensor", "torch.Tensor"], "torch.Tensor"]


@cache
def _heads() -> dict[type, Head]:
    """Model class → its head over packed hidden states, shape (T, hidden size). The classes
    themselves, not their subclasses: one that changes forward must not be taken for its parent."""
    import transformers

    return {
        transformers.BertForSequenceClassification: _bert_head,
        transformers.RobertaForSequenceClassification: _roberta_head,
        transformers.XLMRobertaForSequenceClassification: _roberta_head,
        transformers.ModernBertForSequenceClassification: _modernbert_head,
    }


def _first_tokens(hidden: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    return hidden.index_select(0, cu_seqlens[:-1])


def _bert_head(model: Any, hidden: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    # The pooler takes token 0 of each row: rows of one token.
    pooled = model.bert.pooler(_first_tokens(hidden, cu_seqlens)[:, None])
    return model.classifier(model.dropout(pooled))


def _roberta_head(model: Any, hidden: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    return model.classifier(_first_tokens(hidden, cu_seqlens)[:, None])


def _modernbert_head(model: Any, hidden: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    import torch

    if model.config.classifier_pooling == "cls":
        pooled = _first_tokens(hidden, cu_seqlens)
    else:
        # In fp32: half precision loses digits over hundreds of tokens. Unsafe skips a check of the
        # lengths that would wait for the GPU.
        means = torch.segment_reduce(hidden.float(), "mean", offsets=cu_seqlens, unsafe=True)
        pooled = means.to(hidden.dtype)
    return model.classifier(model.drop(model.head(pooled)))
