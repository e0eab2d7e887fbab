"""What each component of an experiment spends: searches and tokens of the services it asks.

A component that asks a service by address is priced by the unit that the price list has for its
model. Its tokens are those of the price's own tokenizer, or, where it names none, those that the
provider billed in this run, the mean per pair or per answer. What runs on one's own machine spends
time alone (see `priced`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from evalkit.efficiency.cost import Usage
from evalkit.efficiency.prices import Price, PriceList, Unit
from evalkit.efficiency.tokens import ProviderTokens, searches
from evalkit.llm.chat import ChatEndpoint
from evalkit.rerankers.api import ApiReranker
from evalkit.retrievers.remembering import inner
from evalkit.run import Run

if TYPE_CHECKING:
    from evalkit.experiment import Experiment

_MILLION = 1_000_000
_AT_MOST = "requests at most × tokens billed in this run, the mean a request"


@dataclass(frozen=True)
class Spending:
    """usages: what is paid by the query. unknown: why something cannot be priced, "" if all is.
    remote: whether the component asks a service, so that its time is not this machine's."""

    usages: tuple[Usage, ...] = ()
    unknown: str = ""
    remote: bool = False


def chat_of(part: Any) -> ChatEndpoint | None:
    """The language model behind an address that a component asks, if it asks one."""
    for holder in (part, getattr(part, "transform", None)):
        model = getattr(holder, "llm", None)
        if isinstance(model, ChatEndpoint):
            return model
    return None


def is_remote(part: Any) -> bool:
    return isinstance(part, ApiReranker) or chat_of(part) is not None


class Accounts:
    """The spending of an experiment's components.

    work: component, such as "reranker.cohere" → what it spent in this run, by unit (see
    `ExecutionLog`).
    """

    def __init__(
        self,
        experiment: Experiment,
        prices: PriceList,
        work: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self.experiment, self.prices, self.work = experiment, prices, work or {}
        self._counters: dict[str, ProviderTokens] = {}
        self._corpora: dict[tuple[str, str], int] = {}

    def counter(self, tokenizer: str) -> ProviderTokens:
        return self._counters.setdefault(tokenizer, ProviderTokens(tokenizer))

    def corpus_tokens(self, tokenizer: str, template: str) -> int:
        """Tokens of all documents, counted once."""
        key = tokenizer, template
        if key not in self._corpora:
            self._corpora[key] = self.counter(tokenizer).of_corpus(
                self.experiment.dataset, template
            )
        return self._corpora[key]

    def check(self) -> None:
        """ConfigError for a component that asks a service whose price is not known."""
        experiment = self.experiment
        for name, part in {**experiment.retrievers, **experiment.hidden}.items():
            if (model := chat_of(inner(part))) is not None:
                self.chat_prices(f"retriever.{name}", model)
        for name, reranker in experiment.rerankers.items():
            if isinstance(reranker, ApiReranker):
                price = self.rerank_price(name, reranker)
                if price.unit == "input_token" and price.tokenizer is not None:
                    self.counter(price.tokenizer).check()
            elif (model := chat_of(reranker)) is not None:
                self.chat_prices(f"reranker.{name}", model)

    def retriever(self, name: str) -> Spending:
        """Of a first stage, those that it is made of included."""
        known = {**self.experiment.retrievers, **self.experiment.hidden}
        part = inner(known[name])
        found = [self.retriever(used) for used in getattr(part, "uses", ())]
        usages = [usage for each in found for usage in each.usages]
        unknown = next((each.unknown for each in found if each.unknown), "")
        model = chat_of(part)
        if model is not None:
            count = len(self.experiment.dataset.queries)
            work = self.work.get(f"retriever.{name}", {})
            own, missing = self._billed_answers(
                f"retriever.{name}", model, work, work.get("requests", 0) / max(count, 1)
            )
            if not missing and work.get("reused", 0):
                missing = (
                    f"retriever.{name} had {work['reused']} answers at hand, so that this run's "
                    "bill is not a whole one; run it with an empty cache_dir"
                )
            usages, unknown = [*usages, *own], unknown or missing
        # A first stage that asks a service still searches here.
        return Spending(tuple(usages), unknown)

    def reranker(self, name: str, candidates: Run) -> Spending:
        """Of a reranker, over lists of K candidates."""
        part = self.experiment.rerankers[name]
        where = f"reranker.{name}"
        if isinstance(part, ApiReranker):
            return self._api(name, part, candidates)
        model = chat_of(part)
        if model is not None:
            sizes = candidates.sizes
            asked = part.estimate(sizes)["requests"] / max(len(sizes), 1)  # type: ignore[attr-defined]
            usages, missing = self._billed_answers(where, model, self.work.get(where, {}), asked)
            return Spending(tuple(usages), missing, remote=True)
        paid = [used for used in self._parts(name) if is_remote(self.experiment.rerankers[used])]
        if paid:
            return Spending(
                unknown=f"{where} asks {', '.join(paid)} for a part of its candidates that depends "
                "on the query; it is not priced"
            )
        return Spending()

    def _parts(self, name: str) -> list[str]:
        """The rerankers that one is made of, theirs too."""
        direct = list(getattr(self.experiment.rerankers[name], "uses", ()))
        return direct + [deeper for used in direct for deeper in self._parts(used)]

    def rerank_price(self, name: str, part: ApiReranker) -> Price:
        """The price of a rerank service: that of the component's own settings, or the list's."""
        model, where = str(part.endpoint.model), f"reranker.{name}"
        budget = part.budget
        if budget.price_per_request:
            docs = part.endpoint.docs_per_request
            return _own(model, "search", budget.price_per_request, 1, where, docs)
        if budget.input_price:
            return _own(model, "input_token", budget.input_price, _MILLION, where)
        units: list[Unit] = ["search", "input_token", "pair"]
        priced = self.prices.units(model)
        return self.prices.of(model, next((u for u in units if u in priced), "search"))

    def chat_prices(self, where: str, model: ChatEndpoint) -> dict[str, Price]:
        """Input and output prices of a language model, those of its own settings first."""
        name, own = str(model.model), _llm_settings(self.experiment.manifest, where)
        given: list[tuple[str, Unit]] = [
            ("input_price", "input_token"), ("output_price", "output_token"),
        ]  # fmt: skip
        if any(own.get(key) for key, _ in given):
            return {
                unit: _own(name, unit, own.get(key) or 0.0, _MILLION, where) for key, unit in given
            }
        return {unit: self.prices.of(name, unit) for _, unit in given}

    def _api(self, name: str, part: ApiReranker, candidates: Run) -> Spending:
        price, where = self.rerank_price(name, part), f"reranker.{name}"
        sizes = candidates.sizes
        if price.unit == "search":
            amount = searches(sizes, part.endpoint.docs_per_request, price.docs)
            usage = Usage(where, price, amount, counted="requests of the lists' sizes")
            return Spending((usage,), remote=True)
        pairs = float(sizes.mean()) if len(sizes) else 0.0
        if price.unit == "pair":
            usage = Usage(where, price, pairs, counted="the lists' sizes")
            return Spending((usage,), remote=True)
        if price.tokenizer is not None:
            counter, dataset = self.counter(price.tokenizer), self.experiment.dataset
            amount = counter.of_pairs(dataset.queries, dataset, candidates, part.doc_template)
            usage = Usage(where, price, amount, counted=counter.described)
            return Spending((usage,), remote=True)
        work = self.work.get(where, {})
        scored, billed = work.get("scored", 0), work.get("input_tokens", 0)
        if not scored or not billed:
            return Spending(unknown=_not_billed(where, price.model), remote=True)
        counted = "pairs × tokens billed in this run, the mean a pair"
        return Spending((Usage(where, price, pairs * billed / scored, counted=counted),), "", True)

    def _billed_answers(
        self, where: str, model: ChatEndpoint, work: Mapping[str, int], asked: float
    ) -> tuple[list[Usage], str]:
        """Usages of `asked` requests a query to a language model; or why they are not known."""
        prices = self.chat_prices(where, model)
        answers = work.get("requests", 0) - work.get("retries", 0)
        if answers < 1 or not work.get("input_tokens"):
            return [], _not_billed(where, str(model.model))
        usages = [
            Usage(where, prices[unit], asked * work.get(f"{unit}s", 0) / answers, counted=_AT_MOST)
            for unit in ("input_token", "output_token")
        ]
        return usages, ""


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


def _not_billed(where: str, model: str) -> str:
    return (
        f"{where}: this run was billed no tokens of {model}, since its answers were at hand; name "
        "a tokenizer in its price line, or run with an empty cache_dir"
    )
