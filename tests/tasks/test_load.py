"""task=load: what it says while it runs, besides its tables."""

import logging

from evalkit.tasks.load import _warn_of_slow_loops


def loop(rate, times_closed):
    return {"offered_qps": rate, "service": {"mean_ms": 1.0, "times_closed": times_closed}}


def test_a_machine_that_grew_slow_is_a_warning(caplog):
    loops = [loop(5.0, 1.5), loop(43.0, 3.95), loop(50.0, None)]
    with caplog.at_level(logging.WARNING):
        _warn_of_slow_loops([{"system": "bm25", "open_loop": loops}])
    (said,) = caplog.messages
    assert said.startswith("bm25 at 43 QPS: a request was served 4.0 times as long")
