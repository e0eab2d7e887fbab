"""All docs of a collection as two columns: their ids, and which of them say the same words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evalkit.errors import DataError
from evalkit.progress import track
from evalkit.similarities import wording
from evalkit.types import Dataset


class Corpus(NamedTuple):
    """n docs, some forty bytes each, so that a collection of millions fits in memory.

    ids: str, shape (n,), ascending. wordings: int64, shape (n,); docs share a number if their words
    are the same in the same order (see `similarities.wording`). empty: the number of docs without
    words, -1 if there are none.
    """

    ids: np.ndarray
    wordings: np.ndarray
    empty: int

    @classmethod
    def read(cls, dataset: Dataset, doc_template: str) -> Corpus:
        """One pass over the docs."""
        ids: list[str] = []
        digests = bytearray()
        for doc in track(dataset.docs_iter(), "Reading docs", dataset.num_docs):
            ids.append(doc.doc_id)
            # 64 bits: among ten million docs a chance of one in 400,000 that any two are mixed up.
            digests += wording(doc.render(doc_template))[:8]
        if not ids:
            raise DataError(f"{dataset.dataset_id}: no docs to mine negatives from")
        names = np.asarray(ids, dtype=np.str_)
        order = np.argsort(names, kind="stable")
        known, wordings = np.unique(np.frombuffer(bytes(digests), np.uint64), return_inverse=True)
        nothing = np.frombuffer(wording("")[:8], np.uint64)[0]
        at = np.flatnonzero(known == nothing)
        return cls(names[order], wordings.reshape(-1)[order], int(at[0]) if len(at) else -1)

    def positions(self, doc_ids: np.ndarray) -> np.ndarray:
        """Where these ids are: int64, shape (len(doc_ids),); -1 for a doc that is not here."""
        wanted = np.asarray(doc_ids, dtype=np.str_)
        at = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[at] == wanted, at, -1)

    def wordings_of(self, doc_ids: np.ndarray) -> np.ndarray:
        """The numbers of these docs' wordings: int64; -1 for a doc that is not here or is empty."""
        at = self.positions(doc_ids)
        found = np.where(at >= 0, self.wordings[at], -1)
        return np.where(found == self.empty, -1, found)
