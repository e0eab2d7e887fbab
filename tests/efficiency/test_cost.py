"""Cost by hand: every figure here was worked out on paper first."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.efficiency.cost import (
    Hosting,
    Usage,
    break_even,
    month_at,
    total_per_query,
)
from evalkit.efficiency.prices import CostSettings as Settings
from evalkit.efficiency.prices import Price, PriceList, price_list, read_prices
from evalkit.efficiency.tokens import searches
from evalkit.errors import ConfigError, DataError


def price(model="m", unit="input_token", amount=0.02, per=1_000_000, **more):
    return Price(model, unit, amount, "2026-11-21", "a page", per=per, **more)


def cents(amount):
    return round(100 * amount)


def test_an_embedding_model_by_hand():
    # 5,183 docs of 300 tokens at 0.02 a million: 1,554,900 tokens, 3.1098 cents. A query of 20
    # tokens: 20 × 0.02 / 1,000,000 = 0.0000004; a million of them 0.40.
    usage = Usage("retriever.dense", price(), per_query=20, build=5_183 * 300)
    assert usage.build_cost == pytest.approx(0.031098)
    assert cents(usage.build_cost) == 3
    assert cents(1_000_000 * usage.cost_per_query) == 40


def test_a_language_model_by_hand():
    # 50 docs, a prompt each: 50 × 400 = 20,000 tokens in at 0.10 a million, 50 × 2 = 100 out at
    # 0.50: 0.002 + 0.00005 = 0.00205 a query, 2.05 a thousand.
    usages = [
        Usage("reranker.llm", price(amount=0.10), 50 * 400),
        Usage("reranker.llm", price(unit="output_token", amount=0.50), 50 * 2),
    ]
    assert total_per_query(usages, None) == pytest.approx(0.00205)
    assert cents(1000 * total_per_query(usages, None)) == 205


def test_fixed_and_variable_by_load():
    # 1.20 an hour, 100 ms a query, half busy: 5 queries a second a machine. At 12 a second three
    # machines: 3 × 1.20 × 730 = 2,628.00. Variable: 12 × 3,600 × 730 × 0.000002 = 63.072.
    hosting = Hosting(hourly=1.20, service_s=0.1, utilisation=0.5)
    assert hosting.capacity == pytest.approx(5)
    month = month_at(12, 0.000002, hosting, 730)
    assert month.machines == 3
    assert cents(month.fixed) == 262_800
    assert cents(month.variable) == 6_307
    assert cents(month.total) == 269_107
    # A query's share: 1.20 / 3,600 × 0.1 / 0.5 = 0.0000666…, 6.67 cents a thousand.
    assert hosting.cost_per_query == pytest.approx(1.2 / 3600 / 5)
    assert cents(1000 * hosting.cost_per_query) == 7


def test_a_load_that_fills_a_machine_needs_no_second_one():
    hosting = Hosting(1.0, 0.1, 0.5)
    assert [hosting.machines(q) for q in (0.001, 5.0, 5.001, 10.0)] == [1, 1, 2, 2]
    # .3 / .1 is 2.9999999999999996 in floating point.
    assert Hosting(1.0, 0.1, 0.3).machines(3.0) == 1


def test_where_a_machine_pays_by_hand():
    # API 2.00 a thousand searches = 0.002 a query. Machine 1.08 an hour: 1.08 / (3600 × 0.002) =
    # 0.15 queries a second. A machine serves 5: far below.
    found = break_even(0.002, Hosting(1.08, 0.1, 0.5))
    assert found.first == pytest.approx(0.15)
    assert found.always == pytest.approx(0.15)


def test_a_second_machine_that_does_not_pay_from_its_start():
    # First pays from 3 a second, holds 5. The second comes at 5 and pays from 6; the third comes at
    # 10 and pays from 9, before it comes. So from 6 on the machines are never dearer.
    found = break_even(1 / 3600, Hosting(3.0, 0.1, 0.5))
    assert found.first == pytest.approx(3)
    assert found.always == pytest.approx(6)


def test_a_machine_that_is_full_before_it_pays():
    assert break_even(1 / 3600, Hosting(7.2, 0.1, 0.5)) == type(break_even(1, Hosting(1, 1)))(
        None, None
    )


@given(st.floats(0.01, 20), st.floats(0.001, 2), st.floats(0.1, 1), st.floats(1e-6, 0.05))
def test_from_always_on_no_load_is_cheaper_by_api(hourly, seconds, busy, api):
    hosting = Hosting(hourly, seconds, busy)
    found = break_even(api, hosting)
    if found.always is None:
        return
    for step in (1.000001, 1.3, 2.0, 3.7, 11.0):
        load = found.always * step
        own = hosting.machines(load) * hosting.hourly
        assert own <= load * 3600 * api * (1 + 1e-6)


@given(st.floats(0.01, 20), st.floats(0.001, 2), st.floats(0.1, 1), st.floats(1e-6, 0.05))
def test_below_the_first_break_even_the_api_is_cheaper(hourly, seconds, busy, api):
    hosting = Hosting(hourly, seconds, busy)
    found = break_even(api, hosting)
    least = hosting.capacity if found.first is None else found.first
    load = 0.999 * least
    assert load * 3600 * api < hosting.machines(load) * hosting.hourly


def test_searches_of_requests_by_hand():
    # Requests of 100 docs, a search each: 0, 1, 1, 2 and 3.
    assert searches(np.array([0, 1, 100, 101, 250]), 100, 100) == pytest.approx(7 / 5)
    # One request of 5 docs, 2 a search: 3. A request of 3 and one of 2, as many: 2 + 1.
    assert searches(np.array([5]), 10, 2) == 3
    assert searches(np.array([5]), 3, 2) == 3


def test_an_unknown_price_names_the_model_and_the_file():
    prices = PriceList([price("rerank-v3.5", "search", 2.0, 1000)])
    with pytest.raises(ConfigError, match=r"'rerank-v3\.6'.*conf/cost/list_prices\.yaml") as error:
        prices.of("rerank-v3.6", "search")
    assert "Did you mean 'rerank-v3.5'?" in str(error.value)
    with pytest.raises(ConfigError, match=r"no output_token price of 'rerank-v3\.5'"):
        prices.of("rerank-v3.5", "output_token")


def test_an_example_without_a_number_is_no_price():
    prices = PriceList([price("later", amount=None)])
    with pytest.raises(ConfigError, match=r"'later' is an example without a number.*own_prices"):
        prices.of("later", "input_token")


def test_two_currencies_are_not_added():
    prices = PriceList([price(currency="EUR")])
    with pytest.raises(ConfigError, match="in EUR and costs are in USD"):
        prices.of("m", "input_token")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price": -1}, "price=-1"),
        ({"date": "last week"}, "date='last week'"),
        ({"source": " "}, "no source"),
        ({"unit": "furlong"}, "unit"),
        ({"per": 0}, "per=0"),
    ],
)
def test_a_bad_line_says_what_is_wrong(change, message):
    line = {"model": "m", "unit": "search", "price": 1, "date": "2026-01-01", "source": "s"}
    with pytest.raises(ConfigError, match=message):
        price_list(Settings(prices=[line | change]))
    with pytest.raises(ConfigError, match="lacks source"):
        price_list(Settings(prices=[{key: line[key] for key in line if key != "source"}]))


def test_ones_own_prices_come_first(tmp_path):
    own = tmp_path / "prices.yaml"
    own.write_text(
        "prices:\n  - {model: m, unit: search, price: 3, date: 2026-02-03, source: contract}\n"
    )
    listed = {"model": "m", "unit": "search", "price": 5, "date": "2026-01-01", "source": "page"}
    found = price_list(Settings(prices=[listed], own_prices=str(own))).of("m", "search")
    assert (found.each, found.date, found.source) == (3, "2026-02-03", "contract")
    own.write_text("prices: 3")
    with pytest.raises(DataError, match="expected a list of prices"):
        read_prices(own)


@pytest.mark.parametrize("bad", [{"utilisation": 0}, {"utilisation": 1.5}, {"qps": [0]}])
def test_settings_that_cannot_be(bad):
    with pytest.raises(ConfigError, match=f"cost.{next(iter(bad))}"):
        Settings(**bad)


def test_a_service_that_takes_no_time_needs_one_machine():
    assert Hosting(1.0, 0.0).machines(1e9) == 1
    assert math.isinf(Hosting(1.0, 0.0).capacity)
