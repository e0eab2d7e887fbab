"""What a table says around its numbers: caption and notes, so that none can be misread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from evalkit.report.cells import interval
from evalkit.report.layout import number, percent, printable
from evalkit.report.names import (
    cutoff_of,
    display_name,
    is_judged,
    is_lower_better,
    is_quality,
    synthetic_note,
)
from evalkit.results import NO_RERANKER, Results, SystemResult
from evalkit.types import grades_of

_TIED_SHARE_WORTH_A_NOTE = 0.01
_MANY_QUERIES = 50  # with fewer, percentile intervals are too narrow; see measures.bootstrap
_LEFT_OUT = "queries_left_out_share"  # in the details of a reranker


def caption(
    results: Results,
    about: Sequence[str],
    lead: str = "",
    ks: Sequence[int] | None = None,
    intervals: bool = True,
) -> str:
    """Dataset, queries, K, what `about` says of N and other things, intervals, models and date.

    lead: what the table shows, first. ks: those of the table, None for all. intervals: whether it
    shows those of the measures.
    """
    sizes = {s.k for s in results.systems if s.k is not None} if ks is None else set(ks)
    return " ".join(
        filter(
            None,
            [
                lead,
                about_dataset(results),
                synthetic_note(results.dataset),
                _about_k(results, sorted(sizes)),
                *about,
                about_intervals(results) if intervals else "",
                about_models([results]),
                measured_on([results]),
            ],
        )
    )


def about_dataset(results: Results) -> str:
    info, queries = results.dataset, len(results.query_ids)
    docs = f"{info.num_docs:,} documents" if info.num_docs else "judgements without texts"
    counted = f"{queries:,} {'query' if queries == 1 else 'queries'}"
    return f"{printable(info.dataset_id)}: {counted}, {docs}."


def about_output(results: Results) -> str:
    """What results are of: dataset, queries, models, date."""
    words = (about_dataset(results), about_models([results]), measured_on([results]))
    return " ".join(filter(None, words))


def about_intervals(results: Results) -> str:
    if any(interval(s, m) for s in results.systems for m in results.measure_names):
        few = len(results.query_ids) < _MANY_QUERIES and results.interval_method == "percentile"
        narrow = f", too narrow below {_MANY_QUERIES} queries (bootstrap.method=expanded is not)"
        level = percent(results.level)
        return f"In brackets: {level} bootstrap intervals over queries{narrow if few else ''}."
    return "No intervals: there are too few queries to resample."


def deepest(results: Results) -> str:
    depth = max((int(run.sizes.max(initial=0)) for run in results.runs.values()), default=0)
    return f"up to {depth:,} documents a query"


def _about_k(results: Results, ks: Sequence[int]) -> str:
    if not ks:
        return ""
    tail = {
        "keep": "; the documents below keep their order under the reranked ones",
        "drop": "; the documents below are dropped",
    }.get(str(_section(results, "sweep").get("tail")), "")
    return f"K ({', '.join(map(str, ks))}): candidates that are reranked{tail}."


def about_models(outputs: Sequence[Results]) -> str:
    """Models by the systems' own names; what has no model (BM25, RRF) is not listed."""
    used: dict[tuple[str, str], None] = {}
    for results in outputs:
        stages = [("retriever", s.retriever) for s in results.systems]
        stages += [("reranker", s.reranker) for s in results.systems if s.reranker != NO_RERANKER]
        for group, name in dict.fromkeys(stages):
            node = _section(results, group).get(name)
            model = node.get("model") if isinstance(node, Mapping) else None
            if isinstance(model, str) and model:
                used[name, model_name(model)] = None
    models = ", ".join(f"{printable(name)} {printable(model)}" for name, model in used)
    return f"Models: {models}." if models else ""


def measured_on(outputs: Sequence[Results]) -> str:
    """The date, or the first and the last; "" where none was recorded."""
    created = (results.manifest.get("created") for results in outputs)
    dates = sorted(printable(str(each)).split("T")[0] for each in created if each)
    ends = dict.fromkeys([*dates[:1], *dates[-1:]])
    return f"Measured {' to '.join(ends)}." if ends else ""


def model_name(model: str) -> str:
    """A hub's name as it is; a path of a machine by the name of its folder.

    Of task=train's models, all in a folder "model" of their output, by that of the output too.
    """
    path = PurePath(model)
    if not (path.is_absolute() or model.startswith(("~", "."))):
        return model
    return "/".join(path.parts[-2:]) if path.name == "model" else path.name


def _section(results: Results, key: str) -> Mapping[str, Any]:
    config = results.manifest.get("config")
    found = config.get(key) if isinstance(config, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def notes(results: Results, measures: Sequence[str] | None = None) -> tuple[str, ...]:
    """What a reader must know so as not to misread the numbers.

    measures: those that the table shows, None for all; unjudged documents concern every measure.
    """
    systems = results.uncut
    shown = results.measure_names if measures is None else measures
    found = []
    for measure in filter(is_judged, results.measure_names):
        low = [s for s in systems if s.measures[measure] < 1]
        if low:
            least = min(low, key=lambda s: s.measures[measure])
            found.append(
                f"{display_name(measure)} is below 1 for {len(low)} of {len(systems)} systems "
                f"(lowest: {printable(least.run_name)}, {number(least.measures[measure])}); "
                "unjudged documents count as not relevant, except in measures that skip them."
            )
    found += [
        f"{display_name(measure)}: lower is better; 0 if no document repeats one above it."
        for measure in filter(is_lower_better, shown)
    ]
    found += passed_over(results)
    found += _without_relevant(results)
    found += _reading_deeper(results, shown)
    tied = max(systems, key=lambda s: s.tied_share, default=None)
    if tied is not None and tied.tied_share >= _TIED_SHARE_WORTH_A_NOTE:
        found.append(
            f"Tied scores: up to {100 * tied.tied_share:.1f} % of a system's results "
            f"({printable(tied.run_name)}) score the same as the result before; "
            "ties are broken by document id, descending."
        )
    return tuple(found)


def passed_over(results: Results) -> list[str]:
    """A note for each reranker that passes over queries in languages that it was not made for."""
    found = []
    for component, details in results.details.items():
        facts = [details, *(each for each in details.values() if isinstance(each, Mapping))]
        share = max((float(each.get(_LEFT_OUT) or 0) for each in facts), default=0.0)
        if share:
            name = printable(component.removeprefix("reranker."))
            found.append(
                f"{name} reranks queries of its language only: {100 * share:.1f} % of them stay as "
                "the first stage ranked them."
            )
    return found


def _without_relevant(results: Results) -> list[str]:
    """A note on queries that no system can do anything for, where the judgements are known."""
    level = results.dataset.relevance_level
    grades = grades_of(results.qrels)
    best = [max(grades[q].values(), default=0) for q in results.query_ids if q in grades]
    without = sum(grade < level for grade in best)
    if not without:
        return []
    queries, have = ("query", "has") if without == 1 else ("queries", "have")
    return [
        f"{without:,} of {len(results.query_ids):,} {queries} {have} no document of grade {level} "
        "or higher: measures that count relevant documents (MRR, MAP, recall, P) are 0 there for "
        "every system."
    ]


def _reading_deeper(results: Results, shown: Sequence[str]) -> list[str]:
    """A note per set of rankings that are shorter than measures read."""
    depth = {s.run_name: _depth(results, s) for s in results.uncut if s.run_name in results.runs}
    readers: dict[tuple[str, ...], list[str]] = {}
    for measure in filter(is_quality, shown):
        cutoff, size = cutoff_of(measure) or 0, results.dataset.num_docs
        reach = min(cutoff, size or cutoff)  # judgements without texts: no size is known
        short = tuple(name for name, d in depth.items() if d < reach)
        if short:
            readers.setdefault(short, []).append(display_name(measure))
    found = []
    for short, measures in readers.items():
        name = min(short, key=lambda name: depth[name])
        found.append(
            f"{', '.join(measures)} {'reads' if len(measures) == 1 else 'read'} deeper than "
            f"{len(short)} of {len(depth)} rankings "
            f"({printable(name)} holds at most {depth[name]} documents a query); "
            "empty ranks count as not relevant."
        )
    return found


def _depth(results: Results, system: SystemResult) -> int:
    return int(results.runs[system.run_name].sizes.max(initial=0))
