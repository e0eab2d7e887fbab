"""What can be chosen on the command line: the config groups and what is in them; plain files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from textwrap import fill

import evalkit

PACKAGE = Path(evalkit.__file__).parent
# Choices beyond this many are listed by name only.
_DESCRIBED = 30


def data_folder(name: str) -> Path:
    """conf/ or experiments/: inside the package in a wheel, beside it in a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def choice_files(group: str) -> dict[str, Path]:
    """Choice → its YAML file, sorted by name; empty for a group that does not exist."""
    folder = data_folder("experiments") if group == "experiment" else data_folder("conf") / group
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def listed(group: str) -> str:
    """The choices of a group for --help: a line each, but presets of them, such as a well-known
    model, by name only, and all by name where they are many."""
    files = choice_files(group)
    if not files:
        return "  (none)"
    if len(files) > _DESCRIBED and not any(map(is_preset, files.values())):
        return _wrapped(files)
    kinds = {name: path for name, path in files.items() if not is_preset(path)}
    presets = [name for name in files if name not in kinds]
    width = max(map(len, kinds))
    lines = [f"  {name:{width}}  {summary(path)}" for name, path in kinds.items()]
    return "\n".join([*lines, *([_wrapped(presets)] if presets else [])])


def is_preset(path: Path) -> bool:
    """Whether a choice builds on another one of its group and changes some of its settings."""
    return "@_here_" in path.read_text(encoding="utf-8")


def _wrapped(names: Iterable[str]) -> str:
    return fill(", ".join(names), 96, initial_indent="  ", subsequent_indent="  ")


def summary(path: Path) -> str:
    """What the first comment of a YAML says, without the example that follows two spaces."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and not line.startswith("# @package"):
            return line.removeprefix("# ").split("  ")[0]
    return ""
