"""Tokens on disk: each distinct text is tokenised once per tokenizer, whatever it is paired with.

A cache is a folder of parts; a part is a flat array of token ids (memory-mapped), where each text
ends, and the texts' digests. A part's name is a checksum of its content: one that differs is set
aside with a warning and its texts are tokenised again. Two processes may add to one cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.io import write_array
from evalkit.scoring.keys import KeyIndex, text_digests
from evalkit.scoring.templates import Tokens, ranges

log = logging.getLogger(__name__)
_FIELDS = ("tokens", "ends", "digests")  # digests are written last: without them there is no part
_PART = 256  # texts that a thread tokenises at a time


class TokenCache:
    """The tokens of texts under one tokenizer, special tokens left out; nothing is cut.

    tokenizer: a fast tokenizer of transformers, used by nobody else. folder: of all caches; one has
    a subfolder named by a digest of its whole tokenizer. Prefixes, such as an instruction, are part
    of a text.
    """

    def __init__(self, tokenizer: Any, folder: Path) -> None:
        self._tokenizer = tokenizer
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        self.folder = folder / hashlib.sha256(backend.to_str().encode()).hexdigest()[:16]
        self._dtype = np.uint16 if len(tokenizer) <= 1 << 16 else np.int32
        self._index = KeyIndex(2)
        self._read: set[str] = set()
        self._flats: list[np.ndarray] = []
        self._firsts = [0]  # the place of each part's first text
        self._starts = np.empty(0, dtype=np.int64)  # of each text, within its part
        self._lengths = np.empty(0, dtype=np.int64)

    def places(self, texts: Sequence[str]) -> np.ndarray:
        """Where the tokens of n texts are: int64, shape (n,); what is missing is tokenised."""
        digests = text_digests(texts)
        found = self._index.find(digests)
        if (found < 0).any():
            self._read_parts()
            found = self._index.find(digests)
        missing = np.flatnonzero(found < 0)
        if len(missing):
            _, first = np.unique(digests[missing], axis=0, return_index=True)
            new = missing[np.sort(first)]
            self._add(self._tokenised([texts[i] for i in new]), digests[new])
            found[missing] = self._index.find(digests[missing])
        return found

    def lengths(self, places: np.ndarray) -> np.ndarray:
        """Tokens of the texts at n places: int64, shape (n,)."""
        return self._lengths[places]

    def gather(self, places: np.ndarray) -> Tokens:
        """The tokens of the texts at n places, in their order."""
        lengths = self._lengths[places]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.empty(offsets[-1], dtype=np.int32)
        owner = np.searchsorted(self._firsts, places, side="right") - 1
        for part in np.unique(owner):
            mine = np.flatnonzero(owner == part)
            within = ranges(lengths[mine])
            source = np.repeat(self._starts[places[mine]], lengths[mine]) + within
            flat[np.repeat(offsets[mine], lengths[mine]) + within] = self._flats[part][source]
        return Tokens(flat, offsets)

    def fresh(self, texts: Sequence[str]) -> Tokens:
        """The tokens of a few texts, made anew and not kept."""
        encode = self._tokenizer.backend_tokenizer.encode_batch_fast
        rows = [found.ids for found in encode(list(texts), add_special_tokens=False)]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        flat = np.fromiter(chain.from_iterable(rows), np.int32, count=int(offsets[-1]))
        return Tokens(flat, offsets)

    def _tokenised(self, texts: list[str]) -> Tokens:
        encode = self._tokenizer.backend_tokenizer.encode_batch_fast
        # In threads of our own: the library's are switched off, since they do not survive a fork.
        parts = [texts[start : start + _PART] for start in range(0, len(texts), _PART)]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            encoded = threads.map(lambda part: encode(part, add_special_tokens=False), parts)
            rows = [encoding.ids for part in encoded for encoding in part]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        flat = np.fromiter(chain.from_iterable(rows), self._dtype, count=int(offsets[-1]))
        return Tokens(flat, offsets)

    def _add(self, tokens: Tokens, digests: np.ndarray) -> None:
        arrays = (tokens.flat, tokens.offsets[1:], digests)
        name = _checksum(arrays)
        for field, array in zip(_FIELDS, arrays, strict=True):
            write_array(self.folder / f"{name}.{field}.npy", array)
        self._include(name, arrays)

    def _read_parts(self) -> None:
        for path in sorted(self.folder.glob("*.digests.npy")):
            name = path.name.removesuffix(".digests.npy")
            if name in self._read:
                continue
            files = [self.folder / f"{name}.{field}.npy" for field in _FIELDS]
            try:
                arrays = tuple(np.load(file, mmap_mode="r") for file in files)
                if _checksum(arrays) != name:
                    raise ValueError("checksum differs")
            except (ValueError, EOFError, FileNotFoundError) as error:
                _set_aside(files, str(error).splitlines()[0])
            else:
                self._include(name, arrays)

    def _include(self, name: str, arrays: tuple[np.ndarray, ...]) -> None:
        _, ends, digests = arrays
        self._read.add(name)
        self._index.add(np.asarray(digests))
        self._flats.append(np.load(self.folder / f"{name}.tokens.npy", mmap_mode="r"))
        self._firsts.append(self._firsts[-1] + len(ends))
        starts = np.concatenate([[0], np.asarray(ends[:-1])])
        self._starts = np.concatenate([self._starts, starts])
        self._lengths = np.concatenate([self._lengths, np.asarray(ends) - starts])


def _checksum(arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _set_aside(files: Sequence[Path], reason: str) -> None:
    for path in files:
        with suppress(FileNotFoundError):
            os.replace(path, path.with_suffix(".damaged"))
    log.warning("%s is damaged (%s); set aside, its texts are tokenised again", files[0], reason)
