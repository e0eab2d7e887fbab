"""Every YAML of conf/ and experiments/: it composes, builds, and says what its class says."""

from __future__ import annotations

import inspect
from dataclasses import fields
from functools import cache
from typing import Any

import hydra
import pytest
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from evalkit.app import build, check_sections, known_keys, plain, store_experiments
from evalkit.choices import choice_files, data_folder, is_preset, listed, summary
from evalkit.retrievers.run_file import RunFiles
from evalkit.settings import BootstrapSettings, SweepSettings, TrackingSettings, checked
from evalkit.types import Dataset

CONF = data_folder("conf")
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())
CHOICES = [(group, name) for group in GROUPS for name in choice_files(group)]
EXPERIMENTS = list(choice_files("experiment"))
COMPONENTS = [(group, name) for group, name in CHOICES if group in ("retriever", "reranker")]
# A choice that builds on another sets its model or method on purpose; the others show their
# class's defaults.
PRESETS = {choice for choice in CHOICES if is_preset(choice_files(choice[0])[choice[1]])}
REFERENCES = {"doc_template", "cache_dir", "device", "llm"}


def composed(*overrides: str):
    GlobalHydra.instance().clear()
    store_experiments()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides))


def shown(node) -> dict[str, Any]:
    """A node's settings, references resolved; one without a value is "???"."""
    return OmegaConf.to_container(node, resolve=True)


@cache
def component(group: str, name: str) -> tuple[type, dict[str, Any]]:
    """A component's class and its settings, as composed."""
    settings = shown(composed(f"{group}=[{name}]")[group][name])
    module, _, cls = settings.pop("_target_").rpartition(".")
    return getattr(__import__(module, fromlist=[cls]), cls), settings


@pytest.fixture(autouse=True)
def _no_address_in_the_environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_the_groups_are_the_ones_of_the_design():
    assert {"dataset", "retriever", "reranker", "sweep", "tracking", "task"} <= set(GROUPS)
    assert len(COMPONENTS) >= 11
    assert len(EXPERIMENTS) >= 3


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_a_choice_composes_and_says_what_it_is(group, name):
    several = group in ("retriever", "reranker")
    task = ["task=train"] if group == "training" else []  # the task that reads this group
    config = composed(f"{group}=[{name}]" if several else f"{group}={name}", *task)
    check_sections(config)
    if several:
        assert list(config[group]) == [name]
    assert len(summary(choice_files(group)[name])) > 10


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes_to_settings_that_are_known(name):
    config = composed(f"+experiment={name}")
    check_sections(config)
    assert config.name == name
    checked(SweepSettings, plain(config.sweep), "sweep")
    own = yaml.safe_load(choice_files("experiment")[name].read_text(encoding="utf-8"))
    known = set(known_keys())
    assert own.keys() - {"defaults"} <= known
    assert {f"sweep.{key}" for key in own.get("sweep", {})} <= known


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_a_component_lists_exactly_what_its_class_takes(group, name):
    cls, settings = component(group, name)
    assert list(settings) == list(inspect.signature(cls).parameters)


@pytest.mark.parametrize(("group", "name"), [c for c in COMPONENTS if c not in PRESETS])
def test_a_component_shows_its_class_s_defaults(group, name):
    cls, settings = component(group, name)
    for key, parameter in inspect.signature(cls).parameters.items():
        if parameter.default is not inspect.Parameter.empty and key not in REFERENCES:
            default = parameter.default
            assert settings[key] == (list(default) if isinstance(default, tuple) else default), key


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_a_component_follows_the_settings_that_all_share(group, name):
    shared = ("doc_template='{title}: {text}'", "cache_dir=/elsewhere", "device=cpu")
    config = composed(f"{group}=[{name}]", *shared)
    settings = shown(config[group][name])
    for key in REFERENCES & settings.keys():
        assert settings[key] == config[key]
        assert settings[key] is not None


def test_every_component_builds_at_once(tmp_path):
    every = {group: ",".join(choice_files(group)) for group in ("retriever", "reranker")}
    config = composed(
        "dataset=sample", *(f"{group}=[{names}]" for group, names in every.items()),
        "retriever.run_file.paths=[a.trec]", f"cache_dir={tmp_path}", "tracking=off",
    )  # fmt: skip
    parts = build(config, TrackingSettings("off"))
    assert isinstance(parts.dataset, Dataset)
    for name, retriever in parts.retrievers.items():
        built = retriever.retrievers["a"] if isinstance(retriever, RunFiles) else retriever
        assert callable(built.index), name
        assert callable(built.retrieve), name
    for reranker in parts.rerankers.values():
        assert callable(reranker.rerank)
        assert isinstance(reranker.depends_on_list, bool)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("section", "kind"), [("bootstrap", BootstrapSettings), ("sweep", SweepSettings)]
)
def test_a_section_lists_its_settings_with_their_defaults(section, kind):
    settings = plain(composed()[section])
    assert set(settings) == {field.name for field in fields(kind)}
    assert checked(kind, settings, section) == kind(**settings)
    if section == "bootstrap":
        assert kind(**settings) == kind()


@pytest.mark.parametrize("name", ["deep", "default"])
def test_a_sweep_fits_its_settings(name):
    settings = plain(composed(f"sweep={name}").sweep)
    assert checked(SweepSettings, settings, "sweep").k == sorted(settings["k"])


@pytest.mark.parametrize("name", ["mlflow", "off"])
def test_tracking_lists_its_settings(name):
    settings = plain(composed(f"tracking={name}").tracking)
    assert list(settings) == [field.name for field in fields(TrackingSettings)]
    assert checked(TrackingSettings, settings, "tracking").kind == name


def test_the_address_of_mlflow_comes_from_the_environment(monkeypatch):
    assert composed().tracking.uri == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    assert composed().tracking.uri == "http://tracker:5000"


def test_the_default_run_is_the_one_that_the_design_names():
    config = composed()
    assert list(config.retriever) == ["bm25", "dense", "hybrid"]
    assert "none" in config.reranker
    assert config.dataset._target_.endswith("SampleDataset")
    assert config.task == "run"
    assert config.dry_run is False


def test_every_line_of_config_yaml_is_explained():
    lines = (CONF / "config.yaml").read_text(encoding="utf-8").splitlines()
    own = OmegaConf.load(CONF / "config.yaml")
    for key in own.keys() - {"defaults", "hydra"}:
        (at,) = [i for i, line in enumerate(lines) if line.startswith(f"{key}:")]
        assert lines[at - 1].startswith("# "), key


def test_experiments_are_offered_to_hydra():
    store_experiments()
    offered = ConfigStore.instance().list("experiment")
    assert {f"{name}.yaml" for name in EXPERIMENTS} <= set(offered)


def test_groups_are_listed_for_help_one_a_line_or_by_name():
    assert listed("sweep").splitlines()[0].startswith("  deep     Deep candidate lists")
    assert "\n  cascade           Rerankers one after another." in listed("reranker")
    names = listed("reranker").replace("\n", " ").replace(",", " ").split()
    assert set(choice_files("reranker")) <= set(names)
    datasets = listed("dataset")
    assert max(map(len, datasets.splitlines())) <= 96
    assert datasets.count(",") == len(choice_files("dataset")) - 1
    assert listed("nothing") == "  (none)"
