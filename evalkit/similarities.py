"""How alike two documents are: shared word sequences, exactly or by MinHash, or embeddings.

Shingles and their Jaccard coefficient: Broder, SEQUENCES 1997; MinHash, through datasketch, is an
estimate of it with a standard error of at most 1 / (2 √num_perm). A text is compared in lower case
and without punctuation; each Chinese or Japanese character counts as a word, so that texts without
spaces have shingles of characters.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from evalkit.encoders import TextEncoder
from evalkit.errors import ConfigError
from evalkit.run import Run
from evalkit.scoring.keys import text_digests
from evalkit.types import Dataset, fingerprint

SIMILARITIES = ("embedding", "minhash")
UNITS = ("word", "character")
SHINGLE_SIZE = 3
# datasketch's own name for how it permutes 32-bit hashes; other versions of it have others.
_SCHEME = "affine32"
CJK = "㐀-䶿一-鿿豈-﫿\U00020000-\U0003134fぁ-ゖァ-ヺー"
_WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+")
_QUERIES = 64

# Similarities of doc i of a list to each of its docs: float32, shape (n,).
Similar = Callable[[int], np.ndarray]


def words(text: str) -> list[str]:
    """The words of a text, its CJK characters one by one; its signs where it has no words."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _WORD.findall(folded) or [sign for sign in folded if not sign.isspace()]


@lru_cache(maxsize=1 << 14)
def wording(text: str) -> bytes:
    """A digest of a text's words in order: the same where only case, signs and spaces differ."""
    return hashlib.blake2b("\0".join(words(text)).encode(), digest_size=16).digest()


def shingles(text: str, unit: str = "word", size: int = SHINGLE_SIZE) -> set[str]:
    """The distinct sequences of `size` words or characters; a shorter text is one shingle."""
    parts: Sequence[str] = words(text)
    if unit == "character":
        parts = " ".join(parts)
    joint = " " if unit == "word" else ""
    starts = range(max(len(parts) - size + 1, min(len(parts), 1)))
    return {joint.join(parts[i : i + size]) for i in starts}


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """The shared part of all values in two sorted arrays of distinct ones; 1 if both are empty."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - shared
    return shared / union if union else 1.0


class TextSimilarity(Protocol):
    """Turns texts into rows of numbers, and rows into similarities of at most 1."""

    @property
    def fingerprint(self) -> str: ...

    def check(self) -> None:
        """ConfigError or ModelNotFound for what is missing; loads no weights."""
        ...

    def represent(self, texts: Sequence[str]) -> np.ndarray:
        """A row a text, shape (n, width), in input order."""
        ...

    def compare(self, rows: np.ndarray) -> Similar:
        """The similarities among the texts of these rows."""
        ...


class EmbeddingSimilarity:
    """Cosine of a bi-encoder's vectors of two docs; vectors on disk are not computed again."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    @property
    def fingerprint(self) -> str:
        return fingerprint("EmbeddingSimilarity", encoder=self.encoder.fingerprint)

    def check(self) -> None:
        self.encoder.check()

    def represent(self, texts: Sequence[str]) -> np.ndarray:
        return self.encoder.encode(texts, "doc")

    def compare(self, rows: np.ndarray) -> Similar:
        # In float64, rounded at the end: equal texts have similarity 1, and tie. einsum, unlike a
        # matrix product, sums every row alike.
        wide = rows.astype(np.float64)
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        wide /= np.where(lengths == 0, 1.0, lengths)
        return lambda i: np.einsum("ij,j->i", wide, wide[i]).astype(np.float32)


class MinHashSimilarity:
    """The estimated Jaccard coefficient of two docs' shingles.

    shingles: "word" or "character"; shingle_size: how many make a shingle. num_perm: hash values
    kept of a text. Hash values are kept in memory, a text's once.
    """

    def __init__(
        self,
        shingles: str = "word",
        shingle_size: int = SHINGLE_SIZE,
        num_perm: int = 128,
        seed: int = 1,
    ) -> None:
        if shingles not in UNITS:
            raise ConfigError(f"shingles={shingles}: expected one of {', '.join(UNITS)}")
        if shingle_size < 1 or num_perm < 1 or not 0 <= seed < 2**32:
            raise ConfigError(
                f"shingle_size={shingle_size}, num_perm={num_perm}, seed={seed}: expected "
                "shingle_size ≥ 1, num_perm ≥ 1 and 0 ≤ seed < 2**32"
            )
        self.unit, self.size, self.num_perm, self.seed = shingles, shingle_size, num_perm, seed
        self._known: dict[bytes, np.ndarray] = {}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            "MinHashSimilarity",
            unit=self.unit,
            size=self.size,
            num_perm=self.num_perm,
            seed=self.seed,
            scheme=_SCHEME,
        )

    def check(self) -> None:
        if importlib.util.find_spec("datasketch") is None:
            raise ConfigError(
                'similarity=minhash needs datasketch: pip install "evalkit[diversity]"; or use '
                "similarity=embedding"
            )

    def represent(self, texts: Sequence[str]) -> np.ndarray:
        self.check()
        from datasketch import MinHash

        keys = [digest.tobytes() for digest in text_digests(texts)]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        hashed = MinHash.generator(
            ([s.encode() for s in shingles(text, self.unit, self.size)] for text in new.values()),
            num_perm=self.num_perm,
            seed=self.seed,
            scheme=_SCHEME,
        )
        self._known.update(zip(new, (each.hashvalues for each in hashed), strict=True))
        rows = [self._known[key] for key in keys]
        return np.stack(rows) if rows else np.empty((0, self.num_perm), dtype=np.uint32)

    def compare(self, rows: np.ndarray) -> Similar:
        return lambda i: (rows == rows[i]).mean(axis=1, dtype=np.float32)


def text_similarity(
    kind: str,
    model: str,
    revision: str | None = None,
    max_length: int | None = None,
    doc_prompt: str | None = None,
    dtype: str = "float32",
    batch_size: int = 32,
    shingles: str = "word",
    shingle_size: int = SHINGLE_SIZE,
    num_perm: int = 128,
    seed: int = 1,
    device: str | None = None,
    cache_dir: str | Path | None = None,
) -> TextSimilarity:
    """The similarity of this kind; model to batch_size and device: see `TextEncoder`, shingles to
    seed: `MinHashSimilarity`. All settings are checked, those of the other kind too."""
    if kind not in SIMILARITIES:
        raise ConfigError(f"similarity={kind}: expected one of {', '.join(SIMILARITIES)}")
    # similarity=None as a dense retriever has it, so that the two share their vectors.
    encoder = TextEncoder(
        model, revision, max_length, None, doc_prompt, None, dtype, batch_size, device, cache_dir
    )
    minhash = MinHashSimilarity(shingles, shingle_size, num_perm, seed)
    return minhash if kind == "minhash" else EmbeddingSimilarity(encoder)


def compared_lists(
    similarity: TextSimilarity, run: Run, dataset: Dataset, doc_template: str
) -> Iterator[tuple[slice, list[str], Similar]]:
    """For each query with results: where they are in `run`, their texts, their similarities.

    The texts and rows of a few queries are in memory at a time.
    """
    for start in range(0, len(run.query_ids), _QUERIES):
        bounds = run.offsets[start : start + _QUERIES + 1]
        vocabulary, place = np.unique(run.docs[bounds[0] : bounds[-1]], return_inverse=True)
        doc_ids = run.vocabulary[vocabulary].tolist()
        docs = dataset.lookup(doc_ids)
        texts = [docs[doc_id].render(doc_template) for doc_id in doc_ids]
        rows = similarity.represent(texts) if texts else np.empty((0, 0))
        for low, high in pairwise(bounds.tolist()):
            at = place[low - bounds[0] : high - bounds[0]]
            if len(at):
                yield slice(low, high), [texts[i] for i in at], similarity.compare(rows[at])
