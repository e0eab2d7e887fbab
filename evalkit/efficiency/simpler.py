"""Which of two systems is the simpler one, and whether what they spend tells them apart.

Of systems that are as good and as cheap, the simpler one is to be had: no reranker before any, then
the smaller K. A system of which another one is made (its first stage, or the same reranker at a
smaller K) does a part of its work: where a few queries make it the slower one, that is noise.
"""

from __future__ import annotations

from evalkit.results import NO_RERANKER, SystemResult

Interval = tuple[float, float]


def effort(system: SystemResult) -> tuple[bool, int]:
    """What grows with a system's parts: whether it reranks, and how many candidates."""
    return system.reranker != NO_RERANKER, system.k or 0


def is_part(one: SystemResult, other: SystemResult) -> bool:
    """Whether `other` does all that `one` does, and more."""
    same = one.reranker in (NO_RERANKER, other.reranker)
    return one.retriever == other.retriever and same and effort(one) < effort(other)


def told_below(
    one: SystemResult,
    amount: float,
    ends: Interval | None,
    other: SystemResult,
    other_amount: float,
    other_ends: Interval | None,
) -> bool:
    """Whether `one` spends less than `other` for all that was measured.

    ends: an amount's interval, both ends the amount itself where it is exact, as a price is. Where
    either has none, estimates decide, but not against a part of `one`.
    """
    if ends is None or other_ends is None:
        return amount < other_amount and not is_part(other, one)
    return ends[1] < other_ends[0]
