"""Listwise, setwise and pairwise reranking by a language model: who knows the order recovers it."""

import math
import re

import numpy as np
import pytest
from loopback import Loopback, status
from tiny import OracleModel, save_language_model

from evalkit.errors import ConfigError
from evalkit.llm.chat import ChatEndpoint
from evalkit.llm.local import LocalModel
from evalkit.rerankers.llm_listwise import LLMListwiseReranker
from evalkit.rerankers.llm_pairwise import LLMPairwiseReranker
from evalkit.rerankers.llm_setwise import LLMSetwiseReranker
from evalkit.run import Run
from evalkit.testing import TextDataset, check_reranker
from evalkit.types import Doc, Query

SIZE = 33
QUERIES = (Query("q0", "find 1"), Query("q1", "find 2"), Query("q2", "find 3"))
DOCS = tuple(Doc(f"d{i}", "", f"item {i} of the list") for i in range(SIZE))
DATASET = TextDataset(docs=DOCS, queries=QUERIES)
RERANKERS = (LLMListwiseReranker, LLMPairwiseReranker, LLMSetwiseReranker)


def worth(query: int, item: int) -> float:
    """How relevant an item is: another order for each query, without ties."""
    return math.sin((item + 1) * (query + 1.7))


def shown(text):
    """The query's number, and the labels and items of a prompt."""
    query = int(re.search(r"find (\d+)", text)[1])
    return query, re.findall(
        r"^(?:Passage |段落 |\[)(\w+)(?:\]|:|：) ?item (\d+)", text, re.MULTILINE
    )


def ranking(text):
    query, docs = shown(text)
    docs.sort(key=lambda doc: -worth(query, int(doc[1])))
    return " > ".join(f"[{label}]" for label, _ in docs)


def best(text):
    query, docs = shown(text)
    return max(docs, key=lambda doc: worth(query, int(doc[1])))[0]


def candidates(sizes=(SIZE, SIZE, SIZE)):
    run = Run.from_dict(
        {f"q{i}": {f"d{j}": float(SIZE - j) for j in range(SIZE)} for i in range(len(sizes))}
    )
    return run.top(np.array(sizes))


def ideal(query, size=SIZE):
    return [f"d{j}" for j in sorted(range(size), key=lambda item: -worth(query + 1, item))]


def orders(run):
    return dict(run)


def make(kind, llm, **settings):
    return kind(llm, **settings)


def knowing(kind):
    return OracleModel(ranking if kind is LLMListwiseReranker else best)


# What all three share


@pytest.mark.parametrize(
    ("kind", "settings", "sorted_ranks"),
    [
        (LLMListwiseReranker, {}, 10),
        (LLMListwiseReranker, {"passes": 4}, SIZE),
        (LLMListwiseReranker, {"window": 6, "step": 2, "passes": 1, "prompt": "listwise_zh"}, 4),
        (LLMPairwiseReranker, {"method": "all_pairs"}, SIZE),
        (LLMPairwiseReranker, {"top": 4}, 4),
        (LLMPairwiseReranker, {"method": "bubble_sort", "top": 3, "both_orders": False}, 3),
        (LLMPairwiseReranker, {"mode": "generate", "prompt": "pairwise_zh"}, 10),
        (LLMSetwiseReranker, {"top": SIZE}, SIZE),
        (LLMSetwiseReranker, {"num_child": 9, "mode": "generate"}, 10),
        (LLMSetwiseReranker, {"method": "bubble_sort", "top": 5, "prompt": "setwise_zh"}, 5),
    ],
)
def test_one_who_knows_the_order_recovers_it(kind, settings, sorted_ranks):
    llm = knowing(kind)
    reranker = make(kind, llm, **settings)
    found = reranker.rerank(QUERIES, DATASET, candidates())
    for query, docs in enumerate(orders(found).values()):
        assert docs[:sorted_ranks] == ideal(query)[:sorted_ranks]
        assert sorted(docs) == sorted(ideal(query))
    most = reranker.estimate(candidates().sizes)["requests"]
    assert len(llm.asked) == reranker.work["requests"] <= most
    exact = kind is LLMListwiseReranker or settings.get("method") in ("all_pairs", "bubble_sort")
    assert (len(llm.asked) == most) or not exact
    np.testing.assert_array_equal(found.scores, np.tile(np.arange(SIZE, 0, -1), 3))
    (told,) = reranker.details.values()
    assert told.get("malformed_share", told.get("undecided_share")) == told["truncated_share"] == 0
    assert told["answers"] == len(llm.asked)


@pytest.mark.parametrize("kind", RERANKERS)
def test_lists_of_any_length_and_queries_in_any_order(kind):
    sizes = (0, 1, 7)
    found = orders(make(kind, knowing(kind)).rerank(QUERIES, DATASET, candidates(sizes)))
    assert found == {f"q{i}": ideal(i, size) for i, size in enumerate(sizes)}
    nothing = Run.from_dict({}, ["q0"])
    llm = knowing(kind)
    assert len(make(kind, llm).rerank(QUERIES, DATASET, nothing)) == 0
    assert llm.asked == []
    assert make(kind, llm).estimate(np.array([0, 1])) == {"requests": 0}


@pytest.mark.parametrize("kind", RERANKERS)
def test_details_are_kept_by_retriever_and_by_the_longest_list(kind):
    reranker = make(kind, knowing(kind))
    for retriever in ("bm25", "dense"):
        fitted = reranker.for_retriever(retriever)
        for size in (5, 3):
            fitted.rerank(QUERIES, DATASET, candidates((size, 2, size)))
    assert {name: list(told) for name, told in reranker.details.items()} == {
        "bm25": ["K=5", "K=3"], "dense": ["K=5", "K=3"],
    }  # fmt: skip
    assert reranker.details["bm25"] == reranker.details["dense"]


@pytest.mark.parametrize("kind", RERANKERS)
def test_long_docs_are_cut_and_their_share_is_told(kind):
    llm = knowing(kind)
    long = TextDataset(docs=[*DOCS[:3], Doc("d3", "", "item 3 " + "x " * 500)], queries=QUERIES)
    reranker = make(kind, llm, doc_words=10)
    reranker.rerank(QUERIES, long, candidates((4, 4, 4)))
    assert reranker.details["K=4"]["truncated_share"] == 0.25
    assert max(text.count("x ") for text in (p[-1]["content"] for p in llm.asked)) <= 8


@pytest.mark.parametrize("kind", RERANKERS)
def test_what_changes_a_ranking_changes_the_fingerprint(kind, tmp_path):
    llm = knowing(kind)
    one = make(kind, llm).fingerprint
    assert make(kind, llm).fingerprint == one
    task = kind.task.name
    changes = [{"prompt": f"{task}_zh"}, {"doc_words": 50}, {"doc_template": "{text}"}]
    changes += {
        "listwise": [{"window": 4, "step": 2}, {"passes": 2}, {"step": 5}, {"max_tokens": 9}],
        "pairwise": [
            {"top": 3}, {"method": "all_pairs"}, {"both_orders": False}, {"mode": "generate"},
        ],
        "setwise": [{"top": 3}, {"method": "bubble_sort"}, {"num_child": 2}, {"mode": "generate"}],
    }[task]  # fmt: skip
    other = OracleModel(best)
    other.fingerprint = "another"
    prints = {make(kind, llm, **change).fingerprint for change in changes}
    assert len(prints | {one, make(kind, other).fingerprint}) == len(changes) + 2
    source = (tmp_path / "own.yaml").absolute()
    text = f"task: {task}\nmessages: [{{role: user, content: '{{query}} {{docs}}'}}]\n"
    source.write_text(text + "item: '[{label}] {doc}'\n")
    assert make(kind, llm, prompt=str(source)).fingerprint not in prints | {one}


@pytest.mark.parametrize(
    ("kind", "settings", "problem"),
    [
        (LLMListwiseReranker, {"window": 1}, "window=1: expected at least 2"),
        (LLMListwiseReranker, {"step": 21}, "step=21: expected 1 to window=20"),
        (LLMListwiseReranker, {"step": 0}, "step=0"),
        (LLMListwiseReranker, {"passes": 0}, "passes=0"),
        (LLMListwiseReranker, {"max_tokens": 0}, "max_tokens=0"),
        (LLMPairwiseReranker, {"method": "quick_sort"}, "method=quick_sort: expected one of all_"),
        (LLMPairwiseReranker, {"top": 0}, "top=0"),
        (LLMSetwiseReranker, {"num_child": 26}, "num_child=26: expected 1 to 25"),
        (LLMSetwiseReranker, {"method": "all_pairs"}, "method=all_pairs"),
        *[(kind, {"doc_words": 0}, "doc_words=0") for kind in RERANKERS],
        *[(kind, {"doc_template": "{doc}"}, "doc_template") for kind in RERANKERS],
        *[(kind, {"prompt": "nothing"}, "prompt 'nothing' is unknown") for kind in RERANKERS],
        *[(kind, {"prompt": "pointwise_yes_no_en"}, "is for task") for kind in RERANKERS],
        *[(kind, {"mode": "guess"}, "mode=guess") for kind in RERANKERS[1:]],
    ],
)
def test_settings_that_cannot_be_are_refused(kind, settings, problem):
    with pytest.raises(ConfigError, match=problem):
        make(kind, knowing(kind), **settings)


@pytest.mark.parametrize("kind", RERANKERS)
def test_what_is_no_language_model_is_refused(kind):
    with pytest.raises(ConfigError, match="llm=http: expected a language model"):
        make(kind, "http")


# Answers that are none


def test_a_ranking_that_is_none_is_repaired_and_counted_by_kind():
    answers = {"find 1": "[3] > [3] > [9]", "find 2": "no idea", "find 3": "[2] > [1] > [3]"}
    rule = lambda text: answers[re.search(r"find \d", text)[0]]  # noqa: E731
    reranker = LLMListwiseReranker(OracleModel(rule))
    found = reranker.rerank(QUERIES, DATASET, candidates((3, 3, 3)))
    assert orders(found) == {
        "q0": ["d2", "d0", "d1"], "q1": ["d0", "d1", "d2"], "q2": ["d1", "d0", "d2"],
    }  # fmt: skip
    third = round(1 / 3, 6)
    assert reranker.details["K=3"] == {
        "answers": 3, "malformed_share": round(2 / 3, 6), "no_ranking_share": third,
        "duplicate_share": third, "missing_share": third, "out_of_range_share": third,
        "truncated_share": 0.0,
    }  # fmt: skip


def test_an_answer_without_a_label_changes_nothing_and_is_counted():
    given = {f"q{i}": [f"d{j}" for j in range(9)] for i in range(3)}
    for kind in (LLMPairwiseReranker, LLMSetwiseReranker):
        reranker = kind(OracleModel(lambda text: "I cannot say"), mode="generate", top=9)
        found = reranker.rerank(QUERIES, DATASET, candidates((9, 9, 9)))
        assert [docs[0] for docs in orders(found).values()] == ["d0"] * 3
        assert reranker.details["K=9"]["malformed_share"] == 1.0
    bubbles = LLMPairwiseReranker(
        OracleModel(lambda text: "?"), mode="generate", method="bubble_sort"
    )
    assert orders(bubbles.rerank(QUERIES, DATASET, candidates((9, 9, 9)))) == given


# Position bias


def test_a_model_that_always_says_the_first_changes_nothing_when_asked_both_ways():
    biased = OracleModel(lambda text: "A")
    both = LLMPairwiseReranker(biased, method="all_pairs")
    found = both.rerank(QUERIES, DATASET, candidates((6, 6, 6)))
    assert list(orders(found).values()) == [[f"d{j}" for j in range(6)]] * 3
    assert both.details["K=6"]["disagreement_share"] == 1.0
    assert both.details["K=6"]["first_position_share"] == 1.0
    assert both.work["requests"] == 3 * 2 * 15
    once = LLMPairwiseReranker(OracleModel(lambda text: "B"), both_orders=False, method="all_pairs")
    found = once.rerank(QUERIES, DATASET, candidates((6, 6, 6)))
    assert list(orders(found).values()) == [[f"d{j}" for j in range(5, -1, -1)]] * 3
    assert "disagreement_share" not in once.details["K=6"]
    assert once.work["requests"] == 3 * 15


def test_answers_that_disagree_are_a_tie_and_the_others_decide():
    """Between the best two the first one shown wins; the rest is known."""

    def rule(text):
        query, docs = shown(text)
        top = {int(item) for _, item in docs} == {int(d[1:]) for d in ideal(query - 1, 4)[:2]}
        return "A" if top else best(text)

    reranker = LLMPairwiseReranker(OracleModel(rule), method="all_pairs")
    found = orders(reranker.rerank(QUERIES, DATASET, candidates((4, 4, 4))))
    for query, docs in enumerate(found.values()):
        assert docs[:2] == sorted(ideal(query, 4)[:2])
        assert docs[2:] == ideal(query, 4)[2:]
    assert reranker.details["K=4"]["disagreement_share"] == round(1 / 6, 6)


def test_labels_that_are_equally_likely_decide_nothing():
    unsure = OracleModel(lambda text: "something else")
    for kind in (LLMPairwiseReranker, LLMSetwiseReranker):
        reranker = kind(unsure, method="bubble_sort")
        found = orders(reranker.rerank(QUERIES, DATASET, candidates((9, 9, 9))))
        assert list(found.values()) == [[f"d{j}" for j in range(9)]] * 3
        assert reranker.details["K=9"]["undecided_share"] == 1.0


# A real model, and a server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_language_model(
        tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=16384
    )


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (LLMListwiseReranker, {"window": 4, "step": 2, "max_tokens": 8}),
        (LLMPairwiseReranker, {"top": 2}),
        (LLMSetwiseReranker, {"top": 2}),
        (LLMSetwiseReranker, {"top": 2, "mode": "generate", "max_tokens": 4}),
    ],
)
def test_it_keeps_the_contract_of_a_reranker(tmp_path, folder, kind, settings):
    made = iter(range(100))

    def new():
        llm = LocalModel(str(folder), cache_dir=tmp_path / str(next(made)))
        return kind(llm, doc_words=20, **settings)

    check_reranker(new)


def first_tokens(messages):
    return {best(messages[-1]["content"]): math.log(0.8), "Passage": math.log(0.1)}


@pytest.mark.parametrize("kind", RERANKERS)
def test_over_http_it_ranks_as_one_who_knows_the_order(tmp_path, kind):
    rule = ranking if kind is LLMListwiseReranker else best
    given = candidates() if kind is LLMListwiseReranker else candidates((9, 5, 9))
    with Loopback() as server:
        server.delay = 0.1  # long enough that requests under way at once overlap
        server.answer = lambda messages: rule(messages[-1]["content"])
        server.first_tokens = first_tokens
        server.script += [status(429, retry_after="0"), None, status(500)]
        llm = ChatEndpoint(f"{server.url}/v1", "m", cache_dir=tmp_path)
        llm.client.sleep = lambda seconds, stopped: None
        reranker = make(kind, llm)
        found = reranker.rerank(QUERIES, DATASET, given)
        plain = make(kind, knowing(kind))
        expected = plain.rerank(QUERIES, DATASET, given)
        assert orders(found) == orders(expected)
        assert reranker.details == plain.details
        assert reranker.work["retries"] == 2
        sent = server.count
        again = make(kind, ChatEndpoint(f"{server.url}/v1", "m", cache_dir=tmp_path))
        assert orders(again.rerank(QUERIES, DATASET, given)) == orders(found)
        assert again.details == reranker.details
        assert server.count == sent
        assert again.work["requests"] == 0
        if kind is LLMListwiseReranker:
            assert sent == 3 * 3 + 2
            assert server.most_at_once > 1
