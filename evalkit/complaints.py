"""How the command line complains: one line on stderr, which says what to type instead.

Hydra's own complaints are recognised by their words, so that this module need not know Hydra.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from evalkit.errors import EvalkitError, nearest

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

# user:password@ in an address, or password= after its question mark.
_PASSWORD = re.compile(r"://[^/@\s]*:[^@\s]*@|://\S*[?&]\w*(?:pass|pwd|token)\w*=", re.IGNORECASE)
PASSWORD_REFUSED = (
    "tracking.uri holds a password, which would end in saved configs; put the address into "
    "the environment variable MLFLOW_TRACKING_URI and leave tracking.uri out"
)


def complain(message: str, exit_code: int = EvalkitError.exit_code) -> NoReturn:
    """A line on stderr, and the end."""
    say(message)
    sys.exit(exit_code)


def say(message: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"evalkit: {' '.join(message.splitlines())}\n")


def holds_password(text: str) -> bool:
    """True for an address with credentials in it, and for an override that sets one."""
    return _PASSWORD.search(text) is not None


def whole_message(error: BaseException) -> str:
    """An exception's message and those of its causes: Hydra wraps OmegaConf's.

    What cannot be parsed is named by Hydra's exception in its attribute `override` alone.
    """
    parts: list[str] = []
    current: BaseException | None = error
    while current is not None:
        if isinstance(override := getattr(current, "override", None), str):
            parts.append(f"Error parsing override '{override}'")
        parts.append(str(current))
        current = current.__cause__
    return "\n".join(parts)


def came_out_of(function: Callable[..., object], error: BaseException) -> bool:
    """True when the function was running as the error was raised."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is function.__code__:
            return True
        trace = trace.tb_next
    return False


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


def readable_line(arguments: Sequence[str]) -> list[str]:
    """The command line as Hydra can read it; one with a password in it ends the program here,
    before Hydra saves it."""
    if any(map(holds_password, arguments)):
        complain(PASSWORD_REFUSED)
    # Hydra's parser takes no overrides after a flag that stands between them.
    flags_first = sorted(arguments, key=lambda part: part not in ("-m", "--multirun"))
    return [readable(argument) for argument in flags_first]


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
        return no_value(found["key"] or found["name"])
    if found := _REFERENCE.search(message):
        return f"{found['key']} refers to '${{{found['name']}}}', which is not a setting"
    if found := _APPEND.search(message):
        return f"{found['key']} exists already; write {found['key']}=VALUE without the '+'"
    if found := _UNKNOWN_KEY.search(message):
        choices = options(found["key"].split(".")[0])
        return unknown_key(found["key"], set(keys()), choices)
    return " ".join(message.split())


def _unknown_choice(
    group: str, name: str, known: list[str], keys: Callable[[], Iterable[str]]
) -> str:
    if group.split("/")[0] == "dataset" and (group != "dataset" or name.endswith("json")):
        path = f"{group}/{name}".removeprefix("dataset/")
        return f"dataset '{path}' is unknown; for a folder: dataset=folder dataset.path={path}"
    if not known:
        return f"'{group}/{name}' is unknown.{nearest(group, keys())}"
    folder = f" For a folder: dataset=folder dataset.path={name}."
    own = folder if group == "dataset" and name else ""
    return f"{group} '{name}' is unknown.{nearest(name, known)}{own} Known: {', '.join(known)}"


def no_value(key: str) -> str:
    """One line on a key that needs a value and has none."""
    return f"{key} has no value; give it as {key}={PLURAL.get(key, 'VALUE')}"


def unknown_key(key: str, known: Iterable[str], choices: Iterable[str] = ()) -> str:
    """One line on a key that the composed config does not have.

    known: every key that there is. choices: those of the config group that the key begins with.
    """
    known = set(known)
    if key == "experiment":
        return "'experiment' is chosen with a plus sign: +experiment=NAME"
    if key in known and key.count(".") > 1 and key.split(".")[0] in PLURAL:
        group, name, _ = key.split(".", 2)
        return f"'{key}': {group} '{name}' is not selected; add it: {group}=[...,{name}]"
    if key in known and "." in key:
        group = key.split(".")[0]
        if not list(choices):
            return f"'{key}' belongs to a task that is not selected; select it with task=NAME"
        where = f"another {group}=" + ("" if group == "dataset" else " or task=")
        example = "; add dataset=folder" if key == "dataset.path" else ""
        return f"'{key}' is not a setting of the {group} selected; it belongs to {where}{example}"
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


def flat_keys(config: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of nested mappings, a group before what is in it."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat_keys(value, f"{prefix}{key}.")
