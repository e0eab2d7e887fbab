"""What each component of an experiment spends: searches and tokens of the services it asks.

A component that asks a service by address is priced by the unit that the price list has for its
model. Its tokens are those of the price's own tokenizer, or, where it names none, those that the
provider billed in this run, the mean per pair or per answer. A reranker that is made of others
spends what its parts do. What runs on one's own machine spends time alone (see `priced`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.efficiency.cost import Usage
from evalkit.efficiency.paid_parts import (
    PaidPart,
    chat_of,
    is_remote,
    paid_parts,
    services_of,
)
from evalkit.efficiency.prices import PriceList
from evalkit.efficiency.service_prices import chat_prices, rerank_price
from evalkit.efficiency.tokens import ProviderTokens, searches
from evalkit.llm.chat import ChatEndpoint
from evalkit.rerankers.api import ApiReranker
from evalkit.retrievers.remembering import inner
from evalkit.run import Run

if TYPE_CHECKING:
    from evalkit.experiment import Experiment

_OF_PARTS = "; of the docs that reach it, at most"
_AT_MOST = "requests at most × tokens billed in this run, the mean a request"


@dataclass(frozen=True)
class Spending:
    """usages: what is paid by the query. unknown: why something cannot be priced, "" if all is."""

    usages: tuple[Usage, ...] = ()
    unknown: str = ""


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
                chat_prices(self.prices, self.experiment.manifest, f"retriever.{name}", model)
        for name, reranker in experiment.rerankers.items():
            for service, part in services_of(name, reranker).items():
                self._check_service(service, part)

    def _check_service(self, name: str, part: Any) -> None:
        if isinstance(part, ApiReranker):
            price = rerank_price(self.prices, name, part)
            if price.unit == "input_token" and price.tokenizer is not None:
                self.counter(price.tokenizer).check()
        elif (model := chat_of(part)) is not None:
            chat_prices(self.prices, self.experiment.manifest, f"reranker.{name}", model)

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
        """Of a reranker, over lists of K candidates, its parts included."""
        part = self.experiment.rerankers[name]
        work = self.work.get(f"reranker.{name}", {})
        if is_remote(part):
            own = PaidPart(name, "", part, candidates.sizes)
            return self._service(own, candidates.sizes, work, candidates)
        found = [
            self._service(each, each.given, self._billed_to(each, work), candidates)
            if each.given is not None
            else Spending(unknown=_no_sizes(name, each.name))
            for each in paid_parts(part, candidates.sizes)
        ]
        usages = tuple(
            replace(usage, counted=f"{usage.counted}{_OF_PARTS}")
            for each in found
            for usage in each.usages
        )
        return Spending(usages, "; ".join(each.unknown for each in found if each.unknown))

    def _billed_to(self, each: PaidPart, work: Mapping[str, int]) -> Mapping[str, int]:
        """What a part spent under the reranker that it is a part of; where that was nothing, as
        its answers were at hand, what it spent as a system of its own."""
        within = each.work_of(work)
        alone = self.work.get(f"reranker.{each.name}", {})
        return within if within.get("input_tokens") else alone

    def _service(
        self, each: PaidPart, sizes: np.ndarray, work: Mapping[str, int], candidates: Run
    ) -> Spending:
        """What a reranker that asks a service is paid for so many docs of the candidates."""
        if isinstance(each.part, ApiReranker):
            return self._api(each, sizes, work, candidates)
        model = chat_of(each.part)
        if model is None:
            return Spending()
        asked = each.part.estimate(sizes)["requests"] / max(len(sizes), 1)
        usages, missing = self._billed_answers(f"reranker.{each.name}", model, work, asked)
        return Spending(tuple(usages), missing)

    def _api(
        self, each: PaidPart, sizes: np.ndarray, work: Mapping[str, int], candidates: Run
    ) -> Spending:
        part, where = each.part, f"reranker.{each.name}"
        price = rerank_price(self.prices, each.name, part)
        if price.unit == "search":
            amount = searches(sizes, part.endpoint.docs_per_request, price.docs)
            usage = Usage(where, price, amount, counted="requests of the lists' sizes")
            return Spending((usage,))
        pairs = float(sizes.mean()) if len(sizes) else 0.0
        if price.unit == "pair":
            return Spending((Usage(where, price, pairs, counted="the lists' sizes"),))
        if price.tokenizer is not None:
            counter, dataset = self.counter(price.tokenizer), self.experiment.dataset
            amount = counter.of_pairs(dataset.queries, dataset, candidates, part.doc_template)
            # Which docs reach a later stage is not known beforehand: the mean of all candidates.
            share = pairs / max(float(candidates.sizes.mean()), 1.0)
            return Spending((Usage(where, price, amount * share, counted=counter.described),))
        scored, billed = work.get("scored", 0), work.get("input_tokens", 0)
        if not scored or not billed:
            return Spending(unknown=_not_billed(where, price.model))
        counted = "pairs × tokens billed in this run, the mean a pair"
        return Spending((Usage(where, price, pairs * billed / scored, counted=counted),))

    def _billed_answers(
        self, where: str, model: ChatEndpoint, work: Mapping[str, int], asked: float
    ) -> tuple[list[Usage], str]:
        """Usages of `asked` requests a query to a language model; or why they are not known."""
        prices = chat_prices(self.prices, self.experiment.manifest, where, model)
        answers = work.get("requests", 0) - work.get("retries", 0)
        if answers < 1 or not work.get("input_tokens"):
            return [], _not_billed(where, str(model.model))
        usages = [
            Usage(where, prices[unit], asked * work.get(f"{unit}s", 0) / answers, counted=_AT_MOST)
            for unit in ("input_token", "output_token")
        ]
        return usages, ""


def _no_sizes(name: str, service: str) -> str:
    return (
        f"reranker.{name} asks {service} for parts of docs, whose number the lists do not tell; it "
        "is not priced"
    )


def _not_billed(where: str, model: str) -> str:
    return (
        f"{where}: this run was billed no tokens of {model}, since its answers were at hand; name "
        "a tokenizer in its price line, or run with an empty cache_dir"
    )
