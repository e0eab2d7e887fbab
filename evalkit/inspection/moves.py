"""What a stage does to documents: which come into the top N and which leave it, by judgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from evalkit.run import Run

KINDS = ("relevant", "judged not relevant", "unjudged")


class Move(NamedTuple):
    """A document's ranks, from 1, before and after a stage; None where a ranking lacks it. grade:
    None for a document that is not judged."""

    query_id: str
    doc_id: str
    grade: int | None
    before: int | None
    after: int | None


@dataclass(frozen=True)
class KindMoves:
    """Documents of one kind, over all queries, in the top N of either ranking. shift: mean change
    of rank, of those that both rankings hold; negative is towards the top, NaN where none is."""

    kind: str
    before: int
    after: int
    entered: int
    left: int
    shift: float


@dataclass(frozen=True)
class Moves:
    """kinds: a line per kind. promoted: relevant docs that rose most, demoted: those that fell
    most, intruders: docs judged not relevant that rose most into the top; largest first."""

    n: int
    kinds: Sequence[KindMoves]
    promoted: Sequence[Move]
    demoted: Sequence[Move]
    intruders: Sequence[Move]


def rank_moves(
    before: Run,
    after: Run,
    grades: Mapping[str, Mapping[str, int]],
    level: int,
    n: int,
    shown: int = 10,
) -> Moves:
    """Of two runs over the same queries. level: the lowest relevant grade."""
    found: dict[str, list[Move]] = {kind: [] for kind in KINDS}
    for (query_id, docs_before), (_, docs_after) in zip(before, after, strict=True):
        ranks = [_ranks(docs) for docs in (docs_before, docs_after)]
        judged = grades.get(query_id, {})
        tops = {d: None for each in ranks for d, r in each.items() if r <= n}
        for doc_id in tops:
            grade = judged.get(doc_id)
            move = Move(query_id, doc_id, grade, ranks[0].get(doc_id), ranks[1].get(doc_id))
            found[_kind(grade, level)].append(move)
    deepest = max(int(run.sizes.max(initial=0)) for run in (before, after))

    def rise(move: Move) -> int:
        return (move.before or deepest + 1) - (move.after or deepest + 1)

    def largest(moves: Sequence[Move], sign: int) -> list[Move]:
        order = sorted(moves, key=lambda move: -sign * rise(move))
        return [move for move in order if sign * rise(move) > 0][:shown]

    relevant, intruders = found[KINDS[0]], found[KINDS[1]]
    return Moves(
        n,
        [_counted(kind, moves, n) for kind, moves in found.items()],
        largest(relevant, 1),
        largest(relevant, -1),
        largest([move for move in intruders if _within(move.after, n)], 1),
    )


def _ranks(docs: Sequence[str]) -> dict[str, int]:
    return {doc_id: rank for rank, doc_id in enumerate(docs, start=1)}


def _kind(grade: int | None, level: int) -> str:
    if grade is None:
        return KINDS[2]
    return KINDS[0] if grade >= level else KINDS[1]


def _within(rank: int | None, n: int) -> bool:
    return rank is not None and rank <= n


def _counted(kind: str, moves: Sequence[Move], n: int) -> KindMoves:
    was = np.array([_within(move.before, n) for move in moves], dtype=bool)
    now = np.array([_within(move.after, n) for move in moves], dtype=bool)
    shifts = [m.after - m.before for m in moves if m.before is not None and m.after is not None]
    return KindMoves(
        kind,
        int(was.sum()),
        int(now.sum()),
        int((now & ~was).sum()),
        int((was & ~now).sum()),
        float(np.mean(shifts)) if shifts else np.nan,
    )
