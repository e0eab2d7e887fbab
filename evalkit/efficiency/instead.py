"""A service in place of a local component: what it would cost, and from which load on it is dearer.

`cost.instead=[retriever.dense:text-embedding-3-small]` asks from how many queries a second on a
machine of one's own that encodes them costs less than the service's embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evalkit.efficiency.cost import Hosting, Usage, break_even
from evalkit.efficiency.latencies import mean_ms
from evalkit.efficiency.paid_parts import is_remote
from evalkit.efficiency.prices import CostSettings, Price, PriceList, Unit
from evalkit.efficiency.tokens import ProviderTokens, searches
from evalkit.efficiency.usage import Accounts
from evalkit.errors import ConfigError
from evalkit.results import NO_RERANKER, Results
from evalkit.retrievers.remembering import inner
from evalkit.types import DOC_TEMPLATE

if TYPE_CHECKING:
    from evalkit.experiment import Experiment


def check_instead(experiment: Experiment, prices: PriceList, settings: CostSettings) -> None:
    """ConfigError for a component that is not selected or a service itself, or an unknown price."""
    known: dict[str, Any] = {
        f"retriever.{name}": inner(part) for name, part in experiment.retrievers.items()
    }
    known |= {f"reranker.{name}": part for name, part in experiment.rerankers.items()}
    for component, model in settings.services.items():
        if component not in known or component == f"reranker.{NO_RERANKER}":
            raise ConfigError(
                f"cost.instead: '{component}' is no selected component ({', '.join(known)})"
            )
        if is_remote(known[component]):
            raise ConfigError(
                f"cost.instead: {component} asks a service already; name a component that runs here"
            )
        price = price_of(prices, component, model)
        if price.unit == "input_token":
            ProviderTokens(_tokenizer(experiment, component, price)).check()


def price_of(prices: PriceList, component: str, model: str) -> Price:
    """The price of a model that stands in for a component: a retriever embeds, so by tokens."""
    units: list[Unit] = ["input_token"]
    if component.startswith("reranker."):
        units = ["search", "input_token", "pair"]
    priced = prices.units(model)
    return prices.of(model, next((unit for unit in units if unit in priced), units[0]))


def alternatives(
    accounts: Accounts, results: Results, machine: Price | None, settings: CostSettings
) -> list[dict[str, Any]]:
    """Each service for each system it could serve: its cost, and the load at which they break even.

    The machine's side is the stage that the service replaces: "rerank", or "query_encoding", as
    what was embedded is still searched here; of a retriever that does not tell its encoding apart,
    its whole time. `stage` says which. Break-even loads are None where no machine is priced, its
    time was not measured, or it is full before it pays; `note` says which.
    """
    found = []
    for component, model in settings.services.items():
        group, _, name = component.partition(".")
        price = price_of(accounts.prices, component, model)
        seen: set[tuple[str, int | None]] = set()
        for system in results.uncut:
            own = system.retriever if group == "retriever" else system.reranker
            key = (system.retriever, system.k if group == "reranker" else None)
            if own != name or key in seen:
                continue
            seen.add(key)
            usage = _usage(accounts, results, component, price, system.run_name, system.k)
            stage = "rerank" if group == "reranker" else "query_encoding"
            place = system.run_name if group == "reranker" else system.retriever
            spent_ms = mean_ms(results.efficiency, place, stage)
            if spent_ms is None and group == "retriever":
                stage, spent_ms = "total", mean_ms(results.efficiency, place)
            found.append(
                {
                    "component": component,
                    "system": place,
                    "k": key[1],
                    "stage": stage,
                    **usage.as_json(),
                    "usd_per_1k": 1000 * usage.cost_per_query,
                    **_compared(usage, machine, spent_ms, settings.utilisation),
                }
            )
    return found


def _compared(
    usage: Usage, machine: Price | None, spent_ms: float | None, utilisation: float
) -> dict[str, Any]:
    if machine is None or spent_ms is None:
        lacking = "a machine's price (cost.machine=NAME)" if machine is None else "latency=on"
        return {"break_even_qps": None, "always_qps": None, "note": f"needs {lacking}"}
    hosting = Hosting(machine.each, spent_ms / 1000, utilisation)
    point = break_even(usage.cost_per_query, hosting)
    return {
        "machine_ms": spent_ms,
        "machine_usd_per_1k": 1000 * hosting.cost_per_query,
        "break_even_qps": point.first,
        "always_qps": point.always,
        "note": "" if point.first is not None else "a machine is full before it pays",
    }


def _usage(
    accounts: Accounts, results: Results, component: str, price: Price, run: str, k: int | None
) -> Usage:
    """What the service would be asked in a query."""
    dataset = accounts.experiment.dataset
    name = component.partition(".")[2]
    if component.startswith("retriever."):
        counter = accounts.counter(_tokenizer(accounts.experiment, component, price))
        part = inner(accounts.experiment.retrievers[name])
        template = getattr(part, "doc_template", DOC_TEMPLATE)
        build = accounts.corpus_tokens(counter.tokenizer, template)
        asked = counter.of_queries(dataset.queries)
        return Usage(component, price, asked, build, counter.described)
    candidates = results.runs[run].top(k or 0)
    if price.unit == "search":
        # As a client would send them: all of a query's docs that one search holds at a time.
        amount = searches(candidates.sizes, price.docs, price.docs)
        return Usage(component, price, amount, counted="the lists' sizes")
    if price.unit == "pair":
        return Usage(component, price, float(candidates.sizes.mean()), counted="the lists' sizes")
    counter = accounts.counter(_tokenizer(accounts.experiment, component, price))
    template = getattr(accounts.experiment.rerankers[name], "doc_template", DOC_TEMPLATE)
    amount = counter.of_pairs(dataset.queries, dataset, candidates, template)
    return Usage(component, price, amount, counted=counter.described)


def _tokenizer(experiment: Experiment, component: str, price: Price) -> str:
    """What counts the service's tokens: the price's own tokenizer, or the local component's, which
    is said; ConfigError where there is neither."""
    if price.tokenizer is not None:
        return price.tokenizer
    group, _, name = component.partition(".")
    node: Any = experiment.manifest.get("config", {}).get(group, {}).get(name, {})
    model = node.get("model") if isinstance(node, Mapping) else None
    if not model:
        raise ConfigError(
            f"the tokens that {price.model} would count for {component} are not known; name a "
            "tokenizer in its price line (a path, a hub name, or: characters)"
        )
    return str(model)
