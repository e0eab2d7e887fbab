"""Ways to sort docs by asking: each is a generator that yields questions and is sent the answers.

A question is a group of candidate positions (0 is the first stage's best); many are yielded at once
where none depends on the others. `asked_together` runs the generators of many queries in step, a
round of questions over all of them at a time, so that a GPU or a server is kept busy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from itertools import combinations
from typing import Any, TypeVar

Group = tuple[int, ...]
T = TypeVar("T")
# Yields questions, is sent as many answers, returns T.
Asking = Generator[list[Group], list[Any], T]
Sorting = Asking[list[int]]
# Asks for the best of a group, given in the order that stands; returns its place in the group.
Best = Callable[[Group], Asking[int]]


def asked_together(
    sortings: Sequence[Sorting], ask: Callable[[list[tuple[int, Group]]], list[Any]]
) -> list[list[int]]:
    """What the generators return: positions, best first. ask: answers to (query, group)s."""
    orders: list[list[int]] = [[] for _ in sortings]
    waiting: dict[int, list[Group]] = {}

    def advance(query: int, answers: list[Any] | None) -> None:
        try:
            sorting = sortings[query]
            waiting[query] = next(sorting) if answers is None else sorting.send(answers)
        except StopIteration as end:
            waiting.pop(query, None)
            orders[query] = end.value

    for query in range(len(sortings)):
        advance(query, None)
    while waiting:
        asked = [(query, group) for query, groups in waiting.items() for group in groups]
        answers = iter(ask(asked))
        for query, groups in list(waiting.items()):
            advance(query, [next(answers) for _ in groups])
    return orders


def all_pairs(count: int) -> Sorting:
    """Every pair once; by wins, a tie being half of one. Answers: 1 for the first of the pair, 0
    for the second, 0.5 for a tie. Equal wins keep their old order."""
    pairs: list[Group] = list(combinations(range(count), 2))
    wins = [0.0] * count
    answers = (yield pairs) if pairs else []
    for (one, two), first in zip(pairs, answers, strict=True):
        wins[one] += first
        wins[two] += 1 - first
    return sorted(range(count), key=lambda position: (-wins[position], position))


def best_by_pairs(group: Group) -> Asking[int]:
    """The best of a group by comparing two at a time; answers as in `all_pairs`. On a tie what
    stands stays."""
    winner = 0
    for challenger in range(1, len(group)):
        (first,) = yield [(group[winner], group[challenger])]
        if first < 0.5:
            winner = challenger
    return winner


def best_at_once(group: Group) -> Asking[int]:
    """The best of a group by one question, answered with its place in the group."""
    (winner,) = yield [group]
    return winner


def heap_sort(count: int, top: int, children: int, best: Best) -> Sorting:
    """The best `top` by a heap whose nodes have so many children; the others in their old order."""
    heap = list(range(count))

    def sift(node: int, size: int) -> Asking[None]:
        while (below := children * node + 1) < size:
            group = (heap[node], *heap[below : min(below + children, size)])
            winner = yield from best(group)
            if winner == 0:
                return
            child = below + winner - 1
            heap[node], heap[child] = heap[child], heap[node]
            node = child

    for node in range((count - 2) // children, -1, -1):
        yield from sift(node, count)
    found: list[int] = []
    for size in range(count - 1, -1, -1):
        found.append(heap[0])
        if len(found) >= top:
            break
        heap[0] = heap[size]
        yield from sift(0, size)
    return found + sorted(set(range(count)) - set(found))


def heap_steps(count: int, top: int, children: int) -> int:
    """How often `heap_sort` asks for the best of a group, at most."""

    def levels(node: int, size: int) -> int:
        below = 0
        while (node := children * node + 1) < size:
            below += 1
        return below

    build = sum(levels(node, count) for node in range((count - 2) // children + 1))
    return build + sum(levels(0, count - taken) for taken in range(1, min(top, count)))


def bubble_sort(count: int, top: int, width: int, best: Best) -> Sorting:
    """The best `top` by as many passes from the end to the front: the best of `width` docs goes to
    their front and is compared with those before it. The others follow as the passes left them."""
    order = list(range(count))
    for done in range(min(top, count)):
        end = count
        while end - done > 1:
            start = max(done, end - width)
            winner = yield from best(tuple(order[start:end]))
            order.insert(start, order.pop(start + winner))
            end = start + 1
    return order


def bubble_steps(count: int, top: int, width: int) -> int:
    """How often `bubble_sort` asks for the best of a group, exactly."""
    return sum(-(-(count - 1 - done) // (width - 1)) for done in range(min(top, count)))


def windows(count: int, size: int, step: int) -> list[tuple[int, int]]:
    """Where the windows of one pass start and end, the last docs first, so that a good doc can be
    carried from the end to the front. The last window starts at the front, whatever the step."""
    found: list[tuple[int, int]] = []
    end = count if count > 1 else 0
    while end > 0:
        start = max(0, end - size)
        found.append((start, end))
        end = end - step if start else 0
    return found


def sliding_windows(count: int, size: int, step: int, passes: int) -> Sorting:
    """Each window reordered as its answer says: the places of its docs, best first."""
    order = list(range(count))
    for start, end in windows(count, size, step) * passes:
        (places,) = yield [tuple(order[start:end])]
        order[start:end] = [order[start + place] for place in places]
    return order
