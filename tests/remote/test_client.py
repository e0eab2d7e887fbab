"""The HTTP client against a real server that misbehaves: retries, budget, store, keys."""

import logging
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import pytest
from loopback import Fault, Loopback, cut, garbage, relevance, slow, status

from evalkit.errors import ConfigError, OutputError, RemoteError
from evalkit.remote.address import checked_address
from evalkit.remote.budget import Budget, usage_of
from evalkit.remote.client import HttpClient, Malformed
from evalkit.remote.delivery import Delivery, retry_after
from evalkit.remote.key import ApiKey
from evalkit.remote.responses import ResponseStore

KEY = "sk-distinctive-0123456789abcdef"


@pytest.fixture
def server():
    with Loopback() as running:
        yield running


@pytest.fixture
def make(server, tmp_path):
    """A client of the server; its waits are written down, and waited only if `patient`."""

    def build(budget=None, api_key_env=None, version="", patient=False, **delivery):
        client = HttpClient(
            server.url, api_key_env, Delivery(**delivery), budget or Budget(),
            tmp_path / "cache", version,
        )  # fmt: skip
        client.waits = []
        if not patient:
            client.sleep = lambda seconds, stopped: client.waits.append(seconds)
        return client

    return build


def payloads(count):
    return [{"query": "a", "documents": [f"a {i}"]} for i in range(count)]


def scores(answers):
    return [answer["results"][0]["relevance_score"] for answer in answers]


def expected(count):
    return [relevance("a", f"a {i}") for i in range(count)]


def test_answers_come_in_the_order_of_the_payloads_and_never_twice(server, make):
    server.fault = lambda received: slow(0.05) if "a 0" in str(received.payload) else None
    client = make()
    assert scores(client.post_all("/rerank", payloads(9))) == expected(9)
    assert server.count == 9
    asked_twice = payloads(9) + payloads(11)
    again = make()
    assert scores(again.post_all("/rerank", asked_twice)) == expected(9) + expected(11)
    assert server.count == 11
    assert again.work == {
        "requests": 2, "reused": 18, "retries": 0, "input_tokens": 6, "output_tokens": 0,
    }  # fmt: skip


def test_another_version_path_or_payload_is_another_question(server, make):
    make().post_all("/rerank", payloads(1))
    make(version="2026-11").post_all("/rerank", payloads(1))
    make().post_all("/v1/rerank", payloads(1))
    make().post_all("/rerank", [{**payloads(1)[0], "model": "other"}])
    assert server.count == 4


@pytest.mark.parametrize(
    "fault",
    [status(429), status(500), status(503), status(408), garbage(), garbage(""), cut(), slow(0.6)],
    ids=["429", "500", "503", "408", "garbage", "empty", "cut", "slow"],
)
def test_what_fails_for_the_moment_is_tried_again(server, make, fault):
    server.script += [fault, None, fault, fault]
    client = make(retries=3, timeout=0.3, concurrency=1)
    assert scores(client.post_all("/rerank", payloads(4))) == expected(4)
    assert server.count == 4 + 3
    assert client.work["requests"] == 7
    assert client.work["retries"] == 3
    assert [0.5 <= client.waits[0] <= 1, 0.5 <= client.waits[1] <= 1] == [True, True]
    assert 1 <= client.waits[2] <= 2  # the second wait of one request


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_request_is_tried_as_often_as_configured_and_no_more(server, make, retries):
    server.fault = lambda received: status(500) if "a 2" in str(received.payload) else None
    client = make(retries=retries, concurrency=1)
    with pytest.raises(RemoteError, match=r"rerank: the server answers 500"):
        client.post_all("/rerank", payloads(3))
    failed = [r for r in server.requests if "a 2" in str(r.payload)]
    assert len(failed) == 1 + retries
    assert len(client.waits) == retries
    # The two that were answered are kept.
    server.fault = lambda received: None
    assert scores(make().post_all("/rerank", payloads(3))) == expected(3)
    assert server.count == 2 + len(failed) + 1


def test_an_answer_that_does_not_pass_the_check_is_tried_again_and_not_stored(server, make):
    seen = []

    def check(payload, answer):
        seen.append(answer)
        if len(seen) == 1:
            raise Malformed("query 'a': wrong")

    client = make()
    assert scores(client.post_all("/rerank", payloads(1), check)) == expected(1)
    assert server.count == 2

    def never(payload, answer):
        raise Malformed("query 'a': wrong")

    with pytest.raises(RemoteError, match=r"query 'a': wrong \(2 tries\)"):
        make(retries=1).post_all("/rerank", payloads(1), never)
    assert server.count == 4  # what is stored and fails the check is asked anew, too


def test_the_server_says_how_long_to_wait(server, make):
    at = 1_000_000.0
    server.script += [status(429, "7"), status(503, formatdate(at + 11, usegmt=True)),
                      status(429, "soon")]  # fmt: skip
    client = make(concurrency=1)
    client.now = lambda: at
    client.post_all("/rerank", payloads(1))
    assert client.waits[:2] == [7, 11]
    assert 2 <= client.waits[2] <= 4  # nonsense in the header: the usual backoff


def test_a_wait_beyond_the_longest_ends_the_run_and_says_so(server, make):
    server.script += [status(429, "3600")]
    client = make(longest_wait=30)
    with pytest.raises(RemoteError, match=r"wait 3600 s, more than longest_wait=30"):
        client.post_all("/rerank", payloads(1))
    assert client.waits == []
    assert server.count == 1


def test_waits_are_real_without_a_fake_clock(server, make):
    server.script += [status(429, "1")]
    make(patient=True).post_all("/rerank", payloads(1))
    assert 1 <= server.requests[1].at - server.requests[0].at < 3


def test_retry_after_is_read_in_both_forms():
    assert retry_after(None, 0) is None
    assert retry_after("120", 0) == 120
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40.0) == 60
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 400.0) == 0
    assert retry_after("-3", 0) is None
    assert retry_after("tomorrow", 0) is None


def test_backoff_doubles_up_to_the_longest_wait():
    delivery = Delivery(longest_wait=10)
    for retry, most in enumerate([1, 2, 4, 8, 10, 10]):
        waits = [delivery.backoff(retry) for _ in range(50)]
        assert most / 2 <= min(waits)
        assert max(waits) <= most
        assert len(set(waits)) > 1


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_requests_are_under_way_than_allowed(server, make, limit):
    server.delay = 0.03
    assert scores(make(concurrency=limit).post_all("/rerank", payloads(12))) == expected(12)
    assert server.most_at_once == limit


@pytest.mark.parametrize(
    ("code", "env", "words"),
    [(401, "LOOPBACK_KEY", "the key in LOOPBACK_KEY is not accepted"),
     (403, "LOOPBACK_KEY", "the key in LOOPBACK_KEY is not accepted"),
     (401, None, "it wants a key; export one"),
     (404, None, r"refused \(404\): .*no such model"),
     (422, None, r"refused \(422\): .*no such model")],
)  # fmt: skip
def test_other_refusals_end_the_run_at_once(server, make, monkeypatch, code, env, words):
    monkeypatch.setenv("LOOPBACK_KEY", KEY)
    body = f'{{"error":\n "no such model", "key": "{KEY}"}}'
    server.script += [status(code, body=body)]
    with pytest.raises(RemoteError, match=words) as raised:
        make(api_key_env=env).post_all("/rerank", payloads(1))
    assert server.count == 1
    assert "\n" not in str(raised.value)
    if env:
        assert KEY not in str(raised.value)


def test_a_server_that_is_not_there_is_an_error_in_one_line(make, server, tmp_path):
    client = HttpClient("http://127.0.0.1:9", None, Delivery(retries=1), Budget(), tmp_path)
    client.sleep = lambda seconds, stopped: None
    with pytest.raises(RemoteError, match=r"127.0.0.1:9/rerank: connection failed .* \(2 tries\)"):
        client.post_all("/rerank", payloads(1))


def test_the_request_budget_is_kept_and_a_larger_one_goes_on(server, make):
    with pytest.raises(RemoteError, match=r"max_requests=4 reached after 4 requests; the answers"):
        make(budget=Budget(max_requests=4), concurrency=3).post_all("/rerank", payloads(10))
    assert server.count == 4
    larger = make(budget=Budget(max_requests=6))
    assert scores(larger.post_all("/rerank", payloads(10))) == expected(10)
    assert server.count == 10
    assert larger.work["reused"] == 4
    nothing = make(budget=Budget(max_requests=0))
    assert scores(nothing.post_all("/rerank", payloads(10))) == expected(10)


def test_retries_count_against_the_budget(server, make):
    server.fault = lambda received: status(500)
    with pytest.raises(RemoteError, match="max_requests=3"):
        make(budget=Budget(max_requests=3), concurrency=1).post_all("/rerank", payloads(1))
    assert server.count == 3


def test_the_cost_budget_counts_requests_that_are_under_way(server, make):
    server.delay = 0.02
    budget = Budget(max_cost=0.005, price_per_request=0.001)
    client = make(budget=budget, concurrency=8)
    with pytest.raises(RemoteError, match=r"max_cost=0.005 reached after 5 requests, 0.00\d+ USD"):
        client.post_all("/rerank", payloads(20))
    assert server.count == 5
    assert client.work["cost_microusd"] == 5000


def test_the_cost_budget_counts_tokens(server, make):
    # Each request reads 3 tokens ("a", "a 0"): 3 dollars at a dollar a token.
    budget = Budget(max_cost=10.0, input_price=1e6)
    client = make(budget=budget, concurrency=1)
    with pytest.raises(RemoteError, match=r"max_cost=10.0 reached after 3 requests, 9.0000 USD"):
        client.post_all("/rerank", payloads(20))
    assert server.count == 3


def test_usage_is_read_as_each_provider_gives_it():
    openai = {"usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}
    jina = {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 815}}
    cohere = {"meta": {"billed_units": {"search_units": 2.0}, "tokens": {"input_tokens": 7.0}}}
    assert usage_of(openai) == (9, 3, 1)
    assert usage_of(jina) == (815, 0, 1)
    assert usage_of({"usage": {"total_tokens": 5}}) == (5, 0, 1)
    assert usage_of(cohere) == (7, 0, 2)
    assert usage_of([{"index": 0, "score": 1.0}]) == (0, 0, 1)
    assert usage_of({"usage": None, "meta": "none"}) == (0, 0, 1)


def test_an_interrupt_keeps_what_has_come_and_what_is_under_way(server, make):
    client = make(concurrency=2)
    original = client._store.put

    def put(key, answer):
        original(key, answer)
        if server.count >= 4:
            raise KeyboardInterrupt

    client._store.put = put
    with pytest.raises(KeyboardInterrupt):
        client.post_all("/rerank", payloads(12))
    before = server.count
    assert before < 12
    resumed = make()
    assert scores(resumed.post_all("/rerank", payloads(12))) == expected(12)
    assert server.count == 12  # each once
    assert resumed.work["reused"] == before


def test_a_signal_interrupts_a_waiting_run(server, make):
    server.fault = lambda received: status(503, "30")
    client = make(concurrency=2, patient=True)
    main = threading.get_ident()
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.post_all("/rerank", payloads(6))
    assert time.monotonic() - start < 5
    timer.join()


# Keys


def traceback_of(raised):
    """Our frames of a traceback, with their variables; the test's own, the first, is left out."""
    frames = raised.tb.tb_next
    assert frames is not None
    found = traceback.TracebackException(raised.type, raised.value, frames, capture_locals=True)
    return "".join(found.format())


def test_the_key_is_sent_and_shown_nowhere(server, make, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("LOOPBACK_KEY", f" {KEY}\n")
    caplog.set_level(logging.DEBUG)  # httpx and httpcore tell every step
    client = make(api_key_env="LOOPBACK_KEY", retries=1, timeout=0.3)
    echo = f'{{"results": [{{"index": 0, "relevance_score": 1.0}}], "you": "{KEY}"}}'
    server.script += [Fault(body=echo)]
    assert "***" in str(client.post_all("/rerank", payloads(1)))
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    faults = [
        status(401, body=KEY), status(400, body=f"bad key {KEY}"), cut(), slow(0.6),
        garbage(f"{{{KEY}"), status(500, body=KEY),
    ]  # fmt: skip
    for i, fault in enumerate(faults):
        server.script += [fault, fault]
        with pytest.raises(RemoteError) as raised:
            client.post_all("/rerank", [{"query": f"{i}", "documents": ["a"]}])
        assert KEY not in traceback_of(raised)
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None
        server.script.clear()
    assert caplog.records
    assert KEY not in caplog.text
    assert not any(KEY in repr(vars(record)) for record in caplog.records)
    assert KEY not in repr(client) + repr(vars(client)) + repr(client._http.auth)
    assert KEY not in repr(vars(client._key)) + str(client._http.headers)
    client._store.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in path.read_bytes() for path in files)


def test_a_key_that_is_not_there_or_is_none_is_refused_before_anything_is_sent(
    server, make, monkeypatch
):
    client = make(api_key_env="LOOPBACK_KEY")  # building asks for nothing
    monkeypatch.delenv("LOOPBACK_KEY", raising=False)
    with pytest.raises(ConfigError, match="LOOPBACK_KEY is not set; export LOOPBACK_KEY=KEY"):
        client.check()
    for bad in ("two words of-a-key", "line\nbreak", "größe"):
        monkeypatch.setenv("LOOPBACK_KEY", bad)
        with pytest.raises(ConfigError, match="LOOPBACK_KEY holds") as raised:
            client.post_all("/rerank", payloads(1))
        assert bad not in traceback_of(raised)
    assert server.count == 0


@pytest.mark.parametrize("value", ["sk-proj-1234", "jina_0123abcd", "LOOPBACK KEY", ""])
def test_a_key_in_place_of_its_variable_is_refused_and_not_shown(value):
    with pytest.raises(ConfigError, match="give the variable's name") as raised:
        ApiKey(value)
    assert not value or value not in str(raised.value)


def test_a_placeholder_for_a_key_is_not_scrubbed_from_answers(monkeypatch):
    monkeypatch.setenv("LOOPBACK_KEY", "EMPTY")
    key = ApiKey("LOOPBACK_KEY")
    assert key.scrub_answer("the list is EMPTY") == "the list is EMPTY"
    assert key.scrub("the list is EMPTY") == "the list is ***"
    assert repr(key) == "ApiKey(LOOPBACK_KEY)"


@pytest.mark.parametrize(
    ("url", "words"),
    [("localhost:8000", "expected an address such as"), ("ftp://host/x", "expected an address"),
     ("http://host:port", "expected an address"), ("", "expected an address"),
     ("https://user:secret-word@host/v1", "url of host: give no user"),
     ("https://host/v1?key=secret-word", "url of host: give no user")],
)  # fmt: skip
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url, words):
    with pytest.raises(ConfigError, match=words) as raised:
        checked_address(url)
    assert "secret-word" not in str(raised.value)
    assert checked_address("https://host:1/v2/ ") == "https://host:1/v2"


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [(Delivery, "concurrency", 0), (Delivery, "timeout", 0), (Delivery, "retries", -1),
     (Delivery, "longest_wait", float("nan")), (Budget, "max_requests", -1),
     (Budget, "max_cost", -0.1), (Budget, "max_cost", 1.0), (Budget, "input_price", -1.0)],
)  # fmt: skip
def test_bad_settings_are_refused(kind, setting, value):
    with pytest.raises(ConfigError, match=f"{setting}="):
        kind(**{setting: value})


# The store


def test_a_store_holds_what_was_put_for_other_threads_and_processes(tmp_path):
    store = ResponseStore(tmp_path)
    assert store.get(b"a") is None
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.put(b"%d" % i, f'"答 {i}"'), range(40)))
    program = (
        "import sys; from pathlib import Path; from evalkit.remote.responses import ResponseStore\n"
        f"store = ResponseStore(Path({str(tmp_path)!r}))\n"
        "for i in range(30): store.put(f'{sys.argv[1]}-{i}'.encode(), str(i))"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, name]) for name in "xyz"]
    for i in range(40, 60):
        store.put(b"%d" % i, f'"答 {i}"')
    assert [process.wait() for process in running] == [0, 0, 0]
    assert [store.get(b"%d" % i) for i in range(60)] == [f'"答 {i}"' for i in range(60)]
    assert all(store.get(f"{n}-{i}".encode()) == str(i) for n in "xyz" for i in range(30))


@pytest.mark.parametrize("damage", ["garbage", "page"])
def test_a_damaged_store_is_set_aside_and_filled_anew(tmp_path, caplog, damage):
    store = ResponseStore(tmp_path)
    for i in range(40):
        store.put(b"%d" % i, '"' + "x" * 3000 + '"')
    store.close()
    content = bytearray(store.path.read_bytes())
    if damage == "garbage":
        content[:] = b"no database at all " * 100
    else:
        content[4096 : len(content) - 4096] = b"\xff" * (len(content) - 8192)
    store.path.write_bytes(content)
    assert store.get(b"7") is None
    assert "is damaged" in caplog.text
    assert "set aside" in caplog.text
    assert store.path.with_suffix(".damaged").is_file()
    store.put(b"7", "1")
    assert store.get(b"7") == "1"
    assert ResponseStore(tmp_path).get(b"7") == "1"


def test_a_damaged_answer_is_asked_again(tmp_path, caplog):
    store = ResponseStore(tmp_path)
    store.put(b"a", '{"score": 1.5}')
    with sqlite3.connect(store.path) as other:
        other.execute("UPDATE responses SET answer = replace(answer, '1.5', '9.5')")
    assert store.get(b"a") is None
    assert "damaged answer" in caplog.text


def test_a_store_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="answers cannot be kept"):
        ResponseStore(tmp_path / "file" / "responses").put(b"a", "1")
