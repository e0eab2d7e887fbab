"""What the report says first: which system is highest, and how sure one can be of it."""

from __future__ import annotations

from evalkit.report.compare import Comparison, best_of, compare, first_stages, reranked
from evalkit.report.layout import number, percent
from evalkit.report.names import display_name, is_lower_better, label, synthetic_note
from evalkit.report.significance import p_value
from evalkit.report.table import interval
from evalkit.results import NO_RERANKER, Results, SystemResult
from evalkit.statistics.markers import how_tested


def headline(results: Results) -> list[str]:
    """Plain sentences, a paragraph each, on the primary measure of the uncut rankings.

    Where a language model made queries or judgements, the first of them begins with that.
    """
    lead, *rest = _sentences(results)
    return [" ".join(filter(None, [synthetic_note(results.dataset), lead])), *rest]


def _sentences(results: Results) -> list[str]:
    measure = results.measure_names[0]
    name = display_name(measure)
    best = best_of(results.uncut, measure)
    if not best:
        return [f"{name} is not defined for any system."]
    top, total = best[0], len(results.uncut)
    value = _value(top, measure, results.level)
    if total == 1:
        return [f"One system was measured: {_named(top)}, {name} {value}."]
    most, flattering = (
        ("lowest", "too low than too high")
        if is_lower_better(measure)
        else ("highest", "too high than too low")
    )
    paragraphs = [
        f"{most.capitalize()} {name} of {total} systems: {_named(top)}, {value}."
        if len(best) == 1
        else f"{len(best)} of {total} systems share the {most} {name}, "
        f"{number(top.measures[measure])}: {'; '.join(map(_named, best))}."
    ]
    rivals = reranked(results) if top.reranker == NO_RERANKER else first_stages(results)
    kind = "best reranked system" if top.reranker == NO_RERANKER else "best first stage"
    if not rivals:
        rivals, kind = [s for s in results.uncut if s is not top], "next system"
    other = best_of(rivals, measure)
    if other:
        paragraphs.append(f"The {kind} is {_against(results, top, other[0], measure)}")
    paragraphs.append(
        f"The {most} of {total} was picked on the queries that it is measured on, so its value "
        f"and its lead are more likely {flattering}; the intervals do not correct for this choice."
    )
    return paragraphs


def _named(system: SystemResult) -> str:
    return label(system.retriever, system.reranker, system.k)


def _against(results: Results, top: SystemResult, other: SystemResult, measure: str) -> str:
    text = f"{_named(other)}, {_value(other, measure, results.level)}. "
    mine, theirs = interval(top, measure), interval(other, measure)
    if mine and theirs:
        overlap = mine[0] <= theirs[1] and theirs[0] <= mine[1]
        text += f"The two intervals {'overlap' if overlap else 'do not overlap'}. "
    found = compare(results, top, other, measure)
    return " ".join(filter(None, [text + difference(found), tested(results, found)]))


def difference(comparison: Comparison) -> str:
    """The mean paired difference in words, with its interval and what that does not show."""
    higher, lower, equal = comparison.counts
    queries = len(comparison.differences)
    text = (
        f"{_named(comparison.system)} differs from {_named(comparison.base)} by "
        f"{comparison.mean:+.4f} a query on average "
        f"(higher on {higher:,} of {queries:,} queries, lower on {lower:,}, equal on {equal:,})"
    )
    if comparison.interval is None:
        return f"{text}; one query allows no interval."
    low, high = comparison.interval
    if low <= 0 <= high:
        verdict = "includes 0: these queries do not show that the two differ"
    else:
        verdict = "excludes 0"
    return (
        f"{text}; its {percent(comparison.level)} interval (Student's t, paired because both "
        f"answer the same queries) is {low:+.4f} to {high:+.4f} and {verdict}."
    )


def tested(results: Results, comparison: Comparison) -> str:
    """How the two were tested and what it said, in words; "" where they were not."""
    section = results.significance
    names = {comparison.system.system, comparison.base.system}
    for row in section.get("comparisons", ()):
        if row["measure"] == comparison.measure and {row["system"], row["base"]} == names:
            verdict = "significant" if row["significant"] else "not significant"
            p = "p" if section["correction"] == "none" else "the corrected p"
            return f"{how_tested(section)} Here {p} is {p_value(row['p_corrected'])}: {verdict}."
    return ""


def _value(system: SystemResult, measure: str, level: float) -> str:
    ends = interval(system, measure)
    value = number(system.measures[measure])
    if ends is None:
        return value
    return f"{value} ({percent(level)} interval {ends[0]:.4f} to {ends[1]:.4f})"
