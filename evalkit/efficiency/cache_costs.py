"""What a request takes and costs with a result cache in front of a system.

An exact hit is a look into a table of texts, which is taken to cost nothing. A semantic cache has
to compare vectors: every request that is no exact hit is encoded first, whether it then finds a
near one or not. Where the system's own first stage encodes queries with the same model, a miss goes
on with that vector and pays for it once. The search among the vectors that are held is not counted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.efficiency.caches import Served
from evalkit.efficiency.fronts import usd_per_1k
from evalkit.efficiency.latencies import mean_ms
from evalkit.results import Results, SystemResult


@dataclass(frozen=True)
class Spent:
    """Means of a request; None for what is not known."""

    mean_ms: float | None
    usd_per_1k: float | None


@dataclass(frozen=True)
class CacheCosts:
    """whole: of a request that the system answers. encoding: of a query's vector alone, by the
    stage `query_encoding` of the retriever `encoder` of this output; not known without one that
    has the cache's model. shared: whether the system's first stage makes that vector anyway."""

    whole: Spent
    encoding: Spent
    encoder: str | None
    shared: bool

    def of(self, served: Served, semantic: bool) -> Spent:
        """With a cache that did this."""
        missed = 1 - served.hit_rate
        encoded = served.near_rate + (0.0 if self.shared else missed) if semantic else 0.0

        def mean(whole: float | None, encoding: float | None) -> float | None:
            if whole is None or (semantic and encoding is None):
                return None
            return missed * whole + encoded * (encoding or 0.0)

        return Spent(
            mean(self.whole.mean_ms, self.encoding.mean_ms),
            mean(self.whole.usd_per_1k, self.encoding.usd_per_1k),
        )


def cache_costs(results: Results, system: SystemResult, model: str) -> CacheCosts:
    """From the latencies and costs of an output. model: of a semantic cache's bi-encoder."""
    efficiency, name = results.efficiency, system.run_name
    nodes: Mapping[str, Any] = results.manifest.get("config", {}).get("retriever") or {}
    encoders = {key for key, node in nodes.items() if dict(node or {}).get("model") == model}
    encoder, encoding_ms = _measured(results, encoders)
    each_ms = _usd_per_1k_each_ms(efficiency, name)
    encoding_usd = None
    if encoding_ms is not None and each_ms is not None:
        encoding_usd = encoding_ms * each_ms
    return CacheCosts(
        Spent(mean_ms(efficiency, name), usd_per_1k(efficiency).get(name)),
        Spent(encoding_ms, encoding_usd),
        encoder,
        not encoders.isdisjoint({system.retriever, *_parts(nodes, system.retriever)}),
    )


def _measured(results: Results, encoders: Collection[str]) -> tuple[str | None, float | None]:
    """The first of these retrievers whose encoding of a query was measured, and its mean."""
    for system in results.uncut:
        ms = mean_ms(results.efficiency, system.run_name, "query_encoding")
        if system.retriever in encoders and ms is not None:
            return system.retriever, ms
    return None, None


def _parts(nodes: Mapping[str, Any], retriever: str) -> list[str]:
    """The retrievers that a fusion is made of: all others, where it names none."""
    node = dict(nodes.get(retriever) or {})
    if "components" not in node:
        return []
    return list(node["components"] or [other for other in nodes if other != retriever])


def _usd_per_1k_each_ms(efficiency: Mapping[str, Any], name: str) -> float | None:
    """What a machine's millisecond costs a thousand queries; None where none is priced."""
    for one in (efficiency.get("cost") or {}).get("systems", []):
        if one["system"] == name and one["machine_ms"] is not None:
            busy = one["machine_ms"]
            return 1000 * one["machine_usd_per_query"] / busy if busy else 0.0
    return None
