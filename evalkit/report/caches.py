"""What result caches save and lose, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from evalkit.report.layout import MISSING, Cell, Column, Table, number, percent, printable
from evalkit.report.layout import Row as TableRow
from evalkit.report.names import display_name, label, synthetic_note
from evalkit.report.prices import small
from evalkit.results import Results, SystemResult

if TYPE_CHECKING:
    from evalkit.efficiency.cache_costs import CacheCosts, Spent
    from evalkit.efficiency.caches import QualityServed, Served


class CacheRow(Protocol):
    """One cache: queries that it holds (None: all), its threshold (None: exact), what it did, and
    what a request then takes and costs."""

    @property
    def size(self) -> int | None: ...
    @property
    def threshold(self) -> float | None: ...
    @property
    def served(self) -> Served: ...
    @property
    def quality(self) -> QualityServed: ...
    @property
    def spent(self) -> Spent: ...


# What is known of a query without a cache, and its column.
_SPENT = {"mean_ms": "Mean (ms)", "usd_per_1k": "USD / 1,000"}


def cache_table(
    results: Results,
    system: SystemResult,
    measure: str,
    rows: Sequence[CacheRow],
    log: str,
    costs: CacheCosts,
) -> Table:
    """A row a cache. log: what the requests are, in words. costs: those of a query."""
    shown = display_name(measure)
    columns = [
        Column("Holds"), Column("Cosine from"), Column("Hits (%)"), Column("Near hits (%)"),
        Column(shown), Column("Lost by near hits", lower_is_better=True),
    ]  # fmt: skip
    known = {key: title for key, title in _SPENT.items() if vars(costs.whole)[key] is not None}
    columns += [Column(title, lower_is_better=True) for title in known.values()]
    body: list[TableRow] = [
        (
            Cell("all" if row.size is None else f"{row.size:,}"),
            Cell("exact" if row.threshold is None else f"{row.threshold:g}"),
            Cell(f"{100 * row.served.hit_rate:.1f}"),
            Cell(f"{100 * row.served.near_rate:.1f}"),
            Cell(number(row.quality.served)),
            _lost(row.quality),
            *(Cell(small(vars(row.spent)[key])) for key in known),
        )
        for row in rows
    ]
    requests = len(rows[0].served.log)
    caption = " ".join(
        filter(
            None,
            [
                f"{printable(results.dataset.dataset_id)}: caches of the results of "
                f"{label(system.retriever, system.reranker, system.k)} over {requests:,} requests "
                f"for {len(set(rows[0].served.log.tolist())):,} queries ({printable(log)}).",
                synthetic_note(results.dataset),
            ],
        )
    )
    notes = tuple(_notes(results, system, measure, rows, costs, known))
    return Table(caption, tuple(columns), (tuple(body),), notes, "caches")


def _notes(
    results: Results,
    system: SystemResult,
    measure: str,
    rows: Sequence[CacheRow],
    costs: CacheCosts,
    known: Mapping[str, str],
) -> Iterator[str]:
    shown, quality = display_name(measure), rows[0].quality
    yield (
        f"Without a cache: {shown} {number(quality.without)}"
        + "".join(f", {title} {small(vars(costs.whole)[key])}" for key, title in known.items())
        + f". A query counts as often as it is asked; each once, {shown} is "
        f"{number(system.measures[measure])}."
    )
    if known:
        yield _lookups(costs, any(row.threshold is not None for row in rows))
    yield (
        "Shares are of all requests; near hits are among the hits, and each cache is empty at "
        "first. Lost: the mean over requests of what a query loses by another's ranking, under its "
        f"own judgements; in brackets {percent(results.level)} intervals over queries."
    )
    if quality.judged < 1:
        yield (
            f"Quality is of the {100 * quality.judged:.1f} % of requests whose query is judged; "
            "hits are of all."
        )


def _lookups(costs: CacheCosts, semantic: bool) -> str:
    """What is counted of a hit."""
    exact = "Looking up a text, and the search among the vectors held, is taken to cost nothing."
    if not semantic:
        return "Looking up a text is taken to cost nothing."
    if costs.encoder is None or costs.encoding.mean_ms is None:
        return (
            f"{exact} {MISSING}: what encoding a query for its cosines takes was not measured; "
            "make the run with a retriever of this model, and latency=on."
        )
    shared = "goes on with that vector" if costs.shared else "takes the system's time on top"
    return (
        f"{exact} For its cosines a request without an exact hit is encoded, "
        f"{small(costs.encoding.mean_ms)} ms as measured for {printable(costs.encoder)}; a miss "
        f"{shared}."
    )


def _lost(quality: QualityServed) -> Cell:
    low, high = quality.lost_interval
    if low != low:
        return Cell(MISSING if quality.lost != quality.lost else number(quality.lost))
    return Cell(number(quality.lost), (low, high))
