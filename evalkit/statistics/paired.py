"""Paired significance tests between systems over the same queries, many comparisons at once.

Which one to take: the t-test and the randomisation test hold their level on IR data and agree with
each other; the bootstrap test tends to smaller p-values on few queries (Smucker, Allan and
Carterette, CIKM 2007; Urbano, Lima and Hanjalic, SIGIR 2019).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np

from evalkit.errors import ConfigError
from evalkit.measures.bootstrap import resample_counts
from evalkit.settings import SignificanceTest

Alternative = Literal["two-sided", "less", "greater"]

# Two values of one measure may differ in their last bits, and mean no difference.
EQUAL = 1e-9
# Statistics that are equal in exact arithmetic differ by rounding; scipy allows as much.
_ROUNDING = 1e-12
# Resamples at once: enough for one matrix product to be worth it, few enough for the memory.
_BLOCK = 500
_CELLS = 2**24


def paired_differences(systems: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """systems - bases, float64 of their shape (Q, C); what is but rounding becomes 0."""
    differences = np.asarray(systems, dtype=np.float64) - np.asarray(bases, dtype=np.float64)
    differences[np.abs(differences) < EQUAL] = 0.0
    return differences


def paired_test(
    differences: np.ndarray,
    test: SignificanceTest = "t",
    alternative: Alternative = "two-sided",
    resamples: int = 10_000,
    seed: int = 0,
) -> np.ndarray:
    """p-values of "the mean difference is 0": float64, shape (C,).

    differences: float64, shape (Q, C), a column per comparison. alternative: "less" asks whether
    the mean is below 0. A column of zeros has p = 1; fewer than two queries have NaN, and so has a
    column with a value that is not defined. resamples and seed are those of the randomisation and
    bootstrap tests, whose smallest p is 1/(resamples + 1) where patterns are drawn.
    """
    known = get_args(SignificanceTest)
    if test not in known:
        raise ConfigError(f"test={test}: expected one of {', '.join(known)}")
    queries, columns = differences.shape
    if queries < 2:
        return np.full(columns, np.nan)
    # Nothing compares as extreme with NaN: the resampling tests would find their smallest p.
    defined = ~np.isnan(differences).any(axis=0)
    tested = differences[:, defined]
    if test == "t":
        found = _t_test(tested, alternative)
    elif test == "randomisation":
        found = _randomisation(tested, alternative, resamples, seed)
    else:
        found = _bootstrap(tested, alternative, resamples, seed)
    p = np.full(columns, np.nan)
    p[defined] = np.where((tested == 0).all(axis=0), 1.0, found)
    return p


def is_exact(test: SignificanceTest, queries: int, resamples: int) -> bool:
    """Whether the test tries every pattern of signs instead of drawing some."""
    return test == "randomisation" and queries < 63 and 2**queries <= resamples


def _t_test(differences: np.ndarray, alternative: Alternative) -> np.ndarray:
    """Student's paired t-test (Gosset 1908), scipy's; differences without spread give 0 or 1."""
    from scipy.stats import t

    queries = len(differences)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = t_statistic(differences)
    tails = {
        "two-sided": 2 * t.sf(np.abs(statistic), queries - 1),
        "less": t.cdf(statistic, queries - 1),
        "greater": t.sf(statistic, queries - 1),
    }
    return tails[alternative]


def t_statistic(differences: np.ndarray) -> np.ndarray:
    """Mean over its standard error, per column: float64, shape (C,); ±inf without spread."""
    return differences.mean(axis=0) / standard_deviation(differences) * np.sqrt(len(differences))


def standard_deviation(differences: np.ndarray) -> np.ndarray:
    """Of each column, with Q - 1; exactly 0 where all queries have one value but for rounding."""
    spread = differences.std(axis=0, ddof=1)
    return np.where(np.ptp(differences, axis=0) < EQUAL, 0.0, spread)


def _randomisation(
    differences: np.ndarray, alternative: Alternative, resamples: int, seed: int
) -> np.ndarray:
    """Fisher's randomisation test of paired data: every query's difference may change its sign.

    All patterns of signs where they are no more than `resamples`, else as many drawn at random,
    with the observed one counted as one of them (Phipson and Smyth 2010).
    """
    queries, _ = differences.shape
    exact = is_exact("randomisation", queries, resamples)
    observed = differences.sum(axis=0)
    slack = _ROUNDING * np.abs(differences).sum(axis=0)
    extreme = np.zeros(len(observed))
    total = 0
    for flipped in _all_flips(queries) if exact else _drawn_flips(queries, resamples, seed):
        sums = observed - 2 * (flipped.astype(np.float64) @ differences)
        extreme += _at_least(sums, observed, slack, alternative)
        total += len(flipped)
    return extreme / total if exact else (extreme + 1) / (total + 1)


def _at_least(
    drawn: np.ndarray, observed: np.ndarray, slack: np.ndarray, alternative: Alternative
) -> np.ndarray:
    """How many of the drawn statistics are as extreme as the observed one, per column."""
    if alternative == "less":
        return (drawn <= observed + slack).sum(axis=0)
    if alternative == "greater":
        return (drawn >= observed - slack).sum(axis=0)
    return (np.abs(drawn) >= np.abs(observed) - slack).sum(axis=0)


def _all_flips(queries: int) -> Iterator[np.ndarray]:
    patterns = np.arange(2**queries)
    for block in np.array_split(patterns, max(len(patterns) // _BLOCK, 1)):
        yield block[:, None] >> np.arange(queries) & 1


def _drawn_flips(queries: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Which queries' signs change: blocks of 0 and 1, shape (≤ _BLOCK, Q)."""
    generator = np.random.default_rng(seed)
    width = -(-queries // 8)
    block = min(_BLOCK, max(_CELLS // queries, 1))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = np.frombuffer(generator.bytes(size * width), dtype=np.uint8)
        yield np.unpackbits(drawn.reshape(size, width), axis=1, count=queries)


def _bootstrap(
    differences: np.ndarray, alternative: Alternative, resamples: int, seed: int
) -> np.ndarray:
    """The paired bootstrap test on t (Efron and Tibshirani 1993, 16.4; for IR: Sakai, SIGIR 2006).

    The differences are moved to mean 0, queries resampled, and the t statistics so found compared
    with the observed one.
    """
    queries, columns = differences.shape
    flat = standard_deviation(differences) == 0
    centred = np.where(flat, 0.0, differences - differences.mean(axis=0))
    squares = centred**2
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = t_statistic(differences)
    slack = np.where(flat, 0.0, _ROUNDING * np.abs(observed))
    # Resamples of one and the same query have no spread but by rounding.
    least = _ROUNDING * squares.sum(axis=0)
    extreme = np.zeros(columns)
    for counts in resample_counts(queries, resamples, seed):
        weights = counts.astype(np.float64)
        means = weights @ centred / queries
        spread = weights @ squares / queries - means**2
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = np.where(
                spread <= least,
                np.sign(means) * np.inf,
                means / np.sqrt(np.maximum(spread, 0.0) / (queries - 1)),
            )
        extreme += _at_least(drawn, observed, slack, alternative)
    return (extreme + 1) / (resamples + 1)
