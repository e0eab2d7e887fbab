"""How people read measures and systems: ir_measures writes RR@10, papers write MRR@10."""

from __future__ import annotations

import ast
import re
from typing import Any, NamedTuple

from evalkit.measures.kinds import is_lower_better, is_quality
from evalkit.report.layout import printable
from evalkit.results import NO_RERANKER
from evalkit.types import DatasetInfo

__all__ = [
    "cutoff_of",
    "display_name",
    "is_judged",
    "is_lower_better",
    "is_quality",
    "is_recall",
    "label",
    "synthetic_note",
]

_MEASURE = re.compile(r"(?P<base>[^@()]+)(\((?P<params>.*)\))?(@(?P<cutoff>[^@()]+))?")
_PEOPLE = {
    "nDCG": "NDCG",
    "RR": "MRR",
    "R": "Recall",
    "AP": "MAP",
    "AP_IA": "MAP-IA",
    "Rprec": "R-Prec",
    "alpha_nDCG": "α-NDCG",
    "alpha_DCG": "α-DCG",
    "redundancy": "Redundancy",
}


class _Parts(NamedTuple):
    base: str
    params: dict[str, Any]
    cutoff: str | None


def display_name(measure: str) -> str:
    """What tables and plots call a measure of ir_measures; a name it cannot read stays as it is.

    Examples: "RR@10" → "MRR@10", "AP(rel=2)@100" → "MAP@100 (rel≥2)",
    "nDCG(dcg='exp-log2')@10" → "NDCG@10 (exp gains)".
    """
    parts = _parse(measure)
    if parts is None:
        return measure
    name = _PEOPLE.get(parts.base, parts.base.replace("_", "-"))
    cutoff = "" if parts.cutoff is None else f"@{parts.cutoff}"
    words = [word for key, value in parts.params.items() if (word := _in_words(key, value))]
    return f"{name}{cutoff}" + (f" ({', '.join(words)})" if words else "")


def label(retriever: str, reranker: str, k: int | None = None) -> str:
    """How prose and plots name a system: "bm25 + cross_encoder, K=50"; k=None leaves K out."""
    if reranker == NO_RERANKER:
        return printable(retriever)
    at = "" if k is None else f", K={k}"
    return f"{printable(retriever)} + {printable(reranker)}{at}"


def synthetic_note(info: DatasetInfo) -> str:
    """What of a dataset no person made, as a sentence; "" for nothing.

    Every table, plot and headline of its figures says it.
    """
    mark = printable(info.synthetic)
    return f"{mark[0].upper()}{mark[1:]}." if mark else ""


def is_judged(measure: str) -> bool:
    """Whether the measure is the share of results that have a judgement (Judged@10)."""
    parts = _parse(measure)
    return parts is not None and parts.base == "Judged"


def is_recall(measure: str) -> bool:
    """Whether the measure is recall at a cutoff (R@100)."""
    parts = _parse(measure)
    return parts is not None and parts.base == "R" and parts.cutoff is not None


def cutoff_of(measure: str) -> int | None:
    """The rank at which a measure stops reading, None where it has no such rank."""
    parts = _parse(measure)
    if parts is None or parts.cutoff is None or not parts.cutoff.isdecimal():
        return None
    return int(parts.cutoff)


def _parse(measure: str) -> _Parts | None:
    match = _MEASURE.fullmatch(measure)
    if match is None:
        return None
    try:
        call = ast.parse(f"f({match['params'] or ''})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            return None
        params = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError):
        return None
    return _Parts(match["base"], params, match["cutoff"])


def _in_words(key: str, value: Any) -> str:
    if key == "rel":
        return f"rel≥{value}"
    if key == "dcg":
        return {"exp-log2": "exp gains", "log2": ""}.get(value, f"dcg={value}")
    if key == "gains" and isinstance(value, dict):
        return "exp gains" if _is_exponential(value) else f"gains {_arrows(value)}"
    if isinstance(value, bool):
        return key.replace("_", " ") if value else f"not {key.replace('_', ' ')}"
    return f"{key}={value}"


def _is_exponential(gains: dict[int, float]) -> bool:
    """2**grade - 1 for every grade; ir_measures leaves out grades that are their own gain."""
    listed = {grade: gain for grade, gain in gains.items() if grade > 1}
    gapless = set(listed) == set(range(2, 2 + len(listed)))
    return bool(listed) and gapless and all(gain == 2**grade - 1 for grade, gain in gains.items())


def _arrows(gains: dict[int, float]) -> str:
    return " ".join(f"{grade}→{gain}" for grade, gain in gains.items())
