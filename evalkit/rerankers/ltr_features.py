"""The features of learning to rank: what first stages say of a (query, doc) pair, and the words.

Of the kinds that LETOR made usual (Qin, Liu, Xu and Li, Information Retrieval 2010): scores of
retrieval models, their ranks and fusion, and those of `ltr_terms`: lengths, what query and doc
share, how rare the query's terms are. A feature is a function of the pair, the collection and the
first stages' rankings at a fixed depth, not of which other candidates are to be reranked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evalkit.errors import ScoreError
from evalkit.first_stage import first_stage
from evalkit.fusion import normalised, rrf
from evalkit.rerankers.ltr_terms import NAMES, TermFeatures
from evalkit.run import Run
from evalkit.types import Dataset, Query, Retriever, fingerprint

# Raise it when a feature changes its meaning: no model of the old ones is then used with the new.
RULES = 1
# Of each first stage; and the sign of the one direction that `monotone` lets the score move with.
STAGE_FEATURES = {"score": 1, "min_max": 1, "z_score": 1, "rank": -1, "reciprocal_rank": 1}
FUSED = "rrf"


class Features:
    """The feature matrices over some first stages, whose best `depth` docs of a query are looked
    at."""

    def __init__(self, terms: TermFeatures, depth: int) -> None:
        self.terms, self.depth = terms, depth
        self.stages: dict[str, Retriever] = {}

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "Features",
            rules=RULES,
            depth=self.depth,
            terms=self.terms.fingerprint,
            stages=[[name, stage.fingerprint] for name, stage in self.stages.items()],
        )

    @property
    def names(self) -> list[str]:
        """The columns, such as "bm25.score"."""
        staged = [f"{stage}.{feature}" for stage in self.stages for feature in STAGE_FEATURES]
        return [*staged, FUSED, *NAMES]

    @property
    def signs(self) -> list[int]:
        """A column: +1 or -1 where the score may only rise or fall with it, 0 where it is free."""
        return [*list(STAGE_FEATURES.values()) * len(self.stages), 1, *[0] * len(NAMES)]

    def rankings(self, dataset: Dataset, query_ids: Sequence[str]) -> dict[str, Run]:
        """Each first stage's best docs of these queries, which are the dataset's or some of them;
        the indexes must be there."""
        unknown = set(query_ids) - {query.query_id for query in dataset.queries}
        if unknown:
            raise ScoreError(
                f"ltr: query '{min(unknown)}' is not among those of {dataset.dataset_id}, whose "
                "first-stage rankings are its features; rerank the dataset's own queries"
            )
        return {
            name: first_stage(stage, dataset, self.depth).select(query_ids)
            for name, stage in self.stages.items()
        }

    def matrix(
        self, pairs: Run, rankings: Mapping[str, Run], dataset: Dataset, queries: Sequence[Query]
    ) -> np.ndarray:
        """All features of the pairs: float32, shape (n, F), rows in the order of `pairs`.

        rankings: of the same queries. queries: those whose terms are counted in the docs; where
        every call names the same ones, that takes one pass.
        """
        statistics = self.terms.statistics(dataset, queries)
        words = self.terms.matrix(pairs, queries, dataset, statistics)
        return np.hstack([stage_matrix(pairs, rankings), words]).astype(np.float32)


def stage_matrix(pairs: Run, rankings: Mapping[str, Run]) -> np.ndarray:
    """What the first stages say: float64, shape (n, 5 × stages + 1), rows in the order of `pairs`.

    Of each stage: its score; the score by min-max and as z-score among the query's docs; the rank
    from 1; 1 / rank. Then the sum of all stages' 1 / (60 + rank). Where a stage did not find the
    doc, 1 / rank and its part of the sum are 0, as for an endless rank, and the others NaN.
    """
    runs = list(rankings.values())
    columns = []
    for run in runs:
        ranks = run.ranks + 1.0
        columns += [
            _column(pairs, run, run.scores),
            _column(pairs, run, normalised(run, "min_max")),
            _column(pairs, run, normalised(run, "z_score")),
            _column(pairs, run, ranks),
            np.nan_to_num(_column(pairs, run, 1.0 / ranks)),
        ]
    return np.stack([*columns, np.nan_to_num(pairs.scores_in(rrf(runs)))], axis=1)


def _column(pairs: Run, run: Run, values: np.ndarray) -> np.ndarray:
    """Values of a run's results, shape (len(run),), at the pairs: float64, NaN where it has none.

    They go through a Run's float32 scores."""
    found = pairs.scores_in(Run(**{**vars(run), "scores": values.astype(np.float32)}))
    return found.astype(np.float64)
