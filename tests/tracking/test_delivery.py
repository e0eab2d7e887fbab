"""Several requests at the same time: all are made, and the first failure ends it."""

from __future__ import annotations

import threading
import time

import pytest

from evalkit.tracking.delivery import for_each
from evalkit.tracking.limits import cut


@pytest.mark.parametrize("at_once", [1, 4])
def test_every_item_is_worked_on_once_and_no_more_at_once(at_once: int) -> None:
    lock, now, most, done = threading.Lock(), 0, 0, []

    def work(item: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
            done.append(item)

    for_each(work, range(20), at_once)
    assert sorted(done) == list(range(20))
    assert most == at_once
    if at_once == 1:
        assert done == list(range(20))


def test_the_first_failure_is_raised_and_what_waits_is_left_out() -> None:
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise OSError("the disk is full")
        time.sleep(0.01)

    with pytest.raises(OSError, match="the disk is full"):
        for_each(work, range(1000), 2)
    assert len(begun) < 100


def test_a_name_that_is_cut_says_so() -> None:
    assert cut("a" * 250, 250) == "a" * 250
    assert cut("a" * 251, 250) == "a" * 246 + " ..."
