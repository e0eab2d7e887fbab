"""Sorting by questions: the right order from one who knows it, with no more questions than said."""

from itertools import combinations, permutations

import numpy as np
import pytest

from evalkit.rerankers.llm_sorting import (
    all_pairs,
    asked_together,
    best_at_once,
    best_by_pairs,
    bubble_sort,
    bubble_steps,
    heap_sort,
    heap_steps,
    sliding_windows,
    windows,
)

SIZES = [0, 1, 2, 3, 4, 5, 7, 16, 20, 41]


def run(sortings, worth, answer):
    """Orders, and how many questions each query was asked; worth: query → value of each doc."""
    asked = [0] * len(sortings)
    rounds = []

    def ask(questions):
        rounds.append(len(questions))
        for query, _ in questions:
            asked[query] += 1
        return [answer([worth[query][place] for place in group]) for query, group in questions]

    orders = asked_together(sortings, ask)
    return orders, asked, rounds


def best(values):
    return int(np.argmax(values))


def first_wins(values):
    return 0.5 if values[0] == values[1] else float(values[0] > values[1])


def ranked(values):
    return sorted(range(len(values)), key=lambda place: -values[place])


def worths(size, queries=6):
    generator = np.random.default_rng(size)
    return [generator.permutation(size).tolist() for _ in range(queries)]


@pytest.mark.parametrize("size", SIZES)
def test_all_pairs_ask_each_pair_once_and_sort(size):
    worth = worths(size)
    orders, asked, rounds = run([all_pairs(size) for _ in worth], worth, first_wins)
    assert orders == [ranked(values) for values in worth]
    assert asked == [size * (size - 1) // 2] * len(worth)
    assert len(rounds) <= 1


def test_wins_decide_and_equal_wins_keep_their_order():
    (order,), _, _ = run([all_pairs(4)], [[1, 1, 1, 1]], first_wins)
    assert order == [0, 1, 2, 3]
    beats = {(0, 1): 1, (1, 2): 1, (0, 2): 0}  # a circle: one win each
    (order,) = asked_together([all_pairs(3)], lambda asked: [beats[group] for _, group in asked])
    assert order == [0, 1, 2]


@pytest.mark.parametrize("children", [1, 2, 3, 9])
@pytest.mark.parametrize("size", SIZES)
def test_a_heap_sorts_within_its_bound(size, children):
    worth = worths(size)
    for top in (1, 3, size, size + 5):
        sortings = [heap_sort(size, top, children, best_at_once) for _ in worth]
        orders, asked, _ = run(sortings, worth, best)
        for order, values in zip(orders, worth, strict=True):
            assert order[:top] == ranked(values)[:top]
            assert order[top:] == sorted(order[top:])
            assert sorted(order) == list(range(size))
        assert max(asked) <= heap_steps(size, top, children)


def test_the_bound_of_a_heap_is_met():
    """Over all orders of six docs, one needs as many questions as the bound says."""
    for top in (1, 2):
        most = 0
        for values in permutations(range(6)):
            _, (asked,), _ = run([heap_sort(6, top, 2, best_at_once)], [values], best)
            most = max(most, asked)
        assert most == heap_steps(6, top, 2)
    assert heap_steps(100, 10, 3) < 100 < 100 * 99 // 2


@pytest.mark.parametrize("width", [2, 3, 4, 20])
@pytest.mark.parametrize("size", SIZES)
def test_bubbles_bring_the_best_to_the_front(size, width):
    worth = worths(size)
    for top in (1, 3, size):
        sortings = [bubble_sort(size, top, width, best_at_once) for _ in worth]
        orders, asked, _ = run(sortings, worth, best)
        for order, values in zip(orders, worth, strict=True):
            assert order[:top] == ranked(values)[:top]
            assert sorted(order) == list(range(size))
        assert asked == [bubble_steps(size, top, width)] * len(worth)


@pytest.mark.parametrize("size", SIZES)
def test_pairs_do_for_a_heap_and_for_bubbles(size):
    worth = worths(size)
    heaps = [heap_sort(size, 5, 2, best_by_pairs) for _ in worth]
    orders, asked, _ = run(heaps, worth, first_wins)
    assert [order[:5] for order in orders] == [ranked(values)[:5] for values in worth]
    assert max(asked) <= 2 * heap_steps(size, 5, 2)
    bubbles = [bubble_sort(size, 5, 2, best_by_pairs) for _ in worth]
    orders, asked, _ = run(bubbles, worth, first_wins)
    assert [order[:5] for order in orders] == [ranked(values)[:5] for values in worth]
    assert asked == [bubble_steps(size, 5, 2)] * len(worth)


def test_ties_leave_everything_where_it_is():
    for sorting in (
        heap_sort(6, 6, 2, best_by_pairs),
        bubble_sort(6, 6, 2, best_by_pairs),
        all_pairs(6),
    ):
        (order,), _, _ = run([sorting], [[1] * 6], first_wins)
        assert order[0] == 0
        assert sorted(order) == list(range(6))
    (order,), _, _ = run([bubble_sort(6, 6, 3, best_at_once)], [[1] * 6], best)
    assert order == list(range(6))


def test_the_windows_are_those_of_the_paper():
    expected = [(80, 100), (70, 90), (60, 80), (50, 70), (40, 60), (30, 50), (20, 40), (10, 30)]
    assert windows(100, 20, 10) == [*expected, (0, 20)]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, []), (1, []), (2, [(0, 2)]), (20, [(0, 20)]), (21, [(1, 21), (0, 11)]),
        (25, [(5, 25), (0, 15)]), (30, [(10, 30), (0, 20)]),
    ],
)  # fmt: skip
def test_no_doc_is_left_out_whatever_the_length_of_the_list(count, expected):
    assert windows(count, 20, 10) == expected


@pytest.mark.parametrize("size", [0, 1, 5, 20, 27, 60])
def test_windows_carry_the_best_docs_to_the_front(size):
    worth = worths(size, 3)
    sortings = [sliding_windows(size, 20, 10, 1) for _ in worth]
    orders, asked, _ = run(sortings, worth, ranked)
    assert [order[:10] for order in orders] == [ranked(values)[:10] for values in worth]
    assert asked == [len(windows(size, 20, 10))] * 3
    passes = -(-size // 10)
    orders, asked, _ = run([sliding_windows(size, 20, 10, passes)] * 1, worth[:1], ranked)
    assert orders == [ranked(worth[0])]
    assert asked == [len(windows(size, 20, 10)) * passes]


def test_queries_are_asked_in_step():
    """Lists of other lengths end in other rounds; each gets its own answers."""
    worth = [list(range(size)) for size in (20, 3, 0, 45, 1)]
    sortings = [sliding_windows(len(values), 20, 10, 1) for values in worth]
    orders, asked, rounds = run(sortings, worth, ranked)
    assert rounds == [3, 1, 1, 1]
    assert asked == [1, 1, 0, 4, 0]
    assert orders[0] == ranked(worth[0])
    assert orders[2:] == [[], orders[3], [0]]
    pairs = list(combinations(range(3), 2))
    assert list(asked_together([all_pairs(3)], lambda a: [1.0] * len(a))[0]) == [0, 1, 2]
    assert next(all_pairs(3)) == pairs
