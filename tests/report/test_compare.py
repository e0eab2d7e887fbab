from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from evalkit.report.compare import best_of, compare, own_first_stage, reranked
from evalkit.report.headline import headline
from evalkit.settings import SignificanceSettings
from evalkit.statistics.section import significance_section

BM25, DENSE = ("bm25", "none", None, None), ("dense", "none", None, None)
CE10, CE20 = ("bm25", "ce", 10, None), ("bm25", "ce", 20, None)


def test_comparison_counts_and_orders_queries(make_results):
    results = make_results(
        {
            BM25: {"nDCG@10": [0.5, 0.5, 0.5, 0.1 + 0.2]},
            CE10: {"nDCG@10": [0.9, 0.4, 1.0, 0.3]},
        }
    )
    base, system = results.systems
    found = compare(results, system, base, "nDCG@10")
    assert found.counts == (2, 1, 1)
    assert found.mean == pytest.approx(0.2)
    assert found.largest(10, gains=True) == [2, 0]
    assert found.largest(1, gains=True) == [2]
    assert found.largest(10, gains=False) == [1]
    low, high = found.interval
    assert low < 0.2 < high


def test_the_interval_is_the_one_of_the_tests(make_results):
    """One difference must not have two intervals in one report."""
    generator = np.random.default_rng(3)
    cells = {BM25: {"RR": generator.random(40)}, CE10: {"RR": generator.random(40)}}
    results = make_results(cells, level=0.9)
    base, system = results.systems
    section = significance_section(results, SignificanceSettings())
    found = compare(results, system, base, "RR")
    assert found.interval == pytest.approx(tuple(section["comparisons"][0]["ci"]))
    theirs = scipy.stats.ttest_rel(cells[CE10]["RR"], cells[BM25]["RR"])
    assert found.interval == pytest.approx(tuple(theirs.confidence_interval(0.9)))


def test_the_headline_says_what_the_test_said(make_results):
    generator = np.random.default_rng(3)
    low = generator.random(40) / 2
    results = make_results({BM25: {"RR": low}, CE10: {"RR": low + 0.1 + low / 10}})
    section = significance_section(results, SignificanceSettings(correction="bonferroni"))
    second = headline(replace(results, significance=section))[1]
    assert second.endswith(
        "level 0.05, Bonferroni correction over the 1 comparison on each measure. "
        "Here the corrected p is < 0.0001: significant."
    )
    assert "Significance" not in headline(results)[1]


def test_ties_for_best_prefer_no_reranker_then_small_k(make_results):
    cells = {CE20: {"P@5": [0.6]}, CE10: {"P@5": [0.6]}, DENSE: {"P@5": [0.6]}}
    best = best_of(make_results(cells).systems, "P@5")
    assert [s.run_name for s in best] == ["dense", "bm25+ce+k10", "bm25+ce+k20"]


def test_own_first_stage(make_results):
    results = make_results({DENSE: {"P@5": [0.6]}, BM25: {"P@5": [0.2]}, CE10: {"P@5": [0.6]}})
    assert own_first_stage(results, reranked(results)[0]).run_name == "bm25"
    lone = make_results({DENSE: {"P@5": [0.6]}, CE10: {"P@5": [0.6]}})
    assert own_first_stage(lone, reranked(lone)[0]) is None


def test_headline_says_that_intervals_overlap_and_the_difference_is_not_shown(make_results):
    cells = {BM25: {"nDCG@10": [0.6, 0.2, 0.5]}, CE10: {"nDCG@10": [0.2, 0.7, 0.5]}}
    first, second, third = headline(make_results(cells))
    assert first == (
        "Highest NDCG@10 of 2 systems: bm25 + ce, K=10, 0.4667 (95 % interval 0.3667 to 0.5667)."
    )
    assert second.startswith(
        "The best first stage is bm25, 0.4333 (95 % interval 0.3333 to 0.5333)"
    )
    assert "The two intervals overlap." in second
    assert "bm25 + ce, K=10 differs from bm25 by +0.0333 a query on average" in second
    assert "(higher on 1 of 3 queries, lower on 1, equal on 1)" in second
    assert second.endswith("includes 0: these queries do not show that the two differ.")
    assert "do not correct" in third


def test_headline_when_a_difference_is_clear(make_results):
    clear = {BM25: {"RR@10": [0.1, 0.2, 0.1, 0.3]}, CE10: {"RR@10": [0.9, 0.8, 1.0, 0.9]}}
    second = headline(make_results(clear))[1]
    assert "The two intervals do not overlap." in second
    assert second.endswith("excludes 0.")


def test_headline_when_a_first_stage_wins(make_results):
    texts = headline(make_results({BM25: {"P@5": [0.6, 0.8]}, CE10: {"P@5": [0.2, 0.3]}}))
    assert texts[0].startswith("Highest P@5 of 2 systems: bm25, 0.7000")
    assert texts[1].startswith("The best reranked system is bm25 + ce, K=10, 0.2500")


def test_headline_without_rerankers_names_the_next(make_results):
    texts = headline(make_results({BM25: {"P@5": [0.2, 0.3]}, DENSE: {"P@5": [0.6, 0.8]}}))
    assert texts[0].startswith("Highest P@5 of 2 systems: dense")
    assert texts[1].startswith("The next system is bm25, 0.2500")


def test_headline_names_all_that_share_the_highest(make_results):
    cells = {BM25: {"P@5": [0.2]}, CE10: {"P@5": [0.6]}, CE20: {"P@5": [0.6]}}
    first = headline(make_results(cells, intervals=False))[0]
    assert first == (
        "2 of 3 systems share the highest P@5, 0.6000: bm25 + ce, K=10; bm25 + ce, K=20."
    )


def test_headline_of_one_query_claims_no_interval(make_results):
    cells = {BM25: {"P@5": [0.2]}, CE10: {"P@5": [0.6]}}
    text = " ".join(headline(make_results(cells, intervals=False)))
    assert "one query allows no interval" in text
    assert "overlap" not in text
    assert "nan" not in text


def test_headline_of_one_system_and_of_undefined_values(make_results):
    assert headline(make_results({BM25: {"P@5": [0.2, 0.4]}})) == [
        "One system was measured: bm25, P@5 0.3000 (95 % interval 0.2000 to 0.4000)."
    ]
    undefined = make_results({BM25: {"P@5": [np.nan]}, DENSE: {"P@5": [np.nan]}}, intervals=False)
    assert headline(undefined) == ["P@5 is not defined for any system."]
