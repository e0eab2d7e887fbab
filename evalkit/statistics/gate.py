"""The regression gate: has a system become worse from one output to another, query by query?

A fall is shown when the mean lies below the base's by more than a margin, by a one-sided test whose
null hypothesis is a fall of the margin itself. That no fall is shown does not show that there is
none: for that the interval has to exclude a fall beyond the margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from evalkit.errors import ConfigError, DataError
from evalkit.measures.kinds import has_direction, is_lower_better
from evalkit.results import Results, SystemResult
from evalkit.settings import SignificanceSettings
from evalkit.statistics.correction import corrected
from evalkit.statistics.effects import counts, mean_interval
from evalkit.statistics.paired import paired_differences, paired_test

Verdict = Literal["worse", "holds", "open", ""]
_WORST_QUERIES = 5


@dataclass(frozen=True)
class Change:
    """One measure of a system, in base and new. difference, ci: new - base. wins, losses: queries
    on which new is better or worse. p, verdict: None and "" for a measure that is not gated;
    "holds": the interval excludes a fall beyond the margin; "open": these queries cannot tell.
    worst: the queries that lost most, (query_id, difference)."""

    base_system: str
    new_system: str
    measure: str
    base: float
    new: float
    difference: float
    ci: tuple[float, float]
    wins: int
    ties: int
    losses: int
    worst: tuple[tuple[str, float], ...]
    p: float | None = None
    p_corrected: float | None = None
    verdict: Verdict = ""


@dataclass(frozen=True)
class Matched:
    """What two outputs have in common. pairs: (base, new) systems. rows: positions of the common
    queries in each output. measures: those that both have."""

    base: Results
    new: Results
    pairs: tuple[tuple[SystemResult, SystemResult], ...]
    query_ids: tuple[str, ...]
    rows: tuple[np.ndarray, np.ndarray]
    measures: tuple[str, ...]
    notes: tuple[str, ...]


def matched(
    base: Results,
    new: Results,
    pairs: Sequence[tuple[SystemResult, SystemResult]],
    allow_different_data: bool = False,
) -> Matched:
    """The outputs side by side, over their common queries; DataError where they do not compare."""
    notes = _data_differences(base, new)
    if notes and not allow_different_data:
        raise DataError(
            f"base and new were not measured on the same data: {'; '.join(notes)}; run both on "
            "the same, or compare their common queries with allow_different_data=true"
        )
    place = {query_id: row for row, query_id in enumerate(new.query_ids)}
    common = [(row, q) for row, q in enumerate(base.query_ids) if q in place]
    measures = tuple(m for m in base.measure_names if m in new.measure_names)
    if not common or not measures:
        raise DataError(
            "base and new have no query in common; compare outputs of the same collection"
            if measures
            else f"base and new have no measure in common ({', '.join(base.measure_names)} and "
            f"{', '.join(new.measure_names)}); run both with the same measures= and gains="
        )
    rows = np.array([row for row, _ in common]), np.array([place[q] for _, q in common])
    return Matched(base, new, tuple(pairs), tuple(q for _, q in common), rows, measures, notes)


def _data_differences(base: Results, new: Results) -> tuple[str, ...]:
    """What differs between the data of two outputs, in words."""
    ours, theirs = base.dataset, new.dataset
    found = [
        f"{field} {getattr(ours, field)!s:.40} and {getattr(theirs, field)!s:.40}"
        for field in ("digest", "relevance_level", "exclude_self")
        if getattr(ours, field) != getattr(theirs, field)
    ]
    alone = set(base.query_ids) ^ set(new.query_ids)
    if alone:
        found.append(f"{len(base.query_ids)} and {len(new.query_ids)} queries, {len(alone)} of "
                     "them in one output only")  # fmt: skip
    return tuple(found)


def gated_measures(found: Matched, names: Sequence[str] | None) -> tuple[str, ...]:
    """The measures that can fall: those named, or the base's primary one."""
    if names is None:
        names = [m for m in found.base.measure_names if has_direction(m)][:1]
    for name in names:
        if name not in found.measures:
            raise ConfigError(
                f"gate: '{name}' is not measured in both outputs; known to both: "
                f"{', '.join(found.measures)}"
            )
        if not has_direction(name):
            raise ConfigError(f"gate: more {name} is neither better nor worse; name a measure")
    if not names:
        raise ConfigError("gate=[]: expected a measure at least, such as gate=[nDCG@10]")
    return tuple(dict.fromkeys(names))


def changes(
    found: Matched, gate: Sequence[str], margin: float, settings: SignificanceSettings
) -> list[Change]:
    """Every measure of every pair; the p-values of those in `gate` are one family."""
    cells = [(pair, m) for m in found.measures for pair in found.pairs]
    ours, theirs = (
        np.stack([pair[side].values[m][found.rows[side]] for pair, m in cells], axis=1)
        for side in (0, 1)
    )
    differences = paired_differences(theirs, ours)
    intervals = mean_interval(differences, found.base.level)
    signs = np.array([-1.0 if is_lower_better(m) else 1.0 for _, m in cells])
    gains = differences * signs
    number = counts(gains)
    worst = np.argsort(gains, axis=0, kind="stable")[:_WORST_QUERIES]
    listed = [
        Change(
            base_system=pair[0].system,
            new_system=pair[1].system,
            measure=measure,
            base=float(ours[:, i].mean()),
            new=float(theirs[:, i].mean()),
            difference=float(differences[:, i].mean()),
            ci=(float(intervals[i, 0]), float(intervals[i, 1])),
            wins=int(number.above[i]),
            ties=int(number.equal[i]),
            losses=int(number.below[i]),
            worst=tuple(
                (found.query_ids[row], float(differences[row, i]))
                for row in worst[:, i]
                if gains[row, i] < 0
            ),
        )
        for i, (pair, measure) in enumerate(cells)
    ]
    at = [i for i, (_, measure) in enumerate(cells) if measure in gate]
    p = paired_test(gains[:, at] + margin, settings.test, "less", settings.resamples, settings.seed)
    for i, plain, adjusted in zip(at, p, corrected(p, settings.correction), strict=True):
        least = min(signs[i] * end for end in listed[i].ci)
        verdict: Verdict = "holds" if least >= -margin else "open"
        if adjusted < settings.level:
            verdict = "worse"
        listed[i] = replace(listed[i], p=float(plain), p_corrected=float(adjusted), verdict=verdict)
    return listed
