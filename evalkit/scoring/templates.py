"""Pairs of token sequences put into a model's own template, vectorised.

A pair template is what a tokenizer puts around two texts: BERT's [CLS] query [SEP] doc [SEP] with
token types 0 and 1, RoBERTa's <s> query </s></s> doc </s>, and so on. It is read off the tokenizer
once, so that a pair needs no tokenizer after its two texts have been tokenised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evalkit.errors import ConfigError

Truncation = Literal["longest_first", "only_second"]
# Two texts that every vocabulary can tell apart, or at least turns into some token.
_PROBES = ("a", "b")


@dataclass(frozen=True)
class Tokens:
    """Tokens of n texts, one after the other: flat, int32; text i is offsets[i]:offsets[i+1]."""

    flat: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text: int64, shape (n,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Packed:
    """B sequences one after the other, without padding: T tokens in all.

    ids, types: int64, shape (T,). offsets: int64, shape (B + 1,). lengths: int64, shape (B,).
    """

    ids: np.ndarray
    types: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def padded(self, pad: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """ids, types and mask, padded on the right: int64, shape (B, longest) each."""
        lengths = self.lengths
        mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
        ids, types = np.full(mask.shape, pad, dtype=np.int64), np.zeros(mask.shape, dtype=np.int64)
        ids[mask], types[mask] = self.ids, self.types
        return ids, types, mask.astype(np.int64)


@dataclass(frozen=True)
class PairTemplate:
    """What a tokenizer puts before, between and after two texts, and the types of all tokens.

    start, middle, end: (token ids, token types), int64. side: the end that truncation cuts.
    """

    start: np.ndarray
    middle: np.ndarray
    end: np.ndarray
    query_type: int
    doc_type: int
    side: str = "right"

    @classmethod
    def of(cls, tokenizer: Any) -> PairTemplate:
        """The template of a fast tokenizer of transformers; ConfigError where it has none."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ConfigError("its tokenizer is not one of the `tokenizers` library")
        encoding = tokenizer(*_PROBES, return_token_type_ids=True).encodings[0]
        of_text = np.array([-1 if i is None else i for i in encoding.sequence_ids])
        ids, types = np.array(encoding.ids), np.array(encoding.type_ids)
        if not ((of_text == 0).any() and (of_text == 1).any()):
            raise ConfigError("its tokenizer makes no tokens of plain letters")
        query, doc = np.flatnonzero(of_text == 0), np.flatnonzero(of_text == 1)
        contiguous = all((np.diff(part) == 1).all() for part in (query, doc))
        if not contiguous or query[-1] > doc[0] or len({*types[query]}) + len({*types[doc]}) > 2:
            raise ConfigError(
                "its tokenizer does not put the query before the doc, each as a whole"
            )
        cuts = [slice(0, query[0]), slice(query[-1] + 1, doc[0]), slice(doc[-1] + 1, None)]
        start, middle, end = (np.stack([ids[cut], types[cut]]) for cut in cuts)
        side = tokenizer.truncation_side
        return cls(start, middle, end, int(types[query[0]]), int(types[doc[0]]), side)

    @property
    def added(self) -> int:
        """Special tokens of a pair."""
        return self.start.shape[1] + self.middle.shape[1] + self.end.shape[1]

    def assemble(
        self,
        queries: Tokens,
        docs: Tokens,
        at_query: np.ndarray,
        at_doc: np.ndarray,
        kept: tuple[np.ndarray, np.ndarray],
    ) -> Packed:
        """B pairs, of texts at_query[i] and at_doc[i], cut to kept[0][i] and kept[1][i] tokens."""
        sizes = np.stack(
            np.broadcast_arrays(
                self.start.shape[1], kept[0], self.middle.shape[1], kept[1], self.end.shape[1]
            )
        )
        offsets = np.concatenate([[0], np.cumsum(sizes.sum(axis=0))])
        # Where each of the five pieces of each pair begins.
        begins = offsets[:-1] + np.concatenate(
            [np.zeros_like(sizes[:1]), sizes[:-1].cumsum(axis=0)]
        )
        ids, types = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int64)
        for piece, fixed in ((0, self.start), (2, self.middle), (4, self.end)):
            at = begins[piece][:, None] + np.arange(fixed.shape[1])
            ids[at], types[at] = fixed[0], fixed[1]
        texts = ((1, queries, at_query, self.query_type), (3, docs, at_doc, self.doc_type))
        for piece, tokens, chosen, kind in texts:
            count = sizes[piece]
            first = tokens.offsets[chosen]
            if self.side == "left":
                first = tokens.offsets[chosen + 1] - count
            within = ranges(count)
            at = np.repeat(begins[piece], count) + within
            ids[at] = tokens.flat[np.repeat(first, count) + within]
            types[at] = kind
        return Packed(ids, types, offsets)


def ranges(counts: np.ndarray) -> np.ndarray:
    """0..counts[0]-1, 0..counts[1]-1, …: int64, shape (counts.sum(),)."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def kept_lengths(
    query: np.ndarray, doc: np.ndarray, room: int, truncation: Truncation
) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens of query and doc a tokenizer keeps of pairs: int64, shape (B,) each.

    query, doc: their lengths before. room: tokens for both, special tokens taken off.
    "longest_first" cuts the longer of the two until they fit, then both; of an odd room the longer
    keeps one more (the doc, where both are equal). "only_second" cuts the doc alone; a query that
    leaves it no token keeps `room` (a tokenizer would refuse the pair). Both as in the `tokenizers`
    library, utils/truncation.rs.
    """
    if truncation == "only_second":
        kept_query = np.minimum(query, room)
        return kept_query, np.minimum(doc, room - kept_query)
    fits = query + doc <= room
    short = np.minimum(query, doc)
    half = room // 2
    kept_short = np.where(fits, short, np.minimum(short, half))
    kept_long = np.where(fits, np.maximum(query, doc), room - kept_short)
    query_is_long = query > doc
    return (
        np.where(query_is_long, kept_long, kept_short),
        np.where(query_is_long, kept_short, kept_long),
    )
