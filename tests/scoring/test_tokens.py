"""Each text is tokenised once, and what a damaged file held is tokenised again."""

from __future__ import annotations

import os
import random
import time

import numpy as np
import pytest
import tokenizers_made as made
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from evalkit.errors import DataError, OutputError
from evalkit.scoring import tokens
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


def test_no_more_parts_are_open_than_a_process_may_have(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "_OPEN", 3)
    texts = made.random_texts(random.Random(2), 80)
    theirs = tokenizer(texts, add_special_tokens=False).input_ids
    writer = TokenCache(tokenizer, tmp_path)
    for text in texts:
        writer.places([text])
    for cache in (writer, TokenCache(tokenizer, tmp_path)):
        assert _texts(cache, texts) == theirs
        assert _texts(cache, texts[::-1]) == theirs[::-1]
        assert cache._flat.cache_info().currsize == 3
    # What was closed and then taken away is said in one line.
    places = cache.places(texts)
    for path in cache.folder.glob("*.tokens.npy"):
        path.unlink()
    with pytest.raises(DataError, match=r"tokens\.npy: cannot be read \(No such file"):
        cache.gather(places)


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


# Of numpy's header: its magic string, its length, dtype, order, shape and the space behind it, for
# which numpy has another kind of error each; some change nothing.
@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 0), (6, 9), (8, 1), (9, 255), (10, 40), (21, 44), (21, 61), (22, 48), (60, 57), (100, 41)],
)
@pytest.mark.parametrize("field", ["tokens", "digests"])
def test_whatever_happens_to_a_header_no_token_changes(tokenizer, tmp_path, field, place, value):
    theirs = tokenizer(TEXTS, add_special_tokens=False).input_ids
    cache = TokenCache(tokenizer, tmp_path)
    cache.places(TEXTS)
    (path,) = cache.folder.glob(f"*.{field}.npy")
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(content)
    assert _texts(TokenCache(tokenizer, tmp_path), TEXTS) == theirs


def test_a_part_that_cannot_be_opened_is_no_damage(tokenizer, tmp_path, monkeypatch):
    cache = TokenCache(tokenizer, tmp_path)
    cache.places(TEXTS)

    def refused(*_args, **_settings):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "load", refused)
    with pytest.raises(DataError, match=r"tokens\.npy: cannot be read \(Permission denied\)"):
        TokenCache(tokenizer, tmp_path).places(TEXTS)
    monkeypatch.undo()
    assert not list(cache.folder.glob("*.damaged"))


def test_damage_that_cannot_be_set_aside_is_one_line(tokenizer, tmp_path, monkeypatch):
    cache = TokenCache(tokenizer, tmp_path)
    cache.places(TEXTS)
    next(cache.folder.glob("*.ends.npy")).write_bytes(b"")

    def refused(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("evalkit.scoring.tokens.os.replace", refused)
    with pytest.raises(OutputError, match=r"cannot be set aside \(Permission denied\)"):
        TokenCache(tokenizer, tmp_path).places(TEXTS)


def test_ids_above_the_number_of_tokens(tmp_path):
    words = {"[PAD]": 0, "[UNK]": 1, "index": 70_000, "merge": 3}
    backend = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    gaps = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    for texts in (["merge merge"], ["index merge", "merge"]):
        assert _texts(TokenCache(gaps, tmp_path), texts) == gaps(texts).input_ids


def test_what_a_killed_process_left_goes_after_an_hour(tokenizer, tmp_path):
    cache = TokenCache(tokenizer, tmp_path)
    cache.folder.mkdir()
    old, new = (cache.folder / f".0.tokens.npy.{end}" for end in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half an arr")
    hour_ago = time.time() - 3700
    os.utime(old, (hour_ago, hour_ago))
    cache.places(TEXTS)
    assert [path.name for path in cache.folder.glob(".*")] == [new.name]
