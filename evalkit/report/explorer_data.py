"""The numbers behind the report's explorer, compact: every query × uncut system × measure.

Values repeat (a reciprocal rank at 10 has eleven), so each measure has a list of its distinct
values, the most frequent first, and cells are positions in it: about three bytes each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from evalkit.report.compare import best_of, first_stages, own_first_stage, reranked
from evalkit.report.layout import DIGITS, printable
from evalkit.report.names import display_name, is_lower_better
from evalkit.results import Results, SystemResult
from evalkit.types import grades_of

TOP_DOCS = 10
# About a megabyte of positions; more would make the page slow to open.
MOST_DOCS = 300_000
MOST_CELLS = 1_500_000
_ROUNDED = DIGITS + 2  # so that differences and means are right in all digits that are shown


def explorer_data(results: Results, texts: Mapping[str, str]) -> dict[str, Any]:
    """Plain JSON data, whose strings are texts for people. What would make it too large is left
    out: the last measures beyond MOST_CELLS values, top documents beyond MOST_DOCS.

    ids, texts, tags: one a query; tags are one string, and [] where no query has any. measures,
    systems: of these, `system` and `base` are the positions that are shown first. values: by
    measure, {"distinct": numbers, null for NaN, "cells": by system, positions of its queries'
    values}. docs: None, or {"depth", "ids", "runs": by system and query, positions of its best docs
    in `ids`, "judged": see `_judged`}. left_out: names of measures.
    """
    systems = results.uncut
    cells = len(systems) * max(len(results.query_ids), 1)
    names = list(results.measure_names[: max(1, MOST_CELLS // max(cells, 1))])
    system, base = shown_first(results)
    tags = [printable(", ".join(results.tags.get(q, ()))) for q in results.query_ids]
    return {
        "ids": [printable(query_id) for query_id in results.query_ids],
        "texts": [printable(texts.get(query_id, "")) for query_id in results.query_ids],
        "tags": tags if any(tags) else [],
        "measures": [{"name": display_name(m), "lower": is_lower_better(m)} for m in names],
        "systems": [printable(s.system) for s in systems],
        "system": system,
        "base": base,
        "values": [_values([s.values[m] for s in systems]) for m in names],
        "docs": _docs(results, systems),
        "left_out": [display_name(m) for m in results.measure_names[len(names) :]],
    }


def shown_first(results: Results) -> tuple[int, int]:
    """Positions, among the uncut systems, of the best one and of what it is compared with.

    The best reranked system with its own first stage; without either, the best first stage with
    the next one; the same position twice for a lone system.
    """
    measure, systems = results.measure_names[0], results.uncut
    best = best_of(reranked(results), measure)
    base = own_first_stage(results, best[0]) if best else None
    if not best or base is None:
        best = best_of(first_stages(results), measure) or best or systems[:1]
        others = [s for s in systems if s is not best[0]]
        base = (best_of(others, measure) or others or best)[0]
    return systems.index(best[0]), systems.index(base)


def _values(columns: Sequence[np.ndarray]) -> dict[str, Any]:
    rounded = np.round(np.stack(columns).astype(np.float64), _ROUNDED) + 0.0  # no -0.0
    distinct, cells = _by_frequency(rounded)
    numbers = [None if np.isnan(x) else int(x) if x.is_integer() else x for x in distinct.tolist()]
    return {"distinct": numbers, "cells": cells.reshape(rounded.shape).tolist()}


def _docs(results: Results, systems: Sequence[SystemResult]) -> dict[str, Any] | None:
    if len(systems) * len(results.query_ids) * TOP_DOCS > MOST_DOCS:
        return None
    tops = [results.runs[s.run_name].select(results.query_ids).top(TOP_DOCS) for s in systems]
    ids, cells = _by_frequency(np.concatenate([top.doc_ids.astype(np.str_) for top in tops]))
    runs, start = [], 0
    for top in tops:
        positions = cells[start : start + len(top)].tolist()
        runs.append([positions[a:b] for a, b in pairwise(top.offsets.tolist())])
        start += len(top)
    return {
        "depth": TOP_DOCS,
        "ids": [printable(i) for i in ids.tolist()],
        "runs": runs,
        "judged": _judged(results, ids.tolist(), runs) if results.qrels else None,
    }


def _judged(
    results: Results, doc_ids: Sequence[str], runs: Sequence[Sequence[Sequence[int]]]
) -> dict[str, Any]:
    """{"level": lowest relevant grade, "relevant": relevant docs of each query, "grades": by query,
    position and grade in turn of each doc in `runs` that is judged}."""
    grades, level = grades_of(results.qrels), results.dataset.relevance_level
    relevant, found = [], []
    for query_id, *tops in zip(results.query_ids, *runs, strict=True):
        judged = grades.get(query_id, {})
        relevant.append(sum(grade >= level for grade in judged.values()))
        listed = sorted({place for top in tops for place in top})
        known = [(place, judged.get(doc_ids[place])) for place in listed]
        found.append([part for pair in known if pair[1] is not None for part in pair])
    return {"level": level, "relevant": relevant, "grades": found}


def _by_frequency(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values, most frequent first, and each value's position among them (flat): the
    frequent ones have the short numbers."""
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return distinct[order], place[inverse.reshape(-1)]
