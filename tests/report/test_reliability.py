"""The plots of calibrations: which are drawn, from which facts, and how the page names them."""

import io

import numpy as np
import pytest

from evalkit.calibration.reliability import reliability_curve
from evalkit.calibration.thresholds import coverage
from evalkit.report.details import details_lines
from evalkit.report.drawing import DPI, WIDTH_IN
from evalkit.report.html import report_html
from evalkit.report.plots import plots
from evalkit.report.reliability import calibration_plots, calibrations, reliability_diagram

CELLS = {("bm25", "none", None, None): {"nDCG@10": [0.5, 0.3]}}


def facts(seed=0, power=1.0):
    generator = np.random.default_rng(seed)
    p = generator.random(400)
    y = generator.random(400) < p
    told = {"method": "platt"}
    for name, values in (("before", p ** (3 * power)), ("after", p**power)):
        told[name] = {"ECE": 0.1, "Brier score": 0.2}
        told.setdefault("reliability", {})[name] = reliability_curve(values, y).as_json()
    queries = np.arange(400) // 20
    told["coverage"] = coverage(p, y, queries, 20, np.arange(1, 20) / 20).as_json()
    return told


@pytest.fixture
def results(make_results):
    details = {
        "reranker.calibrated": {
            "bm25": {"K=9": facts(1), "K=10": facts(2), "part": {"truncated_share": 0.5}},
            "dense": {"K=9": facts(3)},
        },
        "reranker.threshold": {
            "bm25": {"K=10": {"passed_share": 0.3}, "calibrated": {"K=10": facts(2)}},
            "dense": {"hidden": {"deeper": {"K=9": facts(4)}}},
        },
        "reranker.fused": {"bm25": {"K=10": {"weight": 0.3, "curve": {"0.3": 0.7}}}},
        "retriever.dense": {"truncated_share": 0.1},
    }
    return make_results(CELLS, details=details)


def test_each_calibration_is_drawn_once_at_its_largest_k(results):
    assert [found.name for found in calibrations(results)] == [
        "bm25+calibrated+k10",
        "dense+calibrated+k9",
        "dense+deeper+k9",
    ]
    drawn = calibration_plots(results)
    assert list(drawn)[:2] == [
        "reliability_bm25+calibrated+k10",
        "coverage_bm25+calibrated+k10",
    ]
    assert len(drawn) == 6
    files = {f"{stem}.png": image.png for stem, image in drawn.items()}
    files |= {f"{stem}.svg": image.svg for stem, image in drawn.items()}
    assert files.items() <= plots(results).items()
    from matplotlib.image import imread

    for image in drawn.values():
        assert imread(io.BytesIO(image.png), format="png").shape[1] == round(WIDTH_IN * DPI)


def test_without_calibration_there_is_nothing_to_draw(make_results):
    assert calibration_plots(make_results(CELLS)) == {}
    assert calibration_plots(make_results(CELLS, details={"reranker.x": {"share": 1}})) == {}


def test_the_diagram_follows_the_facts(results):
    first = calibrations(results)[0]
    image = reliability_diagram(results, first)
    assert image == reliability_diagram(results, first)
    assert image != reliability_diagram(results, first._replace(facts=facts(2, power=2.0)))
    assert image != reliability_diagram(results, first._replace(k=11))


def test_a_calibration_that_no_threshold_keeps_has_no_coverage_plot(make_results):
    told = facts()
    told["coverage"] = {key: [] for key in told["coverage"]}
    details = {"reranker.c": {"bm25": {"K=9": told}}}
    found = calibration_plots(make_results(CELLS, details=details))
    assert list(found) == ["reliability_bm25+c+k9"]


def test_the_page_shows_them_with_their_captions_and_no_lists_of_numbers(results):
    page = report_html(results, plots(results))
    assert "before and after calibration" in page
    assert "What a threshold on the calibrated score keeps" in page
    lines = "\n".join(details_lines(results)["reranker.threshold"])
    assert "calibrated, K=10, method: platt" in lines
    assert "Brier score 0.2" in lines
    assert "probability" not in lines
