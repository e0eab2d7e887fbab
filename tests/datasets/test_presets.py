"""Every YAML in conf/dataset/: it builds, lists every setting, and says what the library says."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest
import yaml

from evalkit.types import Dataset

CONF = Path(__file__).parents[2] / "conf" / "dataset"
PRESETS = {path.stem: path for path in sorted(CONF.glob("*.yaml"))}
BY_ID = sorted(PRESETS.keys() - {"sample", "folder", "ir_datasets", "qrels"})
SELF_HITS = {"beir_arguana", "beir_quora"}
GRADED = {"dl19", "dl20"}


def read(name):
    settings = yaml.safe_load(PRESETS[name].read_text(encoding="utf-8"))
    module, _, cls = settings.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), cls), settings


def test_the_presets_are_all_here():
    assert len(BY_ID) == 29
    assert {"sample", "folder", "ir_datasets", "qrels"} < PRESETS.keys()
    assert sum(name.startswith("beir_cqadupstack_") for name in BY_ID) == 12


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_lists_every_setting_with_its_default(name):
    cls, settings = read(name)
    parameters = inspect.signature(cls).parameters
    assert list(settings) == list(parameters)
    assert PRESETS[name].read_text(encoding="utf-8").startswith("# ")
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty:
            assert name in BY_ID or settings[key] == "???"
        elif name not in SELF_HITS | GRADED:
            assert settings[key] == parameter.default


@pytest.mark.parametrize("name", BY_ID)
def test_a_preset_names_a_collection_of_the_library_and_its_counts(name):
    ir_datasets = pytest.importorskip("ir_datasets")
    cls, settings = read(name)
    dataset = cls(**settings)
    assert dataset.exclude_self == (name in SELF_HITS)
    assert dataset.relevance_level == (2 if name in GRADED else 1)
    assert dataset.dataset_id in ir_datasets.registry
    metadata = ir_datasets.load(settings["id"]).metadata()
    comment = PRESETS[name].read_text(encoding="utf-8").splitlines()[0]
    docs, queries = re.search(
        r"([\d,]+) docs, ([\d,]+) \w+(?: \(small\))? queries", comment
    ).groups()
    assert int(docs.replace(",", "")) == metadata["docs"]["count"]
    assert int(queries.replace(",", "")) == metadata["queries"]["count"]


def test_where_beir_has_several_splits_the_evaluated_one_is_named():
    ids = {name: read(name)[1]["id"] for name in BY_ID if name.startswith("beir_")}
    assert ids["beir_msmarco"] == "beir/msmarco/dev"
    assert ids["beir_webis_touche2020"] == "beir/webis-touche2020/v2"
    for name, dataset_id in ids.items():
        expected = "beir/" + name.removeprefix("beir_").replace("_", "-", 9)
        expected = expected.replace("cqadupstack-", "cqadupstack/")
        assert dataset_id.startswith(expected)


@pytest.mark.parametrize("name", ["folder", "qrels"])
def test_the_generic_presets_open_local_files(name, beir_folder):
    cls, settings = read(name)
    folder = beir_folder()
    settings["path"] = str(folder if name == "folder" else folder / "qrels" / "test.tsv")
    dataset = cls(**settings)
    assert isinstance(dataset, Dataset)
    assert len(dataset.queries) == 2
