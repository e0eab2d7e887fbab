"""The cache of vectors: found by text, shared, resumed, and honest about damage."""

import os

import numpy as np
import pytest
from tiny import save_bi_encoder

from evalkit.embeddings import EmbeddingCache
from evalkit.encoders import TextEncoder
from evalkit.scoring.keys import KeyIndex, text_digests
from evalkit.scoring.search import similarity


def vectors(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


def test_vectors_are_found_by_text_over_parts_and_processes(tmp_path):
    cache, other = EmbeddingCache(tmp_path), EmbeddingCache(tmp_path)
    texts = [f"text {i}" for i in range(30)]
    digests, values = text_digests(texts), vectors(30)
    cache.add(digests[:10], values[:10])
    other.add(digests[10:30], values[10:30])
    wanted = np.random.default_rng(1).integers(0, 30, size=100)
    places = cache.find(digests[wanted])
    np.testing.assert_array_equal(cache.gather(places), values[wanted])
    assert cache.find(text_digests(["text 30"])).tolist() == [-1]


@pytest.mark.parametrize("kind", ["vectors", "digests"])
def test_a_truncated_part_is_set_aside_and_the_rest_is_used(tmp_path, caplog, kind):
    cache = EmbeddingCache(tmp_path)
    digests, values = text_digests(["a", "b"]), vectors(2)
    cache.add(digests[:1], values[:1])
    first = {path.name for path in tmp_path.iterdir()}
    cache.add(digests[1:], values[1:])
    broken = next(p for p in tmp_path.glob(f"*.{kind}.npy") if p.name not in first)
    broken.write_bytes(broken.read_bytes()[:-6])
    fresh = EmbeddingCache(tmp_path)
    places = fresh.find(digests)
    assert places[1] == -1
    np.testing.assert_array_equal(fresh.gather(places[:1]), values[:1])
    assert "set aside" in caplog.text


def test_a_part_of_another_storage_is_set_aside(tmp_path, caplog):
    digests = text_digests(["a", "b"])
    EmbeddingCache(tmp_path, "float16").add(digests, vectors(2))
    assert EmbeddingCache(tmp_path).find(digests).tolist() == [-1, -1]
    assert "float16, expected float32" in caplog.text


def test_only_what_is_missing_is_taken_from_another_cache(tmp_path):
    texts, values = text_digests(["a", "b", "c"]), vectors(3)
    wide = EmbeddingCache(tmp_path / "wide")
    wide.add(texts[:2], values[:2])
    narrow = EmbeddingCache(tmp_path / "narrow", "float16")
    narrow.add(texts[:1], values[2:])
    narrow.take(wide, texts[[0, 1, 1, 2]])
    assert narrow.find(texts).tolist() == [0, 1, -1]
    np.testing.assert_array_equal(
        narrow.gather(np.array([0, 1])), values[[2, 1]].astype(np.float16).astype(np.float32)
    )
    before = sorted(tmp_path.rglob("*"))
    narrow.take(wide, texts)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_cannot_be_opened_is_not_taken_for_damaged(tmp_path):
    """More parts than files may be open: they are opened as they are needed, and none is lost."""
    import resource

    cache = EmbeddingCache(tmp_path)
    digests, values = text_digests([str(i) for i in range(120)]), vectors(120)
    for i in range(120):
        cache.add(digests[i : i + 1], values[i : i + 1])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 20, hard))
    try:
        fresh = EmbeddingCache(tmp_path)
        np.testing.assert_array_equal(fresh.gather(fresh.find(digests)), values)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not list(tmp_path.glob("*.damaged"))


def test_a_killed_encoding_keeps_what_was_written(tmp_path, monkeypatch):
    model = str(save_bi_encoder(tmp_path / "bi"))
    texts = [f"search {'index ' * (i % 7)}{i}" for i in range(40)]
    encoder = TextEncoder(model, batch_size=1, cache_dir=tmp_path)
    real, done = encoder._encode, []

    def killed(part, side):
        if done:
            raise KeyboardInterrupt
        done.extend(part)
        return real(part, side)

    monkeypatch.setattr(encoder, "_encode", killed)
    with pytest.raises(KeyboardInterrupt):
        encoder.encode(texts, "doc")
    resumed = TextEncoder(model, batch_size=1, cache_dir=tmp_path)
    places = resumed.cache("doc").find(text_digests(texts))
    assert {texts[i] for i in np.flatnonzero(places >= 0)} == set(done)
    whole = TextEncoder(model, cache_dir=tmp_path / "other").encode(texts, "doc")
    np.testing.assert_allclose(resumed.encode(texts, "doc"), whole, atol=1e-5)


def test_queries_and_docs_are_kept_apart(tmp_path):
    model = str(save_bi_encoder(tmp_path / "bi", query="token "))
    encoder = TextEncoder(model, cache_dir=tmp_path)
    query, doc = encoder.encode(["search"], "query"), encoder.encode(["search"], "doc")
    assert np.abs(query - doc).max() > 0.01


def test_equal_rows_have_equal_similarities_wherever_they_stand():
    row, other = vectors(1)[0], vectors(1, seed=1)[0]
    queries, docs = np.tile(other, (37, 1)), np.tile(row, (37, 1))
    found = similarity(queries, docs)
    assert len(set(found.tolist())) == 1
    assert found[0] == np.float32(np.dot(row.astype(np.float64), other.astype(np.float64)))


def test_key_index_finds_exactly_what_was_added():
    generator = np.random.default_rng(0)
    keys = generator.integers(0, 2**63, size=(5000, 4)).astype(np.uint64)
    index = KeyIndex(4)
    index.add(keys[:2000])
    assert index.find(keys[[0, 1999, 2000]]).tolist() == [0, 1999, -1]
    for start in range(2000, 5000, 77):
        index.add(keys[start : start + 77])
    shuffled = generator.permutation(5000)
    np.testing.assert_array_equal(index.find(keys[shuffled]), shuffled)
    assert index.find(keys[:0]).tolist() == []
