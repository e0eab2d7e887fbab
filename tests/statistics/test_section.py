"""The section of results.json, the marks made of it, and the table for people."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests

from evalkit.errors import ConfigError
from evalkit.report.render import to_markdown
from evalkit.report.significance import p_value, signed, significance_table
from evalkit.results import Results, SystemResult
from evalkit.settings import SignificanceSettings
from evalkit.statistics.markers import markers
from evalkit.statistics.section import significance_section
from evalkit.types import DatasetInfo

MEASURES = ["nDCG@10", "redundancy@5", "Judged@10"]
QUERIES = 80


def made(values: dict[str, dict[str, np.ndarray]], **more) -> Results:
    """Results of systems by name ("bm25", "bm25+ce@20", with n as "bm25/5")."""
    systems = []
    for name, measured in values.items():
        rest, _, n = name.partition("/")
        rest, _, k = rest.partition("@")
        retriever, _, reranker = rest.partition("+")
        cell = (retriever, reranker or "none", int(k) if k else None, int(n) if n else None)
        means = {m: float(v.mean()) for m, v in measured.items()}
        systems.append(SystemResult(*cell, measured, means, dict.fromkeys(means, (0.0, 1.0))))
    count = len(next(iter(measured.values())))
    info = DatasetInfo("toy", "abc", 100, count, count, 1, False)
    ids = [f"q{i}" for i in range(count)]
    return Results(info, ids, list(measured), systems, {}, {}, **more)


@pytest.fixture(scope="module")
def results() -> Results:
    generator = np.random.default_rng(4)
    base = generator.random(QUERIES)
    strengths = {"bm25": 0.0, "dense": 0.1, "bm25+ce@10": 0.2, "bm25+ce@50": 0.001, "bm25/5": 0.5}
    return made(
        {
            name: {m: base + by + generator.normal(0, 0.1, QUERIES) for m in MEASURES}
            for name, by in strengths.items()
        }
    )


def section(results, **settings):
    return significance_section(results, SignificanceSettings(**settings))


def test_each_figure_is_that_of_its_two_systems(results):
    found = section(results)
    rows = [row for row in found["comparisons"] if row["measure"] == "nDCG@10"]
    pairs = [(row["system"], row["base"]) for row in rows]
    # First stages are the baselines; two systems are compared once.
    assert found["baselines"] == ["bm25", "dense"]
    assert pairs == [
        ("dense", "bm25"), ("bm25+ce+k10", "bm25"), ("bm25+ce+k50", "bm25"),
        ("bm25+ce+k10", "dense"), ("bm25+ce+k50", "dense"),
    ]  # fmt: skip
    values = {s.system: s.values["nDCG@10"] for s in results.systems}
    tests = [scipy.stats.ttest_rel(values[one], values[two]) for one, two in pairs]
    adjusted = multipletests([t.pvalue for t in tests], method="holm")[1]
    for row, test, p in zip(rows, tests, adjusted, strict=True):
        difference = values[row["system"]] - values[row["base"]]
        assert row["difference"] == pytest.approx(difference.mean())
        assert row["p"] == pytest.approx(test.pvalue)
        assert row["p_corrected"] == pytest.approx(p)
        assert row["significant"] == (p < 0.05)
        assert row["ci"] == pytest.approx(list(test.confidence_interval()))
        assert row["sd"] == pytest.approx(difference.std(ddof=1))
        assert (row["wins"], row["losses"]) == ((difference > 0).sum(), (difference < 0).sum())
    assert found["family"] == "the 5 comparisons on each measure"
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_is_neither_good_nor_bad_is_not_tested_and_less_redundancy_is_better(results):
    rows = section(results)["comparisons"]
    assert {row["measure"] for row in rows} == {"nDCG@10", "redundancy@5"}
    for row in rows:
        assert row["better"] == ((row["difference"] > 0) == (row["measure"] == "nDCG@10"))
        above = row["wins"] > row["losses"]
        if row["significant"]:
            assert above == row["better"]


def test_marks_say_which_baseline_a_system_beats(results):
    from dataclasses import replace

    marks = markers(replace(results, significance=section(results)))
    assert marks.of("bm25+ce+k10", "nDCG@10") == "†‡"
    assert marks.of("dense", "nDCG@10") == "†"
    assert marks.of("bm25+ce+k50", "nDCG@10") == ""
    assert marks.of("bm25", "nDCG@10") == ""
    # Lower is better: what has most has none, and the baseline beats the systems.
    assert marks.of("bm25+ce+k10", "redundancy@5") == ""
    assert marks.of("bm25", "redundancy@5") == "‡"
    assert marks.of("bm25", "Judged@10") == marks.of("bm25+n5", "nDCG@10") == ""
    assert marks.legend == (
        "Significantly better than: † bm25, ‡ dense.",
        "Significance: two-sided paired t-test, level 0.05, Holm correction over the 5 comparisons "
        "on each measure.",
    )


def test_results_without_tests_have_no_marks_and_no_table(results):
    assert markers(results).legend == ()
    assert markers(results).of("dense", "nDCG@10") == ""
    assert significance_table(results) is None


def test_named_baselines_are_compared_with_all_others(results):
    found = section(results, baselines=["bm25+ce+k50"], test="randomisation", correction="none")
    assert {row["base"] for row in found["comparisons"]} == {"bm25+ce+k50"}
    assert len(found["comparisons"]) == 3 * 2
    assert all(row["p"] == row["p_corrected"] for row in found["comparisons"])
    with pytest.raises(ConfigError, match=r"'bm26' is no system .*Did you mean 'bm25'"):
        section(results, baselines=["bm26"])


def test_nothing_to_test_is_an_empty_section(results):
    assert section(results, baselines=[]) == {}
    assert section(made({"bm25": {"P@5": np.ones(9)}})) == {}
    assert section(made({"a": {"P@5": np.ones(1)}, "b": {"P@5": np.zeros(1)}})) == {}


def test_systems_without_a_difference_have_null_where_nothing_is_defined():
    values = np.linspace(0, 1, 9)
    (row,) = section(made({"a": {"P@5": values}, "b": {"P@5": values}}))["comparisons"]
    assert (row["difference"], row["p"], row["ties"]) == (0, 1, 9)
    assert (row["d_z"], row["d_z_ci"], row["queries_needed"]) == (None, [None, None], None)
    assert row["significant"] is False


def test_the_settings_reach_the_tests(results):
    few = made({s.system: {"P@5": s.values["nDCG@10"][:9]} for s in results.uncut[:2]})
    found = section(few, test="randomisation")
    values = [s.values["P@5"] for s in few.systems]
    exact = scipy.stats.permutation_test(
        values[::-1], lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples",
        n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    assert found["comparisons"][0]["p"] == pytest.approx(exact.pvalue)
    assert found["exact"] is True
    needed = [
        section(results, difference=d)["comparisons"][0]["queries_needed"] for d in (0.01, 0.05)
    ]
    assert needed[0] > 10 * needed[1]
    loose, strict = (section(results, level=level)["comparisons"] for level in (0.4, 1e-9))
    assert sum(r["significant"] for r in loose) > sum(r["significant"] for r in strict)


def test_the_table_reads_as_it_should(results):
    from dataclasses import replace

    tested = replace(results, significance=section(results))
    text = to_markdown(significance_table(tested))
    assert "Differences in NDCG@10 on toy, 80 queries." in text
    first = next(line for line in text.splitlines() if line.startswith("| dense"))
    row = tested.significance["comparisons"][0]
    assert f"{row['difference']:+.4f}" in first
    assert "< 0.0001*" in first
    assert f"{row['wins']} / {row['ties']} / {row['losses']}" in first
    assert "Holm correction over the 5 comparisons" in text
    assert "REDUNDANCY" in to_markdown(significance_table(tested, "redundancy@5")).upper()
    assert significance_table(tested, "Judged@10") is None


def test_figures_as_they_are_printed():
    assert [p_value(p) for p in (None, 0.00009, 0.0001, 0.5)] == [
        "–",
        "< 0.0001",
        "0.0001",
        "0.5000",
    ]
    assert [signed(d) for d in (0.1, -0.02, 0.00001, -0.00001)] == [
        "+0.1000", "-0.0200", "0.0000", "0.0000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [{"level": 0}, {"level": 1.0}, {"power": 0.04}, {"resamples": 5}, {"difference": 0}]
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"significance: .*expected"):
        SignificanceSettings(**wrong)


def test_a_large_grid_takes_seconds():
    from time import process_time

    generator = np.random.default_rng(0)
    names = ["a", "b", "c", *(f"a+r{i}@10" for i in range(21))]
    measures = [f"P@{i}" for i in range(1, 9)]
    large = made({n: {m: generator.random(7000) for m in measures} for n in names})
    start = process_time()
    found = section(large)
    assert len(found["comparisons"]) == 66 * 8
    assert process_time() - start < 10
