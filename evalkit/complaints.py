"""Hydra's complaints about the command line, each turned into one line that says what to type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches

from evalkit.errors import nearest

# Groups of which several choices are selected at once, each under its own name; how to write one.
PLURAL = {"retriever": "[bm25]", "reranker": "[none]"}

_SYNTAX = re.compile(r"Error parsing override '(?P<override>.*?)'\n", re.DOTALL)
_AMBIGUOUS = re.compile(
    r"Ambiguous value for argument '(?P<key>[^=]*)=(?P<value>.*?)'\n", re.DOTALL
)
_NO_CHOICE = re.compile(r"Config group override must be a string or a list")
_UNKNOWN_CHOICE = re.compile(r"Could not (?:find|load) '(?P<group>[^']+)/(?P<name>[^'/]*)'")
_UNKNOWN_KEY = re.compile(r"Could not override '(?P<key>[^']+)'")
_APPEND = re.compile(r"Could not append to config\. An item is already at '(?P<key>[^']+)'")
_MISSING = re.compile(r"Missing mandatory value: (?P<name>\S+)(?:\s+full_key: (?P<key>\S+))?")
_REFERENCE = re.compile(r"Interpolation key '(?P<name>[^']+)' not found\s+full_key: (?P<key>\S+)")

# One text of a value: the whole of it, or an element of a list; no white space around it.
_FOREIGN = re.compile(r"[^\s,\[\]](?:[^,\[\]]*[^,\[\]\s])?")

# Punctuation as a Chinese keyboard types it, where names and numbers are listed.
_WIDE = re.compile(r"[，［］：＝]")
_ASCII = str.maketrans("，［］：＝", ",[]:=")


def readable(argument: str) -> str:
    """A command line argument as Hydra can read it: key=语料 becomes key="语料".

    Hydra's grammar knows ASCII only outside quotes; full-width commas and brackets become ASCII,
    except in paths. What holds quotes, braces or parentheses is
    left as it is.
    """
    key, equals, value = argument.partition("=")
    if equals and not key.endswith("path") and _WIDE.search(value):
        value = value.translate(_ASCII)
        argument = f"{key}={value}"
    if not equals or value.isascii() or re.search(r"[\"'{}()$\\]", value):
        return argument
    quoted = _FOREIGN.sub(lambda m: m[0] if m[0].isascii() else f'"{m[0]}"', value)
    return f"{key}={quoted}"


def explained(
    message: str, keys: Callable[[], Iterable[str]], options: Callable[[str], Iterable[str]]
) -> str:
    """One line for a message of Hydra or OmegaConf.

    keys: gives every key that can be overridden. options: gives the choices of a config group.
    """
    if found := _SYNTAX.search(message):
        if found["override"].partition("=")[2].startswith("~/"):
            return f"override '{found['override']}': write $HOME/ for ~/"
        return (
            f"override '{found['override']}' cannot be read; write key=value, a list as "
            "key=[10,50], a text with spaces or braces in two kinds of quotes: 'key=\"a b\"'"
        )
    if found := _AMBIGUOUS.search(message):
        key, value = found["key"], found["value"]
        return (
            f"{key}={value} holds several values; write {key}=[{value}] for a list, or add -m to "
            "run a job for each"
        )
    if _NO_CHOICE.search(message):
        return "a group takes names of its choices, such as dataset=sample or retriever=[bm25]"
    if found := _UNKNOWN_CHOICE.search(message):
        return _unknown_choice(found["group"], found["name"], sorted(options(found["group"])), keys)
    if found := _MISSING.search(message):
        key = found["key"] or found["name"]
        return f"{key} has no value; give it as {key}=VALUE"
    if found := _REFERENCE.search(message):
        return f"{found['key']} refers to '${{{found['name']}}}', which is not a setting"
    if found := _APPEND.search(message):
        return f"{found['key']} exists already; write {found['key']}=VALUE without the '+'"
    if found := _UNKNOWN_KEY.search(message):
        return unknown_key(found["key"], set(keys()))
    return " ".join(message.split())


def _unknown_choice(
    group: str, name: str, known: list[str], keys: Callable[[], Iterable[str]]
) -> str:
    if group.split("/")[0] == "dataset" and (group != "dataset" or name.endswith("json")):
        path = f"{group}/{name}".removeprefix("dataset/")
        return f"dataset '{path}' is unknown; for a folder: dataset=folder dataset.path={path}"
    if not known:
        return f"'{group}/{name}' is unknown.{nearest(group, keys())}"
    return f"{group} '{name}' is unknown.{nearest(name, known)} Known: {', '.join(known)}"


def unknown_key(key: str, known: Iterable[str]) -> str:
    """One line on a key that the composed config does not have."""
    known = set(known)
    if key == "experiment":
        return "'experiment' is chosen with a plus sign: +experiment=NAME"
    if key in known and key.count(".") > 1 and key.split(".")[0] in PLURAL:
        group, name, _ = key.split(".", 2)
        return f"'{key}': {group} '{name}' is not selected; add it: {group}=[...,{name}]"
    if key in known and "." in key:
        group = key.split(".")[0]
        example = "; add dataset=folder" if key == "dataset.path" else ""
        return (
            f"'{key}' is not a setting of the {group} selected; it belongs to another {group}="
            f"{example}"
        )
    if key == "path":
        return (
            "'path' belongs to a task, such as task=log or task=explain; a collection is "
            "dataset=folder dataset.path=DIR"
        )
    return f"'{key}' is not a setting.{nearest_key(key, known)}"


def nearest_key(key: str, known: Iterable[str]) -> str:
    """A hint for a dotted key: another case, near it in the same place, or elsewhere."""
    known = sorted(set(known) - {key})
    place, _, last = key.rpartition(".")
    beside = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == place}
    near = get_close_matches(last, list(beside), n=1, cutoff=0.6) if place else []
    likely = [
        [name for name in known if name.lower() == key.lower()],
        [beside[name] for name in near],
        [name for name in known if name.rpartition(".")[2] == last],
    ]
    for names in likely:
        if len(names) == 1:
            return f" Did you mean '{names[0]}'?"
    return nearest(key, known) or " python -m evalkit --help lists groups, --cfg job all settings."
