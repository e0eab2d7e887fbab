"""What cascades, fusions and thresholds share: they call other selected rerankers by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, TypeVar

import numpy as np

from evalkit.errors import ConfigError, nearest
from evalkit.run import Run
from evalkit.types import Dataset, Neighbours, Query, Reranker, for_retriever

Self = TypeVar("Self", bound="ComposedReranker")


class ComposedReranker:
    """A reranker made of others, the parts, which are found by name when it is connected.

    A part that is no system of its own is selected and hidden: `reranker=[none,x,cascade]
    parts=[x]`. What a part keeps in the score store is never computed twice, so that K, weights and
    stages are swept from one scoring pass of each part.
    """

    depends_on_list = True

    def __init__(self, uses: Sequence[str]) -> None:
        self.uses = tuple(uses)
        self.parts: dict[str, Reranker] = {}
        self.details: dict[str, Any] = {}
        self.work: dict[str, int] = {}
        self.name, self.retriever = type(self).__name__, ""
        self.drops = self.fitted = False
        self.neighbours: Neighbours | None = None

    def connect(self, name: str, neighbours: Neighbours) -> None:
        """Find the parts among the other selected rerankers; `name` is this one's own."""
        self.name, self.neighbours = name, neighbours
        self.parts = {part: _found(name, part, neighbours.rerankers) for part in self.uses}

    @property
    def filters(self) -> bool:
        """True if this one drops candidates, or a part does."""
        parts = self.parts.values()
        return self.drops or any(getattr(part, "filters", False) for part in parts)

    @property
    def fits_first_stage(self) -> bool:
        """True if something is fitted to the first stage's candidates on another split, here or in
        a part: its input must then be those candidates, not another reranker's."""
        parts = self.parts.values()
        return self.fitted or any(getattr(part, "fits_first_stage", False) for part in parts)

    @property
    def fits_to_queries(self) -> bool:
        """True if something is fitted while reranking, here or in a part; see Reranker."""
        parts = self.parts.values()
        tuned = self.fitted or getattr(self, "tune", None) is not None
        return tuned or any(getattr(part, "fits_to_queries", False) for part in parts)

    def check(self, depth: int) -> None:
        """Raise what is wrong with a part."""
        for part in self.parts.values():
            check = getattr(part, "check", None)
            if check is not None:
                check(depth)

    def for_retriever(self: Self, retriever: str) -> Self:
        """This reranker over one retriever's candidates; what it reports is kept by retriever."""
        own = copy(self)
        own.parts = {name: for_retriever(part, retriever) for name, part in self.parts.items()}
        own.retriever, own.work = retriever, {}
        own.details = self.details.setdefault(retriever, {})
        return own

    def part_fingerprints(self) -> dict[str, str]:
        return {name: part.fingerprint for name, part in self.parts.items()}

    def call(self, part: str, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """The candidates as a part reranks them; what it cost is added to `work`.

        What the part says of these candidates goes into `details`, the first time only: that is of
        the evaluated queries and the largest K. It leaves no trace in the part's own details, which
        are those of a system that may be selected, too.
        """
        reranker = self.parts[part]
        kept = vars(reranker).get("details")
        vars(reranker)["details"] = {}
        found = reranker.rerank(queries, dataset, candidates).select(candidates.query_ids)
        told = vars(reranker)["details"]
        if told:
            self.details.setdefault(part, told)
        if kept is None:
            del vars(reranker)["details"]
        else:
            vars(reranker)["details"] = kept
        work = getattr(reranker, "work", {"asked": len(candidates)})
        for unit, amount in work.items():
            key = f"{part} {unit}"
            self.work[key] = self.work.get(key, 0) + int(amount)
        return found

    def estimate_part(self, part: str, sizes: np.ndarray) -> dict[str, int]:
        """What a part costs at most for lists of these sizes, by its name and unit."""
        estimate = getattr(self.parts[part], "estimate", None)
        found: Mapping[str, int] = (
            {"pairs": int(sizes.sum())} if estimate is None else estimate(sizes)
        )
        return {f"{part} {unit}": amount for unit, amount in found.items()}

    def given(self, sizes: np.ndarray) -> dict[str, np.ndarray]:
        """How many docs of lists of these sizes each part is given at most, query by query: int,
        shape (Q,). Here the whole list. A part that is left out is given what the sizes alone do
        not tell."""
        return dict.fromkeys(self.parts, sizes)

    def estimate(self, sizes: np.ndarray) -> dict[str, int]:
        """The parts' cost for lists of these sizes, for the docs that each is given."""
        found: dict[str, int] = {}
        for part, reaching in self.given(sizes).items():
            found |= self.estimate_part(part, reaching)
        return found


def _found(name: str, part: str, rerankers: Mapping[str, Reranker]) -> Reranker:
    if part in rerankers and part != "none":
        return rerankers[part]
    selected = [each for each in rerankers if each != part]
    if part == "none":
        raise ConfigError(
            f"reranker.{name} is made of 'none', which reranks nothing; name one that does"
        )
    raise ConfigError(
        f"reranker.{name} is made of '{part}', which is not among the selected rerankers "
        f"({', '.join(selected)}).{nearest(part, selected)} Add it to reranker=[…,{part}], and to "
        f"parts=[{part}] if it is to be no system of its own"
    )
