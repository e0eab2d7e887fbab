import io
import warnings
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from evalkit.errors import ConfigError
from evalkit.report.captions import caption, slug
from evalkit.report.drawing import (
    DPI,
    WIDTH_IN,
    drawing,
    interval_words,
    log_scale,
    png,
    styles_of,
    wrapped,
)
from evalkit.report.plot_quality import apart, quality_over_k, quality_over_n, system_bars
from evalkit.report.plots import plots

BM25, CE10, CE20 = (
    ("bm25", "none", None, None),
    ("bm25", "ce", 10, None),
    ("bm25", "ce", 20, None),
)
VALUES = {"nDCG@10": [0.5, 0.3], "R@100": [0.8, 0.6]}


def stems(found: dict[str, bytes]) -> list[str]:
    """The plots' names; each is there as PNG and as SVG."""
    names = [name.removesuffix(".png") for name in found if name.endswith(".png")]
    assert sorted(found) == sorted(f"{n}.{kind}" for n in names for kind in ("png", "svg"))
    return names


def pixels(image: bytes) -> np.ndarray:
    from matplotlib.image import imread

    return imread(io.BytesIO(image), format="png")


def test_realistic_results_give_both_measures_over_k_and_n(realistic):
    found = plots(realistic)
    assert stems(found) == [
        "ndcg_10_over_k",
        "r_100_over_k",
        "ndcg_10_over_n",
        "r_100_over_n",
        "ndcg_10_k_by_n",
        "ndcg_10_differences",
    ]
    captions = [caption(realistic, name) for name in found]
    assert len(set(captions)) == len(found) / 2
    for name, image in found.items():
        if name.endswith(".png"):
            assert pixels(image).shape[1] == round(WIDTH_IN * DPI)
        else:
            root = ElementTree.fromstring(image)
            assert float(root.get("width").removesuffix("pt")) == pytest.approx(72 * WIDTH_IN)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([BM25], ["ndcg_10_systems"]),
        ([BM25, CE10], ["ndcg_10_systems", "r_100_systems", "ndcg_10_differences"]),
        ([BM25, CE10, CE20], ["ndcg_10_over_k", "r_100_over_k", "ndcg_10_differences"]),
        ([CE10, CE20], ["ndcg_10_over_k", "r_100_over_k"]),
        (
            [BM25, ("bm25", "none", None, 5)],
            ["ndcg_10_systems", "ndcg_10_over_n", "r_100_over_n"],
        ),
    ],
)
def test_which_plots_make_sense(make_results, cells, expected):
    values = {cell: {**VALUES, "R@100": [0.8, 0.1 * i]} for i, cell in enumerate(cells)}
    assert stems(plots(make_results(values))) == expected


def test_recall_that_no_reranker_changes_is_not_drawn_over_k(make_results):
    still = dict.fromkeys([BM25, CE10, CE20], VALUES)
    assert stems(plots(make_results(still))) == ["ndcg_10_over_k", "ndcg_10_differences"]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0.5, 60), ["0.5", "1", "2", "5", "10", "20", "50"]),
        ((0.00002, 0.002), ["0.0001", "0.001"]),  # 1, 2, 5, … would overlap
        ((0.01, 2000), ["0.01", "0.1", "1", "10", "100", "1000"]),
    ],
)
def test_figures_of_a_logarithmic_axis_are_plain_and_apart(make_results, ends, expected):
    results = make_results({BM25: VALUES})
    with drawing(results, "nDCG@10", "") as (figure, axes):
        axes.plot(ends, [0, 1])
        log_scale(axes.xaxis)
        axes.set_xlim(*ends)
        png(figure)
        shown = [
            text for text in axes.get_xticklabels() if ends[0] <= text.get_position()[0] <= ends[1]
        ]
        assert [text.get_text() for text in shown] == expected
        boxes = [text.get_window_extent() for text in shown]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_the_same_results_give_the_same_bytes_and_others_do_not(make_results):
    cells = {BM25: VALUES, CE10: VALUES, CE20: VALUES}
    image = quality_over_k(make_results(cells), "nDCG@10")
    assert image == quality_over_k(make_results(cells), "nDCG@10")
    cells[CE20] = {"nDCG@10": [0.9, 0.9], "R@100": [0.8, 0.6]}
    assert image != quality_over_k(make_results(cells), "nDCG@10")


def test_a_readers_settings_do_not_matter_and_are_left_alone(make_results):
    import matplotlib

    results = make_results({BM25: VALUES})
    image = system_bars(results, "nDCG@10")
    mine = {"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": "x", "svg.fonttype": "none"}
    with matplotlib.rc_context(mine):
        assert system_bars(results, "nDCG@10") == image
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("name", ["_hidden", "$x$ $", "稠密检索器", "a" * 90, "\ud800"])
def test_any_name_can_be_drawn(make_results, name):
    cells = {
        (name, reranker, k, n): VALUES
        for reranker, k in (("none", None), (name, 10), (name, 20))
        for n in (None, 5)
    }
    results = make_results(cells, dataset_id=name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [f(results, "nDCG@10") for f in (quality_over_k, quality_over_n, system_bars)]
    assert all(pixels(image.png).shape[1] == round(WIDTH_IN * DPI) for image in drawn)
    assert all(ElementTree.fromstring(image.svg) is not None for image in drawn)


def test_chinese_names_do_not_need_a_font(make_results, monkeypatch):
    monkeypatch.setattr("evalkit.report.fonts._CJK_FONTS", ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert system_bars(make_results({("稠密", "none", None, None): VALUES}), "nDCG@10")


def test_no_intervals_no_word_of_them(make_results):
    for intervals, lines in ((True, 2), (False, 1)):
        results = make_results({BM25: {"P@5": [0.5]}}, intervals=intervals)
        words = interval_words(results, "P@5", "bands")
        with drawing(results, "P@5", words) as (figure, axes):
            assert figure.get_suptitle().count("\n") == lines - 1
            assert figure.get_suptitle().startswith("sample, 1 query")
            assert axes.get_ylabel() == "P@5"
            assert axes.xaxis.label.get_fontsize() >= 8
            assert png(figure).startswith(b"\x89PNG")


def test_first_stages_share_their_retrievers_colour(realistic, make_results):
    styles = styles_of(realistic)
    assert styles["bm25", "none"]["color"] == styles["bm25", "bi_encoder"]["color"]
    assert styles["bm25", "none"]["ls"] == "--"
    drawn = [styles[r, "bi_encoder"] for r in ("bm25", "dense", "hybrid")]
    assert len({s["color"] for s in drawn}) == len({s["marker"] for s in drawn}) == 3
    lone = styles_of(make_results({BM25: VALUES, CE10: VALUES, ("bm25", "t5", 10, None): VALUES}))
    assert len({style["color"] for style in lone.values()}) == 3


def test_unknown_measure_is_one_clear_line(realistic):
    with pytest.raises(ConfigError, match=r"'nDCG@20' was not measured. Did you mean 'nDCG@10'?"):
        quality_over_k(realistic, "nDCG@20")


def test_labels_of_k_do_not_touch():
    assert apart([10, 20, 50], log=False) == [50, 20, 10]
    assert apart([1, 2, 3, 100], log=False) == [100, 3]
    assert apart([10, 100, 1000], log=True) == [1000, 100, 10]
    assert apart([10], log=False) == [10]
    assert apart([], log=False) == []


def test_names_of_files_and_broken_lines():
    assert slug("AP(rel=2)@100") == "ap_rel_2_100"
    assert wrapped("a_run_file_with-long name", 10) == "a_run_\nfile_with-\nlong name"
    assert wrapped("检索检索", 4) == "检索\n检索"
    assert wrapped("x" * 25, 10).replace("\n", "") == "x" * 25
