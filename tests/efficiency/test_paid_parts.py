"""Services inside cascades and fusions are priced for what reaches them; intervals of cost."""

from dataclasses import replace

import numpy as np
import pytest
from loopback import Loopback
from tiny import HashScorer, save_cross_encoder, toy_dataset

from evalkit.assembly import connected_rerankers
from evalkit.efficiency.fronts import axes_of
from evalkit.efficiency.paid_parts import paid_parts
from evalkit.efficiency.priced import check_cost, with_decisions
from evalkit.efficiency.prices import CostSettings
from evalkit.errors import ConfigError
from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.report.cost import cost_quality_table
from evalkit.report.prices import break_even_table
from evalkit.rerankers.api import ApiReranker
from evalkit.rerankers.cascade import CascadeReranker
from evalkit.rerankers.fused import FusedReranker
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.passages import PassageReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.settings import BootstrapSettings, MeasureSettings, SweepSettings

DAY = {"date": "2026-11-21", "source": "a page"}
HERE = {"model": "here", "unit": "hour", "price": 3.6, **DAY}
FREE = {"model": "free", "unit": "hour", "price": 0, **DAY}
SEARCH = {"model": "m", "unit": "search", "price": 2.0, "per": 1000, **DAY}
TOKENS = {"model": "m", "unit": "input_token", "price": 1.0, "per": 1000, **DAY}


@pytest.fixture
def made(tmp_path):
    """made(style, k): hash, api, cascade (4 of its docs to api), fused and both, over BM25."""
    cache = tmp_path / "cache"
    dataset = toy_dataset(tmp_path / "toy", docs=40, queries=6)
    retrievers = {"bm25": BM25Retriever(cache_dir=cache)}

    def make(style, k):
        rerankers = connected_rerankers(
            dataset,
            retrievers,
            {
                "hash": PointwiseReranker(HashScorer(), cache_dir=cache),
                "api": ApiReranker(
                    f"{server.url}/{style}", "m", style, docs_per_request=3, cache_dir=cache
                ),
                "cascade": CascadeReranker(["hash 4", "api"]),
                "fused": FusedReranker("api"),
                "both": CascadeReranker(["hash 2", "fused"]),
            },
        )
        return Experiment(
            dataset,
            retrievers,
            {"none": NoReranker(), **rerankers},
            SweepSettings(k=[k]),
            MeasureSettings(["nDCG@10"]),
            BootstrapSettings(resamples=100),
        )

    with Loopback() as server:
        yield make


def priced(experiment, latency=None, **settings):
    execution = ExecutionLog()
    results = experiment.run(execution)
    if latency is not None:
        systems = [{"system": name, "stages": stages} for name, stages in latency.items()]
        results.efficiency["latency"] = {"systems": systems}
    cost = CostSettings(kind="on", **settings)
    check_cost(experiment, cost)
    return with_decisions(results, experiment, execution.work, cost)


def by_system(results):
    return {s["system"]: s for s in results.efficiency["cost"]["systems"]}


def stages(**ms):
    """Means with intervals of ± a tenth."""
    return {
        name: {"mean_ms": at, "ci": {"mean_ms": [0.9 * at, 1.1 * at]}} for name, at in ms.items()
    }


def test_each_part_is_given_what_reaches_it(made):
    rerankers = made("cohere", 8).rerankers
    sizes = np.array([8, 3, 1])
    assert paid_parts(rerankers["hash"], sizes) == []
    (cascade,) = paid_parts(rerankers["cascade"], sizes)
    assert (cascade.name, cascade.path, cascade.given.tolist()) == ("api", "api", [4, 3, 1])
    (both,) = paid_parts(rerankers["both"], sizes)
    assert (both.name, both.path, both.given.tolist()) == ("api", "fused api", [2, 2, 1])


def test_searches_of_a_part(made):
    # Lists of 8 in requests of 3 docs: 3 searches at .002. The cascade passes 4 on: 2. Both: 1.
    found = by_system(priced(made("cohere", 8), prices=[SEARCH, FREE], machine="free"))
    usd = {name: found[f"bm25+{name}+k8"]["usd_per_1k"] for name in ("api", "fused", "cascade")}
    assert usd == {"api": pytest.approx(6), "fused": pytest.approx(6), "cascade": pytest.approx(4)}
    assert found["bm25+both+k8"]["usd_per_1k"] == pytest.approx(2)
    assert found["bm25+hash+k8"]["usd_per_1k"] == 0
    (part,) = found["bm25+cascade+k8"]["parts"]
    assert (part["component"], part["per_query"]) == ("reranker.api", pytest.approx(2))
    assert "at most" in part["counted"]


def test_a_part_that_is_no_system_of_its_own_is_priced_and_checked(made):
    experiment = made("cohere", 8)
    hidden = {n: r for n, r in experiment.rerankers.items() if n not in ("api", "hash", "fused")}
    experiment = replace(experiment, rerankers=hidden)
    found = by_system(priced(experiment, prices=[SEARCH, FREE], machine="free"))
    assert found["bm25+cascade+k8"]["usd_per_1k"] == pytest.approx(4)
    with pytest.raises(ConfigError, match=r"no search price of 'm'"):
        check_cost(experiment, CostSettings(kind="on", prices=[FREE], machine="free"))


def test_a_part_that_is_asked_for_windows_has_no_price_and_that_is_said(made, tmp_path):
    experiment = made("cohere", 8)
    model = str(save_cross_encoder(tmp_path / "model"))
    windows = PassageReranker("api", window=8, stride=8, tokenizer=model)
    named = connected_rerankers(
        experiment.dataset,
        experiment.retrievers,
        {"api": experiment.rerankers["api"], "passages": windows},
    )
    rerankers = {"none": NoReranker(), "passages": named["passages"]}
    results = priced(
        replace(experiment, rerankers=rerankers), prices=[SEARCH, FREE], machine="free"
    )
    found = by_system(results)["bm25+passages+k8"]
    assert found["usd_per_1k"] is None
    assert "reranker.passages asks api for parts of docs" in found["notes"][0]
    with pytest.raises(ConfigError, match=r"no search price of 'm'"):
        check_cost(replace(experiment, rerankers=rerankers), CostSettings(kind="on", prices=[FREE]))


def test_tokens_that_a_part_was_billed(made):
    experiment = made("voyage", 8)
    found = by_system(priced(experiment, prices=[TOKENS, FREE], machine="free"))
    alone, within = (found[f"bm25+{name}+k8"]["parts"][0] for name in ("api", "cascade"))
    # Its answers were at hand, from the system of its own: the same mean a pair, for 4 of 8 docs.
    assert within["per_query"] == pytest.approx(alone["per_query"] / 2)
    assert within["per_query"] > 0


def test_a_machine_that_waits_for_a_part_is_priced_at_most_and_that_is_said(made):
    results = priced(
        made("cohere", 8),
        {"bm25": stages(total=2.0), "bm25+cascade+k8": stages(total=100.0, rerank=98.0)},
        prices=[SEARCH, HERE], machine="here",
    )  # fmt: skip
    found = by_system(results)["bm25+cascade+k8"]
    assert found["machine_ms"] == pytest.approx(100)
    assert found["waits_for"] == ["api"]
    notes = " ".join(cost_quality_table(results).notes)
    assert "bm25+cascade+k8: the machine is priced as busy while it waits for api" in notes


def test_a_cost_by_measured_time_has_the_interval_of_that_time(made):
    # .001 USD a second at half load: 2 ms cost .004 a thousand, 98 - 95 ms of it are no waiting.
    latency = {
        "bm25": stages(total=2.0),
        "bm25+hash+k8": stages(total=20.0, rerank=18.0),
        "bm25+api+k8": stages(total=100.0, rerank=80.0),
    }
    results = priced(made("cohere", 8), latency, prices=[SEARCH, HERE], machine="here")
    found = by_system(results)
    assert found["bm25+hash+k8"]["usd_per_1k_ci"] == pytest.approx([0.036, 0.044])
    # The service's searches, exact, and 20 ms that are 90 - 88 to 110 - 72.
    assert found["bm25+api+k8"]["usd_per_1k_ci"] == pytest.approx([6 + 0.004, 6 + 0.076])
    cost = next(axis for axis in axes_of(results.efficiency) if axis.name == "cost")
    assert cost.of("bm25+hash+k8")[1] == pytest.approx((0.036, 0.044))
    exact = by_system(priced(made("cohere", 8), prices=[SEARCH, FREE], machine="free"))
    assert exact["bm25+api+k8"]["usd_per_1k_ci"] is None


def test_embeddings_of_a_service_are_compared_with_encoding_and_not_with_the_search(made):
    # .001 USD a second at half load: 4 ms of encoding are .008 a thousand; all 20 ms were .04.
    embedding = {**TOKENS, "model": "embed", "tokenizer": "characters"}
    latency = {"bm25": stages(total=20.0, query_encoding=4.0)}
    asked = {"prices": [embedding, SEARCH, HERE], "machine": "here"}
    results = priced(made("cohere", 8), latency, **asked, instead=["retriever.bm25:embed"])
    (found,) = results.efficiency["cost"]["alternatives"]
    assert (found["stage"], found["machine_ms"]) == ("query_encoding", 4.0)
    assert found["machine_usd_per_1k"] == pytest.approx(0.008)
    assert "replaces (encoding the query)" in " ".join(break_even_table(results).notes)
