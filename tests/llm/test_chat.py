"""The chat endpoint against a real server on loopback."""

import inspect
import math

import numpy as np
import pytest
import yaml
from loopback import Fault, Loopback, changed, cut, garbage, slow, status

from evalkit.choices import choice_files
from evalkit.errors import ConfigError, RemoteError
from evalkit.llm.chat import ChatEndpoint

KEY = "sk-distinctive-0123456789abcdef"


@pytest.fixture
def server():
    with Loopback() as running:
        yield running


@pytest.fixture
def make(server, tmp_path):
    def build(model="m", **settings):
        endpoint = ChatEndpoint(f"{server.url}/v1", model, cache_dir=tmp_path, **settings)
        endpoint.client.sleep = lambda seconds, stopped: None
        return endpoint

    return build


def prompt(text):
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


def test_answers_come_in_order_and_are_kept(server, make):
    server.answer = lambda messages: messages[-1]["content"].upper()
    texts = [f"word {i} and more" for i in range(7)]
    endpoint = make()
    assert endpoint.generate([prompt(t) for t in texts], 3) == [f"WORD {i} AND" for i in range(7)]
    assert server.count == 7
    assert endpoint.work == {
        "requests": 7, "reused": 0, "retries": 0, "input_tokens": 7 * 6, "output_tokens": 7 * 3,
    }  # fmt: skip
    again = make()
    again.generate([prompt(t) for t in texts], 3)
    assert server.count == 7
    assert again.work["reused"] == 7
    again.generate([prompt(texts[0])], 4)  # a longer answer is another question
    assert server.count == 8
    assert make().generate([], 3) == []


def test_a_request_says_what_is_set(server, make):
    make().generate([prompt("a")], 5)
    make(
        temperature=None, seed=None, limit_field="max_completion_tokens",
        extra={"reasoning_effort": "low"},
    ).generate([prompt("a")], 5)  # fmt: skip
    make(top_logprobs=5).choose([prompt("a")], ["a"])
    common = {"model": "m", "messages": prompt("a")}
    assert [request.payload for request in server.requests] == [
        {**common, "max_tokens": 5, "temperature": 0.0, "seed": 0},
        {**common, "max_completion_tokens": 5, "reasoning_effort": "low"},
        {**common, "max_tokens": 1, "temperature": 0.0, "seed": 0, "logprobs": True,
         "top_logprobs": 5},
    ]  # fmt: skip
    assert {request.path for request in server.requests} == {"/v1/chat/completions"}


def test_options_are_read_from_the_first_tokens(server, make):
    tables = {
        "one": {"Yes": math.log(0.5), " Yes": math.log(0.2), "No": math.log(0.2), "yes": -4.0},
        "two": {" No": -0.1, "Maybe": -3.0, "\n": -9.0},
        "three": {f"t{i}": -1.0 - i for i in range(30)} | {"Yes": -25.5},
    }
    server.first_tokens = lambda messages: tables[messages[-1]["content"]]
    found = make().choose([prompt(name) for name in tables], ["Yes", "No"])
    assert found.dtype == np.float32
    # Two tokens of one text count together; what is not told is as deep as the deepest told.
    np.testing.assert_allclose(
        found, [[math.log(0.7), math.log(0.2)], [-9.0, -0.1], [-20.0, -20.0]], atol=1e-6
    )
    assert make().choose([], ["Yes", "No"]).shape == (0, 2)


def test_options_that_no_answer_begins_with_are_told(server, make, caplog):
    server.first_tokens = lambda messages: {"<think>": -0.01, "Well": -5.0}
    found = make().choose([prompt("a"), prompt("b")], ["Yes", "No"])
    assert (found == -5).all()
    assert "none of Yes, No is among the first tokens of any of 2 answers" in caplog.text
    assert "<think>" in caplog.text


def without_top(answer):
    answer["choices"][0]["logprobs"]["content"][0].pop("top_logprobs")
    return answer


def test_a_server_that_tells_no_logprobs_is_refused_and_its_answer_not_kept(server, make):
    server.logprobs = False
    with pytest.raises(ConfigError, match=r"tells no log-probabilities of 'm'; use the .*generate"):
        make().choose([prompt("a")], ["Yes", "No"])
    server.script += [status(400, body='{"error": "logprobs is not supported with this model"}')]
    with pytest.raises(ConfigError, match="generate mode"):
        make().choose([prompt("a")], ["Yes", "No"])
    server.script += [status(400, body='{"error": "context too long"}')]
    with pytest.raises(RemoteError, match="context too long"):
        make().choose([prompt("a")], ["Yes", "No"])
    server.logprobs = True
    server.script += [changed(without_top)]
    server.first_tokens = lambda messages: {"Yes": -0.5, "No": -float("inf"), "Maybe": -2.0}
    found = make().choose([prompt("a")], ["Yes", "No"])
    np.testing.assert_allclose(found, [[-0.5, -2.0]])


def test_a_server_that_misbehaves_loses_nothing(server, make):
    server.answer = lambda messages: messages[-1]["content"]
    server.script += [
        status(429, "1"), None, status(500), garbage(), cut(), slow(1.0), Fault(body="{}"),
        changed(lambda answer: {**answer, "choices": []}),
        changed(lambda answer: {"choices": [{"message": {}}]}),
        changed(lambda answer: {"choices": [{"message": None}]}),
    ]  # fmt: skip
    endpoint = make(retries=20, timeout=0.5)
    texts = [f"text{i}" for i in range(12)]
    assert endpoint.generate([prompt(t) for t in texts], 9) == texts
    assert endpoint.work["retries"] == 9
    assert server.count == 21


def test_a_refusal_is_an_empty_text(server, make):
    refusal = {"role": "assistant", "content": None, "refusal": "no"}
    server.script += [changed(lambda answer: {"choices": [{"message": refusal}]})]
    assert make().generate([prompt("a")], 3) == [""]


def test_prices_make_a_budget(server, make):
    server.answer = lambda messages: "one two"
    # 4 tokens read at 1 dollar, 2 written at 3: 10 dollars an answer.
    endpoint = make(max_cost=25.0, input_price=1e6, output_price=3e6, concurrency=1)
    with pytest.raises(RemoteError, match=r"max_cost=25.0 reached after 2 requests, 20.0000 USD"):
        endpoint.generate([prompt(f"a {i}") for i in range(5)], 9)
    assert endpoint.work["cost_microusd"] == 20_000_000
    assert make().generate([prompt(f"a {i}") for i in range(5)], 9) == ["one two"] * 5
    assert server.count == 5


def test_the_fingerprint_holds_what_can_change_an_answer(make):
    base = make().fingerprint
    others = [
        make("n"), make(version="2"), make(temperature=0.5), make(seed=1), make(top_logprobs=5),
        make(extra={"reasoning_effort": "low"}),
    ]  # fmt: skip
    assert len({base, *(other.fingerprint for other in others)}) == 7
    same = [make(concurrency=9), make(max_requests=3), make(api_key_env="LOOPBACK_KEY")]
    assert {base} == {other.fingerprint for other in same}


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"limit_field": "max"}, "limit_field=max: expected max_tokens or max_completion_tokens"),
     ({"top_logprobs": 0}, "top_logprobs=0"),
     ({"extra": {"temperature": 1}}, r"extra\.temperature is set by evalkit"),
     ({"max_cost": 1.0}, "needs a price"), ({"timeout": 0}, "timeout=0")],
)  # fmt: skip
def test_bad_settings_are_refused(make, settings, words):
    with pytest.raises(ConfigError, match=words):
        make(**settings)


def test_the_check_asks_for_model_and_key_and_sends_nothing(server, make, monkeypatch):
    monkeypatch.delenv("LOOPBACK_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"llm\.model is not set"):
        make(None).check()
    with pytest.raises(ConfigError, match="LOOPBACK_KEY is not set"):
        make(api_key_env="LOOPBACK_KEY").check()
    monkeypatch.setenv("LOOPBACK_KEY", KEY)
    make(api_key_env="LOOPBACK_KEY").check()
    assert server.count == 0


def test_the_yaml_files_show_what_the_class_takes():
    files = choice_files("llm")
    shown = yaml.safe_load(files["http"].read_text(encoding="utf-8"))
    assert shown.pop("_target_") == f"{ChatEndpoint.__module__}.{ChatEndpoint.__name__}"
    parameters = inspect.signature(ChatEndpoint).parameters
    assert list(shown) == list(parameters)
    for name, parameter in parameters.items():
        if name not in ("url", "model", "cache_dir"):
            assert shown[name] == parameter.default, name
    openai = yaml.safe_load(files["openai"].read_text(encoding="utf-8"))
    assert openai.pop("defaults") == ["http@_here_"]
    built = ChatEndpoint(**{**shown, **openai, "cache_dir": None})
    assert built.client.address == "https://api.openai.com/v1"
