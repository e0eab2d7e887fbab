"""Values checked by type: what is taken, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.errors import ConfigError
from evalkit.rerankers.threshold import ThresholdReranker
from evalkit.settings import (
    BootstrapSettings,
    MeasureSettings,
    SweepSettings,
    TrackingSettings,
    checked,
)


class Component:
    def __init__(
        self,
        path: str | Path,
        depth: int | None = None,
        weights: list[float] | None = None,
        flag: bool = True,
        share: float = 0.5,
    ) -> None:
        self.settings = (path, depth, weights, flag, share)


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        ({"path": "a"}, ("a", None, None, True, 0.5)),
        ({"path": 2019}, ("2019", None, None, True, 0.5)),
        ({"path": "a", "depth": 5, "weights": [1, 0.5]}, ("a", 5, [1.0, 0.5], True, 0.5)),
        ({"path": "a", "depth": "5", "share": 1}, ("a", 5, None, True, 1.0)),
        ({"path": "a", "flag": False, "depth": None}, ("a", None, None, False, 0.5)),
    ],
)
def test_values_that_fit_are_taken(values, settings):
    assert checked(Component, values, "x").settings == settings


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"depht": 5}, "x.depht is not a setting. Did you mean 'depth'?"),
        ({"zzz": 5}, "x.zzz is not a setting."),
        ({"depth": "abc"}, "x.depth=abc: input should be a valid integer"),
        ({"depth": 2.5}, "x.depth=2.5: input should be a valid integer"),
        ({"path": None}, "x.path=null: input should be a valid string"),
        ({"flag": "perhaps"}, "x.flag=perhaps: input should be a valid boolean"),
        ({"weights": 1}, "x.weights=1: expected a list; write x.weights=[1]"),
        ({"weights": {}}, "x.weights={}: expected a list; write x.weights=[A,B]"),
        ({"weights": [1, "b"]}, "x.weights[1]=b: input should be a valid number"),
    ],
)
def test_a_value_that_does_not_fit_is_named(values, line):
    with pytest.raises(ConfigError) as error:
        checked(Component, values, "x")
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("section", [None, 5, "abc", [1]])
def test_a_section_that_is_no_section_is_refused(section):
    with pytest.raises(ConfigError, match=r"^bootstrap=\S+ expected settings"):
        checked(BootstrapSettings, section, "bootstrap")


def test_settings_of_the_top_level_have_no_prefix():
    with pytest.raises(ConfigError, match=r"^measures=nDCG@10: expected a list; write measures="):
        checked(MeasureSettings, {"measures": "nDCG@10"}, "")
    with pytest.raises(ConfigError, match=r"^gains=square: input should be 'linear' or 'exp"):
        checked(MeasureSettings, {"measures": [], "gains": "square"}, "")


def test_a_sweep_takes_lists_of_whole_numbers():
    settings = {"k": [10, 5], "n": [], "tail": "drop", "depth": 100}
    assert checked(SweepSettings, settings, "sweep") == SweepSettings([10, 5], [], "drop", 100)
    with pytest.raises(ConfigError, match=r"sweep\.tail=kep: input should be 'keep' or 'drop'"):
        checked(SweepSettings, {"tail": "kep"}, "sweep")


@pytest.mark.parametrize("values", [{"resamples": 99}, {"level": 0}, {"level": 1.0}])
def test_a_bootstrap_that_means_nothing_is_refused(values):
    with pytest.raises(ConfigError, match="expected resamples ≥ 100 and 0 < level < 1"):
        checked(BootstrapSettings, values, "bootstrap")


def test_tracking_needs_an_address_and_an_experiment_only_when_it_is_on():
    assert TrackingSettings("off").uri == ""
    assert TrackingSettings("mlflow", "sqlite:///a.db", "e").run_name is None
    for values, key in (({"experiment": "e"}, "uri"), ({"uri": "sqlite:///a.db"}, "experiment")):
        with pytest.raises(ConfigError, match=rf"^tracking\.{key} is empty"):
            checked(TrackingSettings, {"kind": "mlflow", **values}, "tracking")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(value):
    with pytest.raises(ConfigError, match=rf"^reranker\.x\.threshold={value}: .*finite"):
        checked(ThresholdReranker, {"of": "a", "threshold": value}, "reranker.x")
