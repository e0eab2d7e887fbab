"""Messages as Hydra 1.3 and OmegaConf 2.3 write them, and what the user reads instead."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from evalkit.complaints import (
    came_out_of,
    explained,
    flat_keys,
    nearest_key,
    readable,
    readable_line,
    unknown_key,
    whole_message,
)

KEYS = [
    "sweep", "sweep.k", "sweep.n", "measures", "retriever", "retriever.bm25",
    "retriever.bm25.k1", "retriever.dense.model", "reranker.cross_encoder.model",
    "dataset.path", "tracking.uri", "name", "budget", "budget.mean_ms", "budget.p95_ms",
]  # fmt: skip
OPTIONS = {"retriever": ["bm25", "dense"], "dataset": ["folder", "sample"]}
FULL = "\n    full_key: {}\n    object_type=dict"

MESSAGES = {
    "Could not override 'swep.k'.\nTo append to your config use +swep.k=[1]": (
        "'swep.k' is not a setting. Did you mean 'sweep.k'?"
    ),
    "Could not override 'bm25.k1'.\nTo append to your config use +bm25.k1=1": (
        "'bm25.k1' is not a setting. Did you mean 'retriever.bm25.k1'?"
    ),
    "Could not override 'experiment'.\nTo append to your config use +experiment=x": (
        "'experiment' is chosen with a plus sign: +experiment=NAME"
    ),
    "In 'config': Could not find 'retriever/bm52'\n\nAvailable options in 'retriever':\n\tbm25": (
        "retriever 'bm52' is unknown. Did you mean 'bm25'? Known: bm25, dense"
    ),
    "In 'config': Could not find 'dataset/'\n\nAvailable options": (
        "dataset '' is unknown. Known: folder, sample"
    ),
    "In 'config': Could not find 'dataset/my_docs'\n\nAvailable options": (
        "dataset 'my_docs' is unknown. For a folder: dataset=folder dataset.path=my_docs. Known: "
        "folder, sample"
    ),
    "In 'config': Could not find 'retrievers/bm25'": (
        "'retrievers/bm25' is unknown. Did you mean 'retriever'?"
    ),
    "Missing mandatory value: path" + FULL.format("dataset.path"): (
        "dataset.path has no value; give it as dataset.path=VALUE"
    ),
    "Missing mandatory value: path": "path has no value; give it as path=VALUE",
    "Interpolation key 'nme' not found" + FULL.format("hydra.run.dir"): (
        "hydra.run.dir refers to '${nme}', which is not a setting"
    ),
    "Could not append to config. An item is already at 'sweep.k'.\nEither remove + prefix": (
        "sweep.k exists already; write sweep.k=VALUE without the '+'"
    ),
    "Error parsing override 'sweep.k=[1,'\nno viable alternative at input '[1,'": (
        "override 'sweep.k=[1,' cannot be read; write key=value, a list as key=[10,50], a text "
        "with spaces or braces in two kinds of quotes: 'key=\"a b\"'"
    ),
    "Ambiguous value for argument 'sweep.k=1,2'\n1. To use it as a list": (
        "sweep.k=1,2 holds several values; write sweep.k=[1,2] for a list, or add -m to run a "
        "job for each"
    ),
    "Config group override must be a string or a list. Got NoneType": (
        "a group takes names of its choices, such as dataset=sample or retriever=[bm25]"
    ),
    "something that\n  Hydra may say\tone day": "something that Hydra may say one day",
}


@pytest.mark.parametrize(("message", "line"), MESSAGES.items())
def test_a_message_becomes_one_line(message, line):
    assert explained(message, lambda: KEYS, lambda group: OPTIONS.get(group, [])) == line


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (
            "retriever.dense.model",
            "'retriever.dense.model': retriever 'dense' is not selected; add it: "
            "retriever=[...,dense]",
        ),
        (
            "dataset.path",
            "'dataset.path' is not a setting of the dataset selected; it belongs to another "
            "dataset=; add dataset=folder",
        ),
        (
            "budget.p95_ms",
            "'budget.p95_ms' belongs to a task that is not selected; select it with task=NAME",
        ),
        ("budget.p95", "'budget.p95' is not a setting. Did you mean 'budget.p95_ms'?"),
        (
            "qwertz",
            "'qwertz' is not a setting. python -m evalkit --help lists groups, --cfg job all "
            "settings.",
        ),
    ],
)
def test_a_key_that_exists_elsewhere_is_told_from_one_that_does_not(key, line):
    assert unknown_key(key, KEYS, OPTIONS.get(key.split(".")[0], ())) == line
    refused = f"Could not override '{key}'.\nTo append"
    assert explained(refused, lambda: KEYS, lambda group: OPTIONS.get(group, ())) == line


def test_a_right_name_in_the_wrong_place_is_near_unless_there_are_two():
    assert nearest_key("uri", KEYS) == " Did you mean 'tracking.uri'?"
    assert "cross_encoder.model" in nearest_key("cross_encoder.model", KEYS)
    assert "--help" in nearest_key("zzz.model", KEYS)


def test_keys_are_asked_for_only_where_they_help():
    def never():
        raise AssertionError("composing every key takes half a second")

    assert "bm25" in explained("Could not find 'retriever/bm52'", never, lambda _: ["bm25"])
    assert "no value" in explained("Missing mandatory value: path", never, lambda _: [])


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("name=语料", "语料"),
        ("name=/data/我的 语料/größe.v1", "/data/我的 语料/größe.v1"),
        ("name=[甲.trec,b.trec, 丙 丁.trec]", ["甲.trec", "b.trec", "丙 丁.trec"]),
        ("name='语料'", "语料"),
        ('name="语料 (1)"', "语料 (1)"),
        ("name=[10,50]", [10, 50]),
        ("name=null", None),
        ("name=C:/a b", "C:/a b"),
    ],
)
def test_texts_beyond_ascii_need_no_quotes_of_their_own(argument, value):
    (override,) = OverridesParser.create().parse_overrides([readable(argument)])
    assert override.value() == value


@pytest.mark.parametrize("argument", ["-m", "--cfg", "语料", "name=${user:语}", "a=b", "+a='é'"])
def test_what_is_no_plain_text_is_left_alone(argument):
    assert readable(argument) == argument


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("sweep.K", "'sweep.k'"),
        ("retriever.bm25.k", "'retriever.bm25.k1'"),
        ("swep.k", "'sweep.k'"),
    ],
)
def test_the_nearest_key_is_in_the_same_place_whatever_its_case(key, hint):
    known = ["sweep.k", "sweep.n", "retriever.bm25.k1", "retriever.bm25.b", "path"]
    assert hint in nearest_key(key, known)


def test_a_key_is_never_its_own_suggestion():
    assert "Did you mean 'path'" not in unknown_key("path", {"path", "dataset.path"})


def test_punctuation_of_a_chinese_keyboard_is_read_except_in_paths():
    assert readable("retriever=［bm25，dense］") == "retriever=[bm25,dense]"
    assert readable("dataset.path=甲，乙") == 'dataset.path="甲，乙"'


def test_a_folder_given_as_a_dataset_is_told_how():
    message = "Could not find 'dataset/my/docs'"
    line = explained(message, list, lambda group: ["folder"])
    assert "dataset=folder dataset.path=my/docs" in line


def test_flags_come_first_and_a_password_ends_the_program(capsys):
    given = ["sweep.k=［10，20］", "-m", "name=实验"]
    assert readable_line(given) == ["-m", "sweep.k=[10,20]", 'name="实验"']
    with pytest.raises(SystemExit) as ended:
        readable_line(["-m", "tracking.uri=postgresql://me:s3cret@host/db"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "MLFLOW_TRACKING_URI" in said
    assert "s3cret" not in said


def test_a_message_holds_its_causes_and_the_override_that_cannot_be_parsed():
    with pytest.raises(OverrideParseException) as raised:
        OverridesParser.create().parse_overrides(["sweep.k=[1,"])
    assert explained(whole_message(raised.value), lambda: KEYS, OPTIONS.get).startswith(
        "override 'sweep.k=[1,' cannot be read"
    )
    inner = KeyError("inner")
    outer = ValueError("outer")
    outer.__cause__ = inner
    assert whole_message(outer) == "outer\n'inner'"


def test_whether_an_error_came_out_of_a_function():
    def ours(fail):
        if fail:
            raise ZeroDivisionError
        return 1

    with pytest.raises(ZeroDivisionError) as raised:
        ours(True)
    assert came_out_of(ours, raised.value)
    assert not came_out_of(whole_message, raised.value)


def test_the_keys_of_nested_settings():
    nested = {"a": {"b": {"c": 1}, "d": []}, "e": None}
    assert list(flat_keys(nested)) == ["a", "a.b", "a.b.c", "a.d", "e"]
