"""Tokens on disk: each distinct text is tokenised once per tokenizer, whatever it is paired with.

A cache is a folder of parts; a part is a flat array of token ids (memory-mapped), where each text
ends, and the texts' digests. A part's name is a checksum of its content: one that differs is set
aside with a warning and its texts are tokenised again. Two processes may add to one cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.io import write_array
from evalkit.scoring.keys import KeyIndex, text_digests
from evalkit.scoring.segment_folder import ASIDE, cannot_set_aside, file_names, remove_stale
from evalkit.scoring.segments import unreadable
from evalkit.scoring.templates import Tokens, ranges

log = logging.getLogger(__name__)
_FIELDS = ("tokens", "ends", "digests")  # digests are written last: without them there is no part
_END = f".{_FIELDS[-1]}.npy"
# Parts that stay open: Linux gives a process 65,530 maps, and a cache of years may have more parts.
_OPEN = 4096
_PART = 256  # texts that a thread tokenises at a time

Arrays = tuple[np.ndarray, np.ndarray]


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
        self._is_new = True  # nothing was added by this process
        self._index = KeyIndex(2)
        self._read: set[str] = set()
        self._names: list[str] = []  # of the parts
        self._flat = lru_cache(_OPEN)(self._opened)
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
            flat[np.repeat(offsets[mine], lengths[mine]) + within] = self._flat(int(part))[source]
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
        flat = np.fromiter(chain.from_iterable(rows), np.int32, count=int(offsets[-1]))
        # Ids may lie above the number of tokens, where a vocabulary has gaps.
        fitting = flat.max(initial=0) <= np.iinfo(self._dtype).max
        return Tokens(flat.astype(self._dtype) if fitting else flat, offsets)

    def _add(self, tokens: Tokens, digests: np.ndarray) -> None:
        arrays = (tokens.flat, tokens.offsets[1:], digests)
        name = _checksum(arrays)
        if self._is_new:
            remove_stale(self.folder, (".npy",))
        self._is_new = False
        for field, array in zip(_FIELDS, arrays, strict=True):
            write_array(self.folder / f"{name}.{field}.npy", array)
        self._include({name: (arrays[1], arrays[2])})

    def _read_parts(self) -> None:
        found: dict[str, Arrays] = {}
        there = {name.removesuffix(_END) for name in file_names(self.folder) if name.endswith(_END)}
        for name in sorted(there - self._read):
            files = [self.folder / f"{name}.{field}.npy" for field in _FIELDS]
            try:
                arrays = tuple(np.load(file, mmap_mode="r") for file in files)
                damage = None if _checksum(arrays) == name else "its checksum differs"
            except FileNotFoundError as error:
                damage = f"{Path(error.filename).name} is missing"
            except OSError as error:
                raise unreadable(Path(error.filename or files[0]), error) from error
            except Exception:  # noqa: BLE001  numpy raises all kinds of errors for a damaged header
                damage = "it is no whole array"
            if damage is None:
                # Not the tokens: thousands of parts would be more maps than a process may have.
                found[name] = np.array(arrays[1]), np.array(arrays[2])
            else:
                _set_aside(files, damage)
        self._include(found)

    def _include(self, parts: Mapping[str, Arrays]) -> None:
        """parts: by name, where its texts end and their digests."""
        if not parts:
            return
        self._read.update(parts)
        self._names += parts
        starts = [np.concatenate([[0], ends[:-1]]) for ends, _ in parts.values()]
        lengths = [np.diff(ends, prepend=0) for ends, _ in parts.values()]
        self._firsts += (self._firsts[-1] + np.cumsum([len(part) for part in lengths])).tolist()
        self._starts = np.concatenate([self._starts, *starts])
        self._lengths = np.concatenate([self._lengths, *lengths])
        self._index.add(np.concatenate([digests for _, digests in parts.values()]))

    def _opened(self, part: int) -> np.ndarray:
        """A part's token ids, on the disk."""
        path = self.folder / f"{self._names[part]}.tokens.npy"
        try:
            return np.load(path, mmap_mode="r")
        except OSError as error:
            raise unreadable(path, error) from error


def _checksum(arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _set_aside(files: Sequence[Path], reason: str) -> None:
    for path in files:
        try:
            with suppress(FileNotFoundError):
                os.replace(path, path.with_suffix(ASIDE))
        except OSError as error:
            raise cannot_set_aside(path, reason, error) from error
    log.warning("%s is damaged (%s); set aside, its texts are tokenised again", files[0], reason)
