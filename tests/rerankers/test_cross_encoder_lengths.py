"""Which pairs a cross-encoder cuts, against what its own tokenizer does; and its newer models."""

import json

import numpy as np
import pytest
import tokenizers_made as made
from tiny import save_cross_encoder, save_tokenizer, toy_dataset

from evalkit.errors import ConfigError
from evalkit.rerankers.classifier import ClassifierScorer
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.rerankers.pair_lengths import PairLengths
from evalkit.rerankers.reference import ReferenceScorer
from evalkit.run import Run

WORD = "search "
PAIRS = [
    (WORD * q, d)
    for q in (0, 1, 9, 70)
    for d in (
        "",
        "重排 缓存",
        "😀 index 😀",
        WORD * 5,
        WORD * 29,
        WORD * 30,
        WORD * 52,
        "a" * 10_000,
    )
]
# Special tokens are not rendered by a template, so that any text may stand around a pair's parts.
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}schema {{ m.content }} {% endif %}"
    "{% if m.role == 'query' %}query {{ m.content }} {% endif %}"
    "{% if m.role == 'document' %}index {{ m.content }} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}rerank{% endif %}"
)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return save_cross_encoder(tmp_path_factory.mktemp("cross") / "model")


def library(folder, max_length=None):
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(folder), device="cpu", max_length=max_length)


def library_cuts(model, pairs):
    """Which pairs sentence-transformers' own input is shorter of than it is without truncation."""
    found = []
    for pair in pairs:
        kept = model.preprocess([pair], prompt=model.prompts.get(model.default_prompt_name))
        options = {"text": {"truncation": False}}
        prompt = model.prompts.get(model.default_prompt_name)
        whole = model.preprocess([pair], prompt=prompt, processing_kwargs=options)
        found.append(whole["input_ids"].shape[1] > kept["input_ids"].shape[1])
    return np.array(found)


@pytest.mark.parametrize("max_length", [None, 16, 40, 64])
def test_a_pair_is_cut_exactly_where_the_library_cuts_it(classifier, max_length):
    expected = library_cuts(library(classifier, max_length), PAIRS)
    found = ReferenceScorer(str(classifier), max_length=max_length).truncated(PAIRS)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.sum() < len(found)


def test_special_tokens_count_to_the_token(classifier):
    # [CLS] query [SEP] doc [SEP]: 3 beside the words, 64 in all.
    scorer = ReferenceScorer(str(classifier))
    found = scorer.truncated([(WORD * 21, WORD * 40), (WORD * 21, WORD * 41)])
    assert found.tolist() == [False, True]
    assert scorer.truncated([]).shape == (0,)


def test_the_longest_input_is_the_librarys(classifier, tmp_path):
    library(classifier, 24).save_pretrained(str(tmp_path / "saved"))
    for folder in (classifier, tmp_path / "saved"):
        for asked in (None, 20, 5000):
            assert PairLengths(folder, "m", asked).limit == library(folder, asked).max_seq_length
    assert PairLengths(tmp_path / "saved", "m").limit == 24


@pytest.mark.parametrize(("saved", "expected"), [(None, 64), (10**30, 64), (32, 32)])
def test_positions_bound_a_tokenizer_that_knows_no_length(tmp_path, saved, expected):
    model = save_cross_encoder(tmp_path / "model")
    path = model / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("model_max_length")
    path.write_text(
        json.dumps(settings if saved is None else settings | {"model_max_length": saved})
    )
    assert PairLengths(model, "m").limit == expected == library(model).max_seq_length


def save_cased(folder):
    """A cross-encoder whose tokenizer knows capitals."""
    import torch
    from transformers import RobertaConfig, RobertaForSequenceClassification

    tokenizer = made.byte_bpe()
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=66, initializer_range=0.4, num_labels=1,
        pad_token_id=tokenizer.pad_token_id, type_vocab_size=1,
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return folder


CASES = [("Index Merged", "The DOC is in the Cache"), ("index merged", "the doc is in the cache")]


def both_engines(folder, cache):
    fast = ClassifierScorer(str(folder), dtype="float32", cache_dir=cache)
    return fast, fast.score(CASES), ReferenceScorer(str(folder)).score(CASES)


def test_a_model_saved_to_put_texts_in_lower_case_does_so_in_both_engines(tmp_path):
    cased = save_cased(tmp_path / "cased")
    library(cased).save_pretrained(str(tmp_path / "saved"))
    _, fast, reference = both_engines(tmp_path / "saved", tmp_path)
    assert abs(fast[0] - fast[1]) > 0.01
    path = tmp_path / "saved" / "sentence_bert_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": True}))
    scorer, fast, reference = both_engines(tmp_path / "saved", tmp_path)
    assert fast[0] == pytest.approx(fast[1], abs=1e-6)
    np.testing.assert_allclose(fast, reference, atol=1e-5)
    # What is counted is what is read: capitals have no merges in this vocabulary.
    assert scorer.tokenizer("INDEX").input_ids == scorer.tokenizer("index").input_ids


def test_without_a_list_of_modules_the_library_reads_no_settings_of_its_own(tmp_path):
    folder = save_cased(tmp_path / "model")
    (folder / "sentence_bert_config.json").write_text(
        '{"max_seq_length": 8, "do_lower_case": true}'
    )
    prompts = {"prompts": {"q": "rollback "}, "default_prompt_name": "q"}
    saved = {"model_type": "CrossEncoder", **prompts}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(saved))
    assert PairLengths(folder, "m").limit == library(folder).max_seq_length == 64
    _, fast, reference = both_engines(folder, tmp_path)
    np.testing.assert_allclose(fast, reference, atol=1e-5)
    assert abs(fast[0] - fast[1]) > 0.01


def test_a_run_from_the_store_loads_the_tokenizer_only(tmp_path, classifier):
    dataset = toy_dataset(tmp_path / "toy")
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    candidates = Run.from_dict({q.query_id: dict.fromkeys(docs, 0.0) for q in dataset.queries})
    reranker = CrossEncoderReranker(str(classifier), max_length=24, cache_dir=tmp_path)
    reranker.rerank(dataset.queries, dataset, candidates)
    again = CrossEncoderReranker(str(classifier), max_length=24, cache_dir=tmp_path)
    again.rerank(dataset.queries, dataset, candidates)
    assert "_model" not in vars(again.scorer)
    share = again.details["truncated_share"]
    assert share == reranker.details["truncated_share"]
    texts = {d.doc_id: d.render() for d in dataset.docs_iter()}
    pairs = [(q.text, texts[d]) for q in dataset.queries for d in docs]
    assert share == pytest.approx(library_cuts(library(classifier, 24), pairs).mean(), abs=1e-6)
    assert 0 < share < 1


def save_causal(folder, template=None):
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    size = save_tokenizer(folder)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size, hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
            intermediate_size=64, max_position_embeddings=64, initializer_range=0.4,
        )
    ).save_pretrained(folder)  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["plain", "chat", "prompted"])
def yes_no(request, tmp_path_factory):
    """A reranker such as mxbai-rerank-v2 or Qwen3-Reranker, as sentence-transformers saves it."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    folder = tmp_path_factory.mktemp("causal")
    plain = save_causal(folder / "plain", None if request.param == "plain" else TEMPLATE)
    options = {"chat_template": {"add_generation_prompt": True}}
    transformer = Transformer(
        str(plain), transformer_task="text-generation", processing_kwargs=options
    )
    prompts = {"prompts": {"task": "limit memory"}, "default_prompt_name": "task"}
    CrossEncoder(
        modules=[transformer, LogitScore(5, 6)],
        device="cpu",
        **(prompts if request.param == "prompted" else {}),
    ).save_pretrained(str(folder / "saved"))
    return folder / "saved"


@pytest.mark.parametrize("max_length", [None, 20])
def test_a_yes_no_reranker_is_cut_where_the_library_cuts_it(yes_no, max_length):
    expected = library_cuts(library(yes_no, max_length), PAIRS)
    scorer = ReferenceScorer(str(yes_no), max_length=max_length)
    np.testing.assert_array_equal(scorer.truncated(PAIRS), expected)
    assert 0 < expected.sum() < len(expected)


def test_a_yes_no_reranker_scores_the_log_odds_of_its_two_tokens(yes_no):
    import torch
    from transformers import AutoModelForCausalLM

    theirs = library(yes_no)
    model = AutoModelForCausalLM.from_pretrained(yes_no).eval()
    pairs = [("search index", "merge token"), ("重排", "😀 latency"), ("query", "a" * 10_000)]
    expected = []
    for pair in pairs:
        prompt = theirs.prompts.get(theirs.default_prompt_name)
        ids = theirs.preprocess([pair], prompt=prompt)["input_ids"]
        with torch.inference_mode():
            logits = model(ids).logits[0, -1]
        expected.append(float(logits[5] - logits[6]))
    ours = ReferenceScorer(str(yes_no), batch_size=2).score(pairs)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def modern_config(size, **extra):
    from transformers import ModernBertConfig

    return ModernBertConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64, pad_token_id=0, cls_token_id=2,
        bos_token_id=2, sep_token_id=3, eos_token_id=3, initializer_range=0.4, **extra,
    )  # fmt: skip


def test_a_modernbert_reranker_equals_transformers(tmp_path):
    """As Alibaba-NLP/gte-reranker-modernbert-base is saved: one label, mean pooled."""
    import torch
    from transformers import AutoTokenizer, ModernBertForSequenceClassification

    folder = tmp_path / "modern"
    config = modern_config(save_tokenizer(folder), num_labels=1, classifier_pooling="mean")
    torch.manual_seed(0)
    model = ModernBertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    for query, doc in PAIRS:
        ids = tokenizer([query], [doc], truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            expected.append(
                model(ids["input_ids"], attention_mask=ids["attention_mask"]).logits.item()
            )
    scorer = ReferenceScorer(str(folder), batch_size=5)
    scorer.check()
    np.testing.assert_allclose(scorer.score(PAIRS), expected, atol=1e-4)
    np.testing.assert_array_equal(scorer.truncated(PAIRS), library_cuts(library(folder), PAIRS))


def save_modular(folder, labels=1):
    """As cross-encoder/ettin-reranker-*-v1 are saved: encoder, pooling, dense layers."""
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import ModernBertModel

    torch.manual_seed(0)
    plain = folder / "plain"
    ModernBertModel(modern_config(save_tokenizer(plain))).save_pretrained(plain)
    modules = [
        Transformer(str(plain)),
        Pooling(32, pooling_mode="cls"),
        Dense(32, 16),
        Dense(16, labels, activation_function=torch.nn.Identity(), module_output_name="scores"),
    ]
    model = CrossEncoder(modules=modules, device="cpu")
    model.save_pretrained(str(folder / "saved"))
    return folder / "saved"


def test_a_reranker_of_several_modules_equals_the_library(tmp_path):
    import torch

    folder = save_modular(tmp_path)
    scorer = ReferenceScorer(str(folder), batch_size=4)
    scorer.check()
    theirs = library(folder).predict(PAIRS, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(scorer.score(PAIRS), theirs, atol=1e-4)
    assert np.ptp(theirs) > 0.1
    np.testing.assert_array_equal(scorer.truncated(PAIRS), library_cuts(library(folder), PAIRS))
    other = ReferenceScorer(str(save_modular(tmp_path / "two", labels=2)))
    with pytest.raises(ConfigError, match="has 2 labels"):
        other.score(PAIRS[:1])
