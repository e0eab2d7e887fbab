"""Published figures beside measured ones: which are reproduced, and a table that says so.

An experiment's YAML holds the figures under `published`, each with its tolerance and its source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from evalkit.errors import ConfigError, DataError
from evalkit.report.layout import MISSING, Cell, Column, Row, Table, number, printable
from evalkit.report.names import display_name
from evalkit.report.wording import about_models, measured_on
from evalkit.results import Results
from evalkit.settings import checked
from evalkit.statistics.plain import plain

Verdict = Literal["reproduced", "off", "not checked"]
# Published figures are rounded to decimals that binary floats only come near to.
_ROUNDING = 1e-9
_COUNTED = {"docs": "docs", "queries": "judged queries", "qrels": "judgements"}


@dataclass(frozen=True)
class Figure:
    """A published figure.

    system, measure: as results.json names them. tolerance: the largest absolute difference that
    still counts as reproduced. source: who published it, and of what set-up.
    """

    system: str
    measure: str
    value: float
    tolerance: float
    source: str

    def __post_init__(self) -> None:
        if self.tolerance < 0 or not self.source.strip():
            raise ConfigError(
                f"published figure of {self.system}, {self.measure}: tolerance={self.tolerance:g}, "
                f"source='{self.source}'; expected a tolerance of at least 0 and a source"
            )


@dataclass(frozen=True)
class Published:
    """What an experiment is held to. collection: counts of what the figures were measured on, by
    "docs", "queries" and "qrels"; a count that is left out is not looked at."""

    collection: Mapping[str, int] = field(default_factory=dict)
    figures: Sequence[Figure] = ()

    def check_collection(self, counts: Mapping[str, int], where: str) -> None:
        """DataError unless these counts of a collection are those of the figures'."""
        if any(counts[name] != count for name, count in self.collection.items()):
            raise DataError(
                f"{where} has {_in_words(counts)}; the published figures are of "
                f"{_in_words(self.collection)}: give that collection, such as dataset=folder "
                "dataset.path=DIR"
            )


@dataclass(frozen=True)
class Check:
    """A figure and what was measured. measured: None where nothing was, for `reason`."""

    figure: Figure
    measured: float | None
    reason: str = ""

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        return None if self.measured is None else self.measured - self.figure.value

    @property
    def verdict(self) -> Verdict:
        if self.difference is None:
            return "not checked"
        # A difference that is not a number is not within anything.
        within = abs(self.difference) <= self.figure.tolerance + _ROUNDING
        return "reproduced" if within else "off"

    def as_json(self) -> dict[str, Any]:
        """Plain JSON data; a measure that is not defined is null, as where nothing was measured."""
        found = {"measured": self.measured, "difference": self.difference}
        told = {"verdict": self.verdict, "reason": self.reason}
        return {**asdict(self.figure), **plain(found), **told}


def read_published(settings: Any, where: str = "published") -> Published:
    """The figures of a config's section; ConfigError for one that is not complete.

    where: the section's place in the config, for messages.
    """
    if not isinstance(settings, Mapping) or settings.keys() - {"collection", "figures"}:
        raise ConfigError(f"{where}={settings}: expected collection={{...}} and figures=[...]")
    collection = settings.get("collection") or {}
    counts = checked(_Counts, collection, f"{where}.collection").given
    figures = settings.get("figures") or []
    if not isinstance(figures, list):
        raise ConfigError(f"{where}.figures={figures}: expected a list")
    places = [f"{where}.figures[{i}]" for i in range(len(figures))]
    return Published(counts, [_figure(each, at) for each, at in zip(figures, places, strict=True)])


@dataclass(frozen=True)
class _Counts:
    docs: int | None = None
    queries: int | None = None
    qrels: int | None = None

    @property
    def given(self) -> dict[str, int]:
        return {name: count for name, count in vars(self).items() if count is not None}


def _figure(settings: Any, where: str) -> Figure:
    names = [each.name for each in fields(Figure)]
    if not isinstance(settings, Mapping) or set(names) - settings.keys():
        raise ConfigError(f"{where}={settings}: expected {', '.join(names)}")
    return checked(Figure, settings, where)


def counts_of(results: Results) -> dict[str, int]:
    """What `Published.check_collection` compares."""
    info = results.dataset
    return {"docs": info.num_docs, "queries": info.num_queries, "qrels": info.num_qrels}


def check_figures(
    published: Published, results: Results, left_out: Mapping[str, str] | None = None
) -> list[Check]:
    """Each figure beside the mean that was measured, in the order of the figures.

    left_out: components that were not run → why, in a few words.
    """
    left_out = left_out or {}
    systems = {system.system: system for system in results.systems}
    checks = []
    for figure in published.figures:
        system = systems.get(figure.system)
        if system is None:
            why = [left_out[part] for part in figure.system.split("+") if part in left_out]
            checks.append(Check(figure, None, why[0] if why else "no such system was run"))
        elif figure.measure not in system.measures:
            checks.append(Check(figure, None, "this measure was not asked for"))
        else:
            checks.append(Check(figure, system.measures[figure.measure]))
    return checks


def reproduction_table(name: str, results: Results, checks: Sequence[Check]) -> Table:
    """A row a figure; its source, and why it was not checked, in a note below."""
    sources = list(dict.fromkeys(check.figure.source for check in checks))
    rows: list[Row] = [
        (
            Cell(printable(check.figure.system)),
            Cell(display_name(check.figure.measure)),
            Cell(number(check.figure.value)),
            Cell(MISSING if check.measured is None else number(check.measured)),
            Cell(MISSING if check.difference is None else _signed(check.difference)),
            Cell(f"± {check.figure.tolerance:g}"),
            Cell(check.verdict),
            Cell(str(sources.index(check.figure.source) + 1)),
        )
        for check in checks
    ]
    columns = (
        Column("System", "left"), Column("Measure", "left"), Column("Published"),
        Column("Measured"), Column("Difference"), Column("Tolerance"), Column("Verdict", "left"),
        Column("Source"),
    )  # fmt: skip
    notes = [f"Source {i}: {printable(source)}." for i, source in enumerate(sources, 1)]
    reasons = {
        check.figure.system: f"{printable(check.figure.system)}: not checked, {check.reason}."
        for check in checks
        if check.reason
    }
    info = results.dataset
    caption = (
        f"Published and measured: {printable(name)} on {printable(info.dataset_id)}, "
        f"{info.num_queries:,} queries."
    )
    caption = " ".join(filter(None, [caption, about_models([results]), measured_on([results])]))
    return Table(caption, columns, (tuple(rows),), (*notes, *reasons.values()))


def _signed(difference: float) -> str:
    return MISSING if math.isnan(difference) else f"{difference:+.5f}"


def _in_words(counts: Mapping[str, int]) -> str:
    """Such as "5,183 docs, 300 judged queries, 339 judgements"."""
    return ", ".join(f"{counts[k]:,} {words}" for k, words in _COUNTED.items() if k in counts)
