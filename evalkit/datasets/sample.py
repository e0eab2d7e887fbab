"""The collection inside the package: small, with texts, judged; opens without a download."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from evalkit.datasets.collection import Judgements
from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError, DataError
from evalkit.types import Query

LANGUAGES = ("all", "en", "zh")


class SampleDataset(FolderDataset):
    """A BEIR folder shipped with evalkit; its queries carry tags that say what makes them hard.

    language: "en" or "zh" for the queries of one language, "all" for both. The docs are always
    those of both languages.
    """

    def __init__(self, language: str = "all", relevance_level: int = 1) -> None:
        if language not in LANGUAGES:
            raise ConfigError(f"dataset.language={language}: expected {', '.join(LANGUAGES)}")
        self.language = language
        super().__init__(
            Path(__file__).parent / "sample_data",
            dataset_id="evalkit-sample" if language == "all" else f"evalkit-sample/{language}",
            relevance_level=relevance_level,
        )

    def has_split(self, name: str) -> bool:
        return name == self.split

    def with_split(self, name: str) -> SampleDataset:
        if not self.has_split(name):
            raise DataError(f"the sample has no split '{name}', only '{self.split}'")
        return self

    @cached_property
    def _judgements(self) -> Judgements:
        both = super()._judgements
        queries = tuple(query for query in both.queries if self._is_chosen(query))
        chosen = {query.query_id for query in queries}
        qrels = tuple(qrel for qrel in both.qrels if qrel.query_id in chosen)
        return both._replace(queries=queries, qrels=qrels)

    def _is_chosen(self, query: Query) -> bool:
        tags: Sequence[str] = self._read_queries[1].get(query.query_id, ())
        return self.language == "all" or self.language in tags
