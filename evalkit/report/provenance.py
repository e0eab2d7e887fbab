"""What the report says of its own origin: dataset, configuration, environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from evalkit.report.layout import printable
from evalkit.report.names import synthetic_note
from evalkit.results import Results

_WORDS = {
    "created": "Made",
    "evalkit": "evalkit",
    "git_commit": "Its commit",
    "python": "Python",
    "platform": "System",
    "device": "Models run on",
    "libraries": "Library versions",
    "fingerprints": "Fingerprints of the components",
}
_ELSEWHERE = ("config", "warnings")  # sections of their own


def dataset_html(results: Results) -> str:
    """What was measured on, and what the dataset warns of."""
    info = results.dataset
    facts = {
        "Dataset": info.dataset_id,
        **({"Not made by people": synthetic_note(info)} if info.synthetic else {}),
        "Digest": info.digest,
        "Documents": f"{info.num_docs:,}" if info.num_docs else "none: judgements without texts",
        "Queries": f"{len(results.query_ids):,}",
        "Judgements": f"{info.num_qrels:,}",
        "Counts as relevant": f"grade {info.relevance_level} and above, unless a measure says "
        "otherwise",
        "A query's own document": "is no answer" if info.exclude_self else "is ranked like others",
        **{
            f"Candidates of {reranker}": f"{count:,} distinct (query, document) pairs"
            for reranker, count in results.union_pairs.items()
        },
    }
    warnings = results.manifest.get("warnings") or []
    warnings = [warnings] if isinstance(warnings, str) else warnings
    items = "".join(f"<li>{escape(printable(str(text)))}</li>" for text in warnings)
    return _facts(facts) + (f"\n<h3>Warnings</h3>\n<ul>{items}</ul>" if items else "")


def configuration_html(results: Results) -> str:
    """Every setting, as results.json has them."""
    config = results.manifest.get("config")
    if not config:
        return "<p>No configuration was recorded.</p>"
    return _block("Configuration", config)


def environment_html(results: Results) -> str:
    """Versions, machine and fingerprints: all that the manifest holds besides the configuration."""
    manifest = {k: v for k, v in results.manifest.items() if k not in _ELSEWHERE}
    if not manifest:
        return "<p>No manifest was recorded.</p>"
    plain = {k: v for k, v in manifest.items() if not isinstance(v, Mapping | list | tuple)}
    parts = [_facts({_WORDS.get(k, k): "unknown" if v is None else v for k, v in plain.items()})]
    for key, value in manifest.items():
        if key in plain:
            continue
        title = printable(_WORDS.get(key, key))
        flat = isinstance(value, Mapping) and all(isinstance(v, str) for v in value.values())
        parts.append(f"<h3>{escape(title)}</h3>\n{_facts(value) if flat else _block(title, value)}")
    return "\n".join(parts)


def _facts(facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<dt>{escape(printable(str(name)))}</dt><dd>{escape(printable(str(text)))}</dd>"
        for name, text in facts.items()
    )
    return f"<dl>{rows}</dl>"


def _block(label: str, data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, indent=2, default=str)
    lines = "\n".join(map(_clean, text.split("\n")))
    return f'<pre tabindex="0" role="region" aria-label="{escape(label)}">{escape(lines)}</pre>'


def _clean(line: str) -> str:
    """A line without what breaks files, its indent kept."""
    return " " * (len(line) - len(line.lstrip(" "))) + printable(line)
