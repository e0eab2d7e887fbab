"""What is said about measured latency beside its figures, so that nobody misreads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.report.layout import MISSING, percent, printable
from evalkit.report.names import synthetic_note
from evalkit.report.wording import passed_over
from evalkit.results import Results

# What latency is told in columns of its own.
PERCENTILES = {"p50_ms": "p50", "p95_ms": "p95", "p99_ms": "p99"}
# Repeats of one query that vary more than this say that the machine was busy with other things.
_NOISY = 0.25
# Lists of at least this share of K are called lists of K: a query of one rare word makes no note.
_FULL = 0.95
# Systems that one note names.
_MOST_NAMED = 3


def about(results: Results) -> str:
    words = f"{printable(results.dataset.dataset_id)}: {_asked(results)}"
    return " ".join(filter(None, [words, synthetic_note(results.dataset)]))


def _asked(results: Results) -> str:
    """How many queries were timed, how often, and where."""
    protocol = results.efficiency["latency"]["protocol"]
    repeats = protocol["repeats"]
    device = results.manifest.get("device")
    return (
        f"{protocol['queries']:,} of {protocol['queries_of_dataset']:,} queries, one at a time, "
        f"{repeats} {'time' if repeats == 1 else 'times'} each"
        + (f", on {printable(str(device))}." if device else ".")
    )


def notes(results: Results) -> tuple[str, ...]:
    """What a reader must know so as not to misread the times."""
    section = results.efficiency["latency"]
    protocol, systems = section["protocol"], section["systems"]
    known = has_intervals(results)
    said = [
        _in_brackets(protocol)
        if known
        else f"{protocol['queries']} queries are too few for intervals, and so for ranks; ask more "
        "(latency.queries, latency.budget_s).",
        "Nothing kept of a query is used: scores, rankings and query vectors are computed anew; "
        "doc vectors and tokens are at hand.",
        *_from_disk(protocol),
    ]
    apart = [s for s in systems if s["not_distinguishable_from"]]
    if apart and known:
        said.append(
            f"Rank by p50, 1 the fastest; a range where intervals overlap: {len(apart)} of "
            f"{len(systems)} systems cannot be told from every other one and have no single rank."
        )
    said += _without_interval(section) if known else []
    unsupported = {p for s in systems for p in s["stages"]["total"]["unsupported"]}
    lacking = [name for figure, name in PERCENTILES.items() if figure in unsupported]
    if lacking:
        samples = min(s["stages"]["total"]["samples"] for s in systems)
        said.append(
            f"{', '.join(lacking)}: {samples} times are too few to support it; ask more queries "
            "(latency.queries, latency.budget_s)."
        )
    said += [*_conditions(section), *passing_over(results)]
    return tuple(said)


def passing_over(results: Results) -> list[str]:
    """A note for each reranker that passes queries over, which take next to no time there."""
    return [
        f"{note} Its times and costs are of all queries, those too."
        for note in passed_over(results)
    ]


def notes_of_means(results: Results) -> tuple[str, ...]:
    """What a reader must know of mean times, as of percentiles: intervals, noise, the machine."""
    section = results.efficiency["latency"]
    brackets = [_in_brackets(section["protocol"])] if has_intervals(results) else []
    return (*brackets, *_conditions(section), *passing_over(results))


def notes_beside(results: Results) -> tuple[str, ...]:
    """What a reader must know of mean times in a table that is about something else."""
    section = results.efficiency.get("latency")
    passing = passing_over(results)
    if not section or "protocol" not in section:
        return tuple(passing)
    return (f"Times: {_asked(results)}", *_conditions(section), *passing)


def has_intervals(results: Results) -> bool:
    """Whether any system was asked enough queries for intervals of its latency."""
    systems = results.efficiency["latency"]["systems"]
    return any(s["stages"]["total"]["ci"]["p50_ms"][0] is not None for s in systems)


def _in_brackets(protocol: Mapping[str, Any]) -> str:
    return f"In brackets: {percent(protocol['ci_level'])} bootstrap intervals over queries."


def _conditions(section: Mapping[str, Any]) -> list[str]:
    """What the times were measured under: noise, short lists, other programs, the time budget."""
    protocol, systems = section["protocol"], section["systems"]
    said = []
    noisy = [s for s in systems if (s["stages"]["total"]["repeat_cv"] or 0) > _NOISY]
    if noisy:
        worst = max(noisy, key=lambda s: s["stages"]["total"]["repeat_cv"])
        said.append(
            f"Noisy: the same query's times vary by more than {percent(_NOISY)} for "
            f"{len(noisy)} of {len(systems)} systems (most: {printable(worst['system'])}, "
            f"{100 * worst['stages']['total']['repeat_cv']:.0f} %); measure on an idle machine."
        )
    said += _short_lists(systems)
    said += _busy(protocol)
    if protocol["queries"] < protocol["queries_wanted"]:
        said.append(
            f"{protocol['queries']} queries in place of {protocol['queries_wanted']}, to keep to "
            f"{protocol['budget_s']:g} seconds (latency.budget_s)."
        )
    skipped = protocol["skipped"]
    said += [f"{printable(s['system'])} is not measured: {printable(s['reason'])}" for s in skipped]
    return said


def _without_interval(section: Mapping[str, Any]) -> list[str]:
    """A note about percentiles that have a figure and no interval."""
    takes = section["protocol"].get("interval_queries", {})
    totals = [system["stages"]["total"] for system in section["systems"]]
    needed = {
        name: takes[figure]
        for figure, name in PERCENTILES.items()
        if figure in takes
        and any(t["ci"][figure][0] is None and figure not in t["unsupported"] for t in totals)
    }
    if not needed:
        return []
    wanted = ", ".join(f"{count} for {name}" for name, count in needed.items())
    return [
        f"No interval of {', '.join(needed)}: of {section['protocol']['queries']} queries the "
        f"largest time is no upper bound; ask {wanted} (latency.queries, latency.budget_s)."
    ]


def _from_disk(protocol: Mapping[str, Any]) -> list[str]:
    """A note where doc vectors did not fit memory, in outputs that say so."""
    read = [name for name, place in protocol.get("doc_vectors", {}).items() if place == "disk"]
    if not read:
        return []
    return [
        f"{printable(', '.join(read))}: doc vectors take more than half of the memory that was "
        "free, and were read from disk for each query; a service that holds them is faster."
    ]


def _short_lists(systems: Sequence[Mapping[str, Any]]) -> list[str]:
    """A note where first stages found fewer docs than K, so that rows of large K are alike."""
    short = [s for s in systems if s.get("k") and s.get("candidates", s["k"]) < _FULL * s["k"]]
    if not short:
        return []
    lists = ", ".join(
        f"{s['candidates']:.3g} for {printable(s['system'])}" for s in short[:_MOST_NAMED]
    )
    more = "" if len(short) <= _MOST_NAMED else f" and {len(short) - _MOST_NAMED} more systems"
    return [
        f"Fewer docs than K were found a query, the mean: {lists}{more}. Those rows are of as many "
        "docs as were found, and so is the fit of T(K)."
    ]


def _busy(protocol: Mapping[str, Any]) -> list[str]:
    """A note where more wanted to run than the cores that this process may use."""
    threads = protocol["threads"]
    cores = threads["cores_usable"] or threads["cores"]
    loads = [load[0] for load in protocol["load_average"].values() if load is not None]
    if not loads or not cores or max(loads) <= cores:
        return []
    return [
        f"The machine was busy: load average {max(loads):.1f} on {cores} "
        f"{'core' if cores == 1 else 'cores'}, this run's own threads among it; times are longer "
        "than on an idle machine."
    ]


def notes_of_models(models: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What a timing model can and cannot say."""
    sizes = [prediction["k"] for prediction in models[0]["predictions"]]
    outside = [k for k in sizes if any(_outside(model, k) for model in models)]
    said = [
        "a: what an answer takes whatever K is; b: what each further document adds. R² and "
        "residual are of the means at the K measured, not of single queries.",
        *(
            [
                f"Predicted, not measured; K={', '.join(map(str, outside))} "
                f"{'lies' if len(outside) == 1 else 'lie'} outside of the K that were measured, "
                "where the line need not hold."
            ]
            if outside
            else []
        ),
    ]
    lowest = [model["ci"]["b_ms"][0] for model in models]
    flat = [low for low in lowest if low is not None and low <= 0]
    if flat:
        said.append(
            f"b's interval includes 0 for {len(flat)} of {len(models)} models: no growth with K "
            "can be told from noise, and the prediction is no more than its interval."
        )
    if any(each["mean_ms"] is None for model in models for each in model["predictions"]):
        said.append(f"K predicted {MISSING}: the line falls below zero there, which no time does.")
    if any(model["r2"] is None for model in models):
        said.append(f"R², residual {MISSING}: a line meets any two points; measure a third K.")
    return tuple(said)


def _outside(model: Mapping[str, Any], k: int) -> bool:
    return any(each["k"] == k and each["extrapolated"] for each in model["predictions"])
