"""monoT5 against transformers' own logits, one pair at a time and without padding."""

import json
import sys

import numpy as np
import pytest
from tiny import save_bi_encoder, save_cross_encoder, save_mono_t5, toy_dataset

from evalkit.errors import ConfigError, ModelNotFound, ScoreError
from evalkit.rerankers.mono_t5 import MonoT5Reranker, MonoT5Scorer
from evalkit.run import Run

TEXTS = [
    "search index merge", "重排 缓存 latency", "", "token " * 2000, "a" * 10_000, "😀 token 😀",
    "index  two  spaces", "{query} of {doc} Relevant:",
]  # fmt: skip
QUERIES = ["rerank score", "检索 分词", "", "{doc} merge"]
PAIRS = [(query, doc) for query in QUERIES for doc in TEXTS]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_mono_t5(tmp_path_factory.mktemp("models") / "mono"))


def reference_ids(tokenizer, query, doc, max_length):
    """One text, tokenised as a whole; a long one is cut before "Relevant:", as by PyTerrier_t5."""
    suffix = tokenizer("Relevant:")["input_ids"]
    ids = tokenizer(f"Query: {query} Document: {doc}", truncation=False)["input_ids"][:-1]
    return ids[: max_length - len(suffix)] + suffix


def reference(folder, pairs, max_length=512, tokens=("▁true", "▁false")):
    """The two answers' logits from transformers: float64, shape (len(pairs), 2)."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    answers = tokenizer.convert_tokens_to_ids(list(tokens))
    rows = []
    for query, doc in pairs:
        ids = torch.tensor([reference_ids(tokenizer, query, doc, max_length)])
        with torch.inference_mode():
            logits = model(input_ids=ids, decoder_input_ids=torch.zeros((1, 1), dtype=torch.long))
        rows.append(logits.logits[0, 0, answers].numpy())
    return np.asarray(rows, dtype=np.float64)


@pytest.mark.parametrize("max_length", [512, 40])
def test_scores_are_the_log_softmax_over_the_two_answers_of_transformers(model, max_length):
    logits = reference(model, PAIRS, max_length)
    expected = logits[:, 0] - np.logaddexp(logits[:, 0], logits[:, 1])
    ours = MonoT5Scorer(model, max_length=max_length, batch_size=5).score(PAIRS)
    assert ours.dtype == np.float32
    assert expected.std() > 0.1
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_the_activations_are_functions_of_the_difference_of_the_logits(model):
    logits = reference(model, PAIRS)
    difference = logits[:, 0] - logits[:, 1]
    raw = MonoT5Scorer(model, activation="logit_difference").score(PAIRS)
    np.testing.assert_allclose(raw, difference, atol=1e-4)
    probability = MonoT5Scorer(model, activation="probability").score(PAIRS)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-difference)), atol=1e-4)


def test_the_answers_are_settings(model):
    logits = reference(model, PAIRS, tokens=("▁yes", "▁no"))
    expected = logits[:, 0] - np.logaddexp(logits[:, 0], logits[:, 1])
    ours = MonoT5Scorer(model, true_token="▁yes", false_token="▁no").score(PAIRS)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_batch_size_and_order_change_rounding_only(model):
    whole = MonoT5Scorer(model, batch_size=64).score(PAIRS)
    order = np.random.default_rng(0).permutation(len(PAIRS))
    shuffled = MonoT5Scorer(model, batch_size=1).score([PAIRS[i] for i in order])
    np.testing.assert_allclose(shuffled, whole[order], atol=1e-5)
    assert MonoT5Scorer(model).score([]).shape == (0,)


@pytest.mark.parametrize("max_length", [512, 40, 30])
def test_a_long_doc_is_cut_and_the_last_word_of_the_prompt_survives(model, max_length):
    from transformers import AutoTokenizer

    scorer, tokenizer = (
        MonoT5Scorer(model, max_length=max_length),
        AutoTokenizer.from_pretrained(model),
    )
    pairs = [*PAIRS, ("score " * 1000, "a query that is longer than all")]
    for (query, doc), ids in zip(pairs, scorer._prompt.rows(pairs), strict=True):
        assert ids == reference_ids(tokenizer, query, doc, max_length)
        assert len(ids) <= max_length
        assert tokenizer.decode(ids).endswith("Relevant:</s>")
    whole = [len(reference_ids(tokenizer, query, doc, 10**6)) for query, doc in pairs]
    cut = scorer.truncated(pairs)
    assert cut.tolist() == [length > max_length for length in whole]
    assert 0 < cut.sum() < len(cut)


def test_a_cut_tail_changes_nothing_and_a_kept_one_does(model):
    scorer = MonoT5Scorer(model, max_length=40)
    long = "token " * 100
    scores = scorer.score([("search", long), ("search", long + "merge"), ("search", "merge")])
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert abs(scores[0] - scores[2]) > 1e-3


def test_reranking_reports_what_was_cut_and_refuses_nan(tmp_path, model):
    dataset = toy_dataset(tmp_path / "toy")
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    candidates = Run.from_dict({q.query_id: dict.fromkeys(docs, 0.0) for q in dataset.queries})
    reranker = MonoT5Reranker(model, max_length=60, cache_dir=tmp_path)
    found = reranker.rerank(dataset.queries, dataset, candidates)
    assert len(found) == len(candidates)
    assert 0 < reranker.details["truncated_share"] < 1
    broken = str(save_mono_t5(tmp_path / "nan", nan=True))
    with pytest.raises(ScoreError, match="scored NaN"):
        MonoT5Reranker(broken, cache_dir=tmp_path).rerank(dataset.queries, dataset, candidates)


def test_weights_in_bin_files_and_a_fast_tokenizer_score_the_same(tmp_path, model):
    import torch
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    other = save_mono_t5(tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    torch.save(weights | {"lm_head.weight": weights["shared.weight"]}, other / "pytorch_model.bin")
    (other / "model.safetensors").unlink()
    AutoTokenizer.from_pretrained(other).save_pretrained(other)
    (other / "spiece.model").unlink()
    ours = MonoT5Scorer(str(other)).score(PAIRS)
    np.testing.assert_array_equal(ours, MonoT5Scorer(model).score(PAIRS))


def test_everything_that_changes_a_score_is_in_the_fingerprint(tmp_path, model):
    plain = MonoT5Scorer(model).fingerprint
    assert MonoT5Scorer(model, batch_size=3, device="cpu").fingerprint == plain
    other = save_mono_t5(tmp_path / "other", nan=True)
    prints = {
        plain, MonoT5Scorer(str(other)).fingerprint,
        MonoT5Scorer(model, max_length=64).fingerprint,
        MonoT5Scorer(model, template="{query} {doc}").fingerprint,
        MonoT5Scorer(model, true_token="▁yes").fingerprint,
        MonoT5Scorer(model, false_token="▁no").fingerprint,
        MonoT5Scorer(model, activation="probability").fingerprint,
        MonoT5Scorer(model, dtype="bfloat16").fingerprint,
    }  # fmt: skip
    assert len(prints) == 8


def test_models_that_are_no_encoder_decoder_are_refused_before_loading(tmp_path):
    for folder, kind in (
        (save_cross_encoder(tmp_path / "cross"), r"bert model \(BertForSequenceClassification\)"),
        (save_bi_encoder(tmp_path / "bi"), r"bert model \(BertModel\)"),
    ):
        scorer = MonoT5Scorer(str(folder))
        with pytest.raises(ConfigError, match=f"is a {kind}, no encoder-decoder"):
            scorer.check()
        assert "_model" not in vars(scorer)


def test_an_encoder_alone_is_refused_for_its_random_decoder(tmp_path, model):
    from transformers import AutoConfig, T5EncoderModel

    half = save_mono_t5(tmp_path / "half")
    T5EncoderModel(AutoConfig.from_pretrained(model)).save_pretrained(half)
    with pytest.raises(ConfigError, match="hold no whole encoder-decoder"):
        MonoT5Scorer(str(half)).score(PAIRS)


def test_answers_that_the_vocabulary_lacks_are_refused_before_loading(model):
    scorer = MonoT5Scorer(model, true_token="▁wahr")
    with pytest.raises(ConfigError, match="true_token='▁wahr' is no single token of model"):
        scorer.check()
    with pytest.raises(ConfigError, match=r"false_token='false' is .* Did you mean '▁false'"):
        MonoT5Scorer(model, false_token="false").check()
    with pytest.raises(ConfigError, match=r"max_length=20: the prompt alone takes \d+ tokens"):
        MonoT5Scorer(model, max_length=20).check()
    assert "_model" not in vars(scorer)
    MonoT5Scorer(model).check()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"activation": "softmax"}, "activation=softmax"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_length": 0}, "max_length=0"),
        ({"true_token": "▁x", "false_token": "▁x"}, "they must differ"),
        ({"template": "{doc} {query}"}, r"expected \{query\}, then \{doc\}"),
        ({"template": "{query} {doc} {doc}"}, "each once"),
        ({"template": "{query}"}, "each once"),
    ],
)
def test_settings_are_checked_at_once(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        MonoT5Scorer("any/model", **settings)


def test_a_vocabulary_without_its_package_names_the_remedy(monkeypatch, model):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ConfigError, match=r'needs sentencepiece: pip install "evalkit\[llm\]"'):
        MonoT5Scorer(model).check()


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    folder = save_mono_t5(tmp_path / "bare")
    for name in ("spiece.model", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelNotFound, match="no tokenizer in"):
        MonoT5Scorer(str(folder)).check()
    (folder / "config.json").write_text(json.dumps({}))
    with pytest.raises(ModelNotFound, match="names no model_type"):
        MonoT5Scorer(str(folder)).check()
