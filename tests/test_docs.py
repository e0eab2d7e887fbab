"""The documentation says what the code does: every setting, every choice, every command."""

import importlib.util
import re
import shlex
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from evalkit.app import store_experiments
from evalkit.choices import choice_files, data_folder
from evalkit.complaints import readable

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [README, *(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))]
GROUPS = ("retriever", "reranker", "sweep", "tracking", "experiment", "training")


def builder():
    spec = importlib.util.spec_from_file_location("build_settings", ROOT / "docs/build_settings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_settings_is_that_of_the_yaml_files():
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == builder().reference(), "run: python docs/build_settings.py"


@pytest.mark.parametrize("path", sorted(data_folder("conf").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_key_of_every_yaml_is_in_the_reference(path):
    if builder().is_dataset_preset(path):
        assert f"`dataset={path.stem}`" in (ROOT / "docs" / "settings.md").read_text()
        return
    reference = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    own = re.findall(r"^ *(\w+):", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if "hydra" in own:  # Hydra's own settings are Hydra's to document
        own = own[: own.index("hydra")]
        own = own[own.index("name") :]
    for key in set(own) - builder().SKIPPED:
        assert re.search(rf"`(\w+\.)*{key}[`.]", reference), f"{path}: {key}"


@pytest.mark.parametrize("group", GROUPS)
def test_the_readme_names_every_choice(group):
    for choice in choice_files(group):
        assert f"`{choice}`" in README, f"{group}={choice}"


def commands():
    for page in PAGES:
        blocks = re.findall(r"^```bash\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
        lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
        inline = re.findall(r"`(python -m evalkit [^`]*)`", page)
        for line in [*lines, *inline]:
            if "python -m evalkit" in line:
                yield line[line.index("python -m evalkit") :].split("  #")[0].strip()


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_of_the_readme_composes(command):
    overrides = [part for part in shlex.split(command)[3:] if part not in ("-m", "--help", "--cfg")]
    overrides = [part.split(",")[0] if "k1=" in part else part for part in overrides]
    overrides = [readable(part) for part in overrides if part != "job"]
    GlobalHydra.instance().clear()
    store_experiments()
    with hydra.initialize_config_dir(str(data_folder("conf")), version_base="1.3"):
        assert hydra.compose("config", overrides).task


def test_pictures_and_pages_that_the_readme_points_to_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    assert "@@" not in README


def test_the_test_command_that_ci_runs_is_the_readmes():
    command = re.search(r"<!-- test-command -->\n```bash\n(.*?)\n```", README, flags=re.DOTALL)
    assert command is not None
    assert command[1] == 'pip install -e ".[test]" && pytest'
