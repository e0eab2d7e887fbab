"""Published figures and measured ones: the verdicts, and the table of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import ConfigError, DataError
from evalkit.report.render import to_markdown
from evalkit.report.reproduce import (
    Check,
    Figure,
    Published,
    check_figures,
    read_published,
    reproduction_table,
)
from evalkit.results import Results, SystemResult
from evalkit.types import DatasetInfo

GIVEN = {"system": "bm25", "measure": "nDCG@10", "value": 0.5, "tolerance": 0.01, "source": "A"}


def figure(**changes) -> Figure:
    return Figure(**{**GIVEN, **changes})


def results(**measured: float) -> Results:
    """System → its nDCG@10."""
    info = DatasetInfo("toy", "digest", 10, 4, 7, 1, False)
    systems = [
        SystemResult(name, "none", None, None, {}, {"nDCG@10": value}, {})
        for name, value in measured.items()
    ]
    return Results(info, list("abcd"), ["nDCG@10"], systems, {}, {})


@given(st.floats(0, 1), st.floats(0, 0.5), st.floats(-1, 1))
def test_a_figure_is_reproduced_within_its_tolerance_and_off_beyond(value, tolerance, difference):
    check = Check(figure(value=value, tolerance=tolerance), value + difference)
    if abs(difference) <= tolerance:
        assert check.verdict == "reproduced"
    if abs(difference) > tolerance + 1e-6:
        assert check.verdict == "off"
    assert check.difference == pytest.approx(difference, abs=1e-12)


def test_what_is_rounded_to_the_tolerance_is_reproduced():
    # 0.7 - 0.6 is a little more than 0.1 in binary.
    assert Check(figure(value=0.6, tolerance=0.1), 0.7).verdict == "reproduced"


def test_what_was_not_measured_is_not_checked_and_what_is_not_a_number_is_off():
    assert Check(figure(), None, "why").verdict == "not checked"
    check = Check(figure(), math.nan)
    assert check.verdict == "off"
    assert check.as_json()["measured"] is None
    assert check.as_json()["verdict"] == "off"


def test_figures_meet_their_systems_in_their_order():
    published = Published(
        {},
        [
            figure(system="dense", value=0.3),
            figure(),
            figure(measure="RR@10"),
            figure(system="bm25+ce+k10"),
            figure(system="bm25+other+k10"),
        ],
    )
    checks = check_figures(published, results(bm25=0.505, dense=0.4), {"ce": "no model of ce"})
    verdicts = ["off", "reproduced", "not checked", "not checked", "not checked"]
    assert [check.verdict for check in checks] == verdicts
    assert [check.measured for check in checks[:3]] == [0.4, 0.505, None]
    assert [check.reason for check in checks[2:]] == [
        "this measure was not asked for", "no model of ce", "no such system was run",
    ]  # fmt: skip


def test_the_table_names_each_source_once_and_says_why_something_was_not_checked():
    figures = [figure(), figure(measure="RR@10"), figure(system="dense", source="B_1")]
    checks = check_figures(Published({}, figures), results(bm25=0.48))
    table = reproduction_table("mine", results(bm25=0.48), checks)
    (rows,) = table.groups
    assert [row[-1].text for row in rows] == ["1", "1", "2"]
    assert [row[1].text for row in rows] == ["NDCG@10", "MRR@10", "NDCG@10"]
    assert [row[4].text for row in rows] == ["-0.02000", "–", "–"]
    text = to_markdown(table)
    assert "mine on toy, 4 queries" in text
    assert text.count("Source 1: A.") == 1
    assert "dense: not checked, no such system was run." in text


def test_another_collection_is_refused_by_the_counts_that_are_given():
    counts = {"docs": 10, "queries": 4, "qrels": 7}
    Published({}).check_collection(counts, "here")
    Published({"queries": 4, "qrels": 7}).check_collection(counts, "here")
    with pytest.raises(DataError, match="here has 10 docs, 4 judged queries, 7 judgements"):
        Published({"queries": 4, "qrels": 8}).check_collection(counts, "here")


@pytest.mark.parametrize(
    "section",
    [
        None,
        {"figure": []},
        {"figures": {}, "other": 1},
        {"figures": 3},
        {"figures": [3]},
        {"figures": [{**GIVEN, "tolerance": -1}]},
        {"figures": [{**GIVEN, "source": " "}]},
        {"figures": [{**GIVEN, "value": "much"}]},
        {"figures": [{**GIVEN, "value": math.nan}]},
        {"figures": [{**GIVEN, "more": 1}]},
        {"figures": [{key: GIVEN[key] for key in GIVEN if key != "tolerance"}]},
        {"collection": {"doc": 1}},
        {"collection": {"docs": "many"}},
    ],
)
def test_a_section_that_is_not_complete_is_refused(section):
    with pytest.raises(ConfigError):
        read_published(section)


def test_a_section_is_read():
    found = read_published({"collection": {"docs": 3, "queries": None}, "figures": [GIVEN]})
    assert found == Published({"docs": 3}, [Figure(**GIVEN)])
    assert not read_published({}).figures
