"""Marks beside the figures of a table: † better than the first baseline, ‡ than the second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evalkit.results import Results
from evalkit.statistics.correction import IN_WORDS

# The order of footnotes in print; after them come doubled ones.
SYMBOLS = ("†", "‡", "§", "¶", "‖")
TEST_IN_WORDS = {
    "t": "paired t-test",
    "randomisation": "paired randomisation test",
    "bootstrap": "paired bootstrap test",
}


@dataclass(frozen=True)
class Marks:
    """marks: (system, measure) → such as "†‡", without an entry where there is none. legend: lines
    that belong below the table, none where nothing was tested."""

    marks: Mapping[tuple[str, str], str] = field(default_factory=dict)
    legend: tuple[str, ...] = ()

    def of(self, system: str, measure: str) -> str:
        """The marks of a system's value, "" for none; `system` is `SystemResult.system`."""
        return self.marks.get((system, measure), "")


def markers(results: Results) -> Marks:
    """The marks of results that hold a significance section: significantly better, after
    correction, than the baseline that a symbol stands for; better is lower for redundancy."""
    section = results.significance
    if not section:
        return Marks()
    symbols = dict(zip(section["baselines"], _symbols(len(section["baselines"])), strict=True))
    found: dict[tuple[str, str], set[str]] = {}
    for row in section["comparisons"]:
        if row["significant"]:
            ends = (row["system"], row["base"])
            winner, loser = ends if row["better"] else ends[::-1]
            if loser in symbols:
                found.setdefault((winner, row["measure"]), set()).add(symbols[loser])
    marks = {
        key: "".join(symbol for symbol in symbols.values() if symbol in of)
        for key, of in found.items()
    }
    return Marks(marks, (_meaning(symbols), how_tested(section)))


def how_tested(section: Mapping[str, Any], sided: str = "two-sided") -> str:
    """A sentence: test, level, correction and what it is over."""
    test = TEST_IN_WORDS[section["test"]]
    drawn = {"t": "", "randomisation": f", {section['resamples']:,} permutations"}.get(
        section["test"], f", {section['resamples']:,} resamples"
    )
    if section["exact"]:
        drawn = ", exact"
    if section["correction"] == "none":
        over = f"not corrected for {section['family']}"
    else:
        over = f"{IN_WORDS[section['correction']]} correction over {section['family']}"
    return f"Significance: {sided} {test}{drawn}, level {section['level']:g}, {over}."


def _symbols(count: int) -> list[str]:
    return [SYMBOLS[i % len(SYMBOLS)] * (1 + i // len(SYMBOLS)) for i in range(count)]


def _meaning(symbols: Mapping[str, str]) -> str:
    named = ", ".join(f"{symbol} {name}" for name, symbol in symbols.items())
    return f"Significantly better than: {named}."
