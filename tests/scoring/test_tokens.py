"""Each text is tokenised once, and what a damaged file held is tokenised again."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tokenizers_made as made
from transformers import AutoTokenizer

from evalkit.scoring.tokens import TokenCache

TEXTS = ["the index is merged", "缓存命中", "", "rollback " * 300, "the index is merged", "🚀"]


class Counting:
    """A tokenizer that remembers what it was asked."""

    def __init__(self, tokenizer):
        self.backend_tokenizer = self
        self._backend = tokenizer.backend_tokenizer
        self._length = len(tokenizer)
        self.asked = []

    def __len__(self):
        return self._length

    def encode_batch_fast(self, texts, add_special_tokens):
        self.asked.extend(texts)
        return self._backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)

    def __getattr__(self, name):
        return getattr(self._backend, name)


@pytest.fixture(scope="module")
def tokenizer():
    return made.wordpiece()


def _texts(cache, texts):
    tokens = cache.gather(cache.places(texts))
    return [part.tolist() for part in np.split(tokens.flat, tokens.offsets[1:-1])]


def test_each_text_is_tokenised_once_also_by_the_next_process(tokenizer, tmp_path):
    theirs = tokenizer(TEXTS, add_special_tokens=False).input_ids
    first = Counting(tokenizer)
    cache = TokenCache(first, tmp_path)
    assert _texts(cache, TEXTS) == theirs
    assert _texts(cache, TEXTS[::-1]) == theirs[::-1]
    assert sorted(first.asked) == sorted(set(TEXTS))
    second = Counting(tokenizer)
    again = TokenCache(second, tmp_path)
    assert _texts(again, ["a new one", *TEXTS])[1:] == theirs
    assert second.asked == ["a new one"]
    assert again.lengths(again.places(TEXTS)).tolist() == [len(row) for row in theirs]


def test_many_parts_are_gathered_in_any_order(tokenizer, tmp_path):
    generator = random.Random(1)
    texts = made.random_texts(generator, 300)
    cache = TokenCache(tokenizer, tmp_path)
    for start in range(0, 300, 50):
        cache.places(texts[start : start + 50])
    generator.shuffle(texts)
    assert _texts(cache, texts) == tokenizer(texts, add_special_tokens=False).input_ids


def test_another_tokenizer_has_a_folder_of_its_own(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    caches = [TokenCache(t, tmp_path) for t in (tokenizer, again, made.byte_bpe())]
    assert caches[0].folder == caches[1].folder != caches[2].folder


@pytest.mark.parametrize("field", ["tokens", "ends", "digests"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_part_is_set_aside(tokenizer, tmp_path, caplog, field, damage):
    cache = TokenCache(tokenizer, tmp_path)
    theirs = _texts(cache, TEXTS)
    (path,) = cache.folder.glob(f"*.{field}.npy")
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[-1] ^= 1
        path.write_bytes(content if damage == "flipped" else content[:-3])
    counting = Counting(tokenizer)
    assert _texts(TokenCache(counting, tmp_path), TEXTS) == theirs
    assert len(counting.asked) == len(set(TEXTS))
    # Without its digests a part was never finished: there is nothing to warn of.
    unfinished = (field, damage) == ("digests", "missing")
    assert ("is damaged" in caplog.text) != unfinished
    assert _texts(TokenCache(Counting(tokenizer), tmp_path), TEXTS) == theirs
