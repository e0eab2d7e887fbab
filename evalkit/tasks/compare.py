"""task=compare: has quality, latency or cost become worse from one output folder to another?

For continuous integration: exit code 1 when a gated measure fell, or a latency or cost rose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import Alarm, ConfigError, DataError, nearest
from evalkit.io import write_json, write_text
from evalkit.progress import PLAIN, stdout
from evalkit.report.gate import change_table, rise_table, worst_queries
from evalkit.report.layout import Table
from evalkit.report.names import display_name
from evalkit.report.render import to_markdown
from evalkit.results import Results, SystemResult
from evalkit.saved import load_results
from evalkit.settings import SignificanceSettings, checked
from evalkit.statistics.gate import Change, Matched, changes, gated_measures, matched
from evalkit.statistics.gate_efficiency import Rise, cost_rises, latency_rises
from evalkit.statistics.markers import how_tested
from evalkit.statistics.paired import is_exact
from evalkit.statistics.plain import plain
from evalkit.tasks import Job
from evalkit.tasks.shown import show


@dataclass(frozen=True)
class Settings:
    """base, new: finished output folders. base_system, new_system: one system of each; None
    compares all uncut systems that both have. gate: measures that may not fall; None for the
    primary one. margin: a fall up to it is none, in the measure's unit; latency_margin,
    cost_margin: shares of the base's. allow_different_data: compare the common queries of
    different data."""

    base: str
    new: str
    base_system: str | None = None
    new_system: str | None = None
    gate: list[str] | None = None
    margin: float = 0.005
    latency_margin: float = 0.2
    cost_margin: float = 0.1
    allow_different_data: bool = False


@dataclass(frozen=True)
class _Outcome:
    """What was found. how: the test in words. notes: on what was not compared."""

    found: Matched
    changes: Sequence[Change]
    rises: Sequence[Rise]
    gate: Sequence[str]
    how: str
    notes: Sequence[str]

    @property
    def alarms(self) -> list[str]:
        fell = [
            f"{c.measure} of {c.new_system} {'fell' if c.difference < 0 else 'rose'} by "
            f"{abs(c.difference):.4f} (p={c.p_corrected:.2g})"
            for c in self.changes
            if c.verdict == "worse"
        ]
        rose = [
            f"{r.what} of {r.new_system} rose from {r.base:.4g} to {r.new:.4g} {r.unit}"
            for r in self.rises
            if r.rose
        ]
        return fell + rose


def perform(settings: Settings, job: Job) -> None:
    """Compare, write compare.md and compare.json, show the tables; then the Alarm."""
    for key in ("margin", "latency_margin", "cost_margin"):
        if getattr(settings, key) < 0:
            raise ConfigError(f"{key}={getattr(settings, key):g}: expected 0 or more")
    significance = checked(SignificanceSettings, job.config["significance"], "significance")
    outcome = _compare(settings, significance)
    shown = [change_table(outcome.found, outcome.changes, outcome.how, settings.margin)]
    if outcome.rises:
        margins = [("latency", settings.latency_margin), ("cost", settings.cost_margin)]
        shown.append(rise_table(outcome.rises, margins))
    write_text(job.folder / "compare.md", _markdown(settings, outcome, shown))
    write_json(job.folder / "compare.json", plain(_as_json(settings, significance, outcome)))
    show(shown)
    for note in outcome.notes:
        stdout.print(note, **PLAIN)
    stdout.print(f"Comparison: {job.folder}", **PLAIN)
    if outcome.alarms:
        raise Alarm(f"{'; '.join(outcome.alarms)}; see {job.folder}/compare.md")


def _compare(settings: Settings, significance: SignificanceSettings) -> _Outcome:
    folders = [Path(path).expanduser() for path in (settings.base, settings.new)]
    base, new = map(load_results, folders)
    pairs, notes = _pairs(base, new, settings)
    found = matched(base, new, pairs, settings.allow_different_data)
    if len(found.query_ids) < 2:
        raise DataError("base and new have a single query in common; expected at least 2")
    gate = gated_measures(found, _as_measured(settings.gate, found.measures))
    latency, of_latency = latency_rises(found, settings.latency_margin)
    cost, of_cost = cost_rises(found, settings.cost_margin)
    data = [f"Data differ: {line}." for line in found.notes]
    gated = len(gate) * len(pairs)
    family = "1 comparison" if gated == 1 else f"{gated} gated comparisons"
    section = {
        **asdict(significance),
        "exact": is_exact(significance.test, len(found.query_ids), significance.resamples),
        "family": f"the {family}",
    }
    how = how_tested(section, sided="one-sided")
    measured = changes(found, gate, settings.margin, significance)
    return _Outcome(
        found, measured, latency + cost, gate, how, [*data, *notes, *of_latency, *of_cost]
    )


def _as_measured(names: Sequence[str] | None, measures: Sequence[str]) -> list[str] | None:
    """People write NDCG@10 or MRR@10, too, for what results.json calls nDCG@10 and RR@10."""
    known = {display_name(measure).lower(): measure for measure in measures}
    return None if names is None else [known.get(name.lower(), name) for name in names]


def _pairs(
    base: Results, new: Results, settings: Settings
) -> tuple[list[tuple[SystemResult, SystemResult]], list[str]]:
    """The systems to compare, (base, new), and notes on those that only one output has."""
    chosen = settings.base_system or settings.new_system
    if chosen is not None:
        one = _named(base, settings.base_system or chosen, "base")
        other = _named(new, settings.new_system or chosen, "new")
        return [(one, other)], []
    ours, theirs = ({s.system: s for s in of.uncut} for of in (base, new))
    common = [(ours[name], theirs[name]) for name in ours if name in theirs]
    if not common:
        raise DataError(
            f"no system is in both base ({', '.join(ours)}) and new ({', '.join(theirs)}); name "
            "the two to compare: base_system=NAME new_system=NAME"
        )
    alone = (("base", ours, theirs), ("new", theirs, ours))
    missing = {of: [name for name in mine if name not in other] for of, mine, other in alone}
    return common, [f"Only in {of}: {', '.join(names)}." for of, names in missing.items() if names]


def _named(results: Results, name: str, where: str) -> SystemResult:
    systems = {s.system: s for s in results.systems}
    if name not in systems:
        raise ConfigError(
            f"{where}_system={name}: not in {where} ({', '.join(systems)}).{nearest(name, systems)}"
        )
    return systems[name]


def _markdown(settings: Settings, outcome: _Outcome, shown: Sequence[Table]) -> str:
    alarms = outcome.alarms
    verdict = "worse than base" if alarms else "no regression shown"
    heading = [f"# evalkit: {verdict}", "", *(f"- {line}" for line in alarms)]
    dataset = outcome.found.new.dataset
    about = f"Dataset: {dataset.dataset_id}\nBase: {settings.base}\nNew: {settings.new}"
    parts = [
        "\n".join(heading).strip(),
        about.replace("\n", "  \n"),
        *map(to_markdown, shown),
        worst_queries(outcome.changes),
        "\n".join(f"- {note}" for note in outcome.notes),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _as_json(
    settings: Settings, significance: SignificanceSettings, outcome: _Outcome
) -> dict[str, Any]:
    return {
        **asdict(settings),
        "gate": list(outcome.gate),
        "significance": asdict(significance),
        "num_queries": len(outcome.found.query_ids),
        "alarms": outcome.alarms,
        "notes": list(outcome.notes),
        "changes": [asdict(change) for change in outcome.changes],
        "rises": [{**asdict(r), "share": r.share if r.base else None} for r in outcome.rises],
    }
