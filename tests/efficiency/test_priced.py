"""What experiments cost: real components against services on loopback, figures by hand."""

import json

import numpy as np
import pytest
from loopback import Loopback
from tiny import HashScorer, save_tokenizer, toy_dataset

from evalkit.efficiency.priced import check_cost, with_decisions
from evalkit.efficiency.prices import CostSettings
from evalkit.errors import ConfigError
from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.llm.chat import ChatEndpoint
from evalkit.report.cost import cost_quality_table, knee_table
from evalkit.report.prices import break_even_table, price_table
from evalkit.report.render import to_latex, to_markdown
from evalkit.rerankers.api import ApiReranker
from evalkit.rerankers.llm_pointwise import LLMPointwiseReranker
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.settings import BootstrapSettings, MeasureSettings, SweepSettings

DAY = {"date": "2026-11-21", "source": "a page"}
HERE = {"model": "here", "unit": "hour", "price": 3.6, **DAY}
FREE = {"model": "free", "unit": "hour", "price": 0, **DAY}


def line(model, unit, price, per=1, **more):
    return {"model": model, "unit": unit, "price": price, "per": per, **DAY, **more}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return toy_dataset(tmp_path_factory.mktemp("toy") / "toy", docs=40, queries=6)


@pytest.fixture
def server():
    with Loopback() as running:
        yield running


@pytest.fixture
def made(dataset, tmp_path):
    """made(rerankers, k): an experiment over BM25, whose caches are empty."""

    def make(rerankers, k=(5,), **more):
        return Experiment(
            dataset,
            {"bm25": BM25Retriever(cache_dir=tmp_path / "cache")},
            {"none": NoReranker(), **rerankers},
            SweepSettings(k=list(k)),
            MeasureSettings(["nDCG@10"]),
            BootstrapSettings(resamples=100),
            **more,
        )

    return make


def api(server, tmp_path, path="cohere", **settings):
    return ApiReranker(
        f"{server.url}/{path}", "m", cache_dir=tmp_path / "cache", docs_per_request=3, **settings
    )


def priced(experiment, latency=None, **settings):
    """The cost section, by run name, after a real run."""
    execution = ExecutionLog()
    results = experiment.run(execution)
    if latency is not None:
        systems = [
            {"system": name, "stages": {s: {"mean_ms": ms} for s, ms in stages.items()}}
            for name, stages in latency.items()
        ]
        results.efficiency["latency"] = {"systems": systems}
    cost = CostSettings(kind="on", **settings)
    check_cost(experiment, cost)
    return with_decisions(results, experiment, execution.work, cost)


def by_system(results):
    json.dumps(results.efficiency, allow_nan=False)
    return {s["system"]: s for s in results.efficiency["cost"]["systems"]}


def test_searches_are_billed_by_requests_and_docs(server, made, tmp_path):
    # Lists of 5 in requests of 3 docs: 3 and 2. A search holds 2 docs: 2 + 1 searches, at 2.00 a
    # thousand: .006 a query, 6.00 a thousand.
    experiment = made({"api": api(server, tmp_path)})
    results = priced(
        experiment, prices=[line("m", "search", 2.0, 1000, docs=2), FREE], machine="free"
    )
    assert all(results.runs["bm25+api+k5"].sizes >= 5)
    found = by_system(results)
    assert found["bm25+api+k5"]["usd_per_1k"] == pytest.approx(6.0)
    assert found["bm25"]["usd_per_1k"] == 0


def test_tokens_that_the_provider_billed(server, made, tmp_path, dataset):
    # Voyage's answers tell tokens; here they are words, a query's once a request.
    experiment = made({"api": api(server, tmp_path, "voyage", style="voyage")}, k=(6,))
    prices = [line("m", "input_token", 1.0, 1000), FREE]
    results = priced(experiment, prices=prices, machine="free")
    words = {q.query_id: len(q.text.split()) for q in dataset.queries}
    docs = {d.doc_id: len(d.render().split()) for d in dataset.docs_iter()}
    total = sum(
        2 * words[query] + sum(docs[doc] for doc in ids[:6])
        for query, ids in results.runs["bm25+api+k6"]
    )
    found = by_system(results)["bm25+api+k6"]
    assert found["usd_per_query"] == pytest.approx(total / len(words) / 1000)
    assert "billed in this run" in found["parts"][0]["counted"]
    # Once more, and nothing is billed: the cost is not known, and no zero.
    again = by_system(priced(experiment, prices=prices, machine="free"))["bm25+api+k6"]
    assert again["usd_per_query"] is None
    assert "billed no tokens" in again["notes"][0]


def test_tokens_by_a_real_tokenizer(server, made, tmp_path, dataset):
    from transformers import AutoTokenizer

    save_tokenizer(tmp_path / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")

    def length(text):
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    experiment = made({"api": api(server, tmp_path)}, k=(2, 4))
    prices = [line("m", "input_token", 1.0, tokenizer=str(tmp_path / "tokenizer")), FREE]
    results = priced(experiment, prices=prices, machine="free")
    queries = {q.query_id: length(q.text) for q in dataset.queries}
    docs = {d.doc_id: length(d.render()) for d in dataset.docs_iter()}
    for k in (2, 4):
        expected = np.mean(
            [
                sum(queries[query] + docs[doc] for doc in ids[:k])
                for query, ids in results.runs[f"bm25+api+k{k}"]
            ]
        )
        assert by_system(results)[f"bm25+api+k{k}"]["usd_per_query"] == pytest.approx(expected)


def test_an_estimate_by_characters_says_so(server, made, tmp_path):
    prices = [line("m", "input_token", 1.0, tokenizer="characters"), FREE]
    results = priced(made({"api": api(server, tmp_path)}), prices=prices, machine="free")
    assert "estimated, 4 characters" in by_system(results)["bm25+api+k5"]["parts"][0]["counted"]
    assert "estimated, 4 characters" in to_markdown(price_table(results))


def chat(server, tmp_path, **settings):
    server.answer = lambda messages: "yes"
    return ChatEndpoint(server.url + "/v1", "chat-m", cache_dir=tmp_path / "cache", **settings)


def test_a_language_models_tokens_in_and_out(server, made, tmp_path):
    # 4 docs a query, a prompt each; the answer is one token.
    model = chat(server, tmp_path)
    reranker = LLMPointwiseReranker(model, mode="generate", cache_dir=tmp_path / "cache")
    prices = [
        line("chat-m", "input_token", 0.1, 1000), line("chat-m", "output_token", 0.5, 1), FREE,
    ]  # fmt: skip
    results = priced(made({"llm": reranker}, k=(4,)), prices=prices, machine="free")
    assert all(results.runs["bm25+llm+k4"].sizes >= 4)
    sent = [
        sum(len(m["content"].split()) for m in request.payload["messages"])
        for request in server.requests
    ]
    found = by_system(results)["bm25+llm+k4"]
    expected = 4 * (np.mean(sent) * 0.1 / 1000 + 1 * 0.5)
    assert found["usd_per_query"] == pytest.approx(expected)


def test_a_price_in_the_components_own_settings_comes_first(server, made, tmp_path):
    own = api(server, tmp_path, price_per_request=0.01)
    results = priced(made({"api": own}), prices=[FREE], machine="free")
    assert by_system(results)["bm25+api+k5"]["usd_per_query"] == pytest.approx(0.02)
    part = by_system(results)["bm25+api+k5"]["parts"][0]
    assert part["source"] == "the settings of reranker.api"


def test_an_unknown_price_stops_the_run_before_it_begins(server, made, tmp_path):
    cost = CostSettings(kind="on", prices=[line("other", "search", 1.0)])
    with pytest.raises(ConfigError, match=r"no search price of 'm'.*list_prices\.yaml"):
        check_cost(made({"api": api(server, tmp_path)}), cost)
    reranker = LLMPointwiseReranker(chat(server, tmp_path), cache_dir=tmp_path / "cache")
    with pytest.raises(ConfigError, match="no input_token price of 'chat-m'"):
        check_cost(made({"llm": reranker}), cost)
    with pytest.raises(ConfigError, match=r"'nowhere' is known, only of here, free; add"):
        check_cost(made({}), CostSettings(kind="on", machine="nowhere", prices=[HERE, FREE]))
    assert server.count == 0
    check_cost(made({"api": api(server, tmp_path)}), CostSettings())  # cost=off asks for nothing


def local(tmp_path):
    return PointwiseReranker(HashScorer(), cache_dir=tmp_path / "cache")


def test_own_hardware_by_its_measured_time(made, tmp_path):
    # 3.60 an hour is .001 a second. 20 ms at half load: .00004 a query, 4 cents a thousand; 25
    # queries a second a machine.
    times = {"bm25": {"total": 2.0}, "bm25+hash+k5": {"total": 20.0, "rerank": 18.0}}
    results = priced(
        made({"hash": local(tmp_path)}), times, prices=[HERE], machine="here", qps=[10, 60]
    )
    found = by_system(results)["bm25+hash+k5"]
    assert found["usd_per_1k"] == pytest.approx(0.04)
    assert found["queries_per_second_per_machine"] == pytest.approx(25)
    assert [(m["machines"], m["usd"]) for m in found["monthly"]] == [
        (1, pytest.approx(3.6 * 730)), (3, pytest.approx(3 * 3.6 * 730)),
    ]  # fmt: skip
    front = {a["axis"]: a for a in results.efficiency["pareto"]["axes"]}
    assert set(front) == {"latency", "cost"}


def test_waiting_for_a_service_keeps_no_machine_busy(server, made, tmp_path):
    times = {"bm25": {"total": 2.0}, "bm25+api+k5": {"total": 120.0, "rerank": 115.0}}
    prices = [HERE, line("m", "search", 0.0)]
    found = by_system(
        priced(made({"api": api(server, tmp_path)}), times, prices=prices, machine="here")
    )
    assert found["bm25+api+k5"]["machine_ms"] == pytest.approx(5.0)


def test_what_is_not_known_is_said_and_has_no_price(made, tmp_path):
    results = priced(made({"hash": local(tmp_path)}), prices=[HERE], machine="here")
    found = by_system(results)["bm25+hash+k5"]
    assert found["usd_per_1k"] is None
    assert "latency=on" in found["notes"][0]
    notes = cost_quality_table(results).notes
    assert any(note.startswith("No cost of bm25: the time of bm25 on here") for note in notes)
    skipped = {"system": "bm25+hash+k5", "reason": "it learns from all queries"}
    results.efficiency["latency"] = {"systems": [], "protocol": {"skipped": [skipped]}}
    settings = CostSettings(kind="on", prices=[HERE], machine="here")
    again = by_system(with_decisions(results, made({"hash": local(tmp_path)}), {}, settings))
    assert again["bm25+hash+k5"]["notes"] == [
        "the time of bm25+hash+k5 on here was not measured: it learns from all queries"
    ]
    unnamed = by_system(priced(made({}), prices=[HERE]))["bm25"]
    assert unnamed["notes"][0].endswith("name its machine: cost.machine=here")


def test_a_service_in_place_of_a_component(made, tmp_path):
    # The reranker's stage takes 18 ms: 27.8 queries a second at half load. A search is .002; the
    # machine costs .001 a second: break-even at .5 queries a second.
    times = {"bm25": {"total": 2.0}, "bm25+hash+k5": {"total": 20.0, "rerank": 18.0}}
    results = priced(
        made({"hash": local(tmp_path)}), times, machine="here",
        prices=[HERE, line("rerank-x", "search", 2.0, 1000)], instead=["reranker.hash:rerank-x"],
    )  # fmt: skip
    (found,) = results.efficiency["cost"]["alternatives"]
    assert (found["system"], found["model"]) == ("bm25+hash+k5", "rerank-x")
    assert found["usd_per_1k"] == pytest.approx(2.0)
    assert found["break_even_qps"] == pytest.approx(0.5)
    for table in (break_even_table(results), cost_quality_table(results), knee_table(results)):
        assert to_markdown(table)
        assert to_latex(table)


def test_embeddings_are_priced_for_queries_and_the_index(made, tmp_path, dataset):
    prices = [HERE, line("embed-x", "input_token", 1.0, tokenizer="characters")]
    results = priced(
        made({}), {"bm25": {"total": 2.0}}, prices=prices, machine="here",
        instead=["retriever.bm25:embed-x"],
    )  # fmt: skip
    (found,) = results.efficiency["cost"]["alternatives"]
    build = sum(-(-len(doc.render()) // 4) for doc in dataset.docs_iter())
    asked = np.mean([-(-len(query.text) // 4) for query in dataset.queries])
    assert (found["build"], found["per_query"]) == (build, pytest.approx(asked))


@pytest.mark.parametrize(
    ("instead", "message"),
    [
        (["reranker.missing:m"], "'reranker.missing' is no selected component"),
        (["reranker.api:m"], "reranker.api asks a service already"),
        (["retriever.bm25"], "expected COMPONENT:MODEL"),
        (["retriever.bm25:embed"], "the tokens that embed would count"),
    ],
)
def test_services_that_cannot_be_compared(server, made, tmp_path, instead, message):
    prices = [line("m", "search", 1.0), line("embed", "input_token", 1.0)]
    cost = CostSettings(kind="on", prices=prices, instead=instead)
    with pytest.raises(ConfigError, match=message):
        check_cost(made({"api": api(server, tmp_path)}), cost)
