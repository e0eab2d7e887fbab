"""What an import loads: nothing heavy by `import evalkit`, four libraries by evalkit.scoring."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import evalkit

SOURCE = Path(evalkit.__file__).parent
HEAVY = {
    "torch", "transformers", "sentence_transformers", "mlflow", "hydra", "omegaconf", "pandas",
    "matplotlib", "pyarrow", "ir_measures", "ir_datasets", "bm25s", "jieba", "rich", "pydantic",
}  # fmt: skip
SCORING_NEEDS = {"numpy", "torch", "transformers", "pyarrow"}


def loaded_by(code: str) -> set[str]:
    """The names of all modules in a fresh interpreter after `code`."""
    program = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent)},
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def third_party(path: Path) -> set[str]:
    """Top-level names of all that a module imports, in functions too; not the standard library."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"evalkit"}


def test_import_evalkit_loads_nothing_heavy():
    tops = {name.split(".")[0] for name in loaded_by("import evalkit")}
    assert "numpy" in tops
    assert not tops & HEAVY


def test_the_command_line_loads_models_and_mlflow_only_when_they_are_used():
    modules = loaded_by("import evalkit.app, evalkit.tasks.run")
    tops = {name.split(".")[0] for name in modules}
    assert "hydra" in tops
    unwanted = {"torch", "transformers", "sentence_transformers", "mlflow", "pandas", "matplotlib"}
    assert not tops & unwanted


def test_scoring_needs_four_libraries():
    modules = sorted(SOURCE.glob("scoring/**/*.py"))
    names = [
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in modules
    ]
    loaded = loaded_by("\n".join(f"import {name}" for name in names))
    ours = {name for name in loaded if name.split(".")[0] == "evalkit"}
    assert set(names) <= ours
    for name in ours:
        path = SOURCE.parent.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert third_party(path) <= SCORING_NEEDS, name
    assert not {name.split(".")[0] for name in loaded} & HEAVY
