"""The regression gate: what it catches, what it lets pass, what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from evalkit.errors import ConfigError, DataError
from evalkit.results import Results, SystemResult
from evalkit.settings import SignificanceSettings
from evalkit.statistics.gate import changes, gated_measures, matched
from evalkit.statistics.gate_efficiency import cost_rises, latency_rises
from evalkit.types import DatasetInfo

MARGIN = 0.005


def output(values: dict[str, np.ndarray], digest: str = "abc", **more) -> Results:
    """Results of one system, bm25, from measure → values."""
    ids = [f"q{i}" for i in range(len(next(iter(values.values()))))]
    means = {m: float(v.mean()) for m, v in values.items()}
    system = SystemResult("bm25", "none", None, None, values, means, {})
    info = DatasetInfo("toy", digest, 100, len(ids), 9, 1, False)
    return Results(info, ids, list(values), [system], {}, {}, **more)


def both(base: Results, new: Results, **more):
    return matched(base, new, [(base.systems[0], new.systems[0])], **more)


def judged(base, new, gate=None, margin=MARGIN, **settings):
    """The change of the primary measure."""
    found = both(output({"nDCG@10": base}), output({"nDCG@10": new}))
    gate = gated_measures(found, gate)
    return changes(found, gate, margin, SignificanceSettings(**settings))[0]


def two_runs(seed: int, fall: float = 0.0, queries: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """nDCG-like values of two systems that differ on a third of the queries; the second is worse by
    `fall` in its mean over all queries that there could be."""
    generator = np.random.default_rng(seed)
    base = generator.beta(2.0, 1.2, queries)
    changed = generator.random(queries) < 1 / 3
    return base, base + np.where(changed, generator.normal(-3 * fall, 0.15, queries), 0.0)


@pytest.mark.parametrize("test", ["t", "randomisation", "bootstrap"])
def test_a_planted_fall_of_two_points_is_caught_with_300_queries(test):
    caught = [judged(*two_runs(seed, 0.02), test=test, resamples=2000) for seed in range(20)]
    # The draw of queries moves the fall that they show; its mean is the planted one.
    assert np.mean([c.difference for c in caught]) == pytest.approx(-0.02, abs=0.004)
    assert sum(c.verdict == "worse" for c in caught) >= 16
    exactly = two_runs(1)[0]
    planted = exactly + (two_runs(1)[1] - exactly) - (two_runs(1)[1] - exactly).mean() - 0.02
    change = judged(exactly, planted, test=test)
    assert change.difference == pytest.approx(-0.02)
    assert change.verdict == "worse"


@pytest.mark.parametrize("test", ["t", "randomisation", "bootstrap"])
def test_two_equal_systems_raise_at_most_5_alarms_in_100(test):
    settings = {"test": test, "resamples": 1000}
    alarms = sum(judged(*two_runs(seed), **settings).verdict == "worse" for seed in range(100))
    assert alarms <= 5


def test_without_a_margin_equal_systems_raise_alarms_at_the_level_of_the_test():
    alarms = sum(judged(*two_runs(s), margin=0.0).verdict == "worse" for s in range(400))
    low, high = scipy.stats.binom.interval(0.999, 400, 0.05)
    assert low <= alarms <= high


def test_p_is_the_one_sided_test_against_the_margin():
    base, new = two_runs(2, 0.02)
    change = judged(base, new)
    theirs = scipy.stats.ttest_rel(new, base - MARGIN, alternative="less")
    assert change.p == pytest.approx(theirs.pvalue)
    assert change.p_corrected == change.p
    assert change.ci == pytest.approx(tuple(scipy.stats.ttest_rel(new, base).confidence_interval()))
    assert judged(base, new, margin=0.05).verdict != "worse"


def test_what_is_not_shown_to_be_worse_holds_or_is_open():
    base, _ = two_runs(0)
    assert judged(base, base).verdict == "holds"
    assert judged(base, base).p == 1
    # No fall at all is not beyond a margin of nothing.
    assert judged(base, base, margin=0.0).verdict == "holds"
    few = slice(0, 12)
    unsure = judged(base[few], two_runs(0)[1][few])
    assert unsure.verdict == "open"
    assert unsure.ci[0] < -MARGIN


def test_the_family_is_all_that_is_gated():
    base, new = two_runs(5, 0.02)
    noise = np.random.default_rng(1).normal(0, 0.1, (2, 300))
    found = both(
        output({"nDCG@10": base, "RR@10": base, "P@5": base}),
        output({"nDCG@10": new, "RR@10": base + noise[0], "P@5": base + noise[1]}),
    )
    one, two, three = changes(found, ("nDCG@10", "RR@10"), MARGIN, SignificanceSettings())
    assert sorted([one.p_corrected, two.p_corrected])[0] == 2 * min(one.p, two.p)
    assert three.p is None
    assert three.verdict == ""
    assert three.difference == pytest.approx(noise[1].mean())


def test_more_redundancy_is_worse():
    base, less = two_runs(3, 0.05)
    found = both(output({"redundancy@5": less}), output({"redundancy@5": base}))
    (change,) = changes(found, ("redundancy@5",), MARGIN, SignificanceSettings())
    assert change.verdict == "worse"
    assert change.difference > 0
    assert change.losses > change.wins
    assert all(difference > 0 for _, difference in change.worst)


def test_the_worst_queries_are_named_worst_first():
    base = np.full(6, 0.5)
    new = np.array([0.5, 0.1, 0.9, 0.3, 0.5, 0.45])
    change = judged(base, new)
    assert [query for query, _ in change.worst] == ["q1", "q3", "q5"]
    assert (change.wins, change.ties, change.losses) == (1, 2, 3)


def test_queries_are_paired_by_id_not_by_place():
    base, new = two_runs(6, 0.03)
    ours, theirs = output({"P@5": base}), output({"P@5": new[::-1]})
    theirs = replace(theirs, query_ids=theirs.query_ids[::-1])
    (change,) = changes(both(ours, theirs), ("P@5",), MARGIN, SignificanceSettings())
    straight = judged(base, new)
    assert (change.difference, change.p) == pytest.approx((straight.difference, straight.p))


def test_different_data_are_refused_unless_allowed():
    base, new = two_runs(6)
    ours, theirs = output({"P@5": base}), output({"P@5": new[:200]}, digest="xyz")
    with pytest.raises(DataError, match=r"not measured on the same data: digest abc and xyz; 300 "
                       "and 200 queries, 100 .*allow_different_data=true"):  # fmt: skip
        both(ours, theirs)
    found = both(ours, theirs, allow_different_data=True)
    assert len(found.query_ids) == 200
    assert len(found.notes) == 2
    (change,) = changes(found, ("P@5",), MARGIN, SignificanceSettings())
    assert change.base == pytest.approx(base[:200].mean())
    binary = replace(theirs, dataset=ours.dataset._replace(relevance_level=2))
    with pytest.raises(DataError, match="relevance_level 1 and 2"):
        both(ours, replace(binary, query_ids=ours.query_ids))


def test_nothing_in_common_is_refused():
    base, new = two_runs(6)
    exponential = {"nDCG(dcg='exp-log2')@10": new}
    with pytest.raises(DataError, match=r"no measure in common .*gains="):
        both(output({"nDCG@10": base}), output(exponential))
    renamed = replace(output({"P@5": new}), query_ids=[f"x{i}" for i in range(300)])
    with pytest.raises(DataError, match="no query in common"):
        both(output({"P@5": base}), renamed, allow_different_data=True)


@pytest.mark.parametrize(
    ("gate", "line"),
    [
        (["MAP"], "gate: 'MAP' is not measured in both outputs; known to both: nDCG@10, Judged@10"),
        (["Judged@10"], "more Judged@10 is neither better nor worse"),
        ([], r"gate=\[\]: expected a measure"),
    ],
)
def test_a_gate_that_cannot_be_is_refused(gate, line):
    values = {"nDCG@10": two_runs(0)[0], "Judged@10": two_runs(0)[0]}
    found = both(output(values), output(values))
    assert gated_measures(found, None) == ("nDCG@10",)
    with pytest.raises(ConfigError, match=line):
        gated_measures(found, gate)


def timed(p95: float, ends: list[float] | None, device: str = "cpu", usd: float = 0.5) -> Results:
    stage = {"p95_ms": p95, "ci": {"p95_ms": ends or [None, None]}}
    latency = {"systems": [{"system": "bm25", "stages": {"total": stage}}]}
    cost = {"systems": [{"system": "bm25", "usd_per_1k": usd}]}
    return output(
        {"P@5": np.ones(3)}, efficiency={"latency": latency, "cost": cost},
        manifest={"device": device},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("new", "ends", "rose"),
    [
        (130, [125, 140], True),
        (130, [105, 160], False),  # the intervals overlap
        (115, [112, 118], False),  # within the margin
        (90, [85, 95], False),
    ],
)
def test_latency_rises_beyond_the_margin_and_the_intervals(new, ends, rose):
    found = both(timed(100, [95, 110]), timed(new, ends))
    (rise,), notes = latency_rises(found, 0.2)
    assert (rise.rose, notes) == (rose, [])
    assert rise.share == pytest.approx(new / 100 - 1)


def test_latency_that_cannot_be_compared_is_said():
    base = timed(100, [95, 110])
    found = both(base, timed(200, [195, 210], device="cuda: H200"))
    assert latency_rises(found, 0.2) == (
        [], ["Latency is not compared: base ran on cpu, new on cuda: H200."]
    )  # fmt: skip
    rises, (note,) = latency_rises(both(base, timed(200, None)), 0.2)
    assert rises == []
    assert "bm25 is not compared" in note
    plain = output({"P@5": np.ones(3)})
    assert latency_rises(both(base, plain), 0.2)[1] == [
        "Latency is not compared: new has none; run it with latency=on."
    ]
    assert latency_rises(both(plain, plain), 0.2) == ([], [])


def test_cost_rises_beyond_its_margin():
    (rise,), _ = cost_rises(both(timed(1, None, usd=0.5), timed(1, None, usd=0.56)), 0.1)
    assert rise.rose
    (rise,), _ = cost_rises(both(timed(1, None, usd=0.5), timed(1, None, usd=0.54)), 0.1)
    assert not rise.rose
    (rise,), _ = cost_rises(both(timed(1, None, usd=0.0), timed(1, None, usd=0.1)), 0.1)
    assert rise.rose
    assert np.isinf(rise.share)
