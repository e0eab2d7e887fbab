import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.report.cells import digits_for, number_cells
from evalkit.report.layout import MISSING


def test_the_lowest_is_best_where_less_is_better():
    cells = number_cells([3.21, 1.04, np.nan, 1.02, 7.0], digits=1, lower=True)
    assert [cell.text for cell in cells] == ["3.2", "1.0", MISSING, "1.0", "7.0"]
    assert [cell.is_best for cell in cells] == [False, True, False, True, False]
    assert [cell.is_second for cell in cells] == [True, False, False, False, False]


def test_intervals_have_the_digits_of_their_column():
    (cell,) = number_cells([12.34], digits=1, intervals=[(11.11, 13.99)])
    assert (cell.text, cell.interval_text, cell.is_best) == ("12.3", "[11.1, 14.0]", False)


def test_nothing_is_best_where_nothing_is_ranked():
    assert not any(cell.is_best for cell in number_cells([1.0, 2.0], rank=False))


@pytest.mark.parametrize(
    ("values", "digits"),
    [([123.4, 5000], 0), ([12.3], 1), ([1.23, 100], 2), ([0.0012], 4), ([], 0)],
)
def test_a_column_shows_three_figures_of_its_smallest_value(values, digits):
    assert digits_for(values) == digits


@given(st.lists(st.floats(-1e6, 1e6) | st.just(np.nan), min_size=2, max_size=9), st.booleans())
def test_best_and_second_are_the_two_best_distinct_texts(values, lower):
    cells = number_cells(values, digits=2, lower=lower)
    shown = {float(cell.text) for cell in cells if cell.text != MISSING}
    several = sum(cell.text != MISSING for cell in cells) > 1
    order = sorted(shown, reverse=not lower) if several else []
    assert {float(cell.text) for cell in cells if cell.is_best} == set(order[:1])
    # -0.00 and 0.00 print differently and are equal.
    assert {float(c.text) for c in cells if c.is_second} <= set(order[:2])
