"""What components see of a measurement: whether kept things may be used, and stages."""

import threading

import numpy as np
import pytest

from evalkit.measured import Spans, cold, is_cold, listening, stage
from evalkit.remote.responses import ResponseStore
from evalkit.token_vectors import FreshRows, Rows


class Ticks:
    """A clock that each reading moves on by one."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        self.now += 1
        return self.now


def test_cold_blocks_nest_and_end_with_an_error_too():
    assert not is_cold()
    with cold():
        with pytest.raises(ValueError, match="inside"), cold():
            raise ValueError("inside")
        assert is_cold()
    assert not is_cold()


def test_stages_add_up_and_one_inside_another_is_part_of_it():
    spans = Spans(Ticks())
    with listening(spans):
        with stage("a"), stage("b"):
            pass
        with stage("b"):
            pass
        with stage("a"):
            pass
    assert spans.spent == {"a": 2, "b": 1}
    with stage("a"):  # nobody listens
        pass
    assert spans.spent == {"a": 2, "b": 1}


def test_a_thread_hears_its_own_stages_only():
    spans = Spans(Ticks())

    def work():
        with stage("elsewhere"):
            pass

    with listening(spans):
        other = threading.Thread(target=work)
        other.start()
        other.join()
    assert spans.spent == {}


def test_answers_are_neither_served_nor_kept_while_cold(tmp_path):
    store = ResponseStore(tmp_path)
    store.put(b"asked", "kept")
    with cold():
        assert store.get(b"asked") is None
        store.put(b"asked", "other")
        store.put(b"new", "answer")
    assert store.get(b"asked") == "kept"
    assert store.get(b"new") is None


def test_fresh_rows_give_back_what_was_added_in_any_order():
    rows = FreshRows()
    digests = np.arange(6, dtype=np.uint64).reshape(3, 2)
    values = np.arange(6, dtype=np.float32)
    rows.add(digests, Rows(np.array([1, 3, 2]), np.array([False, True, False]), (values,)))
    places = rows.find(digests[[2, 0]])
    found = rows.gather(places)
    assert found.lengths.tolist() == [2, 1]
    assert found.columns[0].tolist() == [4.0, 5.0, 0.0]
    assert rows.cut(rows.find(digests)).tolist() == [False, True, False]
    assert rows.find(np.array([[9, 9]], dtype=np.uint64)).tolist() == [-1]
    rows.clear()
    assert rows.find(digests).tolist() == [-1, -1, -1]
