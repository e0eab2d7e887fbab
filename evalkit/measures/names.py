"""Measure names: what people write, turned into ir_measures' own objects.

People write MRR@10, NDCG@10, Recall@100, MAP@100, α-nDCG@10; ir_measures says RR@10, nDCG@10,
R@100, AP@100, alpha_nDCG@10, and so do files. `@K` and `@N` stand for every value of sweep.k and
sweep.n. Beside its measures there is redundancy@N.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from evalkit.errors import ConfigError, nearest
from evalkit.measures.diversity import check_diversity, is_diversity

if TYPE_CHECKING:
    from ir_measures import Measure

COMMON = ("nDCG@10", "RR@10", "R@100", "AP@100", "P@5", "Judged@10", "Success@1", "Rprec", "R@10")
GAINS = ("linear", "exponential")


def parse_measures(
    names: Iterable[str],
    ks: Sequence[int] = (),
    ns: Sequence[int] = (),
    relevance_level: int = 1,
    gains: str = "linear",
    max_grade: int = 4,
) -> list[Measure]:
    """ir_measures objects for measure names, in order, each once.

    relevance_level: the lowest relevant grade for binary measures that do not name their own
    (TREC DL: 2). gains: "linear" is trec_eval's nDCG; "exponential" is 2**grade - 1 (Burges et al.,
    ICML 2005) up to `max_grade`, the highest in the qrels, for nDCG measures without their own.
    Raises ConfigError for a name that ir_measures does not know or cannot compute.
    """
    if gains not in GAINS:
        raise ConfigError(f"gains={gains}: expected one of {', '.join(GAINS)}")
    measures: list[Measure] = []
    for name in names:
        for concrete in _expanded(str(name), ks, ns):
            measure = _with_defaults(_parse(concrete), relevance_level, gains, max_grade)
            if measure not in measures:
                measures.append(measure)
    if not measures:
        raise ConfigError("no measures; give at least one, for instance measures=[nDCG@10]")
    return measures


# What trec_eval's users retrieve for measures of whole rankings, such as AP without a cutoff.
WHOLE_RANKING = 1000


def deepest_rank(measures: Iterable[Measure]) -> int:
    """The deepest rank that the measures look at; WHOLE_RANKING for one without a cutoff."""
    return max(int(m.params.get("cutoff", WHOLE_RANKING)) for m in measures)


def _expanded(name: str, ks: Sequence[int], ns: Sequence[int]) -> list[str]:
    for symbol, values in (("K", ks), ("N", ns)):
        if name.endswith(f"@{symbol}"):
            if not values:
                raise ConfigError(
                    f"measure '{name}' stands for every {symbol} of sweep.{symbol.lower()}, which "
                    f"is empty; name a cutoff instead, such as {name[:-1]}100"
                )
            return [f"{name[:-1]}{value}" for value in values]
    return [name]


def _parse(name: str) -> Measure:
    import ir_measures

    from evalkit.measures.redundancy import REDUNDANCY

    base = re.split(r"[(@]", name, maxsplit=1)[0]
    try:
        # ir_measures writes alpha_nDCG and ERR_IA, papers α-nDCG and ERR-IA.
        measure = ir_measures.parse_measure(base.replace("-", "_") + name[len(base) :])
        measure.validate_params()
    except NameError as error:
        raise ConfigError(
            f"measure '{name}' is unknown.{_hint(name)} Common ones: {', '.join(COMMON)}"
        ) from error
    except (ValueError, AssertionError, SyntaxError, TypeError) as error:
        raise ConfigError(f"measure '{name}' cannot be read; write it like nDCG@10") from error
    if int(measure.params.get("cutoff", 1)) < 1:
        raise ConfigError(f"measure '{name}': the cutoff must be at least 1")
    if int(measure.params.get("rel", 1)) < 1:
        raise ConfigError(f"measure '{name}': rel, the lowest relevant grade, must be at least 1")
    if is_diversity(measure):
        check_diversity(measure)
    elif measure.NAME != REDUNDANCY.NAME and not ir_measures.DefaultPipeline.supports(measure):
        raise ConfigError(
            f"measure '{name}' has no provider installed; "
            "ir_measures lists what each measure needs under 'Providers' in its documentation"
        )
    return measure


def _hint(name: str) -> str:
    import ir_measures

    known = sorted(ir_measures.measures.registry)
    base, *cutoff = re.split(r"(?=\W)", name, maxsplit=1)
    # Most mistakes are of case, as in ndcg@10; sorted, ir_measures' own nDCG comes after NDCG.
    by_lower = {m.lower(): m for m in known}
    close = by_lower.get(base.lower())
    return f" Did you mean '{''.join([close, *cutoff])}'?" if close else nearest(base, known)


def _with_defaults(measure: Measure, relevance_level: int, gains: str, max_grade: int) -> Measure:
    supported = measure.SUPPORTED_PARAMS
    if relevance_level != 1 and "rel" in supported and "rel" not in measure.params:
        measure = measure(rel=relevance_level)
    if measure.NAME == "nDCG" and gains == "exponential" and "gains" not in measure.params:
        measure = measure(gains={g: 2**g - 1 for g in range(1, max_grade + 1)})
    return measure
