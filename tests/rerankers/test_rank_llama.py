"""RankLLaMA against transformers' own logits, one pair at a time and without padding."""

import json

import numpy as np
import pytest
from tiny import save_adapter, save_bi_encoder, save_cross_encoder, save_llama, toy_dataset

from evalkit.errors import ConfigError, ModelNotFound, ScoreError
from evalkit.rerankers.rank_llama import RankLlamaReranker, RankLlamaScorer
from evalkit.run import Run

TEXTS = [
    "search index merge", "重排 缓存 latency", "", "token " * 2000, "a" * 10_000, "😀 token 😀",
]  # fmt: skip
PAIRS = [(query, doc) for query in ("rerank score", "检索 分词", "") for doc in TEXTS]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A whole reranker; a model that writes text; a LoRA adapter over the latter."""
    folder = tmp_path_factory.mktemp("models")
    base = save_llama(folder / "base", num_labels=None)
    save_adapter(folder / "lora", base)
    whole = save_llama(folder / "whole")
    return {name: str(folder / name) for name in ("base", "lora")} | {"whole": str(whole)}


def reference(model, tokenizer, pairs, max_length=196, eos=False):
    """Logits from transformers, on the input of the authors' model card: float64, one a pair."""
    import torch

    model.config.pad_token_id = None  # then transformers reads the last token, whichever it is
    tail = [tokenizer.eos_token_id] if eos else []
    logits = []
    for query, doc in pairs:
        ids = tokenizer([f"query: {query}"], [f"document: {doc}"])["input_ids"][0]
        ids = ids[: max_length - len(tail)] + tail
        with torch.inference_mode():
            logits.append(model(input_ids=torch.tensor([ids])).logits.item())
    return np.asarray(logits)


def loaded(folder):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("max_length", [196, 24])
@pytest.mark.parametrize("eos", [False, True])
def test_scores_are_transformers_own_logits(models, max_length, eos):
    expected = reference(*loaded(models["whole"]), PAIRS, max_length, eos)
    scorer = RankLlamaScorer(models["whole"], max_length=max_length, append_eos=eos, batch_size=5)
    ours = scorer.score(PAIRS)
    assert ours.dtype == np.float32
    assert expected.std() > 0.1
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_the_later_layout_of_tevatron_is_one_text(models):
    import torch

    model, tokenizer = loaded(models["whole"])
    model.config.pad_token_id = None
    expected = []
    for query, doc in PAIRS[:4]:
        ids = tokenizer(f"query: {query} document: {doc}")["input_ids"][:195]
        with torch.inference_mode():
            ids = torch.tensor([[*ids, tokenizer.eos_token_id]])
            expected.append(model(input_ids=ids).logits.item())
    scorer = RankLlamaScorer(models["whole"], repeat_bos=False, append_eos=True)
    np.testing.assert_allclose(scorer.score(PAIRS[:4]), expected, atol=1e-4)


def test_a_merged_adapter_scores_as_the_unmerged_one_of_peft(tmp_path, models):
    from transformers import AutoTokenizer

    from evalkit.models import resolve_model

    adapted = save_adapter(tmp_path / "lora", resolve_model(models["base"]))
    tokenizer = AutoTokenizer.from_pretrained(models["base"])
    expected = reference(adapted, tokenizer, PAIRS)
    ours = RankLlamaScorer(str(tmp_path / "lora")).score(PAIRS)
    assert expected.std() > 0.1
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert np.abs(ours - RankLlamaScorer(models["whole"]).score(PAIRS)).max() > 0.1


@pytest.mark.parametrize("settings", [{}, {"append_eos": True}])
def test_the_side_and_the_token_of_padding_change_nothing(tmp_path, models, settings):
    other = save_llama(tmp_path / "padded")
    for name in ("tokenizer_config.json", "config.json"):
        found = json.loads((other / name).read_text())
        padding = {"padding_side": "left", "pad_token": "</s>", "pad_token_id": 2}
        (other / name).write_text(json.dumps(found | padding))
    np.testing.assert_allclose(
        RankLlamaScorer(str(other), batch_size=7, **settings).score(PAIRS),
        RankLlamaScorer(models["whole"], batch_size=1, **settings).score(PAIRS),
        atol=1e-5,
    )


def test_batch_size_and_order_change_rounding_only(models):
    whole = RankLlamaScorer(models["lora"], batch_size=64).score(PAIRS)
    order = np.random.default_rng(0).permutation(len(PAIRS))
    shuffled = RankLlamaScorer(models["lora"], batch_size=3).score([PAIRS[i] for i in order])
    np.testing.assert_allclose(shuffled, whole[order], atol=1e-5)
    assert RankLlamaScorer(models["lora"]).score([]).shape == (0,)


def test_what_is_cut_is_counted_exactly(models):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models["base"])
    scorer = RankLlamaScorer(models["lora"], max_length=20)
    ids = tokenizer([f"query: {q}" for q, _ in PAIRS], [f"document: {d}" for _, d in PAIRS])
    lengths = [len(row) for row in ids["input_ids"]]
    assert scorer.truncated(PAIRS).tolist() == [length > 20 for length in lengths]
    assert "_model" not in vars(scorer)
    assert max(map(len, scorer._prompt.rows(PAIRS))) == 20


def test_reranking_refuses_nan(tmp_path, models):
    dataset = toy_dataset(tmp_path / "toy")
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    candidates = Run.from_dict({q.query_id: dict.fromkeys(docs, 0.0) for q in dataset.queries})
    reranker = RankLlamaReranker(models["lora"], max_length=40, cache_dir=tmp_path)
    assert len(reranker.rerank(dataset.queries, dataset, candidates)) == len(candidates)
    assert 0 < reranker.details["truncated_share"] < 1
    broken = str(save_llama(tmp_path / "nan", nan=True))
    with pytest.raises(ScoreError, match="scored NaN"):
        RankLlamaReranker(broken, cache_dir=tmp_path).rerank(dataset.queries, dataset, candidates)


def test_everything_that_changes_a_score_is_in_the_fingerprint(tmp_path, models):
    plain = RankLlamaScorer(models["lora"]).fingerprint
    same = RankLlamaScorer(models["lora"], batch_size=3, device="cpu", base_model=models["base"])
    assert same.fingerprint == plain
    save_adapter(tmp_path / "lora", models["base"], seed=1)
    base = str(save_llama(tmp_path / "base", num_labels=None, seed=1))
    prints = {
        plain,
        RankLlamaScorer(str(tmp_path / "lora")).fingerprint,
        RankLlamaScorer(models["lora"], base_model=base).fingerprint,
        RankLlamaScorer(models["whole"]).fingerprint,
        RankLlamaScorer(models["lora"], max_length=64).fingerprint,
        RankLlamaScorer(models["lora"], query_prefix="").fingerprint,
        RankLlamaScorer(models["lora"], doc_prefix="").fingerprint,
        RankLlamaScorer(models["lora"], repeat_bos=False).fingerprint,
        RankLlamaScorer(models["lora"], append_eos=True).fingerprint,
        RankLlamaScorer(models["lora"], dtype="bfloat16").fingerprint,
    }
    assert len(prints) == 10


def test_models_that_are_no_rerankers_are_refused_before_loading(tmp_path, models):
    cases = {
        models["base"]: r"have no classification head \(score\.weight is missing\)",
        str(save_llama(tmp_path / "two", num_labels=2)): "has 2 labels",
        str(save_cross_encoder(tmp_path / "cross")): r"is a bert model .* reranker=\[cross_encoder",
        str(save_bi_encoder(tmp_path / "bi")): "have no classification head",
    }
    for model, complaint in cases.items():
        scorer = RankLlamaScorer(model)
        with pytest.raises(ConfigError, match=complaint):
            scorer.check()
        with pytest.raises(ConfigError, match=complaint):
            scorer.score(PAIRS)
        assert "_model" not in vars(scorer)
    with pytest.raises(ConfigError, match="max_length=4: the prompt alone takes"):
        RankLlamaScorer(models["whole"], max_length=4).check()
    RankLlamaScorer(models["lora"]).check()


def test_a_model_without_a_vocabulary_or_an_end_is_refused(tmp_path):
    folder = save_llama(tmp_path / "bare")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": None}))
    with pytest.raises(ConfigError, match="has no end token"):
        RankLlamaScorer(str(folder), append_eos=True).check()
    (folder / "tokenizer.model").unlink()
    with pytest.raises(ModelNotFound, match="no tokenizer in"):
        RankLlamaScorer(str(folder)).check()


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"max_length": 0}])
def test_settings_are_checked_at_once(settings):
    with pytest.raises(ConfigError, match="expected at least 1"):
        RankLlamaScorer("any/model", **settings)
