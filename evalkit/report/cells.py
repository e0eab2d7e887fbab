"""Cells of numbers: how they are written, and which of a column are marked as best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from evalkit.report.layout import DIGITS, MISSING, Cell
from evalkit.report.names import is_quality
from evalkit.results import SystemResult
from evalkit.statistics.markers import SYMBOLS, Marks

Interval = tuple[float, float] | None


def interval(system: SystemResult, measure: str) -> Interval:
    """A system's interval, None where there are too few queries for one."""
    low, high = system.ci.get(measure, (np.nan, np.nan))
    return None if np.isnan(low) or np.isnan(high) else (float(low), float(high))


def value_cells(
    systems: Sequence[SystemResult | None], measure: str, marks: Marks | None = None
) -> list[Cell]:
    """A measure's cells over systems (None: there is none), the best two values marked.

    marks: of significance. A measure that is not of quality, such as Judged@10, has no best one.
    """
    signs = [marks.of(s.system, measure) if marks and s else "" for s in systems]
    return number_cells(
        [np.nan if s is None else s.measures[measure] for s in systems],
        intervals=[None if s is None else interval(s, measure) for s in systems],
        signs=signs,
        rank=is_quality(measure),
    )


def legend(marks: Marks, columns: Sequence[Sequence[Cell]]) -> tuple[str, ...]:
    """The lines of `marks.legend`, and which of its marks no cell has: nothing was found there."""
    if not marks.legend:
        return ()
    seen = {sign for column in columns for cell in column for sign in cell.sign}
    unseen = [s for s in SYMBOLS if f" {s} " in marks.legend[0] and s not in seen]
    none = [f"No value here is marked {', '.join(unseen)}."] if unseen else []
    return (marks.legend[0], *none, *marks.legend[1:])


def number_cells(
    values: Sequence[float],
    digits: int = DIGITS,
    intervals: Sequence[Interval] | None = None,
    signs: Sequence[str] | None = None,
    rank: bool = True,
    lower: bool = False,
    text: Callable[[float], str] | None = None,
) -> list[Cell]:
    """A column of numbers, NaN a dash; the best and the second best marked where `rank`.

    signs: marks of significance, one text a value.

    Values that print alike are marked alike, and a column of a single value is not marked.
    lower: the lowest is the best. text: how a value is written; `digits` after the point if None.
    """
    write = text or (lambda value: f"{value:.{digits}f}")
    written = [MISSING if np.isnan(value) else write(value) for value in values]
    known = {word: value for word, value in zip(written, values, strict=True) if word != MISSING}
    ranked = sorted(known, key=lambda word: known[word], reverse=not lower)
    marked = rank and len(values) - written.count(MISSING) > 1
    best, second = ([*ranked, None, None] if marked else [None, None])[:2]
    return [
        Cell(
            word,
            None if intervals is None else intervals[i],
            is_best=word == best,
            is_second=word == second,
            digits=digits,
            sign="" if signs is None else signs[i],
        )
        for i, word in enumerate(written)
    ]


def digits_for(values: Sequence[float], significant: int = 3, most: int = 4) -> int:
    """Digits after the point that show `significant` figures of a column's smallest value.

    At most `most`; one number of digits for the whole column, so that the points are aligned.
    """
    sizes = [abs(value) for value in values if not np.isnan(value) and value != 0]
    if not sizes:
        return 0
    return int(np.clip(significant - 1 - np.floor(np.log10(min(sizes))), 0, most))
