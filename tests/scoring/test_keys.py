"""Digests of texts and pairs, and the index over them, against the standard library's dict."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.scoring.keys import _ODD, KeyIndex, pair_digests, text_digests


def test_digests_are_blake2b_of_the_text_alone():
    texts = ["doc", "", "文档 🙂", "doc"]
    digests = text_digests(texts)
    assert digests.shape == (4, 2)
    assert digests.dtype == np.uint64
    for text, digest in zip(texts, digests, strict=True):
        assert digest.tobytes() == hashlib.blake2b(text.encode(), digest_size=16).digest()
    assert text_digests([]).shape == (0, 2)


def test_every_pair_of_two_texts_has_its_own_digest():
    texts = text_digests([f"text {i}" for i in range(300)])
    query, doc = np.repeat(texts, 300, axis=0), np.tile(texts, (300, 1))
    digests = pair_digests(query, doc)
    assert digests.shape == (90_000, 2)
    for word in range(2):  # each word alone tells them apart: it is the one that is sorted by
        assert len(np.unique(digests[:, word])) == 90_000
    np.testing.assert_array_equal(pair_digests(query, doc), digests)


@pytest.mark.parametrize("width", [1, 2, 4])
@given(numbers=st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=8), data=st.data())
def test_the_index_finds_the_first_position_of_each_key(width, numbers, data):
    keys = np.random.default_rng(0).integers(0, 2**64, (41, width), dtype=np.uint64)
    index = KeyIndex(width)
    for batch in numbers:
        index.add(keys[batch])
    flat = [number for batch in numbers for number in batch]
    wanted = data.draw(st.lists(st.integers(0, 40), max_size=50))
    expected = [flat.index(number) if number in flat else -1 for number in wanted]
    assert index.find(keys[wanted]).tolist() == expected
    assert len(index) == len(flat)


@pytest.mark.parametrize("word", range(4))
def test_keys_that_differ_in_one_word_are_different(word):
    key = np.arange(1, 5, dtype=np.uint64).reshape(1, 4)
    index = KeyIndex(4)
    index.add(key)
    other = key.copy()
    other[0, word] ^= np.uint64(1 << 63)
    assert index.find(np.concatenate([other, key])).tolist() == [-1, 0]


def test_keys_that_share_their_mix_are_different():
    # Sorted by the mix, told apart by the rest: made by solving for the first word.
    first, second, other = 12345, 67890, 424242
    mix = (first * _ODD[0] ^ second * _ODD[1]) % 2**64
    twin = (mix ^ other * _ODD[1] % 2**64) * pow(_ODD[0], -1, 2**64) % 2**64
    index = KeyIndex(2)
    index.add(np.array([[first, second]], dtype=np.uint64))
    assert index.find(np.array([[twin, other], [first, second]], dtype=np.uint64)).tolist() == [
        -1,
        0,
    ]
