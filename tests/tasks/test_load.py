"""task=load: what it says while it runs, besides its tables."""

import logging
from types import SimpleNamespace

import pytest

from evalkit.errors import ConfigError
from evalkit.settings import SweepSettings
from evalkit.tasks.load import _check_names, _warn_of_slow_loops


def loop(rate, times_closed):
    return {"offered_qps": rate, "service": {"mean_ms": 1.0, "times_closed": times_closed}}


def test_a_machine_that_grew_slow_is_a_warning(caplog):
    loops = [loop(5.0, 1.5), loop(43.0, 3.95), loop(50.0, None)]
    with caplog.at_level(logging.WARNING):
        _warn_of_slow_loops([{"system": "bm25", "open_loop": loops}])
    (said,) = caplog.messages
    assert said.startswith("bm25 at 43 QPS: a request was served 4.0 times as long")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("bm25", "; add reranker=[bi_encoder,none]."),
        ("dense", "; add retriever=[bm25,dense] reranker=[bi_encoder,none]."),
        ("bm25+minilm_squad+k20", "; add reranker=[bi_encoder,minilm_squad]."),
        ("bm25+bi_encoder+k50", "; add sweep.k=[10,20,50]."),
        ("bm25+bi_encoder", "; a system is RETRIEVER, or RETRIEVER+RERANKER+kK."),
    ],
)
def test_a_system_that_is_not_selected_says_what_to_add(name, remedy):
    selected = SimpleNamespace(
        retrievers={"bm25": 0}, rerankers={"bi_encoder": 0}, sweep=SweepSettings(k=[20, 10])
    )
    with pytest.raises(ConfigError) as refused:
        _check_names(["bm25+bi_encoder+k10", name], selected)
    assert remedy in str(refused.value)
    _check_names(["bm25+bi_encoder+k10"], selected)
