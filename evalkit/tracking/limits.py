"""What MLflow takes: names without its forbidden characters, values that it does not cut."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from evalkit.errors import without_credentials
from evalkit.report.names import display_name

LONG_PARAMS = "long_params.json"
# MLflow 3.17 cuts parameters at 6000 characters and tags at 8000 without a word; older servers
# refuse more than 500 and 5000.
LONGEST_PARAM = 500
LONGEST_TAG = 5000
LONGEST_KEY = 250
LONGEST_DATASET_NAME = 500
LONGEST_DIGEST = 36
_SPELLED_OUT = str.maketrans({"≥": "", "\N{GREEK SMALL LETTER ALPHA}": "alpha", "→": "-"})


def metric_names(measures: Iterable[str]) -> dict[str, str]:
    """Measure → a name that MLflow allows and people know: "nDCG@10" → "NDCG_10".

    '@' and parentheses are not allowed, ':' not on every system; '/' would make a section.
    """
    measures = list(measures)
    readable = (display_name(measure).translate(_SPELLED_OUT) for measure in measures)
    legal = (re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_.") for name in readable)
    return dict(zip(measures, _distinct(legal), strict=True))


def param_names(names: Iterable[str]) -> list[str]:
    """Each setting's name as MLflow allows it, in the same order, all distinct."""
    return _distinct(re.sub(r"[^\w.\- ]", "_", name).lstrip(".")[:LONGEST_KEY] for name in names)


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested settings as "retriever.bm25.k1" → text; lists and empty mappings as JSON."""
    if isinstance(value, Mapping) and (value or not prefix):
        parts = (flatten(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items())
        return {name: text for part in parts for name, text in part.items()}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {prefix: without_credentials(text)}


def shortened(values: Mapping[str, str], limit: int) -> tuple[dict[str, str], dict[str, str]]:
    """(values as MLflow keeps them, those that it would cut); of the latter the former hold a hint.

    limit: the longest value, in characters.
    """
    long = {k: v for k, v in values.items() if len(v) > limit or len(k) > LONGEST_KEY}
    hints = {k: f"see the artifact {LONG_PARAMS} ({len(v)} characters)" for k, v in long.items()}
    return {**values, **hints}, long


def cut(name: str, limit: int) -> str:
    """A name of at most `limit` characters; that it goes on shows in its end."""
    return name if len(name) <= limit else name[: limit - 4] + " ..."


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, a repeated one with "_2", "_3", ... so that no value takes another's place."""
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return distinct
