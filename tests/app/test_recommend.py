"""From one command to a priced output, a recommendation and a cache simulation."""

import json

import pytest

from evalkit.choices import data_folder
from evalkit.efficiency.prices import CostSettings, price_list, read_prices

FAST = (
    "reranker=[none,bi_encoder]", "sweep.k=[2,4]", "latency=on", "latency.queries=4",
    "latency.repeats=2", "latency.budget_s=20", "latency.warmup=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from tiny import save_bi_encoder

    return save_bi_encoder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def output(cli, small, place, model):
    """A finished output with latencies and costs."""
    arguments = (
        *small, *FAST, f"reranker.bi_encoder.model={model}", f"cache_dir={place}/cache",
        "cost=list_prices", "cost.machine=aws_m7g_large",
        "cost.instead=[reranker.bi_encoder:rerank-v3.5]", f"hydra.run.dir={place}/out",
    )  # fmt: skip
    done = cli(*arguments)
    assert done.code == 0, done.err
    return place / "out"


def test_a_priced_run_is_recommended_from(output, cli, place, small, model):
    results = json.loads((output / "results.json").read_text())
    cost = results["efficiency"]["cost"]
    assert cost["machine"]["price"] == 0.0816
    for system in cost["systems"]:
        busy = system["machine_ms"] / 1000
        assert system["usd_per_query"] == pytest.approx(0.0816 / 3600 * busy / 0.5)
    assert "By latency" in (output / "table.md").read_text()
    # The choice, its evidence, the deadline.
    done = cli(
        "task=recommend", f"path={output}", "budget.p95_ms=100000", "budget.usd_per_1k=100",
        "deadline_ms=0.0001", "tracking=off", f"hydra.run.dir={place}/rec",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "Choice: " in done.out
    told = json.loads((place / "rec" / "recommendation.json").read_text())
    assert told["budget"] == {"p95_ms": 100000, "usd_per_1k": 100}
    best = max(s["measures"][told["measure"]] for s in results["systems"] if s["n"] is None)
    assert told["best"]["quality"] == best
    # A deadline that nothing meets, the fallback neither, leaves no answer; the first stage's
    # quality would be that of a ranking which nobody has by then.
    assert [d["degraded"] for d in told["deadline"]] == [1.0, 1.0]
    assert [d["unanswered"] for d in told["deadline"]] == [1.0, 1.0]
    assert [d["quality"] for d in told["deadline"]] == [0.0, 0.0]
    assert all(d["fallback"] > 0 for d in told["deadline"])
    assert [k["measured"] for k in told["largest_k"]] == [4]
    # A budget that nothing fits, and a measure that is not there: one line each.
    none = cli("task=recommend", f"path={output}", "budget.p95_ms=0.00001", "tracking=off")
    assert none.code == 2
    assert "fits the budget" in none.err
    wrong = cli(
        "task=recommend", f"path={output}", "budget.p95_ms=1", "measure=ndcg@10", "tracking=off"
    )
    assert (wrong.code, len(wrong.err.splitlines())) == (2, 1)
    # Caches, exact and semantic.
    done = cli(
        *small, "task=caches", f"path={output}", "requests=200", "sizes=[1,null]", f"model={model}",
        "thresholds=[0.2]", f"cache_dir={place}/cache", f"hydra.run.dir={place}/caches",
    )  # fmt: skip
    assert done.code == 0, done.err
    caches = json.loads((place / "caches" / "caches.json").read_text())["caches"]
    exact = next(c for c in caches if c["size"] is None and c["threshold"] is None)
    assert exact["hit_rate"] == pytest.approx(1 - 4 / 200)  # four queries, each missed once
    assert exact["quality"] == exact["quality_without"]
    near = next(c for c in caches if c["size"] is None and c["threshold"] is not None)
    assert near["hit_rate"] >= exact["hit_rate"]
    # A given log; and one of another collection.
    log = place / "log.txt"
    log.write_text("q1\ncat on mat\nnobody knows\n")
    done = cli(
        *small, "task=caches", f"path={output}", f"log={log}", "thresholds=[]", "sizes=[null]",
        f"hydra.run.dir={place}/given",
    )  # fmt: skip
    assert done.code == 0, done.err
    (given,) = json.loads((place / "given" / "caches.json").read_text())["caches"]
    assert given["hit_rate"] == pytest.approx(1 / 3)
    assert given["judged_share"] == pytest.approx(2 / 3)
    other = cli("task=caches", f"path={output}", "tracking=off", "thresholds=[]")
    assert other.code == 2
    assert "give the same dataset" in other.err


def test_an_output_without_latencies_names_the_run_to_make(cli, small, place):
    assert cli(*small, f"hydra.run.dir={place}/plain").code == 0
    done = cli("task=recommend", f"path={place}/plain", "budget.p95_ms=5", "tracking=off")
    assert done.code == 2
    assert "latency=on" in done.err
    assert "efficiency" not in json.loads((place / "plain" / "results.json").read_text())


def test_an_unknown_machine_is_refused_before_anything_runs(cli, small, place):
    done = cli(*small, "cost=list_prices", "cost.machine=mainframe", f"hydra.run.dir={place}/x")
    assert done.code == 2
    assert "'mainframe'" in done.err
    assert "conf/cost/list_prices.yaml" in done.err
    assert not (place / "x" / "results.json").exists()


def test_every_line_of_the_price_list_can_be_read():
    lines = read_prices(data_folder("conf") / "cost" / "list_prices.yaml")
    prices = price_list(CostSettings(prices=lines))
    named = {"rerank-v3.5", "rerank-2.5", "jina-reranker-v2-base-multilingual", "gpt-6-luna"}
    assert named <= set(prices.models)  # what the presets of rerankers and language models name
    assert len({(line["model"], line["unit"]) for line in lines}) == len(lines)
