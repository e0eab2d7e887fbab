"""Results looked at query by query, as tables: extremes, buckets, holes, documents that moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from evalkit.report.compare import Comparison
from evalkit.report.layout import MISSING, Cell, Column, Row, Table, number, percent, printable
from evalkit.report.names import display_name, is_lower_better
from evalkit.results import Results

if TYPE_CHECKING:
    from evalkit.inspection.buckets import BucketResult, Grouping
    from evalkit.inspection.holes import HoleBounds
    from evalkit.inspection.moves import Move, Moves


def extreme_queries(
    results: Results,
    found: Comparison | None,
    system: str,
    measure: str,
    values: np.ndarray,
    texts: Mapping[str, str],
    shown: int,
) -> list[Table]:
    """The queries with the largest gains, then losses over the baseline; without one those with
    the highest, then lowest values (float64, shape (Q,), of `system`)."""
    name, up = display_name(measure), not is_lower_better(measure)
    if found is not None:
        pair = f"{printable(found.system.system)} over {printable(found.base.system)}"
        higher, lower, _ = found.counts
        parts = []
        for word, gains, count in (
            ("gains", up, higher if up else lower),
            ("losses", not up, lower if up else higher),
        ):
            at = found.largest(shown, gains)
            words = f"Largest {word} of {pair} in {name}; shown: {len(at)} of {count:,}."
            parts.append((words, at))
    else:
        order = np.argsort(-values if up else values, kind="stable")
        parts = [
            (f"Best queries of {printable(system)} in {name}.", order[:shown].tolist()),
            (f"Worst queries of {printable(system)} in {name}.", order[::-1][:shown].tolist()),
        ]
    return [_query_table(results, found, values, at, texts, words) for words, at in parts if at]


def _query_table(
    results: Results,
    found: Comparison | None,
    values: np.ndarray,
    at: Sequence[int],
    texts: Mapping[str, str],
    caption: str,
) -> Table:
    """A row a query; a column of texts, and one of tags, where any of these queries has some."""
    ids = [results.query_ids[i] for i in at]
    worded = any(texts.get(query_id) for query_id in ids)
    tagged = any(results.tags.get(query_id) for query_id in ids)
    columns = (
        Column("Query", "left"),
        *([Column("Text", "left")] if worded else []),
        Column("System"),
        *([] if found is None else [Column("Baseline"), Column("Δ")]),
        *([Column("Tags", "left")] if tagged else []),
    )
    rows: list[Row] = []
    for i, query_id in zip(at, ids, strict=True):
        row = [Cell(printable(query_id))]
        row += [Cell(printable(texts.get(query_id, "")))] if worded else []
        row.append(Cell(number(float(values[i]))))
        if found is not None:
            base = float(found.base.values[found.measure][i])
            row += [Cell(number(base)), Cell(f"{found.differences[i]:+.4f}")]
        row += [Cell(printable(", ".join(results.tags.get(query_id, ()))))] if tagged else []
        rows.append(tuple(row))
    return Table(caption, columns, (tuple(rows),))


def bucket_table(
    results: Results,
    grouping: Grouping,
    buckets: Sequence[BucketResult],
    measure: str,
    system: str,
    baseline: str | None,
) -> Table:
    """A row a bucket: queries, the system's mean, the baseline's, Δ with its interval, wins and
    losses."""
    compared = (
        ()
        if baseline is None
        else (Column(printable(baseline)), Column("Δ"), Column("Wins"), Column("Losses"))
    )
    columns = (
        Column(grouping.name, "left"), Column("Queries"), Column(printable(system)), *compared,
    )  # fmt: skip
    rows: list[Row] = []
    for bucket in buckets:
        cells = [
            Cell(printable(bucket.label)),
            Cell(f"{bucket.num_queries:,}"),
            Cell(number(bucket.means[system]), bucket.interval),
        ]
        if baseline is not None and bucket.difference is not None:
            cells += [
                Cell(number(bucket.means[baseline])),
                Cell(f"{bucket.difference:+.4f}", bucket.difference_interval),
                Cell(f"{bucket.wins:,}"),
                Cell(f"{bucket.losses:,}"),
            ]
        rows.append(tuple(cells))
    caption = (
        f"{display_name(measure)} by {grouping.name[0].lower()}{grouping.name[1:]}. In brackets: "
        f"{percent(results.level)} intervals over the bucket's queries, by bootstrap"
        + ("." if baseline is None else "; of Δ Student's t, paired.")
    )
    return Table(caption, columns, (tuple(rows),), (grouping.note,))


def bucket_warning(num_buckets: int, level: float) -> str:
    """How many intervals are wrong by chance, as a sentence."""
    expected = num_buckets * (1 - level)
    return (
        f"{num_buckets} buckets: about {expected:.1f} intervals of Δ would leave 0 out by chance, "
        "were there no difference at all. Buckets show where to look, not what is proven."
    )


def hole_table(
    bounds: Mapping[str, HoleBounds], measure: str, cut: int | None, grade: int
) -> Table:
    """A row a system: share judged, the measure if no hole or every hole were relevant, bounds."""
    name = display_name(measure)
    depth = "" if cut is None else f"@{cut}"
    columns = (
        Column("System", "left"), Column(f"Judged{depth}"), Column("Holes"),
        Column(f"{name}, none relevant"), Column("all relevant"), Column("lowest"),
        Column("highest"),
    )  # fmt: skip
    rows: list[Row] = [
        (
            Cell(printable(system)),
            Cell(number(found.judged)),
            Cell(f"{found.holes:,}"),
            *(Cell(number(v)) for v in (found.none, found.all, found.lowest, found.highest)),
        )
        for system, found in bounds.items()
    ]
    notes = (
        "Holes: documents of the top that nobody judged. The measured value takes none of them as "
        f"relevant; all relevant: each has grade {grade}.",
        "Lowest, highest: over every choice of holes that might be relevant. All relevant is not "
        "always the highest: what is relevant and stands low costs NDCG, MAP and recall.",
    )
    return Table(f"How much {name} hangs on unjudged documents.", columns, (tuple(rows),), notes)


def move_tables(moves: Moves, before: str, after: str, texts: Mapping[str, str]) -> list[Table]:
    """What `after` did to the top N of `before`: counts by judgement, and the largest moves."""
    columns = (
        Column("Documents", "left"), Column(f"Top {moves.n} before"), Column("after"),
        Column("Entered"), Column("Left"), Column("Mean shift of rank"),
    )  # fmt: skip
    rows: list[Row] = [
        (
            Cell(kind.kind),
            *(Cell(f"{count:,}") for count in (kind.before, kind.after, kind.entered, kind.left)),
            Cell(MISSING if np.isnan(kind.shift) else f"{kind.shift:+.1f}"),
        )
        for kind in moves.kinds
    ]
    pair = f"{printable(before)} to {printable(after)}"
    counts = Table(
        f"Rank changes of documents, {pair}.",
        columns,
        (tuple(rows),),
        (
            f"Over all queries. Documents in the top {moves.n} of either; a shift below 0 is "
            "towards the top.",
        ),
    )
    parts = (
        ("Relevant documents that rose most", moves.promoted),
        ("Relevant documents that fell most", moves.demoted),
        (f"Not relevant, and risen most into the top {moves.n}", moves.intruders),
    )
    listed = [_move_table(f"{words}, {pair}.", each, texts) for words, each in parts if each]
    return [counts, *listed]


def _move_table(caption: str, moves: Sequence[Move], texts: Mapping[str, str]) -> Table:
    columns = (
        Column("Query", "left"), Column("Text", "left"), Column("Document", "left"),
        Column("Grade"), Column("Before"), Column("After"),
    )  # fmt: skip
    rows: list[Row] = [
        (
            Cell(printable(move.query_id)),
            Cell(printable(texts.get(move.query_id, ""))),
            Cell(printable(move.doc_id)),
            Cell(MISSING if move.grade is None else str(move.grade)),
            *(Cell(MISSING if rank is None else f"#{rank}") for rank in (move.before, move.after)),
        )
        for move in moves
    ]
    return Table(caption, columns, (tuple(rows),), ("–: not ranked.",))
