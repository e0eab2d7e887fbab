"""Whole runs against a rerank server on loopback; the key is then searched for everywhere."""

import json

import pytest
from loopback import Loopback, relevance, status, too_few

KEY = "sk-distinctive-0123456789abcdef"


@pytest.fixture
def server():
    with Loopback() as running:
        yield running


@pytest.fixture
def command(server, small, place, monkeypatch):
    """The arguments of a run with the server as reranker; the key is in the environment."""
    monkeypatch.setenv("LOOPBACK_KEY", KEY)
    rerank = "reranker.rerank_api"
    return (
        *small, "reranker=[none,rerank_api]", "sweep.k=[2,4]", f"{rerank}.url={server.url}",
        f"{rerank}.model=m", f"{rerank}.api_key_env=LOOPBACK_KEY", f"{rerank}.longest_wait=1",
        f"{rerank}.docs_per_request=3", f"cache_dir={place}/cache", f"hydra.run.dir={place}/out",
    )  # fmt: skip


def no_key(place, *texts):
    """The key is in none of the texts and in no file, by content or by name."""
    assert not any(KEY in text for text in texts)
    files = [path for path in place.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in path.read_bytes() or KEY in str(path) for path in files)
    return files


def test_a_run_scores_by_the_server_and_keeps_the_key_to_itself(
    server, command, shell, cli, place, collection
):
    server.script += [status(500), too_few()]
    process = shell(*command, "hydra.verbose=true")  # every library's debug log
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    files = no_key(place, out, err)
    assert any(path.name == "responses.sqlite3" for path in files)
    sent = [request.headers["authorization"] for request in server.requests]
    assert set(sent) == {f"Bearer {KEY}"}
    work = json.loads((place / "out" / "execution.json").read_text())["work"]["reranker.rerank_api"]
    assert work["requests"] == server.count
    assert work["retries"] == 2
    docs = {d["_id"]: d["text"] for d in map(json.loads, collection.corpus.open())}
    run_file = next((place / "out" / "runs").glob("*rerank_api*4*.trec")).read_text()
    first = [line.split() for line in run_file.splitlines() if line.startswith("q1 ")]
    scores = {fields[2]: float(fields[4]) for fields in first}
    for doc_id in [fields[2] for fields in first][:2]:
        assert scores[doc_id] == pytest.approx(relevance("cat on mat", docs[doc_id]), rel=1e-5)
    # Once more: nothing is sent.
    before = server.count
    assert cli(*command).code == 0
    assert server.count == before


@pytest.mark.parametrize(
    ("code", "words"),
    [(401, "the key in LOOPBACK_KEY is not accepted"), (400, "refused (400)"),
     (429, "more than longest_wait=1")],
)  # fmt: skip
def test_a_run_that_fails_says_so_in_a_line_without_the_key(
    server, command, cli, place, code, words
):
    server.fault = lambda received: status(code, "60", body=f'{{"you sent": "{KEY}"}}')
    exit_code, out, err = cli(*command)
    assert exit_code == 2
    assert err.startswith("evalkit: ")
    assert err.count("\n") == 1
    assert words in err
    no_key(place, out, err)


def test_a_budget_that_is_spent_ends_the_run_and_the_next_goes_on(server, command, cli, place):
    exit_code, out, err = cli(*command, "reranker.rerank_api.max_requests=2")
    assert exit_code == 2
    assert "max_requests=2 reached after 2 requests; the answers are kept" in err
    assert server.count == 2
    first = [json.dumps(request.payload) for request in server.requests]
    assert cli(*command).code == 0
    assert not set(first) & {json.dumps(request.payload) for request in server.requests[2:]}
    no_key(place, out, err)


def test_the_dry_run_shows_the_cost_and_sends_nothing(server, command, cli, place):
    assert cli(*command).code == 0
    sent = server.count
    code, out, _ = cli(*command, "dry_run=true", "reranker.rerank_api.price_per_request=1.0")
    assert code == 0
    assert f"at most {sent} requests, {100 * sent} US cents" in out
    assert server.count == sent


@pytest.mark.parametrize("task", ["run", "probe"])
def test_a_dry_run_notes_that_the_key_is_missing(cli, small, place, monkeypatch, task):
    monkeypatch.delenv("COHERE_API_KEY", raising=False)
    asked = (*small, f"task={task}", "reranker=[none,cohere]", f"hydra.run.dir={place}/out")
    code, out, err = cli(*asked, "dry_run=true")
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if "COHERE_API_KEY" in line]
    assert line.startswith("A run would be refused: the environment variable COHERE_API_KEY")
    assert "reranker.cohere.api_key_env=NAME" in line
    code, _, err = cli(*asked)
    assert code == 2
    assert "COHERE_API_KEY is not set" in err
