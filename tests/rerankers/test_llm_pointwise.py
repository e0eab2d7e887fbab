"""Pointwise reranking by a language model: log-odds, expected grades, grades that are written."""

import math

import numpy as np
import pytest
from loopback import Loopback
from tiny import OracleModel, save_language_model

from evalkit.errors import ConfigError
from evalkit.llm.chat import ChatEndpoint
from evalkit.llm.local import LocalModel
from evalkit.rerankers.llm_pointwise import LLMPointwiseReranker, LLMPointwiseScorer
from evalkit.run import Run
from evalkit.testing import TextDataset, check_reranker, check_scorer
from evalkit.types import Doc, Query

PAIRS = [("merge", "an index is merged"), ("缓存", "分词结果被缓存"), ("", ""), ("a", "b " * 99)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_language_model(tmp_path_factory.mktemp("models") / "tiny")


def reference(folder, prompt, answers):
    """Log-probabilities of the answers' first tokens in float64, by transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (
        kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    row = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        logits = model(**row).logits[0, -1].double().log_softmax(dim=0)
    return logits[[tokenizer(answer)["input_ids"][0] for answer in answers]].numpy()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_yes_or_no_is_the_difference_of_their_log_probabilities(tmp_path, folder, language):
    llm = LocalModel(str(folder), cache_dir=tmp_path)
    scorer = LLMPointwiseScorer(llm, f"pointwise_yes_no_{language}")
    found = scorer.score(PAIRS)
    assert found.dtype == np.float32
    answers = {"en": ["Yes", "No"], "zh": ["是", "否"]}[language]
    for (query, doc), score in zip(PAIRS, found, strict=True):
        yes, no = reference(folder, scorer.prompt.fill(query=query, doc=doc), answers)
        assert score == pytest.approx(yes - no, abs=1e-4)


def test_the_expected_grade_is_over_the_grades_alone(tmp_path, folder):
    scorer = LLMPointwiseScorer(LocalModel(str(folder), cache_dir=tmp_path), "pointwise_graded_en")
    for (query, doc), score in zip(PAIRS, scorer.score(PAIRS), strict=True):
        chances = np.exp(reference(folder, scorer.prompt.fill(query=query, doc=doc), "0123"))
        assert score == pytest.approx(chances @ np.arange(4) / chances.sum(), abs=1e-4)
        assert 0 < score < 3


@pytest.mark.parametrize("prompt", ["pointwise_yes_no_en", "pointwise_graded_zh"])
@pytest.mark.parametrize("mode", ["logits", "generate"])
def test_it_keeps_the_contract_of_a_scorer_and_of_a_reranker(tmp_path, folder, prompt, mode):
    made = iter(range(100))

    def llm():
        return LocalModel(str(folder), cache_dir=tmp_path / str(next(made)))

    settings = {"prompt": prompt, "mode": mode, "max_tokens": 3, "doc_words": 50}
    check_scorer(lambda: LLMPointwiseScorer(llm(), **settings))
    check_reranker(
        lambda: LLMPointwiseReranker(llm(), **settings, cache_dir=tmp_path / str(next(made)))
    )


def lists(docs):
    dataset = TextDataset(
        docs=[Doc(f"d{i}", "", text) for i, text in enumerate(docs)], queries=[Query("q", "find")]
    )
    return dataset, Run.from_dict({"q": {f"d{i}": 1.0 - i / 100 for i in range(len(docs))}})


def test_written_grades_rank_and_those_that_are_none_come_last_and_are_counted(tmp_path):
    grades = {"three": "3", "one": "Grade: 1", "none": "It depends.", "zero": "0", "five": "5"}
    llm = OracleModel(lambda text: next(a for word, a in grades.items() if f"doc {word}" in text))
    dataset, candidates = lists([f"doc {word}" for word in grades])

    def new():
        return LLMPointwiseReranker(llm, "pointwise_graded_en", "generate", cache_dir=tmp_path)

    reranker = new()
    found = dict(reranker.rerank(dataset.queries, dataset, candidates)["q"])
    assert found == {"d0": 3.0, "d1": 1.0, "d3": 0.0, "d2": -1.0, "d4": -1.0}
    assert reranker.details == {"malformed_share": 0.4, "truncated_share": 0.0}
    assert reranker.work == {"asked": 5, "reused": 0, "scored": 5, "requests": 5}
    again = new()
    again.rerank(dataset.queries, dataset, candidates)
    assert again.details == reranker.details
    assert again.work == {"asked": 5, "reused": 5, "scored": 0, "requests": 0}
    assert reranker.estimate(np.array([5, 0, 7])) == {"requests": 12}


def test_docs_that_are_cut_are_told(tmp_path):
    llm = OracleModel(lambda text: "Yes")
    dataset, candidates = lists(["short", "a much longer doc than that", "索引合并", "索引"])
    reranker = LLMPointwiseReranker(llm, doc_words=3, cache_dir=tmp_path)
    reranker.rerank(dataset.queries, dataset, candidates)
    assert reranker.details["truncated_share"] == 0.5
    shown = "\n".join(prompt[-1]["content"] for prompt in llm.asked)
    assert "a much longer\n" in shown
    assert "索引合\n" in shown


def test_what_changes_a_score_changes_the_fingerprint():
    llm = OracleModel(str)
    given = [
        {}, {"prompt": "pointwise_yes_no_zh"}, {"mode": "generate"}, {"doc_words": 5},
        {"mode": "generate", "max_tokens": 5}, {"prompt": "pointwise_graded_en"},
    ]  # fmt: skip
    assert len({LLMPointwiseScorer(llm, **settings).fingerprint for settings in given}) == 6
    plain = LLMPointwiseScorer(llm).fingerprint
    assert LLMPointwiseScorer(llm, max_tokens=5).fingerprint == plain  # of no matter for logits


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"mode": "yes_no"}, "mode=yes_no: expected one of logits, generate"),
        ({"prompt": "listwise_en"}, "is for task 'listwise', expected pointwise"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"doc_words": -1}, "doc_words=-1"),
        ({"chunk_size": 0}, "chunk_size=0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, problem):
    with pytest.raises(ConfigError, match=problem):
        LLMPointwiseReranker(OracleModel(str), **settings)


def test_over_http_the_same_prompts_are_asked_and_paid_once(tmp_path):
    dataset, candidates = lists(["good doc", "bad doc", "good twin", "{query} bad"])

    def first_tokens(messages):
        good = 0.9 if "good" in messages[-1]["content"] else 0.2
        return {"Yes": math.log(good), "No": math.log(1 - good)}

    with Loopback() as server:
        server.first_tokens = first_tokens
        llm = ChatEndpoint(f"{server.url}/v1", "m", cache_dir=tmp_path)
        reranker = LLMPointwiseReranker(llm, cache_dir=tmp_path)
        found = dict(reranker.rerank(dataset.queries, dataset, candidates)["q"])
        odds = math.log(9), math.log(0.25)
        expected = {"d0": odds[0], "d2": odds[0], "d1": odds[1], "d3": odds[1]}
        assert found == pytest.approx(expected, abs=1e-5)
        sent = [request.payload["messages"] for request in server.requests]
        assert [{"role": "user", "content": sent[0][0]["content"]}] == sent[0]
        assert sorted(map(str, sent)) == sorted(
            str(reranker.scorer.prompt.fill(query="find", doc=doc.text)) for doc in dataset.docs
        )
        assert reranker.work["requests"] == 4
        again = LLMPointwiseReranker(llm, cache_dir=tmp_path / "new")
        again.rerank(dataset.queries, dataset, candidates)
        assert server.count == 4
        assert again.work["reused_answers"] == 4
