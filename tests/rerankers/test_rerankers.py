"""Rerankers against the libraries they stand on, and the adapter that stores scores."""

import json

import numpy as np
import pytest
from tiny import HashScorer, save_bi_encoder, save_cross_encoder, save_tokenizer, toy_dataset

from evalkit.encoders import TextEncoder
from evalkit.errors import ConfigError, ModelNotFound, ScoreError
from evalkit.rerankers import pointwise
from evalkit.rerankers.bi_encoder import BiEncoderReranker, BiEncoderScorer
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.rerankers.reference import ReferenceScorer
from evalkit.run import Run

TEXTS = [
    "search index merge", "重排 缓存 latency", "", "a" * 3000, "😀 token 😀", "query",
    "vector recall precision branch",
]  # fmt: skip
PAIRS = [(q, d) for q in ("rerank score", "检索 分词", "") for d in TEXTS]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "cross": str(save_cross_encoder(folder / "cross")),
        "two": str(save_cross_encoder(folder / "two", num_labels=2)),
        "nan": str(save_cross_encoder(folder / "nan", nan=True)),
        "bi": str(save_bi_encoder(folder / "bi")),
        "dot": str(save_bi_encoder(folder / "dot", similarity="dot")),
        "prompted": str(save_bi_encoder(folder / "prompted", query="query ", document="index ")),
    }


def all_candidates(dataset):
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    return Run.from_dict({q.query_id: dict.fromkeys(docs, 0.0) for q in dataset.queries})


def test_cross_encoder_equals_transformers_own_logits_pair_by_pair(models):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models["cross"])
    model = AutoModelForSequenceClassification.from_pretrained(models["cross"]).eval()
    expected = []
    for query, doc in PAIRS:
        # As lists: given plain strings, the tokenizer takes an empty doc for no doc at all.
        features = tokenizer([query], [doc], truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            expected.append(model(**features).logits.item())
    ours = ReferenceScorer(models["cross"], batch_size=4).score(PAIRS)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_cross_encoder_equals_sentence_transformers(models):
    from sentence_transformers import CrossEncoder

    theirs = CrossEncoder(models["cross"], device="cpu").predict(PAIRS)
    ours = ReferenceScorer(models["cross"], activation="sigmoid").score(PAIRS)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_activation_is_a_sigmoid_of_the_raw_logits(models):
    raw = ReferenceScorer(models["cross"]).score(PAIRS).astype(np.float64)
    squashed = ReferenceScorer(models["cross"], activation="sigmoid").score(PAIRS)
    np.testing.assert_allclose(squashed, 1 / (1 + np.exp(-raw)), atol=1e-6)
    assert raw.min() < 0 < raw.max()


@pytest.mark.parametrize(("model", "normalise"), [("bi", True), ("dot", False)])
def test_bi_encoder_equals_the_models_own_similarity(models, model, normalise):
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(models[model], device="cpu")
    queries = theirs.encode_query([q for q, _ in PAIRS], normalize_embeddings=normalise)
    docs = theirs.encode_document([d for _, d in PAIRS], normalize_embeddings=normalise)
    ours = BiEncoderScorer(TextEncoder(models[model], batch_size=3)).score(PAIRS)
    np.testing.assert_allclose(ours, (queries * docs).sum(1), atol=1e-5)
    theirs_matrix = theirs.similarity_pairwise(queries, docs).numpy()
    np.testing.assert_allclose(ours, theirs_matrix, atol=1e-5)


def test_prompts_come_from_the_model_and_a_setting_replaces_them(models):
    plain = TextEncoder(models["bi"]).encode(["query search", "search"], "query")
    own = TextEncoder(models["prompted"]).encode(["search"], "query")
    replaced = TextEncoder(models["prompted"], query_prompt="").encode(["search"], "query")
    np.testing.assert_allclose(own[0], plain[0], atol=1e-5)
    np.testing.assert_allclose(replaced[0], plain[1], atol=1e-5)
    fingerprints = {
        TextEncoder(models["prompted"]).fingerprint,
        TextEncoder(models["prompted"], query_prompt="").fingerprint,
        TextEncoder(models["prompted"], max_length=8).fingerprint,
        TextEncoder(models["prompted"], dtype="bfloat16").fingerprint,
    }
    assert len(fingerprints) == 4
    same = TextEncoder(models["prompted"], batch_size=7, device="cpu").fingerprint
    assert same in fingerprints


def test_encode_keeps_the_order_of_texts_and_repeats(models):
    encoder = TextEncoder(models["bi"], batch_size=2)
    texts = ["vector", "search index", "vector", "token token token", "vector"]
    together = encoder.encode(texts, "doc")
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(vector, encoder.encode([text], "doc")[0], atol=1e-5)
    assert encoder.encode([], "doc").shape == (0, 32)


@pytest.mark.parametrize("name", ["cross", "bi"])
def test_reranking_does_not_depend_on_the_order_of_candidates(tmp_path, models, name):
    kind = CrossEncoderReranker if name == "cross" else BiEncoderReranker
    dataset = toy_dataset(tmp_path / "toy")
    candidates = all_candidates(dataset)
    one = kind(models[name], cache_dir=tmp_path / "a").rerank(dataset.queries, dataset, candidates)
    shuffled = candidates.with_scores(np.random.default_rng(0).normal(size=len(candidates)))
    two = kind(models[name], cache_dir=tmp_path / "b", batch_size=5, chunk_size=13).rerank(
        dataset.queries, dataset, shuffled
    )
    np.testing.assert_allclose(one.scores_in(two), one.scores, atol=1e-5)
    assert len(one) == len(candidates)


def test_pairs_with_equal_texts_are_scored_once(tmp_path):
    dataset = toy_dataset(tmp_path / "toy")
    lines = (tmp_path / "toy" / "corpus.jsonl").read_text().splitlines()
    twin = lines[0].replace('"d0"', '"twin"')
    (tmp_path / "toy" / "corpus.jsonl").write_text("\n".join([*lines, twin]))
    scorer = HashScorer()
    reranker = PointwiseReranker(scorer, cache_dir=tmp_path)
    found = reranker.rerank(dataset.queries, dataset, all_candidates(dataset))
    assert len(scorer.asked) == 40 * 8
    assert reranker.counts == (41 * 8, 0, 40 * 8)
    scores = dict(found["q0"])
    assert scores["twin"] == scores["d0"]


def test_a_changed_text_misses_the_store_and_an_interrupted_run_goes_on(tmp_path):
    dataset = toy_dataset(tmp_path / "toy")
    candidates = all_candidates(dataset)

    class Failing(HashScorer):
        def score(self, pairs):
            if len(self.asked) >= 100:
                raise KeyboardInterrupt
            return super().score(pairs)

    with pytest.raises(KeyboardInterrupt):
        PointwiseReranker(Failing(), cache_dir=tmp_path, chunk_size=50).rerank(
            dataset.queries, dataset, candidates
        )
    resumed = PointwiseReranker(HashScorer(), cache_dir=tmp_path, chunk_size=50)
    resumed.rerank(dataset.queries, dataset, candidates)
    assert resumed.counts == (320, 250, 70)  # chunks of 50, 200, ...: the third one fails
    other_text = PointwiseReranker(HashScorer(), "{text}", cache_dir=tmp_path)
    other_text.rerank(dataset.queries, dataset, candidates)
    assert other_text.counts.reused == 0


def test_scores_that_are_no_scores_are_refused_and_not_stored(tmp_path, models):
    dataset = toy_dataset(tmp_path / "toy")
    reranker = CrossEncoderReranker(models["nan"], cache_dir=tmp_path)
    with pytest.raises(ScoreError, match=r"scored NaN for .* pairs, e\.g\. query"):
        reranker.rerank(dataset.queries, dataset, all_candidates(dataset))
    assert list(tmp_path.glob("scores/**/*.parquet")) == []

    class Overflowing(HashScorer):
        def score(self, pairs):
            return np.where(np.arange(len(pairs)) == 3, np.inf, 0.0)

    with pytest.raises(ScoreError, match="scored infinity for 1 of"):
        PointwiseReranker(Overflowing(), cache_dir=tmp_path).rerank(
            dataset.queries, dataset, all_candidates(dataset)
        )
    assert list(tmp_path.glob("scores/**/*.parquet")) == []

    class Short(HashScorer):
        def score(self, pairs):
            return np.zeros(len(pairs) - 1, dtype=np.float32)

    with pytest.raises(ScoreError, match="expected one score a pair"):
        PointwiseReranker(Short(), cache_dir=tmp_path).rerank(
            dataset.queries, dataset, all_candidates(dataset)
        )


def test_many_queries_are_scored_in_blocks_with_the_same_result(tmp_path, monkeypatch):
    dataset = toy_dataset(tmp_path / "toy")
    candidates = all_candidates(dataset)
    whole = PointwiseReranker(HashScorer(), cache_dir=tmp_path / "a")
    expected = whole.rerank(dataset.queries, dataset, candidates)
    monkeypatch.setattr(pointwise, "_QUERIES", 3)
    blocks = PointwiseReranker(HashScorer(), cache_dir=tmp_path / "b")
    assert blocks.count(dataset.queries, dataset, candidates) == (320, 0, 320)
    found = blocks.rerank(dataset.queries, dataset, candidates)
    assert dict(found) == dict(expected)
    assert blocks.counts == whole.counts == (320, 0, 320)


@pytest.mark.parametrize(("queries", "most"), [(512, 100), (2, 2**16), (3, 10), (1, 1)])
def test_a_block_holds_so_many_queries_and_candidates_and_misses_none(monkeypatch, queries, most):
    monkeypatch.setattr(pointwise, "_QUERIES", queries)
    monkeypatch.setattr(pointwise, "_CANDIDATES", most)
    sizes = [0, 0, 4, 40, 150, 0, 30, 70, 1, 100, 99, 0]
    candidates = Run.from_dict(
        {f"q{i}": {f"d{j}": -float(j) for j in range(size)} for i, size in enumerate(sizes)}
    )
    found, last = [], 0
    for rows, block in pointwise.blocks(candidates):
        assert (rows.start, rows.stop) == (last, last + len(block))
        assert len(block.query_ids) <= queries
        assert len(block) <= most or len(block.query_ids) == 1
        found, last = [*found, *block], rows.stop
    assert found == list(candidates)
    assert next(pointwise.blocks(Run.from_dict({})), None) is None


def test_empty_candidates_are_reranked_to_nothing(tmp_path, models):
    dataset = toy_dataset(tmp_path / "toy")
    nothing = Run.from_dict({}, [q.query_id for q in dataset.queries])
    for kind, model in ((CrossEncoderReranker, "cross"), (BiEncoderReranker, "bi")):
        found = kind(models[model], cache_dir=tmp_path).rerank(dataset.queries, dataset, nothing)
        assert len(found) == 0


def test_models_that_cannot_score_pairs_are_refused(models):
    with pytest.raises(ConfigError, match="has no classification head"):
        ReferenceScorer(models["bi"]).score(PAIRS)
    with pytest.raises(ConfigError, match="has 2 labels"):
        ReferenceScorer(models["two"]).score(PAIRS)
    with pytest.raises(ConfigError, match="activation=tanh"):
        ReferenceScorer(models["cross"], activation="tanh")
    with pytest.raises(ModelNotFound, match="no such folder"):
        ReferenceScorer("./nowhere").score(PAIRS)


def edit_config(folder, **changes):
    """The model's folder with settings changed in config.json; None takes one out."""
    path = folder / "config.json"
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))
    return str(folder)


@pytest.mark.parametrize("architectures", [None, [], ["BertForMaskedLM"], ["BertLMHeadModel"]])
def test_a_model_that_names_no_head_is_refused_before_loading(tmp_path, architectures):
    model = edit_config(save_cross_encoder(tmp_path / "model"), architectures=architectures)
    scorer = ReferenceScorer(model)
    with pytest.raises(ConfigError, match="has no classification head"):
        scorer.check()
    with pytest.raises(ConfigError, match="has no classification head"):
        scorer.score(PAIRS)
    assert "_model" not in vars(scorer)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_weights_without_the_head_that_config_claims_are_refused(tmp_path, kind):
    """A bi-encoder's weights under a cross-encoder's config.json: the head would be random."""
    import torch
    from transformers import BertModel

    model = save_cross_encoder(tmp_path / "model")
    body = BertModel.from_pretrained(model)
    (model / "model.safetensors").unlink()
    if kind == "bin":
        torch.save(body.state_dict(), model / "pytorch_model.bin")
    else:
        claimed = (model / "config.json").read_bytes()
        body.save_pretrained(model)
        (model / "config.json").write_bytes(claimed)
    ReferenceScorer(str(model)).check()
    with pytest.raises(ConfigError, match=r"classifier\.bias is missing"):
        ReferenceScorer(str(model)).score(PAIRS)


def test_a_cross_encoder_in_bin_files_scores_the_same(tmp_path, models):
    import torch
    from safetensors.torch import load_file

    model = save_cross_encoder(tmp_path / "model")
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    np.testing.assert_array_equal(
        ReferenceScorer(str(model)).score(PAIRS),
        ReferenceScorer(models["cross"]).score(PAIRS),
    )


def test_the_number_of_labels_is_checked_before_loading(models):
    ReferenceScorer(models["cross"]).check()
    scorer = ReferenceScorer(models["two"])
    with pytest.raises(ConfigError, match="has 2 labels"):
        scorer.check()
    assert "_model" not in vars(scorer)


def test_a_model_saved_by_sentence_transformers_scores_the_same(tmp_path, models):
    from sentence_transformers import CrossEncoder

    CrossEncoder(models["cross"], device="cpu").save_pretrained(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "modules.json").exists()
    np.testing.assert_array_equal(
        ReferenceScorer(str(tmp_path / "saved")).score(PAIRS),
        ReferenceScorer(models["cross"]).score(PAIRS),
    )


def test_a_language_model_is_a_reranker_only_as_sentence_transformers_saves_one(tmp_path):
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore
    from transformers import LlamaConfig, LlamaForCausalLM

    plain = tmp_path / "plain"
    size = save_tokenizer(plain)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size, hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
            intermediate_size=64, max_position_embeddings=64,
        )
    ).save_pretrained(plain)  # fmt: skip
    with pytest.raises(ConfigError, match=r"LlamaForCausalLM.* has no classification head"):
        ReferenceScorer(str(plain)).score(PAIRS)

    transformer = Transformer(str(plain), transformer_task="text-generation")
    model = CrossEncoder(modules=[transformer, LogitScore(5, 6)], device="cpu")
    model.save_pretrained(str(tmp_path / "saved"))
    pairs = [("search index", "merge token"), ("search index", "latency")]
    expected = model.predict(pairs, activation_fn=torch.nn.Identity())
    ours = ReferenceScorer(str(tmp_path / "saved")).score(pairs)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
