"""Quality alone: first against second stage, rerankers side by side, recall by K."""

from __future__ import annotations

from evalkit.report.cells import legend, value_cells
from evalkit.report.compare import first_stages
from evalkit.report.grid import named
from evalkit.report.layout import Cell, Column, Table, printable
from evalkit.report.names import cutoff_of, display_name, is_recall
from evalkit.report.presets.needs import (
    NotMeasured,
    at_k,
    in_order,
    largest_k,
    quality_measures,
)
from evalkit.report.wording import caption, deepest, notes
from evalkit.results import NO_RERANKER, Results
from evalkit.statistics.markers import markers

# Recall for the first stage, precision at the top for the second: as papers on reranking show.
_STAGES = ("Recall@100", "MRR@10", "NDCG@10", "P@5")


def first_second_stage(results: Results) -> Table:
    """First stages above, what each reranker makes of their best K candidates below."""
    k = largest_k(results)
    shown = {display_name(m).split(" (")[0]: m for m in reversed(results.measure_names)}
    measures = [shown[name] for name in _STAGES if name in shown]
    if not measures:
        raise NotMeasured("needs some of measures=[nDCG@10,R@100,RR@10,P@5]")
    systems = in_order(results, at_k(results, k))
    marks = markers(results)
    columns = [value_cells(systems, m, marks) for m in measures]
    rows = [
        (
            Cell("first" if s.reranker == NO_RERANKER else "second"),
            *named(s.retriever, s.reranker, s.k),
            *(column[i] for column in columns),
        )
        for i, s in enumerate(systems)
    ]
    groups = [[row for row in rows if row[0].text == stage] for stage in ("first", "second")]
    missing = [name for name in _STAGES if name not in shown]
    lacking = [f"Not measured: {', '.join(missing)}."] if missing else []
    return Table(
        caption(results, [_uncut(results)], lead="First and second stage.", ks=[k]),
        (
            Column("Stage", "left"), Column("Retriever", "left"), Column("Reranker", "left"),
            Column("K"), *(Column(display_name(m)) for m in measures),
        ),
        tuple(tuple(group) for group in groups if group),
        (*legend(marks, columns), *lacking, *notes(results, measures)),
        "first_second_stage",
    )  # fmt: skip


def rerankers(results: Results) -> Table:
    """A row a reranker at the largest K; a column a retriever, or a measure where there is one."""
    k = largest_k(results)
    systems = {(s.retriever, s.reranker): s for s in at_k(results, k)}
    retrievers, names = (list(dict.fromkeys(key[i] for key in systems)) for i in (0, 1))
    names.sort(key=lambda name: name != NO_RERANKER)
    measures = quality_measures(results)
    several = len(retrievers) > 1
    picks = [(r, m) for r in retrievers for m in (measures[:1] if several else measures)]
    marks = markers(results)
    columns = []
    for retriever, measure in picks:
        found = [systems.get((retriever, name)) for name in names]
        columns.append(value_cells(found, measure, marks))
    rows = [
        (Cell(printable(name)), *(column[i] for column in columns)) for i, name in enumerate(names)
    ]
    over = f"{display_name(measures[0])} over the candidates of each retriever"
    what = over if several else f"over the candidates of {printable(retrievers[0])}"
    titles = [printable(r) if several else display_name(m) for r, m in picks]
    return Table(
        caption(results, [_uncut(results)], lead=f"Rerankers: {what}.", ks=[k]),
        (Column("Reranker", "left"), *map(Column, titles)),
        (tuple(rows[:1]), tuple(rows[1:])) if names[0] == NO_RERANKER else (tuple(rows),),
        (*legend(marks, columns), *notes(results, list(dict.fromkeys(m for _, m in picks)))),
        "rerankers",
    )


def recall_by_k(results: Results) -> Table:
    """A row a first stage, a column a cutoff: what a reranker of K candidates can find at most."""
    measures = sorted(filter(is_recall, results.measure_names), key=lambda m: cutoff_of(m) or 0)
    systems = first_stages(results)
    if not measures or not systems:
        needs = "no recall was measured; run it with measures=[nDCG@10,R@K]"
        raise NotMeasured(needs if systems else "needs first stages: reranker=[none,...]")
    marks = markers(results)
    columns = [value_cells(systems, m, marks) for m in measures]
    rows = tuple(
        (Cell(printable(s.retriever)), *(column[i] for column in columns))
        for i, s in enumerate(systems)
    )
    lead = "Recall of first stages at K candidates, which no reranker of K can exceed."
    return Table(
        caption(results, [], lead=lead, ks=[]),
        (Column("Retriever", "left"), *(Column(display_name(m)) for m in measures)),
        (rows,),
        (*legend(marks, columns), *notes(results, measures)),
        "recall_by_k",
    )


def _uncut(results: Results) -> str:
    return f"N: rankings are measured uncut, {deepest(results)}."
