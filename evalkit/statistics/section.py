"""The "significance" section of results.json: every system against every baseline, per measure.

    {"test", "exact", "correction", "level", "resamples", "seed", "family", "power",
     "planned_difference", "ci_level", "baselines": [system, ...], "comparisons": [{"system",
     "base", "measure", "difference", "ci", "p", "p_corrected", "significant", "better", "d_z",
     "d_z_ci", "hedges_g", "sd", "wins", "ties", "losses", "detectable", "queries_needed"}, ...]}

Numbers that are not defined are null. `better`: the difference points the good way; wins and losses
count queries by it. `ci`: see `mean_interval`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evalkit.errors import ConfigError, nearest
from evalkit.measures.kinds import has_direction, is_lower_better
from evalkit.results import NO_RERANKER, Results, SystemResult
from evalkit.settings import SignificanceSettings
from evalkit.statistics.correction import corrected
from evalkit.statistics.effects import counts, effect_size, mean_interval
from evalkit.statistics.paired import (
    is_exact,
    paired_differences,
    paired_test,
    standard_deviation,
)
from evalkit.statistics.plain import plain
from evalkit.statistics.power import detectable, queries_needed

# By default; more marks in a cell than these are not read.
_MOST_FIRST_STAGES = 3

Pair = tuple[SystemResult, SystemResult]


def significance_section(results: Results, settings: SignificanceSettings) -> dict[str, Any]:
    """The section; empty with fewer than two queries or nothing to compare.

    Tests are of uncut systems and of measures of which more, or less, is better. The comparisons on
    a measure are a family: its p-values are corrected together.
    """
    baselines = chosen_baselines(results.uncut, settings.baselines)
    pairs = _pairs(results.uncut, baselines)
    measures = [m for m in results.measure_names if has_direction(m)]
    queries = len(results.query_ids)
    if queries < 2 or not pairs or not measures:
        return {}
    of_a_measure = f"{len(pairs)} comparisons" if len(pairs) > 1 else "1 comparison"
    return {
        "test": settings.test,
        "exact": is_exact(settings.test, queries, settings.resamples),
        "correction": settings.correction,
        "level": settings.level,
        "resamples": settings.resamples,
        "seed": settings.seed,
        "family": f"the {of_a_measure} on each measure",
        "power": settings.power,
        "planned_difference": settings.difference,
        "ci_level": results.level,
        "baselines": [base.system for base in baselines],
        "comparisons": [
            row for m in measures for row in _compared(pairs, m, settings, results.level)
        ],
    }


def chosen_baselines(
    uncut: Sequence[SystemResult], names: Sequence[str] | None
) -> list[SystemResult]:
    """The systems of these names, or the first stages; ConfigError for a name that is none."""
    if names is None:
        first_stages = [s for s in uncut if s.reranker == NO_RERANKER]
        return first_stages[:_MOST_FIRST_STAGES]
    known = {s.system: s for s in uncut}
    check_baselines(known, names)
    return [known[name] for name in dict.fromkeys(names)]


def check_baselines(known: Sequence[str] | dict[str, Any], names: Sequence[str] | None) -> None:
    """ConfigError for a baseline that is none of the systems."""
    for name in names or ():
        if name not in known:
            raise ConfigError(
                f"significance.baselines: '{name}' is no system of this experiment "
                f"({', '.join(known)}).{nearest(name, known)}"
            )


def _pairs(uncut: Sequence[SystemResult], baselines: Sequence[SystemResult]) -> list[Pair]:
    """(system, baseline), each two systems once."""
    pairs: dict[frozenset[str], Pair] = {}
    for base in baselines:
        for system in uncut:
            if system.system != base.system:
                pairs.setdefault(frozenset((system.system, base.system)), (system, base))
    return list(pairs.values())


def _compared(
    pairs: Sequence[Pair], measure: str, settings: SignificanceSettings, level: float
) -> list[dict[str, Any]]:
    differences = paired_differences(
        np.stack([system.values[measure] for system, _ in pairs], axis=1),
        np.stack([base.values[measure] for _, base in pairs], axis=1),
    )
    means, spread = differences.mean(axis=0), standard_deviation(differences)
    p = paired_test(differences, settings.test, "two-sided", settings.resamples, settings.seed)
    adjusted = corrected(p, settings.correction)
    effect = effect_size(differences, level)
    sign = -1 if is_lower_better(measure) else 1
    number = counts(sign * differences)
    least = detectable(spread, len(differences), settings.power, settings.level)
    columns = {
        "difference": means,
        "ci": mean_interval(differences, level),
        "p": p,
        "p_corrected": adjusted,
        "significant": adjusted < settings.level,
        "better": sign * means > 0,
        "d_z": effect.d,
        "d_z_ci": np.stack([effect.low, effect.high], axis=1),
        "hedges_g": effect.hedges,
        "sd": spread,
        "wins": number.above,
        "ties": number.equal,
        "losses": number.below,
        "detectable": np.where(spread > 0, least, np.nan),
    }
    needed = queries_needed(settings.difference, spread, settings.power, settings.level)
    return [
        {
            "system": system.system,
            "base": base.system,
            "measure": measure,
            **{key: plain(column[i].tolist()) for key, column in columns.items()},
            "queries_needed": int(needed[i]) if np.isfinite(needed[i]) else None,
        }
        for i, (system, base) in enumerate(pairs)
    ]
