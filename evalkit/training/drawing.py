"""Drawing one query's negatives from its candidates and from the corpus.

Draws come from `random.Random(text).random()`, the one sequence that Python promises to keep from
version to version, seeded by the query's id: a query's negatives do not depend on other queries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from random import Random
from typing import NamedTuple

from evalkit.training.corpus import Corpus
from evalkit.training.negative_settings import NegativeSettings

# Up to so many docs a random draw may look at all of them; above, it gives up after as many misses.
_FEW_DOCS = 1024


class Negative(NamedTuple):
    """A doc drawn; role, source and rank as in TrainingData."""

    doc_id: str
    role: str
    source: str
    rank: int


class Pool(NamedTuple):
    """A retriever's candidates of one query: ids, ranks and wordings, best first."""

    doc_ids: Sequence[str]
    ranks: Sequence[int]
    wordings: Sequence[int]


class Drawn(NamedTuple):
    """A query's negatives; filled: how many of them are random for want of candidates."""

    negatives: list[Negative]
    filled: int


def drawn(
    query_id: str,
    pools: Mapping[str, Pool],
    blocked: Collection[int],
    suspects: Collection[int],
    corpus: Corpus,
    settings: NegativeSettings,
) -> Drawn:
    """At most `settings.num` negatives, each with words of its own.

    The retrievers take turns, beginning with a random one, so that none has the first choice; one
    that has nothing left is passed over. What is still missing is drawn from the corpus. blocked:
    wordings that no negative may have. suspects: wordings that none drawn from the corpus may have.
    """
    random = Random(f"negatives\0{settings.seed}\0{query_id}")
    # The share holds on average: .1 of 4 negatives is one for two queries in five.
    wanted = settings.num - int(settings.num * settings.random_share + random.random())
    taken = set(blocked)
    found = _in_turns(random, pools, taken, settings.sampling, wanted)
    missing = settings.num - len(found)
    taken |= set(suspects)
    for position in _positions(random, len(corpus.ids), missing):
        wording = int(corpus.wordings[position])
        if wording not in taken and wording != corpus.empty:
            taken.add(wording)
            found.append(Negative(str(corpus.ids[position]), "random", "random", 0))
        if len(found) == settings.num:
            break
    drawn_at_random = sum(negative.role == "random" for negative in found)
    return Drawn(found, max(drawn_at_random - (settings.num - wanted), 0))


def _in_turns(
    random: Random, pools: Mapping[str, Pool], taken: set[int], sampling: str, wanted: int
) -> list[Negative]:
    """`wanted` negatives, fewer where the pools hold fewer; their wordings are added to `taken`."""
    queues: list[tuple[str, Pool, Iterator[int]]] = []
    for name, pool in pools.items():
        order = list(range(len(pool.doc_ids)))
        if sampling == "random":
            order.sort(key=[random.random() for _ in order].__getitem__)
        queues.append((name, pool, iter(order)))
    start = int(random.random() * len(queues))
    queues = queues[start:] + queues[:start]
    found: list[Negative] = []
    while queues and len(found) < wanted:
        name, pool, rest = queues.pop(0)
        at = next((i for i in rest if pool.wordings[i] not in taken), None)
        if at is not None:
            taken.add(pool.wordings[at])
            found.append(Negative(pool.doc_ids[at], "negative", name, pool.ranks[at]))
            queues.append((name, pool, rest))
    return found


def _positions(random: Random, docs: int, missing: int) -> Iterator[int]:
    """Positions of docs in random order: all of them in a small corpus; in a large one as many as
    may be needed, some perhaps twice."""
    if missing <= 0:
        return
    if docs <= _FEW_DOCS:
        yield from sorted(range(docs), key=[random.random() for _ in range(docs)].__getitem__)
    else:
        for _ in range(missing + _FEW_DOCS):
            yield int(random.random() * docs)
