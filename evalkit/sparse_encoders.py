"""Texts to weighted terms of a vocabulary with sentence-transformers' SparseEncoder: SPLADE.

Formal, Piwowarski and Clinchant, SIGIR 2021 (SPLADE); Formal, Lassance, Piwowarski and Clinchant,
SIGIR 2022 (SPLADE++, the distilled models). A text's own words are weighted and others are added,
so that inverted indexes find more than what is written. In inference-free models (Geng et al.,
2024) queries are words with fixed weights, and only docs go through a transformer.

What a text became is kept on disk, so that first stage and reranker encode it once.
"""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.encoders import Encoder, Side
from evalkit.errors import ConfigError
from evalkit.input_limits import cut
from evalkit.measured import is_cold
from evalkit.model_files import model_digest, read_config, read_json
from evalkit.models import loading, quiet_transformers, resolve_device, resolve_dtype
from evalkit.scoring.products import hasten
from evalkit.token_counts import TokenCounter
from evalkit.token_vectors import FreshRows, RaggedCache, Rows
from evalkit.types import fingerprint

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sentence_transformers import SparseEncoder

log = logging.getLogger(__name__)

ENTRY_BYTES = 8  # of a term and its weight: int32 and float32


class SparseTextEncoder(Encoder):
    """A learned sparse model, loaded when first used. max_length: tokens; None for the model's."""

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        max_length: int | None = None,
        dtype: str = "float32",
        batch_size: int = 32,
        device: str | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__(model, revision, dtype, batch_size, device, cache_dir)
        if max_length is not None and max_length < 3:  # two special tokens and a word
            raise ConfigError(f"max_length={max_length}: expected at least 3 tokens, or null")
        self.max_length = max_length
        self._caches: dict[Side, RaggedCache] = {}
        self._counters: dict[Side, TokenCounter] = {}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "SparseTextEncoder",
            model=model_digest(self._folder),
            max_length=self.max_length,
            dtype=self.dtype,
        )

    def check(self) -> None:
        """ModelNotFound for a model that is not there or not whole, ConfigError for one that is not
        sparse, which the library would complete with random weights; loads no weights."""
        heads = read_config(self._folder).get("architectures") or []
        saved = read_json(self._folder / "config_sentence_transformers.json") or {}
        modules = read_json(self._folder / "modules.json")
        kinds = [module["type"].rpartition(".")[2] for module in modules or []]
        is_sparse = saved.get("model_type") == "SparseEncoder" or "SpladePooling" in kinds
        is_plain = modules is None and bool(heads) and heads[0].endswith("ForMaskedLM")
        if not is_sparse and not is_plain:
            named = ", ".join(heads) or saved.get("model_type") or "it names no architecture"
            raise ConfigError(
                f"model '{self.name}' ({named}) is no sparse encoder; choose a SPLADE model, such "
                "as naver/splade-cocondenser-ensembledistil"
            )

    @cached_property
    def _model(self) -> SparseEncoder:
        self.check()
        quiet_transformers()
        from sentence_transformers import SparseEncoder

        if not (self._folder / "modules.json").is_file():
            log.warning(
                "model '%s' has no modules.json; SPLADE's max pooling is assumed", self.name
            )
        settings: dict[str, Any] = {"dtype": resolve_dtype(self.dtype)}
        device = resolve_device(self.device)
        with loading(self.name):
            model = SparseEncoder(str(self._folder), device=device, model_kwargs=settings)
        hasten(model)
        if self.max_length is not None:
            model.max_seq_length = self.max_length
        similarity = str(model.similarity_fn_name)
        if similarity not in ("cosine", "dot"):
            raise ConfigError(
                f"model '{self.name}' declares {similarity} similarity; expected cosine or dot"
            )
        return model

    def cache(self, side: Side) -> RaggedCache | FreshRows:
        """Terms and weights on disk of this encoder's queries or docs."""
        if side == "query" and is_cold():
            return self._fresh
        if side not in self._caches:
            folder = self.cache_dir / "sparse_vectors" / self.fingerprint / side
            self._caches[side] = RaggedCache(folder, ("terms", "weights"))
        return self._caches[side]

    def matrix(self, places: np.ndarray, side: Side) -> csr_matrix:
        """The texts at n places in `cache(side)`: float64, shape (n, highest term + 1)."""
        from scipy.sparse import csr_matrix

        if len(places) == 0:
            return csr_matrix((0, 1))
        rows = self.cache(side).gather(places)
        terms, weights = rows.columns
        shape = len(places), int(terms.max(initial=0)) + 1
        return csr_matrix((weights.astype(np.float64), terms, rows.offsets), shape=shape)

    def _encode(self, texts: list[str], side: Side) -> Rows:
        model = self._model
        encode = model.encode_query if side == "query" else model.encode_document
        found = encode(
            texts, batch_size=self.batch_size, show_progress_bar=False, save_to_cpu=True
        ).coalesce()  # by text, then by term
        row, term = found.indices().numpy()
        weight = found.values().float().numpy()
        finite = np.ones(len(texts), dtype=bool)
        finite[row[~np.isfinite(weight)]] = False
        self._refuse_unless_finite(finite, texts)
        if model.similarity_fn_name == "cosine":
            norms = np.sqrt(np.bincount(row, weight.astype(np.float64) ** 2, len(texts)))
            weight = (weight / norms[row]).astype(np.float32)
        lengths = np.bincount(row, minlength=len(texts))
        return Rows(lengths, self._cut(texts, side), (term.astype(np.int32), weight))

    def _cut(self, texts: list[str], side: Side) -> np.ndarray:
        """Which texts the model cuts: bool, shape (n,)."""
        name = "query" if side == "query" else "document"
        reader = self._model[0]
        if hasattr(reader, "sub_modules"):  # a Router: each side has a reader of its own
            reader = reader.sub_modules[name][0]
        tokenizer = reader.tokenizer
        counter = self._counters.setdefault(side, TokenCounter(tokenizer))
        prompt = self._model.prompts.get(name) or ""
        return cut(tokenizer, counter, [prompt + x for x in texts], tokenizer.model_max_length)


def align(*matrices: csr_matrix) -> None:
    """Give the matrices as many columns as the widest has; terms that they lack weigh nothing."""
    width = max(matrix.shape[1] for matrix in matrices)
    for matrix in matrices:
        matrix.resize(matrix.shape[0], width)


def storage(lengths: np.ndarray) -> dict[str, int | float]:
    """What n docs of these many terms (int64, shape (n,)) take, for `details`."""
    return {
        "docs": len(lengths),
        "terms_a_doc": round(float(lengths.mean()), 1),
        "vector_bytes": int(lengths.sum()) * ENTRY_BYTES,
        "vector_bytes_a_doc": round(float(lengths.mean()) * ENTRY_BYTES),
    }
