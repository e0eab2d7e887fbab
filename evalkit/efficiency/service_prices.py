"""The prices of the services that components ask: those of their own settings, or the list's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from evalkit.efficiency.prices import Price, PriceList, Unit
from evalkit.llm.chat import ChatEndpoint
from evalkit.rerankers.api import ApiReranker

_MILLION = 1_000_000


def rerank_price(prices: PriceList, name: str, part: ApiReranker) -> Price:
    """The price of a rerank service: that of the component's own settings, or the list's."""
    model, where = str(part.endpoint.model), f"reranker.{name}"
    budget = part.budget
    if budget.price_per_request:
        docs = part.endpoint.docs_per_request
        return _own(model, "search", budget.price_per_request, 1, where, docs)
    if budget.input_price:
        return _own(model, "input_token", budget.input_price, _MILLION, where)
    units: list[Unit] = ["search", "input_token", "pair"]
    priced = prices.units(model)
    return prices.of(model, next((u for u in units if u in priced), "search"))


def chat_prices(
    prices: PriceList, manifest: Mapping[str, Any], where: str, model: ChatEndpoint
) -> dict[str, Price]:
    """Input and output prices of a language model, those of its own settings first."""
    name, own = str(model.model), _llm_settings(manifest, where)
    given: list[tuple[str, Unit]] = [
        ("input_price", "input_token"), ("output_price", "output_token"),
    ]  # fmt: skip
    if any(own.get(key) for key, _ in given):
        return {unit: _own(name, unit, own.get(key) or 0.0, _MILLION, where) for key, unit in given}
    return {unit: prices.of(name, unit) for _, unit in given}


def _own(model: str, unit: Unit, amount: float, per: int, where: str, docs: int = 100) -> Price:
    """A price that the component's own settings give."""
    source = f"the settings of {where}"
    return Price(model, unit, amount, date.today().isoformat(), source, per, docs=docs)


def _llm_settings(manifest: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The settings of a component's language model, as the config has them; empty without one."""
    group, _, name = where.partition(".")
    node = manifest.get("config", {}).get(group, {}).get(name, {})
    holders = (node, node.get("transform")) if isinstance(node, Mapping) else ()
    for holder in holders:
        if isinstance(holder, Mapping) and isinstance(holder.get("llm"), Mapping):
            return holder["llm"]
    return {}
