"""Pairs are put together exactly as the tokenizer itself would have done it."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import tokenizers_made as made
from transformers import PreTrainedTokenizerFast

from evalkit.errors import ConfigError
from evalkit.scoring.templates import PairTemplate, kept_lengths, ranges
from evalkit.scoring.tokens import TokenCache

PAIRS = 20_000


@pytest.fixture(scope="module", params=made.TOKENIZERS)
def tokenizer(request):
    return made.TOKENIZERS[request.param]()


def _assembled(tokenizer, folder, pairs, max_length, truncation):
    """Ids and types of each pair, by the token cache and the template."""
    template = PairTemplate.of(tokenizer)
    cache = TokenCache(tokenizer, folder)
    at = [cache.places([pair[side] for pair in pairs]) for side in (0, 1)]
    tokens = [cache.gather(places) for places in at]
    room = max_length - template.added
    kept = kept_lengths(tokens[0].lengths, tokens[1].lengths, room, truncation)
    rows = np.arange(len(pairs))
    packed = template.assemble(tokens[0], tokens[1], rows, rows, kept)
    return [np.split(x, packed.offsets[1:-1]) for x in (packed.ids, packed.types)]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("truncation", ["longest_first", "only_second"])
def test_the_same_ids_and_types_as_the_tokenizers_own(tokenizer, tmp_path, truncation, side):
    tokenizer.truncation_side = side
    generator = random.Random(side)
    texts = made.random_texts(generator, 2000)
    pairs = [(generator.choice(texts), generator.choice(texts)) for _ in range(PAIRS // 2)]
    max_length = 48
    if truncation == "only_second":  # a query that leaves no room is refused by the tokenizer
        short = [t for t in texts if len(tokenizer(t, add_special_tokens=False).input_ids) < 20]
        pairs = [(generator.choice(short), doc) for _, doc in pairs]
    ids, types = _assembled(tokenizer, tmp_path, pairs, max_length, truncation)
    theirs = tokenizer(
        pairs, truncation=truncation, max_length=max_length, return_token_type_ids=True
    )
    for i, pair in enumerate(pairs):
        assert ids[i].tolist() == theirs.input_ids[i], pair
        assert types[i].tolist() == theirs.token_type_ids[i], pair
    lengths = np.array([len(row) for row in ids])
    assert (lengths == max_length).mean() > 0.2  # many are cut,
    assert (lengths < max_length).mean() > 0.2  # and many are not


def test_every_way_to_cut_a_short_pair(tmp_path):
    tokenizer = made.wordpiece()
    added = PairTemplate.of(tokenizer).added
    for room, query, doc in itertools.product(range(1, 12), range(13), range(13)):
        for truncation in ("longest_first", "only_second"):
            if truncation == "only_second" and query + doc > room and doc <= query + doc - room:
                continue  # the tokenizer refuses, or cuts nothing
            pair = ("a " * query, "b " * doc)
            theirs = tokenizer([pair], truncation=truncation, max_length=room + added)
            of_text = theirs.encodings[0].sequence_ids
            ours = kept_lengths(np.array([query]), np.array([doc]), room, truncation)
            assert (ours[0][0], ours[1][0]) == (of_text.count(0), of_text.count(1))


def test_a_query_that_leaves_no_room_keeps_what_fits():
    kept = kept_lengths(np.array([9, 3]), np.array([4, 4]), 5, "only_second")
    assert [part.tolist() for part in kept] == [[5, 3], [0, 2]]


def test_padding_goes_to_the_right(tmp_path):
    tokenizer = made.wordpiece()
    template = PairTemplate.of(tokenizer)
    cache = TokenCache(tokenizer, tmp_path)
    tokens = cache.gather(cache.places(["index", "the index is merged"]))
    rows = np.array([0, 1])
    packed = template.assemble(tokens, tokens, rows, rows, (tokens.lengths, tokens.lengths))
    theirs = tokenizer(
        [("index", "index"), ("the index is merged",) * 2], padding=True, return_tensors="np"
    )
    for ours, name in zip(
        packed.padded(tokenizer.pad_token_id),
        ("input_ids", "token_type_ids", "attention_mask"),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs[name])


def test_a_template_that_is_not_query_then_doc_is_refused():
    tokenizer = made.wordpiece()
    backend = tokenizer.backend_tokenizer
    backend.post_processor = made.TemplateProcessing(single="$A", pair="$B $A", special_tokens=[])
    swapped = PreTrainedTokenizerFast(tokenizer_object=backend)
    with pytest.raises(ConfigError, match="query before the doc"):
        PairTemplate.of(swapped)
    with pytest.raises(ConfigError, match="not one of the `tokenizers` library"):
        PairTemplate.of(object())


def test_ranges():
    assert ranges(np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
    assert ranges(np.array([], dtype=np.int64)).tolist() == []
