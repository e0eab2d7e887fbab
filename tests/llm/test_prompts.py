"""Prompts: those of the package are sound, a user's own are checked before anything is asked."""

import pytest
import yaml

from evalkit.errors import ConfigError
from evalkit.llm.prompts import (
    FOLDER,
    LISTWISE,
    PAIRWISE,
    POINTWISE,
    SETWISE,
    WRITE_QUERY,
    Task,
    load_prompt,
    prompt_names,
    shortened,
)

TASKS = {task.name: task for task in (POINTWISE, PAIRWISE, LISTWISE, SETWISE, WRITE_QUERY)}
NAMES = [(task, name) for task in TASKS.values() for name in prompt_names(task)]


def user(content):
    return {"role": "user", "content": content}


@pytest.fixture
def own(tmp_path):
    """A pointwise prompt of a user's, with changes; None takes a key out."""

    def write(**changes):
        content = {
            "task": "pointwise",
            "messages": [user("{query} or {doc}?")],
            "answers": ["No", "Yes"],
        } | changes
        path = tmp_path / "own.yaml"
        kept = {key: value for key, value in content.items() if value is not None}
        path.write_text(yaml.safe_dump(kept), encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize(("task", "name"), NAMES, ids=lambda value: str(value))
def test_a_prompt_of_the_package_is_sound_and_shows_all_it_is_given(task, name):
    prompt = load_prompt(name, task)
    given = ("which shard", "the merged one")
    if task is POINTWISE:
        messages = prompt.fill(query="which shard", doc="the merged one")
    elif task is WRITE_QUERY:
        messages, given = prompt.fill(doc="the merged one"), given[1:]
    else:
        messages = prompt.fill_docs("which shard", ["1", "2"], ["the merged one", "the other"])
    text = messages[-1]["content"]
    for part in given:
        assert part in text
    assert "{" not in text
    assert messages[-1]["role"] == "user"
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")


def test_every_task_is_there_in_english_and_chinese():
    names = {name for _, name in NAMES}
    assert len(names) == 18
    assert {name.removesuffix("_en") for name in names if name.endswith("_en")} == {
        name.removesuffix("_zh") for name in names if name.endswith("_zh")
    }
    chinese = load_prompt("pointwise_yes_no_zh", POINTWISE)
    assert chinese.answers == ("否", "是")
    assert load_prompt("pointwise_graded_en", POINTWISE).answers == ("0", "1", "2", "3")


def test_placeholders_are_filled_in_one_pass(own):
    prompt = load_prompt(own(), POINTWISE)
    found = prompt.fill(query="{doc} {nothing}", doc="{query} {{doc}}")
    assert found == [{"role": "user", "content": "{doc} {nothing} or {query} {{doc}}?"}]


def test_docs_stand_under_their_labels_a_blank_line_between(own):
    messages = [{"role": "user", "content": "{num}/{labels}: {query}\n{docs}"}]
    path = own(task="setwise", messages=messages, answers=None, item="({label}) {doc}")
    prompt = load_prompt(path, SETWISE)
    found = prompt.fill_docs("q", "AB", ["{label}", "{num} two"])
    assert found[0]["content"] == "2/A, B: q\n(A) {label}\n\n(B) {num} two"


def test_the_digest_follows_what_a_model_sees(own, tmp_path):
    one = load_prompt(own(), POINTWISE).digest
    path = own()
    with open(path, "a", encoding="utf-8") as file:
        file.write("# a remark\n")
    assert load_prompt(path, POINTWISE).digest == one
    others = [
        {"messages": [user("{query} or {doc}")]},
        {"messages": [{"role": "assistant", "content": "{query}"}, user("{doc}")]},
        {"answers": ["Yes", "No"]},
    ]  # fmt: skip
    assert len({one, *(load_prompt(own(**other), POINTWISE).digest for other in others)}) == 4


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"messages": [{"role": "user", "content": "{query}"}]}, r"messages without \{doc\}"),
        (
            {"messages": [{"role": "user", "content": "{query} {doc} {docs}"}]},
            r"messages with \{docs\}, which nothing fills; known: \{query\}, \{doc\}",
        ),
        ({"messages": "Is {doc} on {query}?"}, "expected a list of messages"),
        ({"messages": []}, "expected a list of messages"),
        ({"messages": [{"role": "user"}]}, "a message has a role and a content"),
        ({"messages": [{"role": "user", "content": 1}]}, "a message has a role and a content"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "role 'judge': expected system, user"),
        (
            {"messages": [{"role": "assistant", "content": "{query} {doc}"}]},
            "the last of them a user's",
        ),
        ({"task": "listwise"}, r"for task 'listwise', expected pointwise; take one of pointwise_"),
        ({"task": None}, "for task 'None'"),
        ({"answer": ["a", "b"]}, r"'answer' is no key of a prompt\. Did you mean 'answers'"),
        ({"answers": [False, True]}, "answers are texts in quotes"),
        ({"answers": [0, 1]}, "answers are texts in quotes"),
        ({"answers": ["Yes"]}, "two or more different answers"),
        ({"answers": ["Yes", "Yes"]}, "two or more different answers"),
        ({"answers": None}, "two or more different answers"),
        ({"item": "{doc}"}, "a pointwise prompt has no item"),
    ],
)
def test_a_prompt_that_cannot_work_is_refused(own, changes, problem):
    with pytest.raises(ConfigError, match=problem) as error:
        load_prompt(own(**changes), POINTWISE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"item": None}, r"item without \{label\}"),
        ({"item": "{label}"}, r"item without \{doc\}"),
        ({"item": "{label} {doc} {query}"}, r"item with \{query\}"),
        ({"answers": ["A", "B"]}, "a listwise prompt has no answers"),
    ],
)
def test_a_prompt_for_several_docs_says_how_each_is_written(own, changes, problem):
    messages = [{"role": "user", "content": "{query} {docs}"}]
    whole = {"task": "listwise", "messages": messages, "answers": None, "item": "[{label}] {doc}"}
    load_prompt(own(**whole), LISTWISE)
    with pytest.raises(ConfigError, match=problem):
        load_prompt(own(**whole | changes), LISTWISE)


def test_files_that_are_no_prompts_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"'listwise_de' is unknown\..*Known: listwise_en, "):
        load_prompt("listwise_de", LISTWISE)
    with pytest.raises(ConfigError, match="is for task 'pairwise', expected listwise"):
        load_prompt("pairwise_en", LISTWISE)
    with pytest.raises(ConfigError, match=r"absent\.yaml': no such file"):
        load_prompt("absent.yaml", LISTWISE)
    path = tmp_path / "broken.yaml"
    for content, problem in [
        ("a: [", "is no YAML"),
        ("- a", "expected the keys"),
        ("", "the keys"),
    ]:
        path.write_text(content)
        with pytest.raises(ConfigError, match=problem) as error:
            load_prompt(str(path), LISTWISE)
        assert "\n" not in str(error.value)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is no YAML"):
        load_prompt(str(path), LISTWISE)


def test_other_tasks_can_be_stated(tmp_path):
    path = tmp_path / "rewrite.yaml"
    path.write_text("task: rewrite\nmessages: [{role: user, content: 'Rewrite: {query}'}]\n")
    prompt = load_prompt(str(path), Task("rewrite", ("query",)))
    assert prompt.fill(query="a") == [{"role": "user", "content": "Rewrite: a"}]


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("one two  three four", 3, "one two  three"),
        ("one two three", 3, "one two three"),
        ("one two three \n", 3, "one two three \n"),
        ("索引合并在后台", 4, "索引合并"),
        ("BM25 与 向量检索", 3, "BM25 与 向"),
        ("x" * 65, 2, "x" * 40),
        ("x" * 65, 3, "x" * 60),
        ("x" * 65, 4, "x" * 65),
        ("one two", None, "one two"),
        ("", 1, ""),
        ("日本語 テキスト", 5, "日本語 テキ"),
    ],
)
def test_docs_are_cut_by_words_and_chinese_by_characters(text, words, expected):
    assert shortened(text, words) == expected
