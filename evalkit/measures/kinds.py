"""What kind of number a measure gives, told by its name."""

from __future__ import annotations

import re

_LOWER_IS_BETTER = frozenset({"redundancy"})
# They describe a run or its judgements; a higher value is not a better ranking.
_NOT_QUALITY = frozenset({"Judged", "NumQ", "NumRel", "NumRet", "NumRelRet"}) | _LOWER_IS_BETTER


def base_name(measure: str) -> str:
    """The name without parameters and cutoff: "AP(rel=2)@100" → "AP"."""
    return re.split(r"[(@]", measure, maxsplit=1)[0]


def is_quality(measure: str) -> bool:
    """Whether a higher value is a better ranking: not so for Judged@10, redundancy and counts."""
    return base_name(measure) not in _NOT_QUALITY


def is_lower_better(measure: str) -> bool:
    """Whether the measure counts what a ranking should not have (redundancy@10)."""
    return base_name(measure) in _LOWER_IS_BETTER


def has_direction(measure: str) -> bool:
    """Whether one value of the measure is better than another: not so for Judged@10."""
    return is_quality(measure) or is_lower_better(measure)
