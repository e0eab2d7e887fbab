"""redundancy@N: how much of the first N docs a reader has already read above. Lower is better.

For collections without subtopics, where alpha_nDCG cannot be computed: it needs the docs' texts and
no judgements. What is repeated is counted in word shingles, as in Broder, SEQUENCES 1997; taking
the highest similarity to any doc above is the novelty part of MMR (Carbonell and Goldstein, SIGIR
1998), averaged over the ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from ir_measures import Metric, measures

from evalkit.errors import ConfigError
from evalkit.similarities import jaccard, shingles
from evalkit.types import Dataset


class _Redundancy(measures.Measure):
    """The mean over the first `cutoff` docs of the highest similarity to a doc ranked above.

    Similarity is the Jaccard coefficient of the docs' sets of three-word shingles (characters in
    Chinese and Japanese), exact, over title and text. The first doc has none above it and counts 0,
    so n docs with one text have (n - 1) / n. A ranking that holds fewer docs is averaged over
    those. 0: nothing is repeated.
    """

    __name__ = "redundancy"
    NAME = __name__
    PRETTY_NAME = "Redundancy at N"
    SHORT_DESC = "How much of the top N repeats what is ranked above it; lower is better."
    SUPPORTED_PARAMS = {  # noqa: RUF012  ir_measures' own way to declare them
        "cutoff": measures.ParamInfo(dtype=int, required=True, desc="ranking cutoff threshold")
    }


REDUNDANCY = _Redundancy()
measures.register(REDUNDANCY, aliases=["Redundancy"])


class RedundancyEvaluator:
    """Computes redundancy on every run; a doc is read once, a pair of docs compared once."""

    def __init__(self, measures: Sequence[measures.Measure], dataset: Dataset | None) -> None:
        if dataset is None or not dataset.has_texts:
            raise ConfigError(
                f"measure '{measures[0]}' compares the docs' texts and there are none; use "
                "dataset=folder or dataset=ir_datasets, or leave the measure out"
            )
        self.measures, self._dataset = list(measures), dataset
        self._place: dict[str, int] = {}
        self._shingles: list[np.ndarray] = []
        self._pairs: dict[tuple[int, int], float] = {}

    def iter_calc(self, ranked: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]:
        """A value per measure and query; `ranked`: query_id → doc ids, best first."""
        deepest = max(measure["cutoff"] for measure in self.measures)
        tops = {query_id: list(docs)[:deepest] for query_id, docs in ranked.items()}
        self._read({doc_id for docs in tops.values() for doc_id in docs})
        for query_id, docs in tops.items():
            repeated = self._repeated([self._place[doc_id] for doc_id in docs])
            for measure in self.measures:
                top = repeated[: measure["cutoff"]]
                yield Metric(query_id, measure, float(top.mean()) if len(top) else 0.0)

    def _read(self, doc_ids: set[str]) -> None:
        new = sorted(doc_ids - self._place.keys())
        docs = self._dataset.lookup(new) if new else {}
        for doc_id in new:
            self._place[doc_id] = len(self._shingles)
            self._shingles.append(_hashed(shingles(docs[doc_id].render())))

    def _repeated(self, docs: Sequence[int]) -> np.ndarray:
        """Each doc's highest similarity to one before it, 0 for the first: float64, shape (n,)."""
        return np.array(
            [max((self._similar(a, b) for b in docs[:i]), default=0.0) for i, a in enumerate(docs)]
        )

    def _similar(self, a: int, b: int) -> float:
        pair = (a, b) if a < b else (b, a)
        if pair not in self._pairs:
            self._pairs[pair] = jaccard(self._shingles[a], self._shingles[b])
        return self._pairs[pair]


def _hashed(shingles: set[str]) -> np.ndarray:
    """A sorted uint64 for each shingle: a tenth of the memory, and quick to intersect."""
    joined = b"".join(hashlib.blake2b(s.encode(), digest_size=8).digest() for s in shingles)
    return np.unique(np.frombuffer(joined, dtype=np.uint64))
