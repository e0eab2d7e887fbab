"""The conversation before the query: joined to it as one text, or searched for with weights.

Joined, all turns are equals. Weighted, the newest turn, which is the query itself, counts 1 and an
earlier one less: score(d) = score(query, d) + Σ_turns weight × score(turn, d). BM25 and dense
retrieval are linear in the query, so this sum is theirs exactly: weighted terms, or the weighted
sum of the turns' vectors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from evalkit.errors import ConfigError
from evalkit.queries.transform import Part
from evalkit.types import Query, fingerprint

_FIELD = re.compile(r"\{(\w*)\}")


class History:
    """Puts the earlier turns of a conversation to the query.

    turns: how many, the newest ones; None for all. template, separator: how they become one text,
    where there are any. decay: each turn weighs this times the next newer one. weights: a weight a
    turn, the newest earlier turn first; turns beyond the list are left out.
    """

    def __init__(
        self,
        turns: int | None = None,
        template: str = "{history} {query}",
        separator: str = " ",
        decay: float | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        if turns is not None and turns < 1:
            raise ConfigError(f"history: turns={turns}; expected at least 1, or null for all")
        if sorted(_FIELD.findall(template)) != ["history", "query"]:
            raise ConfigError(
                f"history: template='{template}'; expected {{history}} and {{query}} once each, "
                "such as '{history} {query}'"
            )
        if decay is not None and weights is not None:
            raise ConfigError("history: decay and weights are two ways to say one thing; give one")
        if decay is not None and not 0 < decay <= 1:
            raise ConfigError(f"history: decay={decay}; expected above 0 and at most 1")
        if weights is not None and not all(math.isfinite(w) and w >= 0 for w in weights):
            raise ConfigError(f"history: weights={list(weights)}; expected numbers from 0 on")
        self.turns, self.template, self.separator = turns, template, separator
        self.decay = decay
        self.weights = None if weights is None else [float(w) for w in weights]
        self.weighted = decay is not None or weights is not None

    @property
    def fingerprint(self) -> str:
        weights = {"decay": self.decay, "weights": self.weights}
        joined = {"template": self.template, "separator": self.separator}
        return fingerprint("History", turns=self.turns, **(weights if self.weighted else joined))

    def parts(self, queries: Sequence[Query]) -> list[list[Part]]:
        return [
            self._weighted(query) if self.weighted else self._joined(query) for query in queries
        ]

    def _earlier(self, query: Query) -> list[str]:
        """The turns that are used, oldest first."""
        turns = [turn for turn in query.history if turn.strip()]
        return turns if self.turns is None else turns[-self.turns :]

    def _joined(self, query: Query) -> list[Part]:
        earlier = self._earlier(query)
        if not earlier:
            return [Part(Query(query.query_id, query.text))]
        fields = {"history": self.separator.join(earlier), "query": query.text}
        # In one pass: a turn that holds the characters {query} must stay as it is.
        text = _FIELD.sub(lambda field: fields[field[1]], self.template)
        return [Part(Query(query.query_id, text))]

    def _weighted(self, query: Query) -> list[Part]:
        newest_first = self._earlier(query)[::-1]
        weights = self.weights
        if weights is None:
            weights = [(self.decay or 1.0) ** (i + 1) for i in range(len(newest_first))]
        # Not strict: either may be the longer one.
        pairs = zip(newest_first, weights, strict=False)
        turns = [Part(Query(query.query_id, turn), weight) for turn, weight in pairs if weight > 0]
        return [Part(Query(query.query_id, query.text)), *turns]
