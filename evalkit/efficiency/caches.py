"""Result caches over a query log, simulated: what they save, and what near hits cost in quality.

An exact cache serves a query whose text it holds. A semantic one also serves a query that is
similar enough to one it holds: the cosine of their vectors reaches a threshold. Both keep at most
`size` queries and drop the one that was not asked for longest (LRU); a near hit refreshes the query
that served it and stores nothing.

Zipf's law for logs: Breslau et al., INFOCOM 1999. For a log of independent draws the hit rate of an
LRU cache follows Che, Tung and Wang (IEEE JSAC 2002), which the tests hold this to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.errors import ConfigError

# Rows of a block of similarities: 512 × 100,000 floats are 200 MB.
_BLOCK = 512


def zipf_log(count: int, requests: int, exponent: float, seed: int = 0) -> np.ndarray:
    """A log of independent requests for `count` queries: positions, int64, shape (requests,).

    The query of rank r is asked with a probability proportional to r ** -exponent; which query has
    which rank is drawn at random.
    """
    if count < 1 or requests < 1 or exponent < 0:
        raise ConfigError(
            f"count={count}, requests={requests}, exponent={exponent}: expected at least one "
            "query, one request, and an exponent of 0 (all alike) or more"
        )
    generator = np.random.default_rng(seed)
    shares = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    ranks = generator.choice(count, size=requests, p=shares / shares.sum())
    return generator.permutation(count)[ranks]


@dataclass(frozen=True)
class Served:
    """What a cache did with a log of n requests.

    by: int64, shape (n,): the query whose result was served; the request's own for an exact hit and
    for a miss. hit: bool, shape (n,).
    """

    log: np.ndarray
    by: np.ndarray
    hit: np.ndarray

    @property
    def hit_rate(self) -> float:
        return float(self.hit.mean()) if len(self.hit) else 0.0

    @property
    def near(self) -> np.ndarray:
        """Which requests were served another query's result: bool, shape (n,)."""
        return self.by != self.log

    @property
    def near_rate(self) -> float:
        return float(self.near.mean()) if len(self.near) else 0.0

    def near_pairs(self) -> list[tuple[int, int]]:
        """The distinct (query, query whose result it got) of near hits."""
        found = np.stack([self.log[self.near], self.by[self.near]], axis=1)
        return [(int(q), int(p)) for q, p in np.unique(found, axis=0)]


class Neighbours:
    """For each query the others that are similar enough, the most similar first."""

    def __init__(self, vectors: np.ndarray, least: float) -> None:
        """vectors: float32, shape (Q, h). least: the lowest cosine that is kept."""
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.where(lengths == 0, 1.0, lengths)
        self.least = least
        self._of: list[tuple[np.ndarray, np.ndarray]] = []
        for start in range(0, len(unit), _BLOCK):
            block = unit[start : start + _BLOCK] @ unit.T
            for row, similar in enumerate(block, start=start):
                similar[row] = -np.inf
                places = np.flatnonzero(similar >= least)
                order = np.argsort(-similar[places], kind="stable")
                self._of.append((places[order], similar[places][order]))

    def of(self, query: int, threshold: float) -> list[int]:
        """Queries whose similarity to this one is at least `threshold`, best first."""
        places, similar = self._of[query]
        # Sorted descending: the first that falls short ends it.
        return places[: np.searchsorted(-similar, -threshold, side="right")].tolist()


def simulate(
    log: np.ndarray,
    size: int | None = None,
    neighbours: Neighbours | None = None,
    threshold: float = 1.0,
) -> Served:
    """What a cache of `size` queries (None: unlimited), empty at first, does with the log.

    log: positions of queries, int64, shape (n,). Without `neighbours` it is an exact cache.
    """
    if size is not None and size < 1:
        raise ConfigError(f"size={size}: expected at least 1 query, or null for no limit")
    if neighbours is not None and threshold < neighbours.least:
        raise ConfigError(
            f"threshold={threshold}: the neighbours were computed down to {neighbours.least} only"
        )
    held: OrderedDict[int, None] = OrderedDict()
    by, hit = log.copy(), np.zeros(len(log), dtype=bool)
    near = {
        query: neighbours.of(query, threshold) if neighbours is not None else []
        for query in np.unique(log).tolist()
    }
    for i, query in enumerate(log.tolist()):
        found = query if query in held else next((n for n in near[query] if n in held), None)
        if found is not None:
            held.move_to_end(found)
            by[i], hit[i] = found, True
            continue
        held[query] = None
        if size is not None and len(held) > size:
            held.popitem(last=False)
    return Served(log, by, hit)


@dataclass(frozen=True)
class QualityServed:
    """served, without: the measure's mean over the judged requests of a log, with the cache and
    without. lost: what near hits cost of it, and its interval over the queries. judged: the share
    of requests whose query is judged and whose answer could be measured."""

    served: float
    without: float
    lost: float
    lost_interval: tuple[float, float]
    judged: float


def quality_served(
    served: Served,
    values: np.ndarray,
    of_pairs: Mapping[tuple[int, int], float],
    resamples: int,
    level: float,
    seed: int,
) -> QualityServed:
    """The quality that a log's users get.

    values: each query's measure with its own ranking, float64, shape (Q,), nan for a query that is
    not judged. of_pairs: (query, other) → the query's measure, under its own qrels, with the
    other's ranking. The interval resamples queries, each with all its requests.
    """
    own = values[served.log]
    got = own.copy()
    for i in np.flatnonzero(served.near).tolist():
        got[i] = of_pairs.get((int(served.log[i]), int(served.by[i])), np.nan)
    known = ~np.isnan(own) & ~np.isnan(got)
    if not known.any():
        nothing = float("nan")
        return QualityServed(nothing, nothing, nothing, (nothing, nothing), 0.0)
    queries, inverse = np.unique(served.log[known], return_inverse=True)
    losses = np.bincount(inverse, weights=(own - got)[known], minlength=len(queries))
    counts = np.bincount(inverse, minlength=len(queries))
    return QualityServed(
        served=float(got[known].mean()),
        without=float(own[known].mean()),
        lost=float((own - got)[known].mean()),
        lost_interval=_ratio_interval(losses, counts, resamples, level, seed),
        judged=float(known.mean()),
    )


def _ratio_interval(
    totals: np.ndarray, counts: np.ndarray, resamples: int, level: float, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap of Σ totals / Σ counts over clusters: queries with their requests."""
    size = len(totals)
    if size < 2:
        return (float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    ratios = np.empty(resamples)
    for i in range(resamples):
        drawn = generator.integers(0, size, size)
        ratios[i] = totals[drawn].sum() / counts[drawn].sum()
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    return float(low), float(high)


def log_of_lines(lines: Sequence[str], known: Mapping[str, int]) -> tuple[np.ndarray, list[str]]:
    """A given log's positions, and the queries that `known` has not, in order: those come after.

    lines: a request each, a query's id or text. known: id or text → position of a judged query.
    """
    positions: list[int] = []
    new: dict[str, int] = {}
    first_new = max(known.values(), default=-1) + 1
    for line in lines:
        if line in known:
            positions.append(known[line])
        else:
            positions.append(new.setdefault(line, first_new + len(new)))
    return np.array(positions, dtype=np.int64), list(new)
