"""Transforms that ask a language model: what it is asked, and what its answers become."""

from __future__ import annotations

import pytest
from tiny import OracleModel

from evalkit.errors import ConfigError
from evalkit.llm.prompts import prompt_names
from evalkit.queries.expand import EXPAND, Expand
from evalkit.queries.hyde import HYDE, Hyde
from evalkit.queries.prompted import QueryPrompt
from evalkit.queries.rewrite import REWRITE, Rewrite
from evalkit.queries.transform import Part, is_plain, joined
from evalkit.types import Query

TALK = Query("q", "and in winter?", ("how warm is Rome in summer", " "))
ALONE = Query("p", "how warm is Oslo")
OWN = """task: rewrite
messages:
  - {role: user, content: "Say {query} ({history})"}
"""
CHINESE = Query("zh", "那冬天呢？", ("罗马夏天有多热",))


def answering(text):
    return OracleModel(lambda message: text)


def test_the_model_is_asked_with_query_and_history_in_the_query_s_language():
    model = answering("x")
    Rewrite(model).parts([TALK, ALONE, CHINESE])
    system, user = model.asked[0]
    assert (system["role"], user["role"]) == ("system", "user")
    assert "how warm is Rome in summer" in user["content"]
    assert user["content"].endswith("and in winter?")
    assert model.asked[1][-1]["content"] == "Conversation:\nhow warm is Oslo"
    assert "罗马夏天有多热" in model.asked[2][-1]["content"]
    assert "改写" in model.asked[2][0]["content"]
    assert not any("{" in message["content"] for asked in model.asked for message in asked)


@pytest.mark.parametrize("task", [REWRITE, EXPAND, HYDE])
def test_every_prompt_is_there_in_both_languages(task):
    names = {name.rpartition("_")[0] for name in prompt_names(task)}
    assert len(names) == 2
    for name in names:
        check_both_languages(name, task)


def check_both_languages(name, task):
    messages = {
        language: QueryPrompt(name, task, language).messages(TALK) for language in ("en", "zh")
    }
    for found in messages.values():
        assert "and in winter?" in found[-1]["content"]
    assert messages["en"] != messages["zh"]
    assert QueryPrompt(name, task).messages(TALK) == messages["en"]
    assert QueryPrompt(name, task).messages(CHINESE) == QueryPrompt(name, task, "zh").messages(
        CHINESE
    )


def test_a_query_that_holds_a_placeholder_stays_as_it_is():
    (_, user) = QueryPrompt("rewrite", REWRITE).messages(
        Query("q", "what is {history}", ("{query}",))
    )
    assert "{query}" in user["content"]
    assert user["content"].endswith("what is {history}")


def test_a_rewrite_replaces_query_and_history():
    (parts,) = Rewrite(answering(' "how warm is Rome\nin winter" ')).parts([TALK])
    assert parts == [Part(Query("q", "how warm is Rome in winter"))]
    assert is_plain(parts)


def test_an_expansion_follows_the_repeated_query_and_leaves_the_history():
    (parts,) = Expand(answering("celsius snow"), repeat=2).parts([TALK])
    assert parts == [Part(TALK._replace(text="and in winter? and in winter? celsius snow"))]


def test_hypothetical_docs_and_query_weigh_the_same():
    model = OracleModel(lambda message: "in an article" if "article" in message else "a passage")
    (parts,) = Hyde(model, ["hyde", "hyde_article"]).parts([TALK])
    third = pytest.approx(1 / 3)
    assert parts == [
        Part(TALK, third),
        Part(Query("q", "a passage"), third, "doc"),
        Part(Query("q", "in an article"), third, "doc"),
    ]
    assert not is_plain(parts)
    assert joined(parts) == Query("q", "and in winter? a passage in an article")


@pytest.mark.parametrize("kind", [Rewrite, Expand, Hyde])
@pytest.mark.parametrize("blank", ["", " \n", '""'])
def test_a_blank_answer_leaves_the_query_as_it_is_and_is_counted(kind, blank):
    transform = kind(OracleModel(lambda message: blank if "Oslo" in message else "text"))
    assert transform.details == {}
    parts = transform.parts([TALK, ALONE])
    assert parts[1] == [Part(ALONE)]
    assert parts[0] != [Part(TALK)]
    details = transform.details
    assert details["queries_asked"] == 2
    assert details["blank_answers"] == 1
    assert "how warm is Oslo → (blank)" in details["examples"]


def test_one_blank_doc_of_several_is_left_out():
    model = OracleModel(lambda message: "" if "article" in message else "a passage")
    (parts,) = Hyde(model, ["hyde", "hyde_article"]).parts([ALONE])
    assert parts == [Part(ALONE, 0.5), Part(Query("p", "a passage"), 0.5, "doc")]


def test_several_prompts_are_reported_by_name_and_long_answers_cut():
    hyde = Hyde(answering("long " * 100), ["hyde", "hyde_article"])
    hyde.parts([ALONE])
    assert list(hyde.details) == ["hyde", "hyde_article"]
    (example,) = hyde.details["hyde"]["examples"]
    assert example.startswith("how warm is Oslo → long long")
    assert len(example) < 130


def test_a_query_is_asked_about_once():
    model = answering("x")
    rewrite = Rewrite(model)
    assert not rewrite.is_known([TALK])
    rewrite.parts([TALK, TALK, ALONE])
    rewrite.parts([ALONE, TALK])
    assert len(model.asked) == 2
    assert rewrite.work == {"requests": 2}
    assert rewrite.is_known([TALK, ALONE])
    assert not rewrite.is_known([CHINESE])


def test_a_prompt_of_one_s_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(OWN, encoding="utf-8")
    prompt = QueryPrompt(str(path), REWRITE)
    assert prompt.messages(ALONE) == [{"role": "user", "content": "Say how warm is Oslo ()"}]
    before = prompt.fingerprint
    path.write_text(OWN.replace("Say", "Tell"), encoding="utf-8")
    assert QueryPrompt(str(path), REWRITE).fingerprint != before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (OWN.replace("{query}", "it"), r"without \{query\}"),
        (OWN.replace("{history}", "{doc}"), r"with \{doc\}, which nothing fills"),
        (OWN.replace("task: rewrite", "task: hyde"), "is for task 'hyde', expected rewrite"),
        ("- a", "expected the keys"),
        (None, "no such file"),
    ],
)
def test_a_prompt_that_is_none(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        Rewrite(answering(""), prompt=str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Rewrite(answering(""), prompt="rewrit"), r"prompt=rewrit: .* Did you mean"),
        (lambda: Rewrite(answering(""), language="fr"), "language=fr: expected one of auto, en"),
        (lambda: Rewrite(answering(""), max_tokens=0), "max_tokens=0"),
        (lambda: Expand(answering(""), repeat=0), "repeat=0"),
        (lambda: Hyde(answering(""), []), r"prompts=\[\]"),
        (lambda: Hyde(answering(""), ["hyde", "hyde"]), "each once"),
    ],
)
def test_settings_that_make_no_sense(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_every_setting_that_changes_a_text_is_in_the_fingerprint():
    model, other = answering(""), answering("")
    other.fingerprint = "another"
    transforms = [
        Rewrite(model), Rewrite(other), Rewrite(model, "rewrite_keywords"),
        Rewrite(model, language="en"), Rewrite(model, max_tokens=32),
        Expand(model, "expand_passage"), Expand(model),
        Expand(model, repeat=1), Hyde(model), Hyde(model, ["hyde", "hyde_article"]),
        Hyde(model, ["hyde_article", "hyde"]),
    ]  # fmt: skip
    assert len({transform.fingerprint for transform in transforms}) == len(transforms)
