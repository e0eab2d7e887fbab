"""The services behind rerankers that are made of others: cascades, fusions, thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from evalkit.llm.chat import ChatEndpoint
from evalkit.rerankers.api import ApiReranker
from evalkit.rerankers.composed import ComposedReranker


class PaidPart(NamedTuple):
    """A part that asks a service. name: its own. path: its name after those of the parts that it
    is a part of, as in a composed reranker's `work`. part: itself. given: docs that it is asked
    for at most, query by query: int, shape (Q,); None where the lists' sizes do not tell."""

    name: str
    path: str
    part: Any
    given: np.ndarray | None

    def work_of(self, work: Mapping[str, int]) -> dict[str, int]:
        """What of a composed reranker's work was this part's, by unit."""
        before = f"{self.path} "
        return {k.removeprefix(before): n for k, n in work.items() if k.startswith(before)}


def paid_parts(part: Any, sizes: np.ndarray | None, path: str = "") -> list[PaidPart]:
    """The services that a reranker asks for lists of these sizes (None: not known); none for one
    without parts."""
    found: list[PaidPart] = []
    if isinstance(part, ComposedReranker):
        known = {} if sizes is None else part.given(sizes)
        for name, below in part.parts.items():
            given, where = known.get(name), f"{path} {name}".strip()
            if is_remote(below):
                found.append(PaidPart(name, where, below, given))
            found += paid_parts(below, given, where)
    return found


def services_of(name: str, part: Any) -> dict[str, Any]:
    """Name → reranker that asks a service: this one, or those that it is made of, selected as
    systems or not."""
    if is_remote(part):
        return {name: part}
    return {each.name: each.part for each in paid_parts(part, None)}


def chat_of(part: Any) -> ChatEndpoint | None:
    """The language model behind an address that a component asks, if it asks one."""
    for holder in (part, getattr(part, "transform", None)):
        model = getattr(holder, "llm", None)
        if isinstance(model, ChatEndpoint):
            return model
    return None


def is_remote(part: Any) -> bool:
    """Whether a component asks a service itself, and not only through its parts."""
    return isinstance(part, ApiReranker) or chat_of(part) is not None
