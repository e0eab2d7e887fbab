"""--help: every example composes, every choice is there, and no line folds on a wide terminal."""

from __future__ import annotations

import itertools
import re
import shlex

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from evalkit.app import check_sections, store_experiments
from evalkit.choices import choice_files, data_folder

COMMAND = "python -m evalkit"
GROUPS = ("dataset", "retriever", "reranker", "sweep", "tracking", "experiment", "task")


@pytest.fixture
def help_text(cli, place):
    code, out, err = cli("--help")
    assert (code, err) == (0, "")
    assert list(place.iterdir()) == []
    return out


def jobs(command: str) -> list[list[str]]:
    """The overrides of each job of a command line; -m makes several."""
    arguments = shlex.split(command.removeprefix(COMMAND))
    if "-m" not in arguments:
        return [arguments]
    arguments.remove("-m")
    swept = [
        [f"{o.key_or_group}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [o.input_line]
        for o in OverridesParser.create().parse_overrides(arguments)
    ]
    return [list(job) for job in itertools.product(*swept)]


def test_every_example_composes(help_text):
    lines = (line.strip() for line in help_text.splitlines())
    examples = [line for line in lines if line.startswith(COMMAND) and "[key" not in line]
    assert len(examples) == 5
    composed = []
    store_experiments()
    with hydra.initialize_config_dir(str(data_folder("conf")), version_base="1.3"):
        for overrides in itertools.chain.from_iterable(map(jobs, examples)):
            config = hydra.compose("config", overrides)
            check_sections(config)
            composed.append(config)
    assert len(composed) == 7
    assert list(composed[0].retriever) == ["bm25", "dense", "hybrid"]
    assert [config.retriever.bm25.k1 for config in composed[-3:]] == [0.9, 1.2, 2.0]


def test_every_choice_is_listed_with_what_it_is(help_text):
    for group in GROUPS:
        assert f"{group}=" in help_text
        for name in choice_files(group):
            assert f" {name}" in help_text.replace("\n", " ")
    assert re.search(r"bm25 +BM25 through bm25s", help_text)
    assert re.search(r"scifact +First stages on SciFact", help_text)


def test_it_says_where_results_go_and_how_to_log_them_later(help_text):
    for part in ("hydra.run.dir=DIR", "results.json", "INCOMPLETE", "task=log path=DIR"):
        assert part in help_text
    assert "${" not in help_text
    assert "Hydra is" not in help_text


def test_its_lines_are_short_but_for_commands(help_text):
    long = [line for line in help_text.splitlines() if len(line) > 100]
    assert all(line.strip().startswith(COMMAND) for line in long)
