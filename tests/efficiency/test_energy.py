"""Energy from counters: what is made of them, and that nothing is made up where there are none."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager

import pytest

from evalkit.efficiency.energy import Reading, counters, energy_section
from evalkit.types import Query

QUERIES = [Query("q1", "one"), Query("q2", "two")]


def constant(watts: float):
    """A meter of a machine that always takes the same."""

    @contextmanager
    def meter():
        reading, start = Reading(), time.perf_counter()
        yield reading
        reading.joules = {"cpu": watts * (time.perf_counter() - start)}

    return meter


def test_joules_a_query():
    asked = []

    def serve(query):
        asked.append(query)
        time.sleep(0.01)

    found = energy_section({"slow": serve}, QUERIES, 0.2, constant(100.0))
    (system,) = found["systems"]
    assert found["available"]
    assert found["idle_watts"]["cpu"] == pytest.approx(100, rel=0.1)
    assert system["queries"] == len(asked) - 1  # one to warm up
    assert system["joules_per_query"] == pytest.approx(system["joules"]["cpu"] / system["queries"])
    # Of a hundred watts, what sleeping a hundredth of a second takes, and what wakes it late.
    assert system["joules_per_query"] >= 1.0
    assert asked[:3] == [QUERIES[0], QUERIES[0], QUERIES[1]]


def test_too_few_joules_make_no_figure():
    found = energy_section({"quick": lambda query: None}, QUERIES, 0.05, constant(1.0))
    (system,) = found["systems"]
    assert system["joules_per_query"] is None
    assert "measure for longer" in system["note"]
    assert system["joules"]["cpu"] > 0


def test_without_a_counter_it_is_said():
    @contextmanager
    def nothing():
        yield Reading()

    def serve(query):
        raise AssertionError("nothing is to be measured")

    found = energy_section({"any": serve}, QUERIES, 0.05, nothing)
    assert found["available"] is False
    assert "no energy counter" in found["reason"]


def test_without_the_package_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "tirex_tracker", None)
    found = energy_section({}, QUERIES, 0.05)
    assert found["available"] is False
    assert 'pip install "evalkit[energy]"' in found["reason"]


def test_the_package_itself():
    pytest.importorskip("tirex_tracker", reason="NOT CHECKED: tirex-tracker is missing")
    with counters() as reading:
        time.sleep(0.3)
    assert set(reading.joules) <= {"cpu", "memory", "gpu"}
    assert all(joules >= 0 for joules in reading.joules.values())
