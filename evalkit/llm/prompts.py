"""Prompts: YAML files that a user can copy, edit and name in place of ours (`evalkit/llm/prompts`).

    task: listwise             # what it is for: a reranker takes prompts of its own task only
    messages:                  # of the chat, in order
      - role: user
        content: "{num} passages on {query}: {docs} Rank them."
    item: "[{label}] {doc}"    # how each of the {docs} is written
    answers: ["No", "Yes"]     # what a model may answer, the least relevant first (pointwise)

Placeholders are filled in one pass, so that a doc that holds the characters {query} stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import ConfigError, nearest
from evalkit.types import Message, fingerprint

FOLDER = Path(__file__).parent / "prompts"
ROLES = ("system", "user", "assistant")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_KEYS = ("task", "messages", "item", "answers")
# Characters of scripts that put no space between words count as a word each. No word is longer
# than 20 characters: a text without any space, such as a key, is cut as well.
_NO_SPACES = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af\U00020000-\U0003134f"
_WORD = re.compile(rf"[{_NO_SPACES}]|[^\s{_NO_SPACES}]{{1,20}}")


class Task(NamedTuple):
    """A kind of prompt. needs, may: placeholders that its messages must and may hold; item: those
    of each doc in {docs}. answers: whether it lists them."""

    name: str
    needs: tuple[str, ...]
    may: tuple[str, ...] = ()
    item: tuple[str, ...] = ()
    answers: bool = False


POINTWISE = Task("pointwise", ("query", "doc"), answers=True)
WRITE_QUERY = Task("write_query", ("doc",))
PAIRWISE, LISTWISE, SETWISE = (
    Task(name, ("query", "docs"), ("num", "labels"), ("label", "doc"))
    for name in ("pairwise", "listwise", "setwise")
)


@dataclass(frozen=True)
class Prompt:
    """A prompt to be filled; `digest` is of everything that a model sees of it."""

    messages: tuple[Message, ...]
    item: str = ""
    answers: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        messages = [dict(message) for message in self.messages]
        return fingerprint("Prompt", messages=messages, item=self.item, answers=self.answers)

    def fill(self, **values: str) -> list[Message]:
        """The messages with these values in their places."""
        return [
            {"role": message["role"], "content": _filled(message["content"], values)}
            for message in self.messages
        ]

    def fill_docs(self, query: str, labels: Sequence[str], docs: Sequence[str]) -> list[Message]:
        """The messages with the docs, each under its label, a blank line between two."""
        items = [
            _filled(self.item, {"label": label, "doc": doc})
            for label, doc in zip(labels, docs, strict=True)
        ]
        return self.fill(
            query=query, docs="\n\n".join(items), num=str(len(docs)), labels=", ".join(labels)
        )


def _filled(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda field: values[field[1]], template)


def shortened(text: str, words: int | None) -> str:
    """The text up to its `words`-th word; None for the whole text.

    A Chinese, Japanese or Korean character counts as a word, and so do 20 characters without a
    space: the same rule for every back end, so that they are asked the same.
    """
    if words is None or len(text) <= words:
        return text
    for count, match in enumerate(_WORD.finditer(text), 1):
        if count == words:
            return text[: match.end()] if text[match.end() :].strip() else text
    return text


def word_count(text: str) -> int:
    """Words as `shortened` counts them."""
    return sum(1 for _ in _WORD.finditer(text))


def checked_words(doc_words: int | None) -> int | None:
    """doc_words, if it leaves anything of a doc; ConfigError."""
    if doc_words is not None and doc_words < 1:
        raise ConfigError(f"doc_words={doc_words}: expected at least 1, or null for whole docs")
    return doc_words


def prompt_names(task: Task) -> list[str]:
    """The prompts of the package for a task, by name."""
    return sorted(path.stem for path in FOLDER.glob(f"{task.name}_*.yaml"))


def load_prompt(name: str, task: Task) -> Prompt:
    """A prompt of the package by name, or of a YAML file by path; ConfigError for one that is not
    there, of another task, or without its placeholders."""
    path = Path(name).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name}.yaml"
        known = prompt_names(task)
        if name not in known and not (path.is_file() and path.parent == FOLDER):
            raise ConfigError(
                f"prompt '{name}' is unknown.{nearest(name, known)} Known: {', '.join(known)}; or "
                "give the path of a .yaml file"
            )
    return _checked(_read(path), task, name)


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"prompt '{path}': no such file") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"prompt '{path}' is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"prompt '{path}': expected the keys {', '.join(_KEYS)}")
    return content


def _checked(content: dict[str, Any], task: Task, name: str) -> Prompt:
    for key in content:
        if key not in _KEYS:
            raise ConfigError(
                f"prompt '{name}': '{key}' is no key of a prompt.{nearest(key, _KEYS)}"
            )
    if content.get("task") != task.name:
        raise ConfigError(
            f"prompt '{name}' is for task '{content.get('task')}', expected {task.name}; take one "
            f"of {', '.join(prompt_names(task)) or 'your own'}"
        )
    messages = _messages(content.get("messages"), name)
    text = "\n".join(message["content"] for message in messages)
    _check_placeholders(text, task.needs, task.may, f"prompt '{name}': messages")
    item = content.get("item", "")
    if task.item:
        _check_placeholders(str(item), task.item, (), f"prompt '{name}': item")
    elif item:
        raise ConfigError(f"prompt '{name}': a {task.name} prompt has no item; leave it out")
    return Prompt(messages, str(item), _answers(content.get("answers"), task, name))


def _messages(given: Any, name: str) -> tuple[Message, ...]:
    messages = given if isinstance(given, list) else []
    for message in messages:
        fields = message if isinstance(message, dict) else {}
        if set(fields) != {"role", "content"} or not isinstance(fields["content"], str):
            raise ConfigError(f"prompt '{name}': a message has a role and a content, a text, alone")
        if fields["role"] not in ROLES:
            raise ConfigError(
                f"prompt '{name}': role '{fields['role']}': expected {', '.join(ROLES)}"
            )
    if not messages or messages[-1]["role"] == "assistant":
        raise ConfigError(
            f"prompt '{name}': expected a list of messages, the last of them a user's"
        )
    return tuple({"role": message["role"], "content": message["content"]} for message in messages)


def _check_placeholders(text: str, needs: Sequence[str], may: Sequence[str], where: str) -> None:
    found = set(_PLACEHOLDER.findall(text))
    for field in needs:
        if field not in found:
            raise ConfigError(f"{where} without {{{field}}}; put it where the {field} belongs")
    unknown = sorted(found - {*needs, *may})
    if unknown:
        known = ", ".join(f"{{{field}}}" for field in (*needs, *may))
        raise ConfigError(f"{where} with {{{unknown[0]}}}, which nothing fills; known: {known}")


def _answers(given: Any, task: Task, name: str) -> tuple[str, ...]:
    if not task.answers:
        if given is not None:
            raise ConfigError(f"prompt '{name}': a {task.name} prompt has no answers; leave it out")
        return ()
    answers = given if isinstance(given, list) else []
    if not all(isinstance(answer, str) and answer.strip() == answer != "" for answer in answers):
        raise ConfigError(
            f"prompt '{name}': answers are texts in quotes, as YAML takes Yes and 0 for other "
            'things: answers: ["No", "Yes"]'
        )
    if len(set(answers)) != len(answers) or len(answers) < 2:
        raise ConfigError(
            f"prompt '{name}': expected two or more different answers, the least relevant first"
        )
    return tuple(answers)
