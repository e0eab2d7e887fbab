"""Write docs/settings.md, the reference of every setting, from the YAML files under conf/.

    python docs/build_settings.py

The YAML files are the one place where a setting is described: a key's comment beside it, or the
comment lines above it. A key without a description is an error.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
GROUPS = (
    "dataset", "retriever", "reranker", "llm", "sweep", "latency", "cost", "tracking", "training",
    "task",
)  # fmt: skip
KEY = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?: +(?P<value>[^#]*?))?(?:\s+# (?P<note>.*))?$")
SKIPPED = {"_target_", "defaults", "doc_template", "cache_dir", "device", "hydra"}
INTRO = """# Settings

Every setting, its default and what it does; made from the YAML files under `conf/` by
`python docs/build_settings.py`. Override any of them on the command line as `key=value`;
`python -m evalkit --cfg job` prints those of a run. `doc_template`, `device` and `cache_dir` of a
component follow the experiment's unless they are set there, for instance
`retriever.dense.device=cuda:1`.
"""


def keys_of(lines: list[str], where: str) -> list[tuple[str, str, str]]:
    """(key, default, description) of a YAML's keys, nested ones with a dot; hydra's left out."""
    found: list[tuple[str, str, str]] = []
    parents: list[tuple[int, str]] = []
    above: list[str] = []
    for line in lines:
        if line.startswith("# "):
            above.append(re.sub(r"  .*", "", line.removeprefix("# ")))
            continue
        match = KEY.match(line)
        if not match:
            above = above if line.strip() else []
            continue
        indent = len(match["indent"])
        parents = [(i, name) for i, name in parents if i < indent]
        path = ".".join([name for _, name in parents] + [match["key"]])
        parents.append((indent, match["key"]))
        top = path.split(".")[0]
        if (top in SKIPPED and where != "config.yaml") or top in ("defaults", "hydra"):
            above = []
            continue
        note = match["note"] or " ".join(above)
        if not note and "." in path:
            note = found[-1][2] if not found[-1][1] else ""
        value = (match["value"] or "").strip()
        found.append((path, value, re.sub(r"  .*", "", note)))
        above = [] if value else above
    return found


def summary_of(path: Path) -> tuple[str, str, int]:
    """What a YAML's first comment says, the example behind it, and the number of its line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if line.startswith("# ") and "@package" not in line)
    summary, _, example = first.removeprefix("# ").partition("  ")
    return summary, example, lines.index(first)


def is_dataset_preset(path: Path) -> bool:
    """True for an ir_datasets collection under a name of its own; its settings are its kind's."""
    return path.parent.name == "dataset" and "\nid: " in path.read_text(encoding="utf-8").replace(
        "id: ???", ""
    )


def is_preset(path: Path) -> bool:
    """True for a choice that builds on another and changes some of its settings."""
    return is_dataset_preset(path) or base_of(path) is not None


def base_of(path: Path) -> str | None:
    """The choice that a preset builds on."""
    found = re.search(r"^defaults:\n  - (\w+)@_here_$", path.read_text("utf-8"), re.MULTILINE)
    return None if found is None or path.name == "config.yaml" else found[1]


def preset_line(path: Path) -> str:
    """A preset in a line: what it is, what it builds on, and what it sets."""
    name, base = f"`{path.parent.name}={path.stem}`", base_of(path)
    if base is None:
        return f"* {name}: {summary_of(path)[0]}"
    lines = path.read_text(encoding="utf-8").splitlines()
    after = next(i for i, line in enumerate(lines) if line.startswith("  - ")) + 1
    changes = [f"{key}: {value}" for key, value, _ in keys_of(lines[after:], path.name) if value]
    return f"* {name}, on `{base}`: {summary_of(path)[0]} Sets `{'`, `'.join(changes)}`."


def described(path: Path, prefix: str) -> list[str]:
    """A table of one YAML's settings, under the line that its first comment says."""
    lines = path.read_text(encoding="utf-8").splitlines()
    summary, example, first = summary_of(path)
    out = [f"### `{path.stem}`", "", summary + (f" `{example.strip()}`" if example else ""), ""]
    rows = keys_of(lines[first + 1 :], path.name)
    if rows:
        out += ["| setting | default | what it does |", "|---|---|---|"]
        out += [row(f"{prefix}{key}", value, note, path) for key, value, note in rows] + [""]
    return out


def row(key: str, value: str, note: str, path: Path) -> str:
    # A preset that only changes its base's settings may leave their description to the base.
    inherits = "defaults:" in path.read_text(encoding="utf-8")
    if not note and not inherits:
        raise SystemExit(f"{path}: '{key}' has no comment that says what it does")
    note, value = (text.replace("|", "\\|") for text in (note, value))
    return f"| `{key}` | {f'`{value}`' if value else ''} | {note} |"


def reference() -> str:
    out = [INTRO, "## The experiment", "", "| setting | default | what it does |", "|---|---|---|"]
    config = CONF / "config.yaml"
    for key, value, note in keys_of(config.read_text(encoding="utf-8").splitlines(), config.name):
        if value:
            out.append(row(key, value, note, config))
    out.append("| `hydra.run.dir` | `outputs/NAME/TIME` | The output folder. |\n")
    for group in GROUPS:
        out += [f"## `{group}`", ""]
        files = sorted((CONF / group).glob("*.yaml"))
        # A training preset is a recipe: what it sets is shown.
        presets = [path for path in files if is_preset(path) and group != "training"]
        out += [preset_line(path) for path in presets]
        out += [""] if presets else []
        for path in files:
            if path in presets:
                continue
            listed = group in ("retriever", "reranker")
            above = {"task": "", "dataset": "dataset."}.get(group, f"{group}.")
            prefix = f"{group}.{path.stem}." if listed else above
            out += described(path, prefix)
    return "\n".join(out).rstrip() + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "settings.md").write_text(reference(), encoding="utf-8")
