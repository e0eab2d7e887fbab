"""What retrievers and rerankers say about themselves, in words: weights, importances, shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evalkit.report.layout import printable
from evalkit.results import Results

_SHOWN = 12
# What is there for programs and plots: the measure at every weight that was tried, and the like.
_FOR_FILES = ("curve", "reliability", "coverage")


def details_lines(results: Results) -> dict[str, list[str]]:
    """Component, such as "reranker.ltr" → a line a fact; long lists are cut, and say so."""
    return {
        printable(component): [
            f"{_words(key)}: {_value(key, value)}" for key, value in _flat(details)
        ]
        for component, details in results.details.items()
    }


def details_markdown(results: Results) -> str:
    """The lines as a Markdown section, "" where there are none."""
    sections = [
        "\n".join([f"**{component}**", "", *(f"- {line}" for line in lines)])
        for component, lines in details_lines(results).items()
    ]
    return "\n\n".join(sections)


def details_html(results: Results) -> str:
    """The lines as HTML."""
    return "\n".join(
        f"<h3>{escape(component)}</h3>\n<ul>"
        + "".join(f"<li>{escape(line)}</li>" for line in lines)
        + "</ul>"
        for component, lines in details_lines(results).items()
    )


def _flat(details: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Facts in order, curves left out (they are in results.json), of nested mappings too; one that
    holds mappings becomes a fact for each of them."""
    facts: list[tuple[str, Any]] = []
    for key, value in _without_curves(details).items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values()):
            facts += _flat(value, f"{name}, ")
        else:
            facts.append((name, value))
    return facts


def _without_curves(details: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_curves(value) if isinstance(value, Mapping) else value
        for key, value in details.items()
        if key not in _FOR_FILES
    }


def _words(key: str) -> str:
    return key.removesuffix("_share").replace("_", " ")


def _value(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return _joined([f"{_words(str(k))} {_value(str(k), v)}" for k, v in value.items()])
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _joined([_value(key, each) for each in value])
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{100 * value:.1f} %" if key.endswith("_share") else f"{value:.4g}"
    return printable(str(value))


def _joined(parts: Sequence[str]) -> str:
    more = len(parts) - _SHOWN
    shown = ", ".join(parts[:_SHOWN]) or "none"
    return f"{shown} and {more} more (results.json)" if more > 0 else shown
