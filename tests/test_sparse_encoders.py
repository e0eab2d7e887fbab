"""Learned sparse vectors against SPLADE's formula and the library; what is kept on disk."""

import json

import numpy as np
import pytest
from tiny import save_bi_encoder, save_cross_encoder, save_splade, save_tokenizer

from evalkit.errors import ConfigError, ModelNotFound, ScoreError
from evalkit.scoring.keys import text_digests
from evalkit.sparse_encoders import SparseTextEncoder, align, storage

TEXTS = [
    "search index merge", "重排 缓存 latency", "", "a" * 3000, "😀 token 😀", "query",
    "vector recall precision branch", "memory " * 100,
]  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    made = {
        "plain": save_splade(folder / "plain"),
        "saved": folder / "saved",
        "free": folder / "free",
        "nan": save_splade(folder / "nan", nan=True),
    }
    save_again(made["plain"], made["saved"], made["free"])
    return {name: str(path) for name, path in made.items()}


def save_again(plain, saved, free):
    """The same model as sentence-transformers saves it, and with queries that need no inference."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    model = SparseEncoder(str(plain), device="cpu")
    model.save(str(saved))
    weights = torch.linspace(0.1, 3.0, len(model.tokenizer))
    words = SparseStaticEmbedding(model.tokenizer, weight=weights, frozen=True)
    router = Router.for_query_document([words], [model[0], model[1]])
    SparseEncoder(modules=[router], device="cpu").save(str(free))


def dense(encoder, texts, side, width):
    found = encoder.matrix(encoder.places(texts, side), side)
    found.resize(len(texts), width)
    return found.toarray()


def test_weights_equal_splades_formula(models, tmp_path):
    """max over tokens of log(1 + ReLU(logit)), text by text; SPLADE++'s max pooling."""
    import torch
    from transformers import AutoTokenizer, BertForMaskedLM

    tokenizer = AutoTokenizer.from_pretrained(models["plain"])
    model = BertForMaskedLM.from_pretrained(models["plain"]).eval()
    expected = []
    for text in TEXTS:
        features = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**features).logits[0].double()
        expected.append(torch.log1p(torch.relu(logits)).max(dim=0).values.numpy())
    encoder = SparseTextEncoder(models["plain"], batch_size=3, cache_dir=tmp_path)
    ours = dense(encoder, TEXTS, "doc", len(tokenizer))
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    share = (ours > 0).mean()
    assert 0.02 < share < 0.6


@pytest.mark.parametrize("name", ["plain", "saved", "free"])
@pytest.mark.parametrize("side", ["query", "doc"])
def test_vectors_equal_the_librarys_own(models, tmp_path, name, side):
    from sentence_transformers import SparseEncoder

    theirs = SparseEncoder(models[name], device="cpu")
    encode = theirs.encode_query if side == "query" else theirs.encode_document
    expected = encode(TEXTS).to_dense().numpy()
    encoder = SparseTextEncoder(models[name], batch_size=3, cache_dir=tmp_path)
    np.testing.assert_allclose(dense(encoder, TEXTS, side, expected.shape[1]), expected, atol=1e-5)


def test_texts_are_encoded_once_and_a_killed_run_goes_on(models, tmp_path, monkeypatch):
    texts = [f"search {'index ' * (i % 7)}{i}" for i in range(40)]
    encoder = SparseTextEncoder(models["saved"], batch_size=1, cache_dir=tmp_path)
    real, done = encoder._encode, []

    def killed(part, side):
        if len(done) >= 16:
            raise KeyboardInterrupt
        done.extend(part)
        return real(part, side)

    monkeypatch.setattr(encoder, "_encode", killed)
    with pytest.raises(KeyboardInterrupt):
        encoder.places(texts, "doc")
    resumed = SparseTextEncoder(models["saved"], batch_size=1, cache_dir=tmp_path)
    found = resumed.cache("doc").find(text_digests(texts))
    assert {texts[i] for i in np.flatnonzero(found >= 0)} == set(done)
    whole = dense(resumed, texts, "doc", 200)

    again = SparseTextEncoder(models["saved"], batch_size=7, cache_dir=tmp_path)
    np.testing.assert_array_equal(dense(again, texts, "doc", 200), whole)
    assert "_model" not in vars(again)


@pytest.mark.parametrize("name", ["plain", "free"])
def test_texts_that_the_model_cuts_are_known(models, tmp_path, name):
    encoder = SparseTextEncoder(models[name], max_length=10, cache_dir=tmp_path)
    texts = ["a " * n for n in range(12)]
    cut = encoder.cache("doc").cut(encoder.places(texts, "doc"))
    assert cut.tolist() == [n > 8 for n in range(12)]
    whole, shortened = dense(encoder, ["a " * 8 + "query", "a " * 8], "doc", 200)
    np.testing.assert_allclose(whole, shortened, atol=1e-4)


def test_the_fingerprint_holds_what_changes_a_weight(models):
    settings = [{}, {"max_length": 8}, {"dtype": "bfloat16"}]
    found = {SparseTextEncoder(models["saved"], **x).fingerprint for x in settings}
    found.add(SparseTextEncoder(models["free"]).fingerprint)
    assert len(found) == 4
    same = SparseTextEncoder(models["saved"], batch_size=2, device="cpu").fingerprint
    assert same in found


def test_models_that_are_not_sparse_are_refused_before_loading(tmp_path):
    for save in (save_bi_encoder, save_cross_encoder):
        encoder = SparseTextEncoder(str(save(tmp_path / save.__name__)))
        with pytest.raises(ConfigError, match="is no sparse encoder; choose a SPLADE model"):
            encoder.check()
        with pytest.raises(ConfigError, match="is no sparse encoder"):
            encoder.places(["search"], "doc")
        assert "_model" not in vars(encoder)
    with pytest.raises(ModelNotFound, match="no such folder"):
        SparseTextEncoder("./nowhere").check()
    save_tokenizer(tmp_path / "bare")
    with pytest.raises(ModelNotFound):
        SparseTextEncoder(str(tmp_path / "bare")).check()


def test_bad_settings_and_weights_that_are_no_numbers_are_refused(models, tmp_path):
    with pytest.raises(ConfigError, match="max_length=2"):
        SparseTextEncoder(models["plain"], max_length=2)
    with pytest.raises(ConfigError, match="batch_size=0"):
        SparseTextEncoder(models["plain"], batch_size=0)
    with pytest.raises(ScoreError, match="gives NaN or infinite vectors for 2 of 2 texts"):
        SparseTextEncoder(models["nan"], cache_dir=tmp_path).places(["a", "b"], "doc")
    assert list(tmp_path.glob("**/*.npy")) == []


def test_a_cosine_model_gives_vectors_of_length_one(models, tmp_path):
    import shutil

    folder = tmp_path / "cosine"
    shutil.copytree(models["saved"], folder)
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "similarity_fn_name": "cosine"}))
    encoder = SparseTextEncoder(str(folder), cache_dir=tmp_path)
    vectors = dense(encoder, TEXTS, "doc", 200)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_matrices_are_widened_and_storage_is_counted(models, tmp_path):
    encoder = SparseTextEncoder(models["free"], cache_dir=tmp_path)
    few = encoder.matrix(encoder.places(["search"], "query"), "query")
    many = encoder.matrix(encoder.places(TEXTS, "doc"), "doc")
    before = many.toarray()
    align(few, many)
    assert few.shape[1] == many.shape[1]
    np.testing.assert_array_equal(many.toarray()[:, : before.shape[1]], before)
    assert encoder.matrix(np.empty(0, np.int64), "doc").shape[0] == 0
    assert storage(np.array([3, 4])) == {
        "docs": 2, "terms_a_doc": 3.5, "vector_bytes": 56, "vector_bytes_a_doc": 28,
    }  # fmt: skip
