"""Prices of models and machines: each with its unit, currency, date and source.

They are data that a user edits: the list of `cost=list_prices` (conf/cost/list_prices.yaml), and a
file of one's own (`cost.own_prices`), whose lines come first. A price that nobody filled in is
refused by name before anything is computed, never taken as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date as Date
from pathlib import Path
from typing import Any, Literal

from evalkit.errors import ConfigError, DataError, nearest
from evalkit.io import read_text
from evalkit.settings import checked

LIST_FILE = "conf/cost/list_prices.yaml"
CHARACTERS = "characters"
# Budgets and results are in it; two currencies are never added.
CURRENCY = "USD"
HOURS_A_MONTH = 730.0  # 365 days of 24 hours, in 12 months: what cloud price lists reckon with

Unit = Literal["search", "pair", "input_token", "output_token", "hour"]
UNIT_NAMES: Mapping[Unit, str] = {
    "search": "searches",
    "pair": "pairs",
    "input_token": "input tokens",
    "output_token": "output tokens",
    "hour": "hours",
}


@dataclass(frozen=True)
class Price:
    """What `per` units cost; price: None in a line that is an example, to be filled in.

    unit: "search" (a query with up to `docs` docs), "pair", "input_token", "output_token", or
    "hour" of a machine. date: when the price was read, year-month-day. source: where. tokenizer:
    path or hub name of the one that the provider counts with; "characters" estimates four
    characters a token, and everything made of it says so.
    """

    model: str
    unit: Unit
    price: float | None
    date: str
    source: str
    per: int = 1
    currency: str = CURRENCY
    docs: int = 100
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        where = f"price of '{self.model}'"
        if (self.price is not None and not self.price >= 0) or self.per < 1 or self.docs < 1:
            raise ConfigError(
                f"{where}: price={self.price}, per={self.per}, docs={self.docs}; expected a price "
                "of at least 0, per and docs of at least 1"
            )
        if not self.source.strip():
            raise ConfigError(f"{where} has no source; say where it was read")
        try:
            Date.fromisoformat(self.date)
        except ValueError as error:
            raise ConfigError(
                f"{where}: date='{self.date}'; expected the day it was read, such as 2026-11-21"
            ) from error

    @property
    def each(self) -> float:
        """What one unit costs."""
        if self.price is None:
            raise ConfigError(
                f"the {self.unit} price of '{self.model}' is an example without a number; fill it "
                f"in, in {LIST_FILE} or in a file of your own: cost.own_prices=FILE"
            )
        return self.price / self.per

    def as_json(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("price", "per", "currency", "date", "source")}


@dataclass(frozen=True)
class CostSettings:
    """kind: "on" or "off". prices: lines of the price list. own_prices: a YAML file with more,
    which come first.

    machine: what the local stages run on, a line of unit "hour"; None leaves them without a price.
    utilisation: the share of its time that a machine is busy, 0 to 1. qps: loads (queries a second)
    that are priced by the month. instead: a service that could do a local component's work, each
    "COMPONENT:MODEL", such as "reranker.cross_encoder:rerank-v3.5", for the break-even.
    """

    kind: Literal["on", "off"] = "off"
    prices: list[dict[str, Any]] = field(default_factory=list)
    own_prices: str | None = None
    machine: str | None = None
    utilisation: float = 0.5
    qps: list[float] = field(default_factory=lambda: [1.0, 10.0, 100.0])
    hours_a_month: float = HOURS_A_MONTH
    instead: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 < self.utilisation <= 1:
            raise ConfigError(
                f"cost.utilisation={self.utilisation}: expected a share of the time above 0, at "
                "most 1"
            )
        if self.hours_a_month <= 0 or any(load <= 0 for load in self.qps):
            raise ConfigError(
                f"cost.qps={self.qps}, cost.hours_a_month={self.hours_a_month}: expected numbers "
                "above 0"
            )

    @property
    def services(self) -> dict[str, str]:
        """`instead` as component → model; ConfigError for one that names no two."""
        found = {}
        for pair in self.instead:
            component, colon, model = (part.strip() for part in pair.partition(":"))
            if not (component and colon and model) or component in found:
                raise ConfigError(
                    f"cost.instead: '{pair}'; expected COMPONENT:MODEL, a component once, such as "
                    "cost.instead=[retriever.dense:text-embedding-3-small]"
                )
            found[component] = model
        return found


class PriceList:
    """Prices by model and unit; of several for one, the first counts."""

    def __init__(self, prices: Sequence[Price]) -> None:
        self._prices: dict[tuple[str, str], Price] = {}
        for price in prices:
            self._prices.setdefault((price.model, price.unit), price)

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(model for model, _ in self._prices))

    @property
    def machines(self) -> list[str]:
        """What `cost.machine` can be."""
        return [model for model, unit in self._prices if unit == "hour"]

    def units(self, model: str) -> list[str]:
        """The units that a model is priced by; none of an unknown one."""
        return [unit for name, unit in self._prices if name == model]

    def of(self, model: str, unit: Unit) -> Price:
        """The price, which has a number, in US dollars; ConfigError."""
        price = self._prices.get((model, unit))
        if price is None:
            known = [name for name, listed in self._prices if listed == unit]
            raise ConfigError(
                f"no {unit} price of '{model}' is known, only of {', '.join(known) or 'none'}; add "
                f"a line to {LIST_FILE}, or to a file of your own: cost.own_prices=FILE."
                f"{nearest(model, known)}"
            )
        if price.currency != CURRENCY:
            raise ConfigError(
                f"the price of '{model}' is in {price.currency} and costs are in {CURRENCY}; "
                f"convert it in {LIST_FILE} or in your own file (cost.own_prices=FILE)"
            )
        _ = price.each
        return price


def price_list(settings: CostSettings) -> PriceList:
    """The prices of the settings, one's own first; ConfigError or DataError for a bad line."""
    lines = [(line, "cost.prices") for line in settings.prices]
    if settings.own_prices is not None:
        own = read_prices(Path(settings.own_prices).expanduser())
        lines = [(line, settings.own_prices) for line in own] + lines
    prices = [_price(line, f"{where}[{i}]") for i, (line, where) in enumerate(lines)]
    return PriceList(prices)


def read_prices(path: Path) -> list[dict[str, Any]]:
    """The lines of a price file: a YAML list, or the key `prices:` with one; DataError."""
    import yaml

    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    lines = content.get("prices") if isinstance(content, Mapping) else content
    if not isinstance(lines, list) or not all(isinstance(line, Mapping) for line in lines):
        raise DataError(
            f"{path}: expected a list of prices, a line each, such as "
            "- {model: NAME, unit: input_token, price: 0.05, per: 1000000, date: 2026-11-21, "
            "source: WHERE}"
        )
    return [dict(line) for line in lines]


def _price(line: Mapping[str, Any], where: str) -> Price:
    # YAML reads an unquoted day as a date.
    values = {key: str(v) if isinstance(v, Date) else v for key, v in line.items()}
    missing = [key for key in ("model", "unit", "price", "date", "source") if key not in values]
    if missing:
        raise ConfigError(
            f"{where} ({values.get('model', 'no model')}) lacks {', '.join(missing)}; a price "
            "has model, unit, price, date and source"
        )
    return checked(Price, values, where)
