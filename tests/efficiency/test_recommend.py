"""A recommendation on planted results: ties go to the cheaper, and it says what it lacks."""

from dataclasses import replace

import numpy as np
import pytest

from evalkit.efficiency.budget import Budget
from evalkit.efficiency.deadline import Samples, largest_k, under_deadline
from evalkit.efficiency.fronts import pareto_section
from evalkit.efficiency.recommend import as_json, recommend
from evalkit.errors import ConfigError
from evalkit.io import write_json
from evalkit.report.cost import cost_quality_table
from evalkit.report.deadline import deadline_table, largest_k_table
from evalkit.report.recommend import evidence_table, in_words
from evalkit.results import Results, SystemResult
from evalkit.types import DatasetInfo

MEASURE = "nDCG@10"
# name → mean quality, mean ms, p95 ms, USD a thousand; b and c are the same but for noise.
PLANTED = {
    ("bm25", "none", None): (0.40, 1.0, 2.0, 0.001),
    ("bm25", "light", 50): (0.60, 30.0, 40.0, 0.05),
    ("bm25", "heavy", 50): (0.602, 60.0, 90.0, 0.30),
    ("bm25", "llm", 50): (0.70, 900.0, 1500.0, 9.0),
}


def planted(latency=True, cost=True, queries=200):
    generator = np.random.default_rng(1)
    common = generator.normal(0, 0.2, queries)
    systems, times, priced = [], [], []
    for (retriever, reranker, k), (mean, ms, p95, usd) in PLANTED.items():
        noise = generator.normal(0, 0.05, queries)
        values = mean + common - common.mean() + noise - noise.mean()
        one = SystemResult(
            retriever, reranker, k, None, {MEASURE: values}, {MEASURE: mean}, {MEASURE: (0, 1)}
        )
        systems.append(one)
        stage = {
            "mean_ms": ms, "p50_ms": ms, "p90_ms": p95, "p95_ms": p95, "p99_ms": p95,
            "unsupported": ["p99_ms"],
            "ci": {"mean_ms": [0.9 * ms, 1.1 * ms], "p95_ms": [p95 - 5, p95 + 15]},
        }  # fmt: skip
        times.append({"system": one.run_name, "stages": {"total": stage}})
        priced.append({"system": one.run_name, "usd_per_1k": usd})
    info = DatasetInfo("planted", "d", 10, queries, 3, 1, False)
    efficiency = {"latency": {"systems": times}} if latency else {}
    efficiency |= {"cost": {"systems": priced}} if cost else {}
    ids = [f"q{i}" for i in range(queries)]
    return Results(info, ids, [MEASURE], systems, {}, {}, resamples=1000, efficiency=efficiency)


def test_the_best_system_that_fits():
    found = recommend(planted(), Budget(p95_ms=2000, usd_per_1k=10), MEASURE)
    assert found.choice is found.best
    assert found.choice.name == "bm25+llm+k50"
    assert found.runner_up.name == "bm25+heavy+k50"
    assert found.difference.shows
    assert found.difference.mean == pytest.approx(0.098)


def test_a_tie_goes_to_the_cheaper_and_is_said():
    found = recommend(planted(), Budget(usd_per_1k=0.5), MEASURE)
    assert (found.choice.name, found.best.name) == ("bm25+light+k50", "bm25+heavy+k50")
    assert [c.name for c in found.alike] == ["bm25+heavy+k50", "bm25+light+k50"]
    assert not found.to_best.shows
    low, high = found.to_best.interval
    assert low < -0.002 < high
    assert found.runner_up.name == "bm25+heavy+k50"
    words = " ".join(in_words(found, 0.95))
    assert "not distinguishable" in words
    assert "cheaper or faster" in words


def test_what_does_not_fit_is_ruled_out_with_the_reason():
    found = recommend(planted(), Budget(p95_ms=50, usd_per_1k=0.1), MEASURE)
    why = {c.name: c.ruled_out for c in found.ruled_out}
    assert why == {
        "bm25+heavy+k50": "p95_ms 90 > 50, usd_per_1k 0.3 > 0.1",
        "bm25+llm+k50": "p95_ms 1500 > 50, usd_per_1k 9 > 0.1",
    }
    verdicts = [row[-1].text for row in evidence_table(found).rows]
    assert verdicts[0] == "choice"
    assert verdicts[-1].startswith("ruled out: p95_ms 1500")


def test_a_budget_that_only_the_estimate_meets_is_said():
    found = recommend(planted(), Budget(p95_ms=45), MEASURE)
    assert found.choice.name == "bm25+light+k50"
    assert list(found.barely) == ["p95_ms"]
    assert any("upper end" in line for line in in_words(found, 0.95))
    assert not recommend(planted(), Budget(p95_ms=60), MEASURE).barely
    # A cost that is of a measured time has that time's interval.
    results = planted()
    for one in results.efficiency["cost"]["systems"]:
        one["usd_per_1k_ci"] = [0.8 * one["usd_per_1k"], 1.2 * one["usd_per_1k"]]
    found = recommend(results, Budget(usd_per_1k=0.055), MEASURE)
    assert list(found.barely) == ["usd_per_1k"]
    assert not recommend(results, Budget(usd_per_1k=0.061), MEASURE).barely
    shown = evidence_table(found).groups[0]
    assert [cell.interval_text for cell in (shown[0][4], shown[1][4])] == [
        "[0.0400, 0.0600]", "[0.00080, 0.00120]",
    ]  # fmt: skip


def test_a_percentile_of_too_few_times_is_said():
    found = recommend(planted(), Budget(p99_ms=45), MEASURE)
    assert list(found.unsupported) == ["p99_ms"]
    assert any("too few times" in line for line in in_words(found, 0.95))


def test_a_latency_without_an_interval_is_said_and_is_not_sure():
    results = planted()
    assert not recommend(results, Budget(p95_ms=60), MEASURE).without_interval
    found = recommend(results, Budget(p90_ms=60, max_k=50), MEASURE)  # only mean and p95 have one
    assert list(found.without_interval) == ["p90_ms"]
    assert any("no interval" in line for line in in_words(found, 0.95))
    alone = {("bm25", "light"): largest_k({50: 40.0}, 60.0)}
    table = largest_k_table(alone)
    assert [cell.text for cell in table.rows[0][2:]] == ["50", "–", "50"]
    assert "no interval" in table.notes[-1]


def test_without_a_runner_up():
    found = recommend(planted(), Budget(max_k=10, p95_ms=50), MEASURE)
    assert found.choice.name == "bm25"
    assert found.runner_up is None
    assert any("Runner-up: none" in line for line in in_words(found, 0.95))


def test_numbers_that_the_output_lacks_name_the_run_to_make():
    # max_k is always known, and not named among what is lacking.
    with pytest.raises(ConfigError, match=r"no numbers for budget\.p95_ms; .*with latency=on$"):
        recommend(planted(latency=False), Budget(p95_ms=50, max_k=10), MEASURE)
    with pytest.raises(ConfigError, match="cost=list_prices"):
        recommend(planted(cost=False), Budget(usd_per_1k=1), MEASURE)
    with pytest.raises(ConfigError, match="energy"):
        recommend(planted(), Budget(joules_per_query=1), MEASURE)
    with pytest.raises(ConfigError, match=r"no system .* fits the budget \(bm25: p95_ms 2 > 1"):
        recommend(planted(), Budget(p95_ms=1), MEASURE)
    with pytest.raises(ConfigError, match="no budget"):
        Budget()
    with pytest.raises(ConfigError, match=r"budget\.p95_ms=-1"):
        Budget(p95_ms=-1)


def test_one_system_without_a_price_is_ruled_out_not_taken_as_free():
    results = planted()
    results.efficiency["cost"]["systems"][0]["usd_per_1k"] = None
    found = recommend(results, Budget(usd_per_1k=0.5), MEASURE)
    assert next(c.ruled_out for c in found.ruled_out) == "usd_per_1k is not known"


def test_the_json_is_plain(tmp_path):
    write_json(tmp_path / "r.json", as_json(recommend(planted(), Budget(usd_per_1k=0.5), MEASURE)))
    alone = planted(queries=1)
    write_json(tmp_path / "s.json", as_json(recommend(alone, Budget(usd_per_1k=0.5), MEASURE)))


def test_what_more_of_is_no_better_ranking_places_no_system():
    results = planted()
    worse = [
        replace(
            system,
            measures={"redundancy@10": 1 - system.measures[MEASURE], **system.measures},
            values={"redundancy@10": 1 - system.values[MEASURE], **system.values},
        )
        for system in results.systems
    ]
    both = replace(results, measure_names=["redundancy@10", MEASURE], systems=worse)
    section = pareto_section(both, both.efficiency)
    assert section == pareto_section(results, results.efficiency)
    assert section["measure"] == MEASURE
    alone = pareto_section(replace(both, measure_names=["redundancy@10"]), both.efficiency)
    assert (alone["axes"], alone["knees"]) == ([], [])


def test_the_fronts_of_planted_results(tmp_path):
    results = planted()
    section = pareto_section(results, results.efficiency)
    write_json(tmp_path / "p.json", section)
    latency, cost = section["axes"]
    assert [s["dominated"] for s in latency["systems"]] == [False] * 4
    worse = replace(results.systems[3], measures={MEASURE: 0.5})
    worse = replace(worse, values={MEASURE: worse.values[MEASURE] - 0.2})
    results = replace(results, systems=[*results.systems[:3], worse])
    last = pareto_section(results, results.efficiency)["axes"][1]["systems"][3]
    assert (cost["axis"], last["by"]) == ("cost", "bm25+heavy+k50")
    assert last["dominated"]
    assert last["beyond_interval"]
    assert [(c["reranker"], c["k"]) for c in section["knees"]] == [
        ("light", None), ("heavy", None), ("llm", None),
    ]  # fmt: skip


def alike(ms, queries=200, ends=None, gains=None):
    """Results of systems of one quality but for `gains`; ends: system → the interval of its mean,
    no interval for the others. ms: (retriever, reranker, K) → the mean time."""
    values = np.random.default_rng(2).uniform(0.2, 0.9, queries)
    systems, times, priced = [], [], []
    for key, mean in ms.items():
        own = values + (gains or {}).get(key, 0.0)
        quality = {MEASURE: own}, {MEASURE: float(own.mean())}, {MEASURE: (0.0, 1.0)}
        systems.append(SystemResult(*key, None, *quality))
        name = systems[-1].run_name
        low, high = (ends or {}).get(key, (None, None))
        stage = {"mean_ms": mean, "p95_ms": mean, "unsupported": [], "ci": {"mean_ms": [low, high]}}
        times.append({"system": name, "stages": {"total": stage}})
        bounds = None if low is None else [low / 1000, high / 1000]
        priced.append({"system": name, "usd_per_1k": mean / 1000, "usd_per_1k_ci": bounds,
                       "machine_ms": mean, "notes": [], "monthly": []})  # fmt: skip
    info = DatasetInfo("planted", "d", 10, queries, 3, 1, False)
    efficiency = {"latency": {"systems": times}, "cost": {"systems": priced, "machine": None}}
    ids = [f"q{i}" for i in range(queries)]
    found = Results(info, ids, [MEASURE], systems, {}, {}, resamples=200, efficiency=efficiency)
    efficiency["pareto"] = pareto_section(found, efficiency)
    return found


BARE, FIVE, TEN = ("bm25", "none", None), ("bm25", "ce", 5), ("bm25", "ce", 10)
DENSE = ("dense", "none", None)
TRIAL = {BARE: 14.8, FIVE: 12.8, TEN: 10.0, DENSE: 250.0}


def dominated(results, axis=0):
    systems = results.efficiency["pareto"]["axes"][axis]["systems"]
    return {s["system"]: s["by"] for s in systems if s["dominated"]}


@pytest.mark.parametrize("gains", [None, {TEN: np.resize([0.1, -0.0999], 200)}])
def test_times_without_intervals_do_not_put_a_reranker_before_its_own_first_stage(gains):
    # A list that the reranker leaves as it is cannot be there before the list itself.
    results = alike(TRIAL, gains=gains)
    for budget in (Budget(p95_ms=100), Budget(usd_per_1k=1)):
        found = recommend(results, budget, MEASURE)
        assert found.choice.name == "bm25"
        assert [c.name for c in found.untold if c.name != "bm25+ce+k5"] == ["bm25+ce+k10"]
        words = " ".join(in_words(found, 0.95))
        assert "Not told apart from the choice (14.8)" in words
        assert "mean latency (ms)" in words
        assert "bm25 + ce, K=10 (10)" in words
        assert "too few queries were timed" in words
        assert ("the simpler is taken" in words) == bool(gains)
        assert as_json(found)["cheaper_or_faster_by_the_estimate_alone"] == [
            c.name for c in found.untold
        ]
    for axis in (0, 1):
        assert set(dominated(results, axis)) == {"dense"}
    assert any("told apart" in note for note in cost_quality_table(results).notes)


def test_a_slow_first_stage_is_not_preferred_to_another_ones_reranker_for_want_of_intervals():
    found = recommend(alike({TEN: 10.0, DENSE: 250.0}), Budget(p95_ms=500), MEASURE)
    assert (found.choice.name, list(found.untold)) == ("bm25+ce+k10", [])
    assert dominated(alike({TEN: 10.0, DENSE: 250.0})) == {"dense": "bm25+ce+k10"}


def test_times_whose_intervals_overlap_leave_the_choice_to_the_simpler():
    near = {BARE: (9.0, 15.0), FIVE: (9.5, 14.0), TEN: (8.0, 12.0), DENSE: (200.0, 300.0)}
    ms = {BARE: 12.0, FIVE: 11.0, TEN: 10.0, DENSE: 250.0}
    found = recommend(alike(ms, ends=near), Budget(p95_ms=500), MEASURE)
    assert found.choice.name == "bm25"
    assert "the intervals overlap" in " ".join(in_words(found, 0.95))
    assert set(dominated(alike(ms, ends=near))) == {"dense"}
    # Told apart, the faster one is taken and dominates.
    far = near | {TEN: (5.0, 8.0)}
    found = recommend(alike(ms | {TEN: 6.0}, ends=far), Budget(p95_ms=500), MEASURE)
    assert (found.choice.name, list(found.untold)) == ("bm25+ce+k10", [])
    assert dominated(alike(ms | {TEN: 6.0}, ends=far))["bm25"] == "bm25+ce+k10"


def test_a_quality_that_shows_dominates_whatever_the_times():
    results = alike(TRIAL, gains={TEN: 0.1})
    assert dominated(results)["bm25"] == "bm25+ce+k10"
    assert recommend(results, Budget(p95_ms=100), MEASURE).choice.name == "bm25+ce+k10"


def test_times_without_intervals_are_beyond_none():
    better = {TEN: 0.3}
    places = alike(TRIAL, gains=better).efficiency["pareto"]["axes"]
    assert not any(s["beyond_interval"] for axis in places for s in axis["systems"])
    ends = {key: (0.9 * ms, 1.1 * ms) for key, ms in TRIAL.items()}
    places = alike(TRIAL, gains=better, ends=ends).efficiency["pareto"]["axes"]
    beyond = {s["system"] for s in places[0]["systems"] if s["beyond_interval"]}
    assert beyond == {"bm25", "bm25+ce+k5", "dense"}


def test_a_share_of_none_or_all_late_has_an_exact_interval_in_the_table():
    rows, values = np.arange(2), np.array([0.2, 0.8])
    slow, quick = Samples(rows, np.full(2, 90.0)), Samples(rows, np.full(2, 1.0))
    late = under_deadline(values, values, slow, quick, 50.0)
    lost = under_deadline(values, values, slow, slow, 50.0)
    table = deadline_table(alike(TRIAL, 2), MEASURE, {"a": (late, "b"), "c": (lost, "d")})
    # 1 − .025 ** (1 / 2) = .842
    assert [row[4].interval_text for row in table.rows] == ["[15.8, 100.0]"] * 2
    assert [row[3].interval_text for row in table.rows] == ["[0.2000, 0.8000]", ""]
    assert any("Clopper" in note for note in table.notes)
    assert any(note.startswith("No brackets") for note in table.notes)
