"""The cache of rows of different lengths: found by text, shared, and honest about damage."""

import numpy as np
import pytest

from evalkit.scoring.keys import text_digests
from evalkit.token_vectors import RaggedCache, Rows

COLUMNS = ("vectors", "weights")


def rows(lengths, seed=0):
    generator = np.random.default_rng(seed)
    lengths = np.asarray(lengths)
    vectors = generator.normal(size=(lengths.sum(), 4)).astype(np.float16)
    weights = generator.integers(0, 99, size=lengths.sum()).astype(np.int32)
    return Rows(lengths, lengths > 3, (vectors, weights))


def of(whole, i):
    """Text i's rows, column by column."""
    part = slice(whole.offsets[i], whole.offsets[i + 1])
    return [column[part] for column in whole.columns]


def test_rows_are_found_by_text_over_parts_and_processes(tmp_path):
    cache, other = RaggedCache(tmp_path, COLUMNS), RaggedCache(tmp_path, COLUMNS)
    digests = text_digests([f"text {i}" for i in range(30)])
    one, two = rows([3, 0, 1, 7, 2] * 2), rows([1, 2, 3, 4] * 5, seed=1)
    cache.add(digests[:10], one)
    other.add(digests[10:], two)
    wanted = np.random.default_rng(1).integers(0, 30, size=100)
    places = cache.find(digests[wanted])
    found = cache.gather(places)
    for i, text in enumerate(wanted):
        expected = of(one, text) if text < 10 else of(two, text - 10)
        for ours, theirs in zip(of(found, i), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(cache.lengths(places), found.lengths)
    np.testing.assert_array_equal(found.cut, found.lengths > 3)
    assert cache.find(text_digests(["text 30"])).tolist() == [-1]


def test_rows_that_are_all_empty_keep_their_shape(tmp_path):
    cache = RaggedCache(tmp_path, COLUMNS)
    cache.add(text_digests(["a", "b"]), rows([0, 0]))
    found = RaggedCache(tmp_path, COLUMNS)
    gathered = found.gather(found.find(text_digests(["b"])))
    assert [column.shape for column in gathered.columns] == [(0, 4), (0,)]


@pytest.mark.parametrize("kind", [*COLUMNS, "lengths", "cut", "digests"])
@pytest.mark.parametrize("damage", ["short", "missing"])
def test_a_damaged_part_is_set_aside_and_the_rest_is_used(tmp_path, caplog, kind, damage):
    cache = RaggedCache(tmp_path, COLUMNS)
    digests, whole = text_digests(["a", "b"]), rows([2])
    cache.add(digests[:1], whole)
    first = {path.name for path in tmp_path.iterdir()}
    cache.add(digests[1:], rows([5], seed=1))
    broken = next(p for p in tmp_path.glob(f"*.{kind}.npy") if p.name not in first)
    if damage == "short":
        broken.write_bytes(broken.read_bytes()[:-1])
    else:
        broken.unlink()
    fresh = RaggedCache(tmp_path, COLUMNS)
    places = fresh.find(digests)
    assert places.tolist() == [0, -1]
    np.testing.assert_array_equal(fresh.gather(places[:1]).columns[0], whole.columns[0])
    # Without its digests a part was never complete: a killed run leaves no complaint.
    assert ("set aside" in caplog.text) == (damage == "short" or kind != "digests")


def test_lengths_that_do_not_fit_their_rows_are_damage(tmp_path, caplog):
    cache = RaggedCache(tmp_path, COLUMNS)
    cache.add(text_digests(["a", "b"]), rows([2, 3]))
    (path,) = tmp_path.glob("*.lengths.npy")
    np.save(path, np.array([2, 4]))
    assert RaggedCache(tmp_path, COLUMNS).find(text_digests(["a"])).tolist() == [-1]
    assert "5 vectors for 6 entries" in caplog.text
