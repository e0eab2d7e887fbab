"""Where a retriever's index is, what it takes on disk, and how many tokens went into it.

A retriever with a `cache_path(dataset)` keeps an index there. Vectors are kept by text and shared
with whatever encodes the same texts with the same model; an index is charged with those of its
docs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.encoders import TextEncoder
from evalkit.input_limits import InputLimit
from evalkit.models import resolve_model
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.dense import DenseRetriever
from evalkit.retrievers.faiss import FaissRetriever
from evalkit.retrievers.sparse import SparseRetriever
from evalkit.sparse_encoders import ENTRY_BYTES
from evalkit.types import Dataset, Retriever

# Docs whose tokens are counted together.
_BLOCK = 4096

Encoded = (DenseRetriever, SparseRetriever)


class Size(NamedTuple):
    """Bytes of an index on disk, and of its parts where it has several, by name."""

    total: int
    parts: Mapping[str, int]


def place_of(retriever: Retriever, dataset: Dataset) -> Path | None:
    """The folder or file of a retriever's index; None for one that keeps none of its own."""
    if isinstance(retriever, FaissRetriever):
        return retriever.index_path(dataset)
    return retriever.cache_path(dataset) if hasattr(retriever, "cache_path") else None


def texts_held(retriever: Retriever) -> int | None:
    """Docs that the encoder's cache holds by now, whoever encoded them; None without an encoder."""
    if not isinstance(retriever, Encoded):
        return None
    folder = retriever.encoder.cache("doc").folder
    parts = folder.glob("*.digests.npy")
    return sum(len(np.load(part, mmap_mode="r")) for part in parts)


def size_of(retriever: Retriever, dataset: Dataset) -> Size:
    """Of an index that is there, and loaded."""
    place = place_of(retriever, dataset)
    own = 0 if place is None else _bytes_at(place)
    if not isinstance(retriever, Encoded):
        return Size(own, {})
    vectors = vector_bytes(retriever)
    parts = {"vector_bytes": vectors}
    listed = 0
    if isinstance(retriever, FaissRetriever):  # FAISS searches a copy of the vectors
        listed, parts = _bytes_at(retriever.cache_path(dataset)), {**parts, "faiss_bytes": own}
    return Size(own + listed + vectors, parts)


def tokens_of(retriever: Retriever, dataset: Dataset) -> int | None:
    """Index terms of all docs, repeats counted; for an encoder, what it reads of all docs, in
    tokens of its own tokenizer, special ones counted. None where neither can be told."""
    if isinstance(retriever, BM25Retriever):
        return retriever.num_terms
    if not isinstance(retriever, Encoded):
        return None
    encoder = retriever.encoder
    limit = InputLimit(
        resolve_model(encoder.name, encoder.revision), encoder.name, encoder.max_length
    )
    given = encoder.prompts["doc"] if isinstance(encoder, TextEncoder) else ""
    prompt = limit.prompt("doc") if given is None else given
    total, docs = 0, dataset.docs_iter()
    while block := list(islice(docs, _BLOCK)):
        found = limit.tokens([doc.render(retriever.doc_template) for doc in block], prompt)
        if found is None:
            return None
        total += int(found.sum())
    return total


def vector_bytes(retriever: Any) -> int:
    """What the docs' vectors take in the encoder's cache; those of equal texts are there once."""
    places = np.unique(retriever.places)
    cache = retriever.encoder.cache("doc")
    if isinstance(retriever, SparseRetriever):
        return int(cache.lengths(places).sum()) * ENTRY_BYTES
    return len(places) * int(cache.gather_stored(places[:1]).nbytes)


def _bytes_at(place: Path) -> int:
    """Of a file, or of all files in a folder; 0 for neither."""
    if place.is_file():
        return place.stat().st_size
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def vector_storage(details: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Token-level vectors against single ones: a row a component that keeps a vector a token.

    details: `Results.details`. Plain JSON data; both are of the docs that the component has seen.
    """
    return [
        {
            "component": name,
            "docs": told["docs"],
            "doc_tokens": told["doc_tokens"],
            "token_bytes_per_doc": told["vector_bytes_a_doc"],
            "single_bytes_per_doc": told["single_vector_bytes_a_doc"],
            "times": told["vector_bytes_a_doc"] / told["single_vector_bytes_a_doc"],
        }
        for name, told in details.items()
        if "single_vector_bytes_a_doc" in told
    ]
