"""What probes did to systems, as a table each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evalkit.report.layout import MISSING, Cell, Column, Row, Table, number, percent, printable
from evalkit.report.names import display_name

if TYPE_CHECKING:
    from evalkit.inspection.robustness import Effect, ProbeResult, TargetMoves

_LONGEST_EXAMPLE = 80
_SCORE_DIGITS = 2  # of a change in standard deviations


def probe_tables(results: Sequence[ProbeResult], measure: str, n: int, level: float) -> list[Table]:
    """Of the probes that changed something."""
    return [_table(found, measure, n, level) for found in results if found.changed]


def unchanged_note(results: Sequence[ProbeResult]) -> str:
    """The probes that found nothing to change, as a sentence; "" for none."""
    names = [found.probe.name for found in results if not found.changed]
    return f"Nothing to change for: {', '.join(names)}." if names else ""


def _table(found: ProbeResult, measure: str, n: int, level: float) -> Table:
    name, probe = display_name(measure), found.probe
    columns = [Column("System", "left"), Column(name), Column(f"{name}, probed"), Column("Loss")]
    of_docs = probe.changes != "query"
    if of_docs:
        columns += [
            Column("Median rank"), Column("Median rank, probed"), Column(f"In top {n}"),
            Column(f"In top {n}, probed"), Column("Change of score, in σ"), Column("Score fell"),
        ]  # fmt: skip
    rows = [_row(effect, measure) for effect in found.effects]
    count = len(found.changed)
    caption = (
        f"{probe.name.capitalize()}: {probe.does}. {count:,} {'query' if count == 1 else 'queries'}"
        f"; in brackets {percent(level)} paired bootstrap intervals."
    )
    return Table(caption, tuple(columns), (tuple(rows),), _notes(found, of_docs))


def _row(effect: Effect, measure: str) -> Row:
    loss, interval = effect.loss[measure]
    cells = [
        Cell(printable(effect.system)),
        Cell(number(effect.before[measure])),
        Cell(number(effect.after[measure])),
        Cell(f"{loss:+.4f}", interval),
    ]
    return (*cells, *([] if effect.targets is None else _target_cells(effect.targets)))


def _target_cells(targets: TargetMoves) -> list[Cell]:
    if targets.scored:
        digits = _SCORE_DIGITS
        score = Cell(f"{targets.shift:+.{digits}f}", targets.shift_interval, digits=digits)
    else:
        score = Cell(MISSING)
    return [
        Cell(f"{targets.rank_before:g}"),
        Cell(f"{targets.rank_after:g}"),
        *(Cell(f"{100 * share:.0f} %") for share in (targets.top_before, targets.top_after)),
        score,
        Cell(f"{100 * targets.fell:.0f} %" if targets.scored else MISSING),
    ]


def _notes(found: ProbeResult, of_docs: bool) -> tuple[str, ...]:
    notes = [f"Expected of a good system: {found.probe.expects}."]
    if of_docs:
        notes.append(
            "One document a query is changed in the collection, which is indexed and searched anew;"
            " rerankers score the new text."
        )
        notes.append(
            "Rank, top and score are the changed document's; one not retrieved has the rank "
            "below the deepest. Change of score: the mean, in standard deviations of the system's "
            "scores for the query's documents; fell: share of documents. Both of those that were "
            "scored both times."
        )
    else:
        line = found.changed[0]
        before, after = (printable(text)[:_LONGEST_EXAMPLE] for text in (line.before, line.after))
        notes.append(f"Every stage is asked again. Example: {before} → {after}")
    return tuple(notes)
