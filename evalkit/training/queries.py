"""Which queries a training is made of: judged ones, those held back to watch it by, and sentences.

The sentences are cloze queries: `evalkit.training.cloze`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.errors import DataError
from evalkit.training.candidates import Judged, wordings_of_queries
from evalkit.training.cloze import Cloze, cloze_queries
from evalkit.training.corpus import Corpus
from evalkit.training.negative_settings import NegativeSettings
from evalkit.training.splitting import sampled, validation_queries
from evalkit.types import Dataset, Query, grades_of


class TrainingQueries:
    """The queries of a dataset that are mined; DataError where none has a relevant doc with words.

    all: the judged ones in the dataset's order, then the sentences. validation: ids of those that
    are held back; no sentence is among them. cloze: the sentences by query id, none of a doc that
    a held back query asks for.
    """

    def __init__(self, dataset: Dataset, corpus: Corpus, settings: NegativeSettings) -> None:
        self._dataset, self._corpus = dataset, corpus
        self._grades = {**grades_of(dataset.qrels)}
        judged = sampled(self._usable(), settings.max_queries, settings.seed)
        asked = wordings_of_queries(self.judged(judged).blocked, corpus)
        docs = dict(zip((query.query_id for query in judged), asked, strict=True))
        share, seed = settings.validation_share, settings.seed
        self.validation = validation_queries(judged, docs, share, seed)
        held = set().union(*(docs[query_id] for query_id in self.validation))
        self.cloze = self._sentences(settings, held)
        self.all = [*judged, *(each.query for each in self.cloze.values())]
        level = max(dataset.relevance_level, 1)
        for query_id, cloze in self.cloze.items():
            self._grades[query_id] = {cloze.doc_id: level}

    def judged(self, queries: Sequence[Query]) -> Judged:
        """What is known of some of them."""
        return Judged.of(queries, self._grades, self._dataset, self._corpus)

    def _usable(self) -> list[Query]:
        dataset = self._dataset
        sizes = self.judged(dataset.queries).relevant.sizes
        usable = [query for query, size in zip(dataset.queries, sizes, strict=True) if size]
        if not usable:
            raise DataError(
                f"{dataset.dataset_id}: none of its {len(dataset.queries)} judged queries has a "
                f"doc of grade {dataset.relevance_level} or above in the corpus; there is nothing "
                "to train on: choose another split or relevance_level"
            )
        return usable

    def _sentences(self, settings: NegativeSettings, held: set[int]) -> dict[str, Cloze]:
        found = cloze_queries(self._dataset, settings.cloze_queries, settings.seed)
        wordings = self._corpus.wordings_of(np.array([each.doc_id for each in found], np.str_))
        return {
            each.query.query_id: each
            for each, number in zip(found, wordings.tolist(), strict=True)
            if number not in held
        }
