"""Texts to vectors with a sentence-transformers bi-encoder; used by first stage and reranker alike.

Vectors are kept on disk by text, so that neither ever encodes what the other has encoded.
Reimers and Gurevych, EMNLP 2019. Prompts (E5's "query: ", BGE's instruction) come from the model's
own configuration unless a setting replaces them. Vectors of cosine models are normalised, so that
the similarity is always a dot product.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from evalkit.cache import resolve_cache_dir
from evalkit.embeddings import EmbeddingCache
from evalkit.errors import ConfigError, ScoreError
from evalkit.input_limits import InputLimit
from evalkit.measured import is_cold, stage
from evalkit.model_files import model_digest, read_config
from evalkit.models import (
    loading,
    quiet_transformers,
    resolve_device,
    resolve_dtype,
    resolve_model,
)
from evalkit.progress import track
from evalkit.scoring.keys import text_digests
from evalkit.scoring.products import hasten
from evalkit.scoring.vectors import checked_storage
from evalkit.token_vectors import FreshRows
from evalkit.types import fingerprint

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)

Side = Literal["query", "doc"]
_BATCHES_A_PART = 8


class TextCache(Protocol):
    """What was made of texts, on disk, by their digests: uint64, shape (n, 2)."""

    def find(self, digests: np.ndarray) -> np.ndarray:
        """Places of n texts: int64, shape (n,), -1 where a text is not there."""
        ...

    def add(self, digests: np.ndarray, values: Any) -> None:
        """Append what was made of n texts; durable when this returns."""
        ...


class Encoder(ABC):
    """What encoders of every kind share: a model by name, and texts that are encoded once.

    model: path or hub id. cache_dir: where what it makes is kept. The model is loaded when first
    used.
    """

    def __init__(
        self,
        model: str,
        revision: str | None,
        dtype: str,
        batch_size: int,
        device: str | None,
        cache_dir: str | Path | None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}: expected at least 1")
        self.name, self.revision, self.dtype = model, revision, dtype
        self.batch_size, self.device = batch_size, device
        self.cache_dir = resolve_cache_dir(cache_dir)
        self._fresh = FreshRows()  # `cache("query")` of a kind that is asked for places, where cold

    @cached_property
    def _folder(self) -> Path:
        return resolve_model(self.name, self.revision)

    def check(self) -> None:
        """ModelNotFound for a model that is not there or not whole; loads no weights."""
        read_config(self._folder)

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of the weights and of every setting that changes what is made of a text."""

    @abstractmethod
    def cache(self, side: Side) -> TextCache:
        """What is on disk of this encoder's queries or docs."""

    @abstractmethod
    def _encode(self, texts: list[str], side: Side) -> Any:
        """What the model makes of texts, as `TextCache.add` takes it."""

    def places(self, texts: Sequence[str], side: Side) -> np.ndarray:
        """Places in `cache(side)`: int64, shape (len(texts),); texts not there are encoded."""
        if side == "query" and is_cold():
            self._fresh.clear()
            with stage("query_encoding"):
                return self.encode_missing(texts, text_digests(texts), side)
        return self.encode_missing(texts, text_digests(texts), side)

    def encode_missing(
        self, texts: Sequence[str], digests: np.ndarray, side: Side, what: str | None = None
    ) -> np.ndarray:
        """Places in `cache(side)` of all texts (int64, shape (n,)); those not there are encoded.

        what: the progress bar's label. A few hundred texts are written at a time, so that a killed
        run loses at most those in flight.
        """
        cache = self.cache(side)
        places = cache.find(digests)
        missing = {tuple(digests[i]): i for i in np.flatnonzero(places < 0).tolist()}
        if not missing:
            return places
        # In order of length, longest first: batches pad little and memory is tested at once.
        order = sorted(missing.values(), key=lambda i: -len(texts[i]))
        step = self.batch_size * _BATCHES_A_PART
        starts = range(0, len(order), step)
        for start in track(starts, what or f"Encoding {side} texts", len(order), step):
            part = np.asarray(order[start : start + step])
            cache.add(digests[part], self._encode([texts[i] for i in part], side))
        return cache.find(digests)

    def _refuse_unless_finite(self, finite: np.ndarray, texts: Sequence[str]) -> None:
        """ScoreError when the model made NaN or infinity of a text; finite: bool, shape (n,)."""
        if not finite.all():
            text = texts[int(np.flatnonzero(~finite)[0])]
            raise ScoreError(
                f"model '{self.name}' gives NaN or infinite vectors for {int((~finite).sum())} of "
                f"{len(texts)} texts, e.g. '{text[:60]}'; try dtype=float32"
            )


class TextEncoder(Encoder):
    """A bi-encoder model, loaded when first used.

    model: path or hub id. max_length: tokens; None for the model's own. query_prompt, doc_prompt:
    text put before a query or doc; None for the model's own. similarity: "cosine", "dot" or None
    for the model's own. cache_dir: where vectors are kept. storage: float32, float16 or bfloat16,
    the precision in which those of docs are kept; they come back as float32.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        max_length: int | None = None,
        query_prompt: str | None = None,
        doc_prompt: str | None = None,
        similarity: str | None = None,
        dtype: str = "float32",
        batch_size: int = 32,
        device: str | None = None,
        cache_dir: str | Path | None = None,
        storage: str = "float32",
    ) -> None:
        super().__init__(model, revision, dtype, batch_size, device, cache_dir)
        if similarity not in (None, "cosine", "dot"):
            raise ConfigError(f"similarity={similarity}: expected cosine, dot or null")
        self.max_length, self.similarity = max_length, similarity
        self.storage = checked_storage(storage)
        self.prompts: dict[Side, str | None] = {"query": query_prompt, "doc": doc_prompt}
        self._caches: dict[tuple[Side, str], EmbeddingCache] = {}

    @cached_property
    def fingerprint(self) -> str:
        if self.storage == "float32":
            return self._unrounded
        return fingerprint("TextEncoder", unrounded=self._unrounded, storage=self.storage)

    @cached_property
    def _unrounded(self) -> str:
        """The fingerprint of the vectors as the model gives them."""
        return fingerprint(
            "TextEncoder",
            model=model_digest(self._folder),
            max_length=self.max_length,
            prompts=self.prompts,
            similarity=self.similarity,
            dtype=self.dtype,
        )

    @cached_property
    def _model(self) -> SentenceTransformer:
        self.check()
        quiet_transformers()
        from sentence_transformers import SentenceTransformer

        if not (self._folder / "modules.json").is_file():
            log.warning(
                "model '%s' has no modules.json, so its pooling settings are missing; mean pooling "
                "is assumed (last token for a causal model)",
                self.name,
            )
        settings: dict[str, Any] = {"dtype": resolve_dtype(self.dtype)}
        device = resolve_device(self.device)
        with loading(self.name):
            model = SentenceTransformer(str(self._folder), device=device, model_kwargs=settings)
        hasten(model)
        if self.max_length is not None:
            model.max_seq_length = self.max_length
        similarity = self.similarity or str(model.similarity_fn_name)
        if similarity not in ("cosine", "dot"):
            raise ConfigError(
                f"model '{self.name}' declares {similarity} similarity; set it to cosine or dot"
            )
        self._normalise = similarity == "cosine"
        return model

    def cache(self, side: Side) -> EmbeddingCache:
        """The vectors on disk of this encoder's queries or docs."""
        return self._cache_of(side, self.storage if side == "doc" else "float32")

    def _cache_of(self, side: Side, storage: str) -> EmbeddingCache:
        if (side, storage) not in self._caches:
            name = side if storage == "float32" else f"{side}-{storage}"
            folder = self.cache_dir / "embeddings" / self._unrounded / name
            self._caches[side, storage] = EmbeddingCache(folder, storage)
        return self._caches[side, storage]

    def encode_missing(
        self, texts: Sequence[str], digests: np.ndarray, side: Side, what: str | None = None
    ) -> np.ndarray:
        """As every encoder; but what is at hand in float32 is rounded, not encoded again."""
        cache = self.cache(side)
        if cache.storage != "float32":
            cache.take(self._cache_of(side, "float32"), digests)
        return super().encode_missing(texts, digests, side, what)

    def encode(self, texts: Sequence[str], side: Side) -> np.ndarray:
        """Vectors: float32, shape (len(texts), h), in input order; from the cache where it can."""
        if side == "query" and is_cold():
            distinct = list(dict.fromkeys(texts))
            with stage("query_encoding"):
                vectors = self._encode(distinct, side)
            place = {text: i for i, text in enumerate(distinct)}
            return vectors[[place[text] for text in texts]]
        return self.cache(side).gather(self.places(texts, side))

    @cached_property
    def _limit(self) -> InputLimit:
        return InputLimit(self._folder, self.name, self.max_length)

    def truncated(self, texts: Sequence[str], side: Side) -> np.ndarray:
        """Which texts the model's longest input cuts, prompt and special tokens counted: bool,
        shape (len(texts),). Needs the tokenizer only."""
        prompt = self.prompts[side]
        return self._limit.truncated(texts, self._limit.prompt(side) if prompt is None else prompt)

    def _encode(self, texts: list[str], side: Side) -> np.ndarray:
        model = self._model
        encode = model.encode_query if side == "query" else model.encode_document
        prompt = self.prompts[side]
        vectors = encode(
            texts,
            batch_size=self.batch_size,
            normalize_embeddings=self._normalise,
            show_progress_bar=False,
            convert_to_numpy=True,
            **({} if prompt is None else {"prompt": prompt}),
        )
        vectors = np.asarray(vectors, dtype=np.float32)
        self._refuse_unless_finite(np.isfinite(vectors).all(axis=1), texts)
        return vectors
