"""Tables and plot of drift."""

import io

import numpy as np

from evalkit.drift import score_drift
from evalkit.report.drawing import DPI, WIDTH_IN
from evalkit.report.drift import drift_table, quantile_plot, quantile_table
from evalkit.report.render import to_markdown


def drifted(system="bm25", shift=0.0, n=1000):
    generator = np.random.default_rng(0)
    return score_drift(system, generator.normal(size=n), generator.normal(shift, size=n))


def test_the_tables_say_how_much_and_what_that_means_by_convention():
    drifts = [drifted(), drifted("bm25+ce+k10", 0.4), drifted("dense", 2.0)]
    table = drift_table(drifts, ("Only in base: x.",))
    (rows,) = table.groups
    assert [row[2].text for row in rows] == ["stable", "some", "shift"]
    assert [row[1].text for row in rows] == [f"{drift.psi:.4f}" for drift in drifts]
    assert "Only in base: x." in to_markdown(table)
    before, after = quantile_table(drifts).groups[2]
    assert [cell.text for cell in before[:2]] == ["dense", "base"]
    assert float(before[5].text) == float(f"{np.median(drifts[2].base):.4g}")
    assert float(after[5].text) - float(before[5].text) > 1.8


def test_the_plot_has_a_panel_a_system_up_to_a_page():
    from matplotlib.image import imread

    heights = []
    for count in (1, 2, 3, 12, 15):
        image = quantile_plot([drifted(f"bm25+system_{i}+k{i}", i / 10) for i in range(count)])
        height, width = imread(io.BytesIO(image), format="png").shape[:2]
        assert width == round(WIDTH_IN * DPI)
        heights.append(height)
    assert heights[0] == heights[1] < heights[2] < heights[3] == heights[4]
    one = [drifted("$_x", 1.0)]
    assert quantile_plot(one) == quantile_plot(one) != quantile_plot([drifted("$_x", 2.0)])
