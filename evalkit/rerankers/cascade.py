"""Cascade: a cheap reranker reads many candidates, a dear one the few that it leaves.

Wang, Lin and Metzler, SIGIR 2011 (cascade ranking); Nogueira et al. 2019 (multi-stage BERT).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.errors import ConfigError
from evalkit.rerankers.composed import ComposedReranker
from evalkit.run import Run
from evalkit.types import Dataset, Query, fingerprint


class CascadeReranker(ComposedReranker):
    """Rerankers one after another: K candidates → first stage → its best `keep` → second stage …

    stages: "NAME KEEP" each, in order: the reranker, and how many of the docs that it was given go
    on to the next, such as ["bi_encoder 200", "cross_encoder 50", "llm_listwise"]. What a stage
    does not pass on stays below, in that stage's order. A number on the last stage is the length
    of the answer and changes no order (a sweep's N measures that).
    """

    def __init__(self, stages: Sequence[str]) -> None:
        if not stages:
            raise ConfigError('cascade: no stages; such as stages=["bi_encoder 50",cross_encoder]')
        self.stages = [_parsed(stage) for stage in stages]
        names = [name for name, _ in self.stages]
        if len(set(names)) < len(names):
            raise ConfigError(f"cascade: stages names one reranker twice ({', '.join(names)})")
        for name, keep in self.stages[:-1]:
            if keep is None:
                raise ConfigError(
                    f"cascade: stage '{name}' says not how many docs go on to the next; "
                    f'write it as "{name} 50"'
                )
        kept = [keep for _, keep in self.stages if keep is not None]
        if sorted(kept, reverse=True) != kept:
            raise ConfigError(f"cascade: stages pass on {kept}; expected no more docs than before")
        super().__init__(names)

    def check(self, depth: int) -> None:
        """Raise what is wrong with a stage, such as one that cannot come after another."""
        super().check(depth)
        for name, _ in self.stages[1:]:
            if getattr(self.parts[name], "fits_first_stage", False):
                raise ConfigError(
                    f"reranker.{self.name}.stages: '{name}' is fitted to the first stage's scores "
                    "on another split, and would be given those of the stage before it; put it "
                    "first, or fit nothing (reranker.NAME.tune=cross_validation, "
                    "reranker.NAME.platt=[A,B])"
                )

    @property
    def fingerprint(self) -> str:
        return fingerprint("Cascade", stages=self.stages, parts=self.part_fingerprints())

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """The candidates in the order of the last stage that read them; scores are n - rank."""
        self.work, given, ranking = {}, candidates, candidates
        read: dict[str, float] = {}
        for name, keep in self.stages:
            read[name] = round(len(given) / max(len(candidates.query_ids), 1), 2)
            head = self.call(name, queries, dataset, given)
            # What a filter dropped must not come back below it.
            dropping = getattr(self.parts[name], "filters", False)
            ranking = head if dropping else ranking.reranked(head)
            given = head if keep is None else head.top(keep)
        size = int(candidates.sizes.max(initial=0))
        self.details[f"pairs a query at K={size}"] = read
        return ranking.with_scores((ranking.sizes[ranking.rows] - ranking.ranks).astype(np.float32))

    def given(self, sizes: np.ndarray) -> dict[str, np.ndarray]:
        """The docs that reach each stage; fewer where a stage before it drops some."""
        found: dict[str, np.ndarray] = {}
        for name, keep in self.stages:
            found[name] = sizes
            sizes = sizes if keep is None else np.minimum(sizes, keep)
        return found


def _parsed(stage: str) -> tuple[str, int | None]:
    name, _, keep = stage.strip().partition(" ")
    if not keep:
        return name, None
    if not keep.strip().isdecimal() or int(keep) < 1:
        raise ConfigError(
            f"cascade: stage '{stage}': expected a reranker's name and the number of docs that go "
            f'on, such as "{name} 50"'
        )
    return name, int(keep)
