"""Which tables an output shows, and the files that hold them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.errors import ConfigError, nearest
from evalkit.report.cells import interval
from evalkit.report.details import details_markdown
from evalkit.report.grid import cutoff_table, grid_table, primary_and_recall
from evalkit.report.layout import Cell, Column, Table
from evalkit.report.presets import PRESETS, NotMeasured
from evalkit.report.render import to_csv, to_html, to_latex, to_markdown, to_rich
from evalkit.results import Results
from evalkit.settings import checked

__all__ = [
    "DEFAULT",
    "Cell",
    "Column",
    "Table",
    "chosen_names",
    "cutoff_table",
    "grid_table",
    "interval",
    "left_out",
    "primary_and_recall",
    "table_files",
    "tables",
    "to_csv",
    "to_html",
    "to_latex",
    "to_markdown",
    "to_rich",
]

DEFAULT = ("grid", "cutoffs")
# Section of `Results.efficiency` → the tables that are shown of it by default.
_MEASURED = {
    "latency": ("k_latency", "latency_breakdown", "latency_model"),
    "pareto": ("cost_quality", "knees"),
    "cost": ("break_even", "prices"),
    "index": ("indexes",),
    "vectors": ("vectors",),
    "energy": ("energy",),
}
_BY_DEFAULT = frozenset({*DEFAULT, *(name for names in _MEASURED.values() for name in names)})


@dataclass(frozen=True)
class _Names:
    """tables: names of `PRESETS`, in the order in which they are shown."""

    tables: list[str]


def tables(results: Results | Sequence[Results], names: Sequence[str] | None = None) -> list[Table]:
    """The tables of these names, in their order; what the results lack numbers for is left out.

    results: one output, or several for tables such as per_dataset, which span them; the others are
    made of each. names: of `PRESETS`; None for those of the run's own setting `tables`.
    """
    return _made(results, names)[0]


def left_out(results: Results | Sequence[Results], names: Sequence[str] | None = None) -> list[str]:
    """A line for each table that cannot be made: what it needs, and which run has it."""
    return _made(results, names)[1]


def _made(
    results: Results | Sequence[Results], names: Sequence[str] | None
) -> tuple[list[Table], list[str]]:
    outputs = [results] if isinstance(results, Results) else list(results)
    shown: list[Table] = []
    lines: list[str] = []
    for name in _setting(outputs[0]) if names is None else names:
        preset = PRESETS[name]
        for given in [outputs] if preset.spans else [[output] for output in outputs]:
            try:
                shown.append(preset.build(given))
            except NotMeasured as error:
                # Nobody asked for what is shown by default, such as cutoffs where none are.
                if names is not None or name not in _BY_DEFAULT:
                    lines.append(f"{name}: {error}")
    return shown, list(dict.fromkeys(lines))


def _setting(results: Results) -> Sequence[str]:
    """The names in the run's own config; beside the default ones, tables of all it measured."""
    config: Any = results.manifest.get("config")
    chosen = config.get("tables") if isinstance(config, dict) else None
    if chosen is not None and tuple(chosen) != DEFAULT:
        return chosen
    measured = (_MEASURED[section] for section in _MEASURED if results.efficiency.get(section))
    return (*DEFAULT, *(name for names in measured for name in names))


def chosen_names(config: Mapping[str, Any]) -> list[str]:
    """The names in `tables` of a config; ConfigError for one unknown or given twice, or none."""
    names = checked(_Names, {"tables": config["tables"]}, "").tables
    known = ", ".join(PRESETS)
    if not names:
        raise ConfigError(f"tables is empty; name some of {known}")
    for i, name in enumerate(names):
        if name not in PRESETS:
            raise ConfigError(
                f"tables: '{name}' is not a table.{nearest(name, PRESETS)} Known: {known}"
            )
        if name in names[:i]:
            raise ConfigError(f"tables names '{name}' twice; leave one out")
    return names


def table_files(
    results: Results | Sequence[Results], names: Sequence[str] | None = None
) -> dict[str, str]:
    """File name → text: table.md with what components say of themselves, table.tex, tables/*.csv.

    A table that cannot be made is a line in table.md and a comment in table.tex.
    """
    outputs = [results] if isinstance(results, Results) else list(results)
    shown, lines = _made(outputs, names)
    shown = _numbered(shown)
    sections = [*map(to_markdown, shown), *lines, *map(details_markdown, outputs)]
    latex = [*map(to_latex, shown), *(f"% {line}\n" for line in lines)]
    files = {
        "table.md": "\n\n".join(filter(None, sections)) + "\n",
        "table.tex": "\n\n".join(latex) + "\n",
    }
    return files | {f"tables/{table.name}.csv": to_csv(table) for table in shown}


def _numbered(shown: Sequence[Table]) -> list[Table]:
    """With "_2", "_3", … after a name that was there before, of another output: names are those of
    files and of LaTeX labels."""
    counts: Counter[str] = Counter()
    numbered = []
    for table in shown:
        counts[table.name] += 1
        nth = f"_{counts[table.name]}" if counts[table.name] > 1 else ""
        numbered.append(replace(table, name=f"{table.name}{nth}"))
    return numbered
