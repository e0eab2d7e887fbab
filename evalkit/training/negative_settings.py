"""How negatives are mined: the settings, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evalkit.errors import ConfigError
from evalkit.types import DOC_TEMPLATE, checked_template


@dataclass(frozen=True)
class NegativeSettings:
    """How training data is mined.

    num: negatives of a query. min_rank, max_rank: the ranks, from 1, of each retriever's list that
    they are taken from; sampling: "random" among those, or "top", the first. random_share: the
    share of negatives drawn from the whole corpus. max_score_ratio: a doc that scores above this
    ratio of the query's lowest-scored relevant doc is left out as a likely false negative; null
    leaves none out. guard: name of a selected reranker whose scores decide that; null for the
    retriever's own. max_positives: relevant docs of a query, the highest grades first.
    max_queries: a sample of the queries; null for all. validation_share: of the queries, in a part
    that shares no relevant doc and no text with the rest. validation_num: negatives of a query
    there; null for `num`, which makes lists so short that most steps look equally good.
    cloze_queries: so many sentences of the corpus that are learned from as queries, too, see
    `cloze`. passages:
    "windows" cuts a doc of more than `passage_words` words and takes the window that fits the query
    best, "whole" leaves docs as they are.
    """

    num: int = 4
    min_rank: int = 1
    max_rank: int = 50
    sampling: Literal["random", "top"] = "random"
    random_share: float = 0.0
    max_score_ratio: float | None = 0.95
    guard: str | None = None
    max_positives: int = 4
    max_queries: int | None = None
    validation_share: float = 0.05
    validation_num: int | None = 20
    cloze_queries: int = 0
    passages: Literal["windows", "whole"] = "windows"
    passage_words: int = 128
    doc_template: str = DOC_TEMPLATE
    seed: int = 0

    def __post_init__(self) -> None:
        checked_template(self.doc_template)
        _check(self.num >= 1, f"num={self.num}", "at least 1")
        _check(
            self.validation_num is None or self.validation_num >= 1,
            f"validation_num={self.validation_num}",
            "at least 1, or null for num",
        )
        ranks = f"min_rank={self.min_rank}, max_rank={self.max_rank}"
        _check(1 <= self.min_rank <= self.max_rank, ranks, "1 ≤ min_rank ≤ max_rank")
        _check(self.sampling in ("random", "top"), f"sampling={self.sampling}", "random or top")
        _check(0 <= self.random_share <= 1, f"random_share={self.random_share}", "from 0 to 1")
        ratio = self.max_score_ratio
        _check(
            ratio is None or 0 < ratio <= 1,
            f"max_score_ratio={ratio}",
            "above 0, at most 1, or null to leave nothing out",
        )
        _check(
            self.guard is None or ratio is not None,
            f"guard={self.guard} with max_score_ratio=null",
            "a ratio that the guard's scores are held against, such as max_score_ratio=0.95",
        )
        _check(self.max_positives >= 1, f"max_positives={self.max_positives}", "at least 1")
        _check(
            self.max_queries is None or self.max_queries >= 2,
            f"max_queries={self.max_queries}",
            "at least 2, or null for all",
        )
        _check(
            0 <= self.validation_share < 1,
            f"validation_share={self.validation_share}",
            "from 0 to below 1",
        )
        _check(self.cloze_queries >= 0, f"cloze_queries={self.cloze_queries}", "0 or more")
        _check(
            self.passages in ("windows", "whole"), f"passages={self.passages}", "windows or whole"
        )
        _check(self.passage_words >= 2, f"passage_words={self.passage_words}", "at least 2")

    @property
    def window(self) -> int | None:
        """Words of a passage; None where docs are whole."""
        return self.passage_words if self.passages == "windows" else None


def _check(fits: bool, found: str, expected: str) -> None:
    if not fits:
        raise ConfigError(f"training.negatives: {found}; expected {expected}")
