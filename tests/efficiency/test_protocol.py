"""Times are taken as they are: against a clock that is known, and against one that sleeps."""

import gc
import json

import numpy as np
import pytest
from scipy.stats import linregress
from served import FakeClock, RealClock, SleepingReranker, SleepingRetriever, experiment
from tiny import toy_dataset

from evalkit.efficiency.machine import synchronised
from evalkit.efficiency.measure import measure
from evalkit.errors import ConfigError, ScoreError
from evalkit.settings import LatencySettings

DOCS = 60


@pytest.fixture
def dataset(tmp_path):
    return toy_dataset(tmp_path / "toy", docs=DOCS, queries=40)


def ids(dataset):
    return [doc.doc_id for doc in dataset.docs_iter()]


def settings(**changed):
    known = {"queries": 40, "repeats": 3, "warmup": 1, "budget_s": 1e6, "resamples": 200}
    return LatencySettings("on", **{**known, **changed})


def slept(dataset, clock, ks=(10, 20, 50), n=(5,), fixed=8.0, per_pair=1.5, **stages):
    retriever = SleepingRetriever(clock, ids(dataset), **stages)
    reranker = SleepingReranker(clock, fixed, per_pair)
    return experiment(dataset, {"first": retriever}, {"second": reranker}, ks, n), reranker


def systems(measured):
    return {each["system"]: each for each in measured.sections["latency"]["systems"]}


def test_known_times_come_back_stage_by_stage(dataset):
    clock = FakeClock()
    made, _ = slept(dataset, clock, processing_ms=0.5, encoding_ms=3, search_ms=1.25)
    measured = measure(made, settings(), clock)
    assert list(systems(measured)) == [
        "first", "first+second+k10", "first+second+k20", "first+second+k50",
    ]  # fmt: skip
    for record in systems(measured).values():
        expected = {"query_processing": 0.5, "query_encoding": 3, "retrieval": 1.25}
        expected["post_processing"] = 0
        if record["k"] is not None:
            expected["rerank"] = 8 + 1.5 * record["k"]
        expected["total"] = sum(expected.values())
        found = record["stages"]
        assert {s: found[s]["p50_ms"] for s in found} == pytest.approx(expected)
        assert {s: found[s]["p99_ms"] for s in found} == pytest.approx(expected)
        assert {found[s]["samples"] for s in found} == {120}
    (model,) = measured.sections["latency"]["models"]
    assert model["a_ms"] == pytest.approx(8 + 4.75)
    assert model["b_ms"] == pytest.approx(1.5)
    assert model["rerank"]["a_ms"] == pytest.approx(8)
    assert model["predictions"][0] == {
        "k": 100, "mean_ms": pytest.approx(162.75), "ci": pytest.approx([162.75] * 2),
        "predicted": True, "extrapolated": True,
    }  # fmt: skip
    json.dumps(measured.sections, allow_nan=False)


def test_injected_outliers_move_the_99th_percentile_and_not_the_median(dataset):
    clock = FakeClock()
    made, reranker = slept(dataset, clock)
    usual = systems(measure(made, settings(), clock))["first+second+k20"]["stages"]["rerank"]
    reranker.outliers = {"q7": 5000.0}  # one query of forty
    found = systems(measure(made, settings(), clock))["first+second+k20"]["stages"]["rerank"]
    assert found["p50_ms"] == pytest.approx(usual["p50_ms"]) == pytest.approx(38)
    assert found["p90_ms"] == pytest.approx(38)
    assert usual["p99_ms"] == pytest.approx(38)
    assert found["p99_ms"] == pytest.approx(5038)
    # As likely missed by a resample as met twice: forty queries tell no interval of p95 or p99.
    assert found["ci"]["p90_ms"] == pytest.approx([38, 38])
    assert found["ci"]["p95_ms"] == found["ci"]["p99_ms"] == [None, None]


def test_how_many_queries_fit_is_told_by_those_measured_not_by_the_warm_up(dataset):
    """A reranker that leaves queries out: 1 ms, or 101; the warm-up's say nothing of the others."""
    clock = FakeClock()
    made, reranker = slept(dataset, clock, ks=(10,), fixed=1.0, per_pair=0.0)
    asked = settings(warmup=3, budget_s=5.0)
    drawn = measure(made, settings(), clock).samples.queries
    reranker.outliers = dict.fromkeys(drawn[3::2], 100.0)  # quick while warming up
    slow = measure(made, asked, clock).sections["latency"]["protocol"]
    assert slow["queries"] == 34  # 16 of them slow: three times 1.634 s
    assert slow["seconds"] <= asked.budget_s
    reranker.outliers = dict.fromkeys(drawn[:3], 100.0)  # slow in the warm-up, and no more then
    assert measure(made, asked, clock).samples.queries == drawn


def sleeping(dataset, ks, queries=5, repeats=2):
    """What is measured of a reranker that sleeps, on the machine's own clock, and what the
    reranker knows to have slept, (queries, repeats) per K: a busy machine makes a sleep longer,
    measuring must not."""
    made, reranker = slept(dataset, RealClock(), ks=ks, n=(), fixed=80.0, per_pair=2.0)
    measured = measure(made, settings(queries=queries, repeats=repeats), RealClock())
    by_call = dict.fromkeys(reranker.asked, ())
    for call, ms in zip(reranker.asked, reranker.took, strict=True):
        by_call[call] += (ms,)
    truth = {k: np.array([by_call[q, k][-repeats:] for q in measured.samples.queries]) for k in ks}
    assert {each.shape for each in truth.values()} == {(queries, repeats)}
    return measured, truth


def test_measuring_a_reranker_that_sleeps_adds_less_than_one_percent(dataset):
    """By the medians: beside other tests a single call may be paused between the two clocks."""
    measured, truth = sleeping(dataset, ks := (10, 20, 40))
    found = {k: measured.samples.ms[f"first+second+k{k}"]["rerank"] for k in ks}
    assert 0 <= np.median([(found[k] - truth[k]) / truth[k] for k in ks]) < 0.01
    for k in ks:
        p50 = systems(measured)[f"first+second+k{k}"]["stages"]["rerank"]["p50_ms"]
        assert p50 == pytest.approx(np.median(truth[k]), rel=0.02)


@pytest.mark.slow  # for a quiet machine, as every figure of a tail is
def test_the_tail_and_the_line_of_a_reranker_that_sleeps_are_met_within_two_percent(dataset):
    measured, truth = sleeping(dataset, ks := (10, 20, 40))
    for k in ks:
        stage = systems(measured)[f"first+second+k{k}"]["stages"]["rerank"]
        for figure, share in (("p50_ms", 0.5), ("p90_ms", 0.9), ("p95_ms", 0.95)):
            assert stage[figure] == pytest.approx(np.quantile(truth[k], share), rel=0.02)
    (model,) = measured.sections["latency"]["models"]
    line = linregress(ks, [truth[k].mean() for k in ks])
    assert model["rerank"]["b_ms"] == pytest.approx(line.slope, rel=0.02)
    assert model["rerank"]["a_ms"] == pytest.approx(line.intercept, rel=0.02)


def test_every_system_answers_every_query_in_an_order_drawn_anew(dataset):
    clock = FakeClock()
    made, reranker = slept(dataset, clock, ks=(10, 20, 30, 50))
    measure(made, settings(queries=6, repeats=2), clock)
    asked = reranker.asked[4 + 4 :]  # after the first try and one query of warm-up
    rounds = [asked[i : i + 4] for i in range(0, len(asked), 4)]
    assert len(rounds) == 12
    orders = set()
    for each in rounds:
        assert len({query for query, _ in each}) == 1
        assert sorted(size for _, size in each) == [10, 20, 30, 50]
        orders.add(tuple(size for _, size in each))
    assert len(orders) > 6
    queries = [each[0][0] for each in rounds]
    assert queries[:6] == queries[6:]  # a repeat comes after all queries
    assert len(set(queries)) == 6
    again, other = FakeClock(), slept(dataset, clock, ks=(10, 20, 30, 50))
    other[1].clock = again
    measure(other[0], settings(queries=6, repeats=2), again)
    assert other[1].asked == reranker.asked


def test_drift_is_shared_by_all_systems(dataset):
    """A machine that slows down to half its speed is not taken for one K being slow."""

    class Drifting(FakeClock):
        def sleep_ms(self, ms):
            super().sleep_ms(ms * (1 + self.now / 60e9))

    clock = Drifting()
    made, _ = slept(dataset, clock, fixed=0.0, per_pair=1.0)
    found = systems(measure(made, settings(), clock))
    means = {s["k"]: s["stages"]["total"]["mean_ms"] for s in found.values() if s["k"]}
    slowed = [means[k] / k for k in (10, 20, 50)]
    assert min(slowed) > 1.05
    assert slowed == pytest.approx([np.mean(slowed)] * 3, rel=0.01)


def test_fewer_queries_are_asked_where_they_would_not_fit_the_budget(dataset):
    clock = FakeClock()
    made, _ = slept(dataset, clock, ks=(10,), fixed=100.0, per_pair=0.0)
    protocol = measure(made, settings(budget_s=2.0), clock).sections["latency"]["protocol"]
    # 0.2 s to begin with; then (2 - 0.2) s of 0.3 s a query, three repeats
    assert protocol["queries"] == 6
    assert protocol["queries_wanted"] == 40
    assert protocol["seconds"] == pytest.approx(2.0)
    few = measure(made, settings(budget_s=0.001), clock).sections["latency"]["protocol"]
    assert few["queries"] == 2


def test_the_garbage_collector_rests_while_measuring_and_is_put_back(dataset):
    clock, states = FakeClock(), []

    class Watching(SleepingReranker):
        def rerank(self, queries, dataset, candidates):
            states.append(gc.isenabled())
            return super().rerank(queries, dataset, candidates)

    retriever = SleepingRetriever(clock, ids(dataset))
    watching = Watching(clock, 1.0, 0.0)
    made = experiment(dataset, {"first": retriever}, {"second": watching}, (10,))
    assert gc.isenabled()
    protocol = measure(made, settings(), clock).sections["latency"]["protocol"]
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert not any(states)
    assert protocol["garbage_collector"]["before"] == "on"
    assert protocol["threads"]["cores_usable"] >= 1
    assert protocol["threads"]["libraries"]


def test_a_system_that_cannot_be_asked_one_query_is_left_out_with_its_reason(dataset, caplog):
    clock = FakeClock()

    class Broken(SleepingReranker):
        def rerank(self, queries, dataset, candidates):
            raise ScoreError("the service is down")

    class Learning(SleepingReranker):
        fits_to_queries = True

    retriever = SleepingRetriever(clock, ids(dataset), search_ms=2)
    rerankers = {"broken": Broken(clock, 1, 0), "learning": Learning(clock, 1, 0)}
    made = experiment(dataset, {"first": retriever}, rerankers, (10,))
    measured = measure(made, settings(), clock)
    assert list(systems(measured)) == ["first"]
    reasons = {
        each["system"]: each["reason"]
        for each in measured.sections["latency"]["protocol"]["skipped"]
    }
    assert reasons["first+broken+k10"] == "the service is down"
    assert "learns from all evaluated queries" in reasons["first+learning+k10"]
    assert "first+broken+k10" in caplog.text
    assert rerankers["learning"].asked == []


def test_the_samples_are_a_row_a_time(dataset):
    clock = FakeClock()
    made, _ = slept(dataset, clock, ks=(10, 20), search_ms=1)
    samples = measure(made, settings(queries=4, repeats=2), clock).samples
    columns = samples.columns()
    rows = list(zip(*columns.values(), strict=True))
    assert list(columns) == ["system", "query_id", "repeat", "stage", "ms"]
    assert len({row[:4] for row in rows}) == len(rows)
    first = [row for row in rows if row[0] == "first+second+k20" and row[3] == "rerank"]
    assert [row[4] for row in first] == pytest.approx([38.0] * 8)
    assert [row[2] for row in first] == [0, 1] * 4
    assert [row[1] for row in first][::2] == list(samples.queries)


@pytest.mark.parametrize(
    "wrong",
    [{"queries": 1}, {"repeats": 0}, {"warmup": 0}, {"budget_s": 0}, {"predict_k": [0]}],
)
def test_settings_that_measure_nothing_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"latency.{next(iter(wrong))}"):
        settings(**wrong)


def test_a_device_has_done_its_work_whenever_the_clock_is_read(monkeypatch):
    import torch

    order = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: order.append(device))
    read = synchronised(lambda: order.append("clock") or 5)
    assert read() == 5
    assert order == [0, 1, "clock"]
