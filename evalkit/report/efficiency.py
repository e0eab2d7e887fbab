"""Tables of measured latency: what an answer takes at each K, where the time goes, what K costs.

Made of `Results.efficiency["latency"]`, see `evalkit.efficiency.latency`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evalkit.report.cells import digits_for, number_cells, value_cells
from evalkit.report.efficiency_notes import (
    PERCENTILES,
    about,
    has_intervals,
    notes,
    notes_of_means,
    notes_of_models,
)
from evalkit.report.footprint import footprint_tables
from evalkit.report.layout import MISSING, Cell, Column, Row, Table, percent, printable
from evalkit.report.names import display_name, is_quality
from evalkit.results import NO_RERANKER, Results, SystemResult

# The statistics of one stage of one system, see `efficiency.percentiles.statistics`.
Figures = Mapping[str, Any]

_STAGES = {
    "query_processing": "Query processing",
    "query_encoding": "Query encoding",
    "retrieval": "Retrieval",
    "rerank": "Rerank",
    "post_processing": "Post-processing",
}


def efficiency_tables(results: Results) -> list[Table]:
    """Every table of measured times that the results have numbers for; none without latency=on."""
    section = results.efficiency.get("latency")
    if not section or not section["systems"]:
        return footprint_tables(results)
    tables = [latency_table(results), stage_table(results)]
    if section["models"]:
        tables.append(timing_table(results))
    return [*tables, *footprint_tables(results)]


def latency_table(results: Results) -> Table:
    """A row a system: K, N, rerank and total latency, the rank that its interval allows, and the
    primary measure of what it answers."""
    records = _ordered(results)
    n = max((s.n for s in results.systems if s.n is not None), default=None)
    measure = next(filter(is_quality, results.measure_names), results.measure_names[0])
    quality = [_system(results, record, n) for record in records]
    totals = [record["stages"]["total"] for record in records]
    # Alike in all columns, so that they can be compared.
    digits = digits_for([total["p50_ms"] for total in totals], most=2)
    columns: list[tuple[Column, list[Cell]]] = [
        *_names(records),
        *([] if n is None else [(Column("N"), [Cell(str(n)) for _ in records])]),
        (
            _ms("Rerank p50"),
            _time_cells([r["stages"].get("rerank") for r in records], "p50_ms", digits),
        ),
        *(
            (_ms(f"Total {name}"), _time_cells(totals, figure, digits))
            for figure, name in PERCENTILES.items()
        ),
        (Column("Rank by p50"), [Cell(_rank(record["rank"])) for record in records]),
        (Column(display_name(measure)), value_cells(quality, measure)),
    ]
    at = "uncut" if n is None else f"of the N={n} documents that go downstream"
    caption = (
        f"{about(results)} Latency of a query in milliseconds, from the query to its list of "
        f"documents; {display_name(measure)} {at}."
    )
    shown = any(cell.interval for cell in columns[-1][1])
    said = [*_of_quality(results, display_name(measure), shown), *notes(results)]
    return Table(caption, *_set(columns, records), notes=tuple(said), name="latency")


def _of_quality(results: Results, name: str, shown: bool) -> list[str]:
    """A note where the only intervals are those of quality; with others, one is of them all."""
    if not shown or has_intervals(results):
        return []
    queries = len(results.query_ids)
    return [
        f"In brackets: {percent(results.level)} bootstrap intervals of {name} over its "
        f"{queries:,} queries."
    ]


def stage_table(results: Results) -> Table:
    """A row a system: the mean time of each stage, which add up to that of the whole."""
    records = _ordered(results)
    met = [stage for stage in _STAGES if any(stage in r["stages"] for r in records)]
    totals = [record["stages"]["total"] for record in records]
    # Alike in all columns, so that a row can be added up.
    digits = digits_for([total["mean_ms"] for total in totals], most=2)
    columns = [
        *_names(records),
        *(
            (
                Column(f"{_STAGES[stage]} (ms)"),
                _time_cells([r["stages"].get(stage) for r in records], "mean_ms", digits),
            )
            for stage in met
        ),
        (_ms("Total"), _time_cells(totals, "mean_ms", digits)),
        (Column("CV"), _plain([t["cv"] for t in totals], 2)),
        (Column("CV of repeats"), _plain([t["repeat_cv"] for t in totals], 2)),
    ]
    caption = f"{about(results)} Where the time of a query goes: mean of each stage, milliseconds."
    notes = (
        f"{MISSING}: the stage does not occur, or the component does not tell it apart; its time "
        "is then in the stage that it runs in, which for a retriever is retrieval.",
        "CV: standard deviation over mean of all times of a system; CV of repeats: of one query "
        "asked again, which is the machine's noise alone.",
        *notes_of_means(results),
    )
    return Table(caption, *_set(columns, records), notes=notes, name="latency_stages")


def timing_table(results: Results) -> Table:
    """A row a pipeline: T(K) = a + b·K, how well it fits, and what it predicts."""
    section = results.efficiency["latency"]
    models: Sequence[Mapping[str, Any]] = section["models"]
    level = section["protocol"]["ci_level"]
    sizes = [prediction["k"] for prediction in models[0]["predictions"]]
    columns = [
        *_names(models)[:2],
        (Column("a (ms)"), _model_cells(models, "a_ms")),
        (Column("b (ms per document)"), _model_cells(models, "b_ms")),
        (Column("R²"), _plain([model["r2"] for model in models], 4)),
        (Column("Largest residual (ms)"), _residuals(models)),
        *(
            (
                Column(f"K={k} (ms), predicted"),
                _with_intervals(
                    [model["predictions"][i]["mean_ms"] for model in models],
                    [model["predictions"][i]["ci"] for model in models],
                ),
            )
            for i, k in enumerate(sizes)
        ),
    ]
    measured = [size for model in models for size in model["candidates"]]
    known = models[0]["ci"]["a_ms"][0] is not None
    caption = (
        f"{about(results)} Mean latency of a query as T(K) = a + b·K, by {models[0]['method']} "
        f"(K from {min(measured):.4g} to {max(measured):.4g} documents that were found)"
        + (f"; in brackets: {percent(level)} bootstrap intervals over queries." if known else ".")
    )
    return Table(
        caption, *_set(columns, models), notes=notes_of_models(models), name="latency_model"
    )


def _ordered(results: Results) -> list[Mapping[str, Any]]:
    """The systems' records by retriever, first stages first, then by reranker and K."""
    records: Sequence[Mapping[str, Any]] = results.efficiency["latency"]["systems"]
    places = {
        role: list(dict.fromkeys(record[role] for record in records))
        for role in ("retriever", "reranker")
    }

    def key(record: Mapping[str, Any]) -> tuple[int, bool, int, int]:
        places_of = [names.index(record[role]) for role, names in places.items()]
        return places_of[0], record["reranker"] != NO_RERANKER, places_of[1], record["k"] or 0

    return sorted(records, key=key)


def _names(records: Sequence[Mapping[str, Any]]) -> list[tuple[Column, list[Cell]]]:
    return [
        (Column("Retriever", "left"), [Cell(printable(r["retriever"])) for r in records]),
        (Column("Reranker", "left"), [Cell(printable(r["reranker"])) for r in records]),
        (Column("K"), [Cell(MISSING if r.get("k") is None else str(r["k"])) for r in records]),
    ]


def _set(
    columns: Sequence[tuple[Column, list[Cell]]], records: Sequence[Mapping[str, Any]]
) -> tuple[tuple[Column, ...], tuple[tuple[Row, ...], ...]]:
    """Columns, and rows in a group per retriever."""
    rows = list(zip(*(cells for _, cells in columns), strict=True))
    groups: dict[str, list[Row]] = {}
    for record, row in zip(records, rows, strict=True):
        groups.setdefault(record["retriever"], []).append(row)
    return tuple(column for column, _ in columns), tuple(map(tuple, groups.values()))


def _ms(title: str) -> Column:
    return Column(f"{title} (ms)", lower_is_better=True)


def _time_cells(stages: Sequence[Figures | None], figure: str, digits: int) -> list[Cell]:
    """A figure's cells with intervals; a dash where the stage does not occur (None), or where the
    figure is a percentile that too few times support."""
    known = [s if s is not None and figure not in s["unsupported"] else None for s in stages]
    values = [np.nan if stage is None else stage[figure] for stage in known]
    intervals = [None if stage is None else _pair(stage["ci"][figure]) for stage in known]
    return number_cells(values, digits, intervals, rank=False)


def _pair(ends: Sequence[float | None]) -> tuple[float, float] | None:
    low, high = ends
    return None if low is None or high is None else (low, high)


def _plain(values: Sequence[float | None], digits: int) -> list[Cell]:
    return number_cells([np.nan if v is None else v for v in values], digits, rank=False)


def _model_cells(models: Sequence[Mapping[str, Any]], name: str) -> list[Cell]:
    return _with_intervals([m[name] for m in models], [m["ci"][name] for m in models])


def _with_intervals(
    values: Sequence[float | None], ends: Sequence[Sequence[float | None]]
) -> list[Cell]:
    known = [np.nan if value is None else value for value in values]
    return number_cells(known, digits_for(known), list(map(_pair, ends)), rank=False)


def _residuals(models: Sequence[Mapping[str, Any]]) -> list[Cell]:
    values = [model["largest_residual_ms"] for model in models]
    return _plain(values, digits_for([np.nan if v is None else v for v in values], 2))


def _system(results: Results, record: Mapping[str, Any], n: int | None) -> SystemResult | None:
    wanted = (record["retriever"], record["reranker"], record["k"], n)
    found: Callable[[SystemResult], tuple[Any, ...]] = lambda s: (  # noqa: E731
        s.retriever, s.reranker, s.k, s.n,
    )  # fmt: skip
    return next((s for s in results.systems if found(s) == wanted), None)


def _rank(ends: Sequence[int]) -> str:
    best, worst = ends
    return str(best) if best == worst else f"{best}–{worst}"
