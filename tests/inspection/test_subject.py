"""What is inspected: the right data, systems and measures by name, the output's own BM25."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from evalkit.choices import choice_files
from evalkit.errors import ConfigError, DataError
from evalkit.inspection.subject import (
    DATASETS,
    chosen_baseline,
    chosen_system,
    difficulty_stage,
    lexical_view,
    measure_named,
    require_same_data,
)

BM25 = "evalkit.retrievers.bm25.BM25Retriever"
RANKINGS = {
    ("dense", "none", None): {"q1": {"d2": 1.0, "d1": 0.5}},
    ("words", "none", None): {"q1": {"d1": 1.0}},
    ("dense", "ce", 2): {"q1": {"d1": 1.0, "d2": 0.5}},
    ("other", "ce", 2): {"q1": {"d2": 1.0}},
}


@pytest.fixture
def dataset(collection):
    return collection({"d1": "a cat", "d2": "a dog"}, {"q1": "cats"})


@pytest.fixture
def results(dataset, output):
    config = {"retriever": {"words": {"_target_": BM25, "k1": 0.9}}, "doc_template": "{text}"}
    return output(dataset, RANKINGS, ("nDCG@10", "R@1"), manifest={"config": config})


def test_other_data_are_refused_with_the_settings_to_repeat(collection, dataset, output):
    config = {"dataset": {"_target_": "x", "path": "there", "split": "test", "exclude_self": False}}
    results = output(dataset, RANKINGS, manifest={"config": config})
    require_same_data(Path("out"), results, dataset)
    other = collection({"d1": "a cat", "d2": "a bird"}, {"q1": "cats"}, "other")
    with pytest.raises(DataError, match=r"dataset\.path=there dataset\.split=test$"):
        require_same_data(Path("out"), results, other)


@pytest.mark.parametrize(
    "path", ["there", "my data/a,b", "it's \\'here", "größe=[1]", "a{b}$c", "x: y"]
)
def test_the_line_that_names_the_data_runs_when_it_is_copied(collection, dataset, output, path):
    target = "evalkit.datasets.folder.FolderDataset"
    config = {"dataset": {"_target_": target, "path": path, "split": "dev", "history_turns": 2}}
    results = output(dataset, RANKINGS, manifest={"config": config})
    other = collection({"d1": "a cat", "d2": "a bird"}, {"q1": "cats"}, "other")
    with pytest.raises(DataError) as raised:
        require_same_data(Path("out"), results, other)
    line = str(raised.value).split("made of: ")[1]
    given = OverridesParser.create().parse_overrides(shlex.split(line))
    found = {each.key_or_group: each.value() for each in given}
    assert found == {
        "dataset": "folder", "dataset.path": path, "dataset.split": "dev",
        "dataset.history_turns": 2,
    }  # fmt: skip


def test_every_dataset_has_a_choice_that_takes_its_settings():
    choices = {name: yaml.safe_load(p.read_text()) for name, p in choice_files("dataset").items()}
    assert {node["_target_"] for node in choices.values()} == set(DATASETS)
    for node in choices.values():
        assert node.keys() <= choices[DATASETS[node["_target_"]]].keys()


def test_systems_by_name_or_the_best(results):
    assert chosen_system(results, None, "nDCG@10").system == "words"
    assert chosen_system(results, "dense+ce+k2", "nDCG@10").k == 2
    with pytest.raises(ConfigError, match="Did you mean 'dense\\+ce\\+k2'"):
        chosen_system(results, "dense+ce", "nDCG@10")


def test_baselines(results):
    systems = {s.system: s for s in results.systems}
    for name, expected in {"dense+ce+k2": "dense", "words": "dense", "dense": "words"}.items():
        found = chosen_baseline(results, None, systems[name])
        assert found is not None
        assert found.system == expected
    # Its own first stage was not measured.
    found = chosen_baseline(results, None, systems["other+ce+k2"])
    assert found is not None
    assert found.system == "dense"
    with pytest.raises(ConfigError, match="is the system itself"):
        chosen_baseline(results, "words", systems["words"])


def test_a_single_system_has_no_baseline(dataset, output):
    results = output(dataset, {("dense", "none", None): {"q1": {"d1": 1.0}}})
    assert chosen_baseline(results, None, results.systems[0]) is None


def test_measures_are_found_by_either_name(results):
    assert measure_named(results, None) == "nDCG@10"
    assert measure_named(results, "recall@1") == "R@1"
    assert measure_named(results, "NDCG@10") == "nDCG@10"
    with pytest.raises(ConfigError, match="it has nDCG@10, R@1"):
        measure_named(results, "P@5")


def test_difficulty_is_bm25s_whatever_its_name(results):
    assert difficulty_stage(results, None).system == "words"
    assert difficulty_stage(results, "dense").system == "dense"
    with pytest.raises(ConfigError, match="no first stage"):
        difficulty_stage(results, "dense+ce+k2")


def test_the_lexical_view_is_the_outputs_bm25_or_says_that_it_is_not(
    results, dataset, output, tmp_path
):
    view = lexical_view(results, dataset, str(tmp_path))
    assert (view.name, view.bm25.k1) == ("words", 0.9)
    bare = output(dataset, RANKINGS, manifest={"config": {"doc_template": "{text}"}})
    view = lexical_view(bare, dataset, str(tmp_path))
    assert (view.name, view.bm25.doc_template) == (None, "{text}")
