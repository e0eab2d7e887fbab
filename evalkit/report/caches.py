"""What result caches save and lose, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from evalkit.report.layout import MISSING, Cell, Column, Table, number, percent, printable
from evalkit.report.layout import Row as TableRow
from evalkit.report.names import display_name, label, synthetic_note
from evalkit.results import Results, SystemResult

if TYPE_CHECKING:
    from evalkit.efficiency.caches import QualityServed, Served


class CacheRow(Protocol):
    """One cache: queries that it holds (None: all), its threshold (None: exact), what it did."""

    @property
    def size(self) -> int | None: ...
    @property
    def threshold(self) -> float | None: ...
    @property
    def served(self) -> Served: ...
    @property
    def quality(self) -> QualityServed: ...


def cache_table(
    results: Results,
    system: SystemResult,
    measure: str,
    rows: Sequence[CacheRow],
    log: str,
    spent: Mapping[str, float | None],
) -> Table:
    """A row a cache. log: what the requests are, in words. spent: "mean_ms" and "usd_per_1k" of a
    query without a cache, None where they are not known."""
    shown = display_name(measure)
    columns = [
        Column("Holds"), Column("Cosine from"), Column("Hits (%)"), Column("Near hits (%)"),
        Column(shown), Column("Lost by near hits", lower_is_better=True),
    ]  # fmt: skip
    known = {name: amount for name, amount in spent.items() if amount is not None}
    titles = {"mean_ms": "Mean (ms)", "usd_per_1k": "USD / 1,000"}
    columns += [Column(titles[name], lower_is_better=True) for name in known]
    body: list[TableRow] = [
        (
            Cell("all" if row.size is None else f"{row.size:,}"),
            Cell("exact" if row.threshold is None else f"{row.threshold:g}"),
            Cell(f"{100 * row.served.hit_rate:.1f}"),
            Cell(f"{100 * row.served.near_rate:.1f}"),
            Cell(number(row.quality.served)),
            _lost(row.quality),
            *(Cell(f"{(1 - row.served.hit_rate) * amount:.4g}") for amount in known.values()),
        )
        for row in rows
    ]
    first = rows[0]
    requests = len(first.served.log)
    caption = " ".join(
        filter(
            None,
            [
                f"{printable(results.dataset.dataset_id)}: caches of the results of "
                f"{label(system.retriever, system.reranker, system.k)} over {requests:,} requests "
                f"for {len(set(first.served.log.tolist())):,} queries ({printable(log)}).",
                synthetic_note(results.dataset),
            ],
        )
    )
    notes = [
        f"Without a cache: {shown} {number(first.quality.without)}"
        + "".join(f", {titles[name]} {amount:.4g}" for name, amount in known.items())
        + ". A hit is taken to cost nothing: looking up, and for a cosine encoding the query, was "
        "not measured.",
        f"Lost: the mean over requests of what a query loses by another's ranking, under its own "
        f"judgements; in brackets {percent(results.level)} intervals over queries.",
    ]
    if first.quality.judged < 1:
        notes.append(
            f"Quality is of the {100 * first.quality.judged:.1f} % of requests whose query is "
            "judged; hits are of all."
        )
    return Table(caption, tuple(columns), (tuple(body),), tuple(notes), "caches")


def _lost(quality: QualityServed) -> Cell:
    low, high = quality.lost_interval
    if low != low:
        return Cell(MISSING if quality.lost != quality.lost else number(quality.lost))
    return Cell(number(quality.lost), (low, high))
