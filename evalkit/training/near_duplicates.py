"""Texts that nearly repeat others: MinHash finds candidates, their shingles decide.

Shingles are those of `evalkit.similarities`: three words, or three characters of a script without
spaces. Locality-sensitive hashing (Indyk and Motwani, STOC 1998) through datasketch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from evalkit.similarities import shingles
from evalkit.training.libraries import require_datasketch

# The usual bound for documents that are the same but for small edits (Henzinger, SIGIR 2006).
THRESHOLD = 0.8
# With s the Jaccard coefficient a pair is a candidate with probability 1 - (1 - s**5)**25: .99995
# at the threshold, .06 at .3; what is no near-duplicate after all is sorted out by its shingles.
_BANDS, _ROWS = 25, 5
_BATCH = 4096


class Repeat(NamedTuple):
    """position: of the text that is repeated. similarity: Jaccard coefficient of the shingles."""

    position: int
    similarity: float


class NearDuplicates:
    """Finds which of `texts` a text nearly repeats: a Jaccard coefficient of at least THRESHOLD."""

    def __init__(self, texts: Sequence[str]) -> None:
        require_datasketch()
        from datasketch import MinHashLSH

        self.texts = texts
        self._index = MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))
        for position, (_, hashed) in enumerate(_hashed(texts)):
            self._index.insert(position, hashed, check_duplication=False)

    def find(self, texts: Sequence[str]) -> Iterator[list[Repeat]]:
        """For each text what it repeats, the most similar first."""
        for mine, hashed in _hashed(texts):
            found = []
            for position in sorted(self._index.query(hashed)):
                theirs = shingles(self.texts[position])
                union = len(mine | theirs)
                similarity = len(mine & theirs) / union if union else 1.0
                if similarity >= THRESHOLD:
                    found.append(Repeat(position, similarity))
            yield sorted(found, key=lambda repeat: (-repeat.similarity, repeat.position))


def _hashed(texts: Sequence[str]) -> Iterator[tuple[set[str], Any]]:
    """(shingles, MinHash) of each text; the shingles of some thousand texts are in memory."""
    from datasketch import MinHash

    for start in range(0, len(texts), _BATCH):
        cut = [shingles(text) for text in texts[start : start + _BATCH]]
        encoded = ([shingle.encode() for shingle in each] for each in cut)
        # Named, so that another version of datasketch with another default finds the same.
        hashed = MinHash.generator(encoded, num_perm=_BANDS * _ROWS, seed=1, scheme="affine32")
        yield from zip(cut, hashed, strict=True)
