"""What a table is made of, and what is said where an output lacks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.errors import DataError
from evalkit.report.names import is_quality
from evalkit.results import NO_RERANKER, Results, SystemResult


class NotMeasured(DataError):
    """An output lacks the numbers of a table; the message says which run has them."""


def largest_k(results: Results) -> int:
    """The largest K; NotMeasured where nothing is reranked."""
    ks = [s.k for s in results.uncut if s.k is not None]
    if not ks:
        raise NotMeasured(
            "nothing is reranked; run it with a reranker, such as reranker=[none,bi_encoder]"
        )
    return max(ks)


def quality_measures(results: Results) -> list[str]:
    return [m for m in results.measure_names if is_quality(m)]


def at_k(results: Results, k: int) -> list[SystemResult]:
    """The uncut systems of this K, and those without a reranker."""
    return [s for s in results.uncut if s.reranker == NO_RERANKER or s.k == k]


def latencies(results: Results) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """Run name → stage → figures in ms, of the systems whose latency was measured."""
    section = results.efficiency.get("latency", {})
    found = {system["system"]: system["stages"] for system in section.get("systems", ())}
    if not found:
        raise NotMeasured("no latency was measured; run it with latency=on")
    return found


def timed(results: Results) -> list[SystemResult]:
    """The uncut systems whose latency was measured, in the order of the grid."""
    known = latencies(results)
    return [s for s in in_order(results, results.uncut) if s.run_name in known]


def in_order(results: Results, systems: Sequence[SystemResult]) -> list[SystemResult]:
    """By retriever, then the first stage before rerankers, then K."""
    retrievers = list(dict.fromkeys(s.retriever for s in results.systems))
    rerankers = list(dict.fromkeys(s.reranker for s in results.systems))
    return sorted(
        systems,
        key=lambda s: (
            retrievers.index(s.retriever),
            s.k is not None,
            rerankers.index(s.reranker),
            s.k or 0,
        ),
    )
