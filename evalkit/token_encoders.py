"""Texts to one vector a token with sentence-transformers' MultiVectorEncoder: ColBERT and its kin.

Khattab and Zaharia, SIGIR 2020; Santhanam et al., NAACL 2022. A trained model (ColBERT as Stanford,
PyLate or sentence-transformers save it) says itself how it marks queries and docs, how it fills
queries up with [MASK], how long texts may be and which tokens (punctuation) are left out.

Any other bi-encoder gives its token vectors as they are, normalised, without projection, marks or
query expansion: zero-shot late interaction, for which it was not trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.encoders import Encoder, Side
from evalkit.errors import ConfigError, ModelNotFound
from evalkit.input_limits import cut
from evalkit.measured import is_cold
from evalkit.model_files import model_digest, read_config, read_json
from evalkit.models import loading, quiet_transformers, resolve_device, resolve_dtype
from evalkit.scoring.products import hasten
from evalkit.token_counts import TokenCounter
from evalkit.token_vectors import FreshRows, RaggedCache, Rows
from evalkit.types import fingerprint

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

STORAGES = ("float16", "float32")
_METADATA = "artifact.metadata"  # what Stanford's ColBERT keeps its settings in
_STANFORD = "HF_ColBERT"


class TokenEncoder(Encoder):
    """A late-interaction model, loaded when first used.

    query_length, doc_length: the longest text in tokens, special tokens and marks included; None
    for the model's own. A model that expands its queries fills them up to query_length.
    query_prompt, doc_prompt: text put before a query or doc, marks included; None for the model's
    own. storage: how doc vectors are kept on disk, "float16" or "float32"; those of queries, which
    are few, always in float32. trust_remote_code: run the Python code that a model brings along.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        query_length: int | None = None,
        doc_length: int | None = None,
        query_prompt: str | None = None,
        doc_prompt: str | None = None,
        storage: str = "float16",
        trust_remote_code: bool = False,
        dtype: str = "float32",
        batch_size: int = 32,
        device: str | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__(model, revision, dtype, batch_size, device, cache_dir)
        if storage not in STORAGES:
            raise ConfigError(f"storage={storage}: expected one of {', '.join(STORAGES)}")
        for key, value in (("query_length", query_length), ("doc_length", doc_length)):
            if value is not None and value < 4:  # a mark, two special tokens and a word
                raise ConfigError(f"{key}={value}: expected at least 4 tokens, or null")
        self.max_lengths: dict[Side, int | None] = {"query": query_length, "doc": doc_length}
        self.prompts: dict[Side, str | None] = {"query": query_prompt, "doc": doc_prompt}
        self.storage, self.trust_remote_code = storage, trust_remote_code
        self._caches: dict[Side, RaggedCache] = {}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "TokenEncoder",
            model=model_digest(self._folder),
            metadata=self._metadata,
            max_lengths=self.max_lengths,
            prompts=self.prompts,
            storage=self.storage,
            dtype=self.dtype,
        )

    @cached_property
    def _config(self) -> dict[str, Any]:
        return read_config(self._folder)

    @cached_property
    def _saved(self) -> dict[str, Any]:
        """What sentence-transformers or PyLate saved about the model; empty for plain models."""
        return read_json(self._folder / "config_sentence_transformers.json") or {}

    @property
    def _is_stanford(self) -> bool:
        return _STANFORD in (self._config.get("architectures") or [])

    @cached_property
    def _metadata(self) -> dict[str, Any] | None:
        """The settings of a model that Stanford's code saved; None for all others."""
        if not self._is_stanford:
            return None
        found = read_json(self._folder / _METADATA)
        if not isinstance(found, dict):
            raise ModelNotFound(
                f"model '{self.name}': {_METADATA} is missing, which holds a ColBERT model's "
                "lengths and marks; get the model anew with all its files"
            )
        return found

    @property
    def is_trained(self) -> bool:
        """Whether the model was trained for late interaction, as its files tell."""
        kind = self._saved.get("model_type")
        return (
            kind in ("MultiVectorEncoder", "ColBERT")
            or "query_prefix" in self._saved
            or self._is_stanford
        )

    @property
    def is_mean(self) -> bool:
        """Whether the model's score is MaxSim divided by the query's number of vectors."""
        return self._saved.get("similarity_fn_name") == "meanmaxsim"

    def check(self) -> None:
        """ModelNotFound for a model that is not there or not whole, ConfigError for one that has no
        token vectors or needs another setting; loads no weights."""
        _ = self._metadata  # raises where it is missing
        # Without its own code, transformers loads such weights into a model of another shape.
        if "AutoModel" in (self._config.get("auto_map") or {}) and not self.trust_remote_code:
            raise ConfigError(
                f"model '{self.name}' brings its own Python code (auto_map in config.json); if you "
                "trust its authors, set trust_remote_code=true"
            )
        module = (read_json(self._folder / "modules.json") or [{"type": "Transformer"}])[0]
        first, kind = module["type"].rpartition(".")[2], self._saved.get("model_type")
        is_bi_encoder = first == "Transformer" and kind in (None, "SentenceTransformer")
        if not self.is_trained and not is_bi_encoder:
            raise ConfigError(
                f"model '{self.name}' ({kind or first}) gives no token vectors; choose a ColBERT "
                "model, or a bi-encoder that is a transformer"
            )
        positions = self._config.get("max_position_embeddings") or -1
        for side, length in self.max_lengths.items():
            if length is not None and 0 < positions < length:
                raise ConfigError(
                    f"{side}_length={length}: model '{self.name}' reads at most {positions} tokens"
                )

    @cached_property
    def _model(self) -> MultiVectorEncoder:
        self.check()
        quiet_transformers()
        with loading(self.name):
            model = self._trained() if self.is_trained else self._zero_shot()
        hasten(model)
        transformer = model[0]
        query, doc = self.max_lengths["query"], self.max_lengths["doc"]
        if doc is not None:
            transformer.document_length = doc
        if query is not None:
            expansion = transformer.query_expansion
            # The library takes no limit below the length that queries are filled up to.
            transformer.query_expansion = None
            transformer.query_length = query
            transformer.query_expansion = expansion and {**expansion, "length": query}
        return model

    def _trained(self) -> MultiVectorEncoder:
        from sentence_transformers import MultiVectorEncoder

        return MultiVectorEncoder(
            str(self._folder),
            device=resolve_device(self.device),
            trust_remote_code=self.trust_remote_code,
            model_kwargs={"dtype": resolve_dtype(self.dtype)},
        )

    def _zero_shot(self) -> MultiVectorEncoder:
        """Built of a bi-encoder's transformer: the library by itself would add a projection of
        random weights."""
        from sentence_transformers import MultiVectorEncoder, SentenceTransformer
        from sentence_transformers.base.modules import Normalize
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

        device = resolve_device(self.device)
        source = SentenceTransformer(
            str(self._folder),
            device=device,
            trust_remote_code=self.trust_remote_code,
            model_kwargs={"dtype": resolve_dtype(self.dtype)},
        )
        modules = [source[0], MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
        return MultiVectorEncoder(modules=modules, prompts=source.prompts, device=device)

    def cache(self, side: Side) -> RaggedCache | FreshRows:
        """The token vectors on disk of this encoder's queries or docs."""
        if side == "query" and is_cold():
            return self._fresh
        if side not in self._caches:
            folder = self.cache_dir / "token_vectors" / self.fingerprint / side
            self._caches[side] = RaggedCache(folder, ("vectors",))
        return self._caches[side]

    def vectors(self, places: np.ndarray, side: Side) -> list[np.ndarray]:
        """The token vectors at n places in `cache(side)`: float32, shape (tokens, h) each."""
        rows = self.cache(side).gather(places)
        flat = rows.columns[0].astype(np.float32, copy=False)
        return np.split(flat, rows.offsets[1:-1]) if len(places) else []

    def _encode(self, texts: list[str], side: Side) -> Rows:
        model = self._model
        encode = model.encode_query if side == "query" else model.encode_document
        prompt = self._prompt(side)
        found = encode(
            texts,
            prompt=prompt,
            batch_size=self.batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        storage = self.storage if side == "doc" else "float32"
        stored = [vectors.astype(storage) for vectors in found]
        self._refuse_unless_finite(np.asarray([np.isfinite(x).all() for x in stored]), texts)
        lengths = np.asarray([len(vectors) for vectors in stored], dtype=np.int64)
        cuts = self._cut([prompt + text for text in texts], side)
        return Rows(lengths, cuts, (np.concatenate(stored),))

    def _prompt(self, side: Side) -> str:
        given = self.prompts[side]
        own = self._model.prompts.get("query" if side == "query" else "document")
        return (own or "") if given is None else given

    @cached_property
    def _counter(self) -> TokenCounter:
        return TokenCounter(self._model.tokenizer)

    def _cut(self, texts: Sequence[str], side: Side) -> np.ndarray:
        """Which texts, prompts included, the model cuts: bool, shape (n,)."""
        transformer = self._model[0]
        limit = transformer.query_length if side == "query" else transformer.document_length
        expansion = transformer.query_expansion if side == "query" else None
        if expansion is not None and expansion["strategy"] == "fixed":
            limit = expansion["length"]
        return cut(self._model.tokenizer, self._counter, texts, limit or self._model.max_seq_length)
