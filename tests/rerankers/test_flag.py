"""BGE rerankers against FlagEmbedding's own compute_score, or against the formula it stands for."""

import json
import warnings

import numpy as np
import pytest
from tiny import WORDS, save_cross_encoder, save_tokenizer, toy_dataset

from evalkit.errors import ConfigError, ModelNotFound, ScoreError
from evalkit.rerankers.flag import FlagReranker
from evalkit.rerankers.flag_scorer import PROMPT, FlagScorer
from evalkit.run import Run

TEXTS = [
    "search index merge", "重排 缓存 latency", "", "a" * 10_000, "😀 token 😀", "query",
    "vector recall " * 30,
]  # fmt: skip
PAIRS = [(q, d) for q in ("rerank score", "检索 分词", "", "shard limit " * 40) for d in TEXTS]


def save_byte_tokenizer(folder):
    """A byte-level BPE tokenizer that begins a text with <s>; returns its vocabulary's size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS), "Yes No Yes", PROMPT], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>",
        unk_token="<unk>", model_max_length=10_000,
    )  # fmt: skip
    fast.save_pretrained(folder)
    return len(fast)


def save_llm(folder):
    import torch
    from transformers import GemmaConfig, GemmaForCausalLM

    torch.manual_seed(0)
    GemmaForCausalLM(
        GemmaConfig(
            vocab_size=save_byte_tokenizer(folder), hidden_size=32, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=1, head_dim=8, intermediate_size=64,
            max_position_embeddings=1024, initializer_range=0.2, pad_token_id=2, bos_token_id=1,
        )
    ).save_pretrained(folder)  # fmt: skip
    return folder


def layerwise_model(size):
    import torch
    from FlagEmbedding.inference.reranker.decoder_only.models import (
        configuration_minicpm_reranker as configuration,
    )
    from FlagEmbedding.inference.reranker.decoder_only.models import (
        modeling_minicpm_reranker as modeling,
    )

    config = configuration.LayerWiseMiniCPMConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=4, max_position_embeddings=128, start_layer=2, scale_emb=12,
        dim_model_base=16, scale_depth=1.4, initializer_range=0.3, rope_theta=500.0,
    )  # fmt: skip
    config.rope_parameters, config.tie_word_embeddings, config.use_cache = None, False, False
    torch.manual_seed(0)
    return modeling.LayerWiseMiniCPMForCausalLM(config).eval()


def save_layerwise(folder):
    """The folder, written as bge-reranker-v2-minicpm-layerwise was by transformers 4."""
    from safetensors.torch import save_file

    model = layerwise_model(save_byte_tokenizer(folder))
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    settings = model.config.to_dict() | {
        "architectures": ["LayerWiseMiniCPMForCausalLM"], "model_type": "minicpm",
        "rope_scaling": None, "rope_theta": 500.0, "use_cache": True, "tie_word_embeddings": True,
        "auto_map": {"AutoConfig": "x--configuration.Config", "AutoModelForCausalLM": "x--m.M"},
    }  # fmt: skip
    settings.pop("rope_parameters", None)
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flag")
    return {
        "encoder": str(save_cross_encoder(folder / "encoder")),
        "roberta": str(save_roberta(folder / "roberta")),
        "llm": str(save_llm(folder / "llm")),
        "layerwise": str(save_layerwise(folder / "layerwise")),
        "nan": str(save_cross_encoder(folder / "nan", nan=True)),
        "two": str(save_cross_encoder(folder / "two", num_labels=2)),
    }


def save_roberta(folder):
    """As bge-reranker-base and -v2-m3 are: XLM-R, whose positions start after the padding's."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    torch.manual_seed(0)
    XLMRobertaForSequenceClassification(
        XLMRobertaConfig(
            vocab_size=save_tokenizer(folder), hidden_size=32, num_hidden_layers=2, num_labels=1,
            num_attention_heads=4, intermediate_size=64, max_position_embeddings=66,
            initializer_range=0.4, pad_token_id=1, type_vocab_size=2,
        )
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.mark.parametrize(
    ("model", "activation", "max_length"),
    [("encoder", "identity", 24), ("encoder", "sigmoid", 64), ("roberta", "identity", 64)],
)
def test_an_encoder_equals_flagembedding(models, model, activation, max_length):
    import FlagEmbedding

    theirs = FlagEmbedding.FlagReranker(models[model], devices="cpu", max_length=max_length)
    expected = [
        theirs.compute_score([pair], normalize=activation == "sigmoid")[0] for pair in PAIRS
    ]
    for batch_size in (3, 64):
        scorer = FlagScorer(
            models[model], max_length=max_length, activation=activation, batch_size=batch_size,
            device="cpu",
        )  # fmt: skip
        found = scorer.score(PAIRS)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected) > 0.1


@pytest.mark.parametrize("model", ["encoder", "roberta"])
@pytest.mark.parametrize("max_length", [16, 40])
@pytest.mark.parametrize("marks", [None, "query: "])
def test_the_engine_scores_an_encoder_as_flagembedding_does(
    models, tmp_path, model, max_length, marks
):
    settings = {"max_length": max_length, "query_instruction": marks, "passage_instruction": marks}
    folder = str(models[model])
    theirs = FlagScorer(folder, **settings)
    ours = FlagReranker(folder, engine="fast", cache_dir=tmp_path, **settings).scorer
    # FlagEmbedding takes a pair without a doc for a query alone.
    pairs = [(query, doc) for query, doc in PAIRS if doc]
    np.testing.assert_allclose(ours.score(pairs), theirs.score(pairs), atol=1e-4)
    assert (ours.truncated(PAIRS) == theirs.truncated(PAIRS)).all()


def test_the_engine_is_for_encoders(models):
    for settings, message in (
        ({"kind": "llm"}, "kind=llm: engine=fast reads kind=encoder"),
        ({"prompt": "?"}, "prompt=.: engine=fast reads kind=encoder"),
    ):
        with pytest.raises(ConfigError, match=message):
            FlagReranker(str(models["encoder"]), engine="fast", **settings)


@pytest.mark.parametrize("instructed", [False, True])
def test_a_language_model_equals_flagembedding(models, instructed):
    import FlagEmbedding

    theirs = FlagEmbedding.FlagLLMReranker(models["llm"], devices="cpu", max_length=40)
    options, ours = {}, {}
    if instructed:
        theirs.query_instruction_for_rerank, theirs.passage_instruction_for_rerank = "Q: ", "P: "
        options = {"prompt": "recall or precision?"}
        ours = {"query_instruction": "Q: ", "passage_instruction": "P: ", **options}
    expected = [theirs.compute_score([pair], **options)[0] for pair in PAIRS]
    for batch_size in (3, 64):
        scorer = FlagScorer(
            models["llm"], "llm", max_length=40, batch_size=batch_size, device="cpu", **ours
        )
        np.testing.assert_allclose(scorer.score(PAIRS), expected, atol=1e-4)
    assert np.ptp(expected) > 0.1


def test_the_prompt_is_flagembeddings(models):
    import FlagEmbedding

    theirs = FlagEmbedding.FlagLLMReranker(models["llm"], devices="cpu", max_length=40)
    assert theirs.compute_score(PAIRS) == theirs.compute_score(PAIRS, prompt=PROMPT)


def layerwise_ids(tokenizer, query, doc, max_length):
    """<s> A: query, line break, B: doc, line break, prompt, as FlagEmbedding puts them."""

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    begin = [tokenizer.bos_token_id, *ids(f"A: {query}")[: max_length * 3 // 4]]
    room = max_length + len(ids("\n")) + len(ids(PROMPT)) - len(begin)
    passage = [*ids("\n"), *ids(f"B: {doc}")[:max_length]][:room]
    return begin + passage + ids("\n") + ids(PROMPT)


@pytest.mark.parametrize("layer", [None, 2, 3])
def test_a_layerwise_reranker_scores_by_the_head_of_its_layer(models, layer):
    """FlagEmbedding 1.4 cannot load its own model under transformers 5; hence by the formula."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models["layerwise"])
    model = layerwise_model(len(tokenizer))
    expected = []
    for query, doc in PAIRS:
        ids = torch.tensor([layerwise_ids(tokenizer, query, doc, 40)])
        with torch.inference_mode():
            hidden = model.model(ids, cutoff_layers=[layer or 4], output_hidden_states=True)
            state = hidden.hidden_states[-1][0, -1]
            head = model.lm_head[(layer or 4) - 2].linear_head
            expected.append(head(state).item())
    for batch_size in (3, 64):
        scorer = FlagScorer(
            models["layerwise"], "layerwise", max_length=40, cutoff_layer=layer,
            batch_size=batch_size, device="cpu",
        )  # fmt: skip
        np.testing.assert_allclose(scorer.score(PAIRS), expected, atol=1e-4)
    assert np.ptp(expected) > 0.1


def test_rotary_tables_are_computed_not_left_empty(models):
    scorer = FlagScorer(models["layerwise"], "layerwise", dtype="bfloat16", device="cpu")
    scorer.score(PAIRS[:1])
    rotary = scorer._model.model.model.layers[1].self_attn.rotary_emb
    angles = np.outer(np.arange(128), 500.0 ** (-np.arange(0, 8, 2) / 8))
    np.testing.assert_allclose(rotary.cos_cached[:, :4], np.cos(angles), atol=1e-4)
    weights = {parameter.dtype for parameter in scorer._model.model.parameters()}
    assert [str(dtype) for dtype in weights] == ["torch.bfloat16"]


@pytest.mark.parametrize("kind", ["llm", "layerwise"])
def test_bfloat16_is_near_float32(models, kind):
    scores = [
        FlagScorer(models[kind], kind, max_length=64, dtype=dtype, device="cpu").score(PAIRS)
        for dtype in ("float32", "bfloat16")
    ]
    assert 0 < np.abs(scores[0] - scores[1]).max() < 0.25 * np.ptp(scores[0])


def test_flagembedding_is_silent(models, capfd):
    for kind in ("encoder", "llm", "layerwise"):
        options = {"max_length": 24, "batch_size": 2, "device": "cpu"}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            FlagScorer(models[kind], kind, **options).score(PAIRS)
        assert [str(each.message) for each in said if each.category is not DeprecationWarning] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("kind", "max_length"), [("encoder", 24), ("llm", 40), ("layerwise", 40)])
def test_pairs_are_cut_where_flagembedding_cuts_them(models, kind, max_length):
    """By the length of what reaches the model, against the same with room for everything."""
    pairs = [("token " * q, "cache " * d) for q in (1, 17, 18, 19, 30) for d in (0, 1, 3, 20, 50)]
    pairs += [("token " * q, "cache " * d) for q in (1, 9) for d in range(2, 41)]
    pairs += [("token " * 9, "cache" * d) for d in range(20, 60)]
    scorer = FlagScorer(models[kind], kind, max_length=max_length, device="cpu")
    expected = reaching(scorer._model, pairs, max_length) < reaching(scorer._model, pairs, 4000)
    np.testing.assert_array_equal(scorer.truncated(pairs), expected)
    assert 0 < expected.sum() < len(expected)


class Reached(Exception):
    """Carries the length of an input to where the model would read it."""


def reaching(model, pairs, max_length):
    """Tokens of each pair that FlagEmbedding hands to its model, padding left out."""

    def stop(*args, **inputs):
        raise Reached(int(inputs["attention_mask"].sum()))

    lengths, model.model.forward = [], stop
    for pair in pairs:
        with pytest.raises(Reached) as reached:
            model.compute_score_single_gpu(
                [list(each) for each in model.get_detailed_inputs([pair])],
                max_length=max_length,
                device="cpu",
            )
        lengths.append(reached.value.args[0])
    return np.array(lengths)


def test_truncation_is_told_without_the_weights(models):
    for kind in ("encoder", "llm", "layerwise"):
        scorer = FlagScorer(models[kind], kind, max_length=24)
        assert scorer.truncated(PAIRS).any()
        assert scorer.truncated([]).shape == (0,)
        assert "_model" not in vars(scorer)


def all_candidates(dataset):
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    return Run.from_dict({q.query_id: dict.fromkeys(docs, 0.0) for q in dataset.queries})


def test_reranking_goes_through_the_store_and_reports_what_was_cut(models, tmp_path):
    dataset = toy_dataset(tmp_path / "toy", docs=12, queries=3)
    candidates = all_candidates(dataset)
    options = {"max_length": 24, "device": "cpu", "cache_dir": tmp_path}
    first = FlagReranker(models["encoder"], **options)
    one = first.rerank(dataset.queries, dataset, candidates)
    again = FlagReranker(models["encoder"], **options, batch_size=3)
    two = again.rerank(dataset.queries, dataset, candidates)
    assert dict(one) == dict(two)
    assert again.counts == (36, 36, 0)
    assert first.details == again.details
    assert 0 < first.details["truncated_share"] < 1


def test_nan_is_refused(models, tmp_path):
    dataset = toy_dataset(tmp_path / "toy", docs=6, queries=1)
    reranker = FlagReranker(models["nan"], max_length=64, device="cpu", cache_dir=tmp_path)
    with pytest.raises(ScoreError, match="scored NaN"):
        reranker.rerank(dataset.queries, dataset, all_candidates(dataset))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "decoder"}, "kind=decoder: expected one of encoder, llm, layerwise"),
        ({"activation": "tanh"}, "activation=tanh"),
        ({"dtype": "bfloat16"}, "encoder reranker knows float32, float16"),
        ({"dtype": "int8"}, "dtype=int8"),
        ({"batch_size": 0}, "expected batch_size ≥ 1"),
        ({"max_length": 2}, "max_length ≥ 8"),
        ({"cutoff_layer": 28}, "only kind=layerwise"),
        ({"prompt": "?"}, "kind=encoder reads none"),
    ],
)
def test_bad_settings_are_refused_at_once(settings, message):
    with pytest.raises(ConfigError, match=message):
        FlagScorer("BAAI/bge-reranker-base", **settings)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("encoder", {"kind": "llm"}, "no reranker of kind=llm; use kind=encoder"),
        ("llm", {}, "no reranker of kind=encoder; use kind=llm"),
        ("layerwise", {"kind": "llm"}, "use kind=layerwise"),
        ("layerwise", {"kind": "layerwise", "cutoff_layer": 1}, "that score are 2 to 4"),
        ("layerwise", {"kind": "layerwise", "cutoff_layer": 5}, "that score are 2 to 4"),
        ("two", {"max_length": 64}, "has 2 labels"),
        ("encoder", {"max_length": 65}, "reads 64 tokens; set max_length=64"),
        ("roberta", {"max_length": 65}, "reads 64 tokens; set max_length=64"),
        ("encoder", {"max_length": 64, "dtype": "float16", "device": "cpu"}, "none on the CPU"),
    ],
)
def test_models_that_do_not_fit_are_refused_before_loading(models, model, settings, message):
    scorer = FlagScorer(models[model], **settings)
    with pytest.raises(ConfigError, match=message):
        scorer.check()
    with pytest.raises(ConfigError, match=message):
        scorer.score(PAIRS)
    assert "_model" not in vars(scorer)


def test_missing_weights_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_layerwise(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights.pop("lm_head.1.linear_head.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelNotFound, match=r"lm_head\.1\.linear_head\.weight is in no"):
        FlagScorer(str(folder), "layerwise", device="cpu").score(PAIRS)
    encoder = save_cross_encoder(tmp_path / "encoder")
    weights = load_file(encoder / "model.safetensors")
    weights.pop("classifier.weight")
    save_file(weights, encoder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"classifier\.weight is missing"):
        FlagScorer(str(encoder), max_length=64, device="cpu").score(PAIRS)


def test_what_changes_a_score_changes_the_fingerprint(models):
    def of(kind="layerwise", **settings):
        return FlagScorer(models[kind], kind, **settings).fingerprint

    different = [
        {}, {"kind": "llm"}, {"kind": "encoder"}, {"max_length": 40}, {"activation": "sigmoid"},
        {"query_instruction": "Q: "}, {"passage_instruction": ""}, {"prompt": "?"},
        {"cutoff_layer": 3}, {"dtype": "bfloat16"},
    ]  # fmt: skip
    assert len({of(**settings) for settings in different}) == len(different)
    assert of(batch_size=3, device="cpu") == of(prompt=PROMPT) == of()
