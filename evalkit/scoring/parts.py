"""Work cut into parts for several processes, and a part's way to another process."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np


def parts_of(costs: np.ndarray, count: int) -> list[np.ndarray]:
    """The positions 0…n-1 in at most `count` parts of about equal cost, the costliest items first.

    costs: shape (n,), none below 0. Items are sorted by cost, descending (equal costs stay in
    order), laid end to end and cut at every 1/count of the whole; an item that lies across a cut
    belongs to the side that holds its middle. So no part costs more than 1/count of the whole and
    one item, and the items of a part are of like cost, which wastes little padding.
    """
    costs = np.asarray(costs, dtype=np.float64)
    if not costs.any():
        costs = np.ones(len(costs))
    order = np.argsort(-costs, kind="stable")
    ends = costs[order].cumsum()
    middles = (ends - costs[order] / 2) / ends[-1:]
    # The middle of an item that costs nothing may lie at the very end.
    owners = np.minimum(np.floor(middles * count), count - 1)
    cuts = np.flatnonzero(np.diff(owners)) + 1
    return np.split(order, cuts) if len(order) else []


class _Column(NamedTuple):
    """Arrays of one dtype end to end: values (total,), lengths (n,)."""

    values: np.ndarray
    lengths: np.ndarray


class _Columns(NamedTuple):
    """Items that are tuples of arrays: a column for each place in the tuple."""

    columns: tuple[_Column, ...]


class _Texts(NamedTuple):
    """Tuples of texts: the distinct ones, and which are in each tuple, int64, shape (n, width)."""

    distinct: list[str]
    places: np.ndarray


def pack(items: Sequence[Any] | np.ndarray, rows: np.ndarray) -> Any:
    """The items at `rows` in a form that is quick to pickle; `unpack` gives them back as a list.

    One-dimensional arrays, such as token ids, and tuples of them are laid end to end: pickled one
    by one, 100,000 pairs of them take seconds. Of tuples of texts, such as pairs, each text goes
    once, however many copies of it there are. An array of items stays an array.
    """
    if isinstance(items, np.ndarray):
        return items[rows]
    chosen = [items[row] for row in rows.tolist()]
    if all(type(item) is tuple for item in chosen) and len({len(item) for item in chosen}) == 1:
        flat = list(chain.from_iterable(chosen))
        if set(map(type, flat)) == {str}:
            return _as_texts(flat, len(chosen))
        columns = [_column(arrays) for arrays in zip(*chosen, strict=True)]
        whole = tuple(column for column in columns if column is not None)
        return _Columns(whole) if columns and len(whole) == len(columns) else chosen
    return _column(chosen) or chosen


def unpack(packed: Any) -> Sequence[Any]:
    """What was packed: an array, or a list of items equal to the first ones, dtypes included."""
    if isinstance(packed, _Texts):
        columns = packed.places.T.tolist()
        texts = ([packed.distinct[place] for place in column] for column in columns)
        return list(zip(*texts, strict=True))
    if isinstance(packed, _Columns):
        return list(zip(*(_arrays(column) for column in packed.columns), strict=True))
    return _arrays(packed) if isinstance(packed, _Column) else packed


def _as_texts(flat: list[str], count: int) -> _Texts:
    """flat: the texts of `count` tuples."""
    distinct = list(dict.fromkeys(flat))
    place = dict(zip(distinct, range(len(distinct)), strict=True))
    places = np.fromiter(map(place.__getitem__, flat), np.int64, len(flat))
    return _Texts(distinct, places.reshape(count, -1))


def _column(arrays: Sequence[Any]) -> _Column | None:
    """The arrays end to end; None where one is something else or has another dtype."""
    first = arrays[0] if len(arrays) else None
    if not isinstance(first, np.ndarray) or first.dtype.hasobject:
        return None
    if any(type(x) is not np.ndarray or x.ndim != 1 or x.dtype != first.dtype for x in arrays):
        return None
    lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
    return _Column(np.concatenate(arrays), lengths)


def _arrays(column: _Column) -> list[np.ndarray]:
    ends = column.lengths.cumsum()
    starts = ends - column.lengths
    bounds = zip(starts.tolist(), ends.tolist(), strict=True)
    return [column.values[start:end] for start, end in bounds]
