"""The tables of task=load: what a reader is told of rates, queues and theory."""

from __future__ import annotations

import pytest

from evalkit.report.load import load_tables
from evalkit.report.render import to_markdown


def times(mean, p95):
    values = {"mean_ms": mean, "p50_ms": mean, "p95_ms": p95, "p99_ms": None}
    return {**values, "ci": {k: v and [v / 2, v * 2] for k, v in values.items()}}


def level(rate, saturated=False, off=0.0, **more):
    expected = None if saturated else 2.0
    verdict = "saturated" if saturated else ("departs" if off else "agrees")
    return {
        "offered_qps": rate, "achieved_qps": rate, "requests": 250, "calls": 250, "seconds": 10.0,
        "utilisation": 0.5, "saturated": saturated, "service": {"mean_ms": 0.0123, "cv": 0.0},
        "waiting": times(2.0, 40.0), "response": times(1234.0, 4000.0),
        "theory": {"expected_waiting_ms": expected, "verdict": verdict, "off_share": off}, **more,
    }  # fmt: skip


def found(*levels, **protocol):
    told = {"seconds": 10.0, "seed": 3, "workers": 1, "batch": 1, "level": 0.95, **protocol}
    closed = [{**level(20.0), "clients": 4}]
    system = {"system": "bm25", "capacity_qps": 20.0, "closed_loop": closed, "open_loop": levels}
    return {"protocol": told, "systems": [system]}


def test_the_two_tables():
    closed, opened = map(to_markdown, load_tables(found(level(5.0), level(15.0, off=0.42))))
    assert "4 |" in closed
    assert "0.0123" in closed
    assert "1234 [617, 2468]" in closed
    assert "2.00 [1.00, 4.00]" in opened
    assert "| agrees " in opened
    assert "departs (+42 %)" in opened
    assert "1 worker, 10 s a row, seed 3" in opened


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ((level(5.0), level(15.0)), "it keeps up with 15.0, the highest offered."),
        ((level(5.0), level(25.0, True)), "it keeps up with 5.00, and falls behind at 25.0."),
        # A higher rate that got by says nothing, where a lower one did not.
        (
            (level(5.0), level(15.0, True), level(17.0)),
            "it keeps up with 5.00, and falls behind at 15.0.",
        ),
        ((level(5.0, True),), "it falls behind at every rate here."),
    ],
)
def test_where_it_saturates(levels, sentence):
    notes = load_tables(found(*levels))[1].notes
    assert notes[-1] == f"bm25: at most 20.0 QPS in the closed loops; {sentence}"


def test_rows_of_a_machine_that_was_slow_are_named():
    def slow(rate, times):
        service = {"mean_ms": 0.1, "cv": 0.0, "times_closed": times}
        return level(rate, saturated=True, service=service)

    notes = load_tables(found(level(5.0), slow(25.0, 4.2)))[1].notes
    assert "bm25 at 25.0 (4.2 times)" in notes[-2]
    assert notes[-1].endswith(
        "and falls behind at 25.0, where it was slower than in the closed loops: see above."
    )
    notes = load_tables(found(level(5.0), slow(25.0, 1.6)))[1].notes
    assert notes[-1].endswith("and falls behind at 25.0.")
    assert not any("slower" in note for note in notes)


def test_few_requests_are_said():
    assert any("fewer than 100" in n for n in load_tables(found(level(5.0, requests=99)))[1].notes)
    assert not any("fewer than 100" in n for n in load_tables(found(level(5.0)))[1].notes)


def test_theory_is_named_for_what_it_is():
    def theory(**protocol):
        return next(n for n in load_tables(found(level(5.0), **protocol))[1].notes if "Theory" in n)

    assert "Pollaczek" in theory()
    assert "M/G/3" in theory(workers=3)
    assert "none" in theory(batch=2)


def test_without_open_loops_there_is_one_table():
    assert len(load_tables(found())) == 1
