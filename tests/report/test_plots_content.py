"""What plots show, read from the figures before they become images."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from evalkit.report.captions import caption
from evalkit.report.drawing import FAINT, FONT_PT, PALETTE, WIDTH_IN
from evalkit.report.fonts import fonts
from evalkit.report.plot_ceiling import ceiling_plot, shares
from evalkit.report.plot_heat import heat_map
from evalkit.report.plot_latency import latency_over_k
from evalkit.report.plot_lines import MOST_PANELS, Series, split
from evalkit.report.plot_pareto import Spent, frontier, pareto_plots
from evalkit.report.plot_quality import MOST_BARS, quality_over_k, quality_over_n, system_bars
from evalkit.report.plot_queries import best_comparisons, difference_bars
from evalkit.report.plots import pictures, plots

KS, NS = (10, 20, 50), (5, 10)
ONE, TWO = 100.0, 250.0


def laid_out(figure):
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return figure


def without_images(patch):
    """Plots give their laid out figures in place of images."""
    for name, module in list(sys.modules.items()):
        if name.startswith("evalkit.report.plot") and hasattr(module, "picture"):
            patch.setattr(module, "picture", laid_out)


@pytest.fixture
def figures(monkeypatch):
    without_images(monkeypatch)


@pytest.fixture(scope="module", params=[(1, 2), (3, 9)], ids=["few", "many"])
def every_figure(request, grid):
    """Name → figure, of results with all that can be drawn."""
    retrievers, rerankers = request.param
    with pytest.MonkeyPatch.context() as patch:
        without_images(patch)
        return pictures(with_latency(grid(retrievers, rerankers, ns=NS)))


@pytest.fixture(scope="module")
def grid(make_results):
    """Results of a grid of names; nDCG rises with the retriever, the reranker and K."""

    def made(retrievers=2, rerankers=3, ks=KS, ns=(), queries=6):
        base = np.linspace(0.2, 0.5, queries)
        cells = {}
        for i in range(retrievers):
            for j in range(-1, rerankers):
                for k in ks if j >= 0 else (None,):
                    for n in (None, *ns):
                        gain = 0.02 * i + 0.03 * (j + 1) + 0.001 * (k or 0) - 0.1 / (n or 1e9)
                        name = "none" if j < 0 else f"rr{j}"
                        cells[f"r{i}", name, k, n] = {"nDCG@10": base + gain}
        ceiling = {
            f"r{i}": {k: {"nDCG@10": 0.6 + 0.002 * k} for k in ks} for i in range(retrievers)
        }
        return make_results(cells, ceiling=ceiling)

    return made


def with_latency(results, unsupported=()):
    systems = []
    for s in results.uncut:
        ms = 5.0 + 0.5 * (s.k or 0)
        total = {"mean_ms": ms, "p50_ms": ms - 1, "p95_ms": 2 * ms, "p99_ms": 3 * ms}
        total |= {"ci": {"mean_ms": [ms - 2, ms + 2], "p50_ms": [ms - 3, ms]}}
        total["unsupported"] = list(unsupported)
        names = {"retriever": s.retriever, "reranker": s.reranker, "k": s.k}
        systems.append({"system": s.run_name, **names, "stages": {"total": total}})
    models = [{"retriever": "r0", "reranker": "rr0", "a_ms": 5.0, "b_ms": 0.5}]
    return replace(results, efficiency={"latency": {"systems": systems, "models": models}})


def texts(figure):
    legend = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return legend + [axes.get_title() for axes in figure.axes]


def lines(axes, color=None, style=None):
    return [
        np.array([line.get_xdata(), line.get_ydata()], dtype=float)
        for line in axes.get_lines()
        if (color is None or to_hex(line.get_color()) == color.lower())
        and (style is None or line.get_linestyle() == style)
    ]


def test_a_few_pipelines_share_a_plot_whose_bands_are_their_intervals(figures, grid):
    results = grid(retrievers=1, rerankers=2)
    figure = quality_over_k(results, "nDCG@10")
    (axes,) = figure.axes
    assert texts(figure)[:3] == ["r0", "r0 + rr0", "r0 + rr1"]
    drawn = lines(axes, PALETTE[0])
    ours = [s for s in results.uncut if s.reranker == "rr0"]
    np.testing.assert_allclose(drawn[0], [KS, [s.measures["nDCG@10"] for s in ours]])
    band = axes.collections[0].get_paths()[0].get_extents()
    ends = np.array([s.ci["nDCG@10"] for s in ours])
    np.testing.assert_allclose([band.y0, band.y1], [ends.min(), ends.max()])
    base = results.uncut[0].measures["nDCG@10"]
    (dashed,) = lines(axes, style="--")
    np.testing.assert_allclose(dashed[1], base)
    # The pipelines together are all within the axes.
    low, high = axes.get_ylim()
    assert low < min(base, ends.min()) < ends.max() < high


def test_many_pipelines_have_a_panel_a_reranker_before_the_faint_others(figures, grid):
    figure = quality_over_k(grid(retrievers=3, rerankers=9), "nDCG@10")
    assert texts(figure) == [
        "r0", "r1", "r2", "first stage", "other panels", *(f"rr{j}" for j in range(9))
    ]  # fmt: skip
    for axes in figure.axes:
        for color in PALETTE[:3]:
            assert len(lines(axes, color, "--")) == 1
            assert any(line.shape == (2, len(KS)) for line in lines(axes, color, "-"))
        (faint,) = lines(axes, FAINT)
        assert np.isnan(faint[1]).sum() == 24  # the pipelines of eight panels, one broken line
        assert len(axes.collections) == 3
    assert figure.legends[0].get_title().get_text() == "K: candidates reranked"


def test_panels_are_of_what_there_is_more_of_and_the_highest_where_there_are_too_many():
    few = {(f"r{i}", "rr"): Series([1], [i]) for i in range(5)}
    assert split(few).panels == ["r0", "r1", "r2", "r3", "r4"]
    assert not split(few).by_reranker
    many = {("r", f"rr{j}"): Series([1, 2], [j, np.nan]) for j in range(MOST_PANELS + 3)}
    assert split(many).by_reranker
    assert split(many).panels == [f"rr{j}" for j in range(3, MOST_PANELS + 3)]
    assert split(many).words == f"the {MOST_PANELS} highest of {MOST_PANELS + 3} rerankers"
    square = {(f"r{i}", f"rr{j}"): Series([1], [i]) for i in range(9) for j in range(9)}
    assert split(square).named == [f"r{i}" for i in range(2, 9)]
    assert "the 7 highest of 9 retrievers" in split(square).words
    assert split(square).pipeline("rr1", "r2") == ("r2", "rr1")


def test_nothing_is_outside_the_page_or_on_top_of_its_neighbour(every_figure):
    assert len(every_figure) == 7
    for name, figure in every_figure.items():
        assert figure.get_figwidth() == WIDTH_IN
        renderer, page = figure.canvas.get_renderer(), figure.bbox
        boxes = [axes.get_tightbbox(renderer) for axes in figure.axes if axes.axison]
        boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
        boxes.append(figure._suptitle.get_window_extent(renderer))
        for i, box in enumerate(boxes):
            assert min(box.x0, box.y0) >= -1, name
            assert box.x1 <= page.x1 + 1, name
            assert box.y1 <= page.y1 + 1, name
            for other in boxes[i + 1 :]:
                wide = min(box.x1, other.x1) - max(box.x0, other.x0)
                high = min(box.y1, other.y1) - max(box.y0, other.y0)
                # Two pixels of 300 an inch: a hair of white space round letters.
                assert min(wide, high) <= 2, name


def test_no_letter_is_smaller_than_six_points(every_figure):
    for name, figure in every_figure.items():
        drawn = [t for t in figure.findobj(lambda a: hasattr(a, "get_fontsize")) if t.get_text()]
        assert len(drawn) > 5, name
        assert min(text.get_fontsize() for text in drawn) >= 6, name
        assert figure._suptitle.get_fontsize() == FONT_PT


def test_over_n_first_stages_are_dashed_and_without_rerankers_they_are_the_lines(figures, grid):
    (axes,) = quality_over_n(grid(retrievers=1, rerankers=1, ns=NS), "nDCG@10").axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["5", "10", "uncut"]
    assert len(lines(axes, style="--")) == 1
    assert len(axes.collections) == 1
    figure = quality_over_n(grid(retrievers=2, rerankers=0, ns=NS), "nDCG@10")
    assert texts(figure)[:2] == ["r0", "r1"]
    assert len(figure.axes[0].collections) == 2


def test_bars_that_no_page_holds_are_left_out_from_below(figures, grid):
    figure = system_bars(grid(retrievers=1, rerankers=30, ks=(10,)), "nDCG@10")
    names = [label.get_text().replace("\n", "") for label in figure.axes[0].get_yticklabels()]
    assert len(names) == MOST_BARS
    assert names[0] == "r0 + rr4, K=10"
    assert "5 lower systems left out" in figure.get_suptitle()


def test_shares_of_the_ceiling_are_the_values_over_it(figures, grid):
    results = grid(retrievers=2, rerankers=2)
    found = shares(results, "r1", "nDCG@10")
    for s in results.uncut:
        if s.retriever == "r1" and s.k:
            expected = s.measures["nDCG@10"] / (0.6 + 0.002 * s.k)
            assert found[s.reranker][s.k] == pytest.approx(expected)
    figure = ceiling_plot(results, "nDCG@10")
    upper, lower = figure.axes[:2], figure.axes[2:]
    for axes in upper:
        np.testing.assert_allclose(lines(axes, "#000000")[0], [KS, [0.62, 0.64, 0.7]])
    for axes, retriever in zip(lower, ("r0", "r1"), strict=True):
        np.testing.assert_allclose(lines(axes, "#000000")[0][1], 100)
        drawn = lines(axes, PALETTE[1])[0][1]
        np.testing.assert_allclose(
            drawn, [100 * x for x in shares(results, retriever, "nDCG@10")["rr1"].values()]
        )
    assert "ndcg_10_ceiling.png" in plots_of(results)


def plots_of(results):
    return {f"{stem}.png" for stem in pictures(results)}


def test_without_a_ceiling_none_is_drawn_and_a_ceiling_of_zero_has_no_shares(grid, figures):
    results = replace(grid(), ceiling={})
    assert "ndcg_10_ceiling.png" not in plots_of(results)
    nothing = {"r0": {k: {"nDCG@10": 0.0} for k in KS}}
    assert shares(replace(grid(), ceiling=nothing), "r0", "nDCG@10")["rr0"] == {}


def test_rerankers_beyond_the_best_five_are_faint_under_the_ceiling(figures, grid):
    figure = ceiling_plot(grid(retrievers=5, rerankers=7), "nDCG@10")
    assert texts(figure)[:8] == [
        "ceiling: oracle", "rr2", "rr3", "rr4", "rr5", "rr6", "first stage", "other rerankers"
    ]  # fmt: skip
    assert len(lines(figure.axes[0], FAINT)) == 2
    assert "the 3 highest of 5 retrievers" in figure.get_suptitle()


def test_cells_hold_their_figures_and_the_best_is_bold(figures, grid):
    results = grid(retrievers=1, rerankers=1, ns=NS)
    axes = heat_map(results, "nDCG@10").axes[0]
    values = {(s.k, s.n): s.measures["nDCG@10"] for s in results.systems if s.k}
    wanted = [[f"{values[k, n]:.3f}" for n in (*NS, None)] for k in KS]
    assert [t.get_text() for t in axes.texts] == [text for row in wanted for text in row]
    bold = [t.get_text() for t in axes.texts if t.get_fontweight() == "bold"]
    assert bold == [f"{values[50, None]:.3f}"]
    assert {t.get_color() for t in axes.texts} == {"black", "white"}
    assert axes.images[0].get_clim() == (min(values.values()), max(values.values()))
    many = heat_map(grid(retrievers=3, rerankers=9, ns=NS), "nDCG@10")
    assert "the 6 best of 27 pipelines" in many.get_suptitle()
    assert "r2 + rr8" in texts(many)


def test_a_bar_a_query_from_the_largest_gain_down(figures, make_results):
    base = np.array([0.5, 0.5, 0.5, 0.5, 0.5])
    gains = np.array([-0.2, 0.0, 0.3, 0.1, -0.1])
    results = make_results(
        {
            ("r", "none", None, None): {"nDCG@10": base},
            ("r", "rr", 10, None): {"nDCG@10": base - 0.4},
            ("r", "rr", 20, None): {"nDCG@10": base + gains},
        }
    )
    (found,) = best_comparisons(results, "nDCG@10")
    assert (found.system.k, found.base.run_name) == (20, "r")
    figure = difference_bars(results, "nDCG@10")
    (axes,) = figure.axes
    up, down = (c.get_paths()[0].vertices for c in axes.collections)
    assert sorted({round(y, 9) for y in up[:, 1]}) == [0.0, 0.1, 0.3]
    assert sorted({round(y, 9) for y in down[:, 1]}) == [-0.2, -0.1, 0.0]
    # The largest gain is the first bar, one wide; the largest loss the last.
    assert up[up[:, 1] > 0.2][:, 0].tolist() == pytest.approx([-0.5, 0.5], abs=1e-9)
    assert down[down[:, 1] < -0.15][:, 0].max() == pytest.approx(4.5)
    assert axes.texts[0].get_text() == "higher 2 · equal 1 · lower 2\nmean +0.0200"
    assert axes.get_title() == "r + rr, K=20 − r"


def test_latency_shows_its_percentiles_and_its_fit(figures, grid):
    results = with_latency(grid(retrievers=1, rerankers=1))
    figure = latency_over_k(results)
    (axes,) = figure.axes
    ms = 5 + 0.5 * np.array(KS)
    np.testing.assert_allclose(lines(axes, PALETTE[0], "-")[0], [KS, ms - 1])
    np.testing.assert_allclose(lines(axes, style=":")[0], [KS, 3 * ms])
    band = axes.collections[0].get_paths()[0].get_extents()
    np.testing.assert_allclose([band.y0, band.y1], [ms[0] - 1, 2 * ms[-1]])
    np.testing.assert_allclose(lines(axes, style="--")[0][1], 4)
    assert texts(figure)[:2] == ["r0", "r0 + rr0: 5 + 0.5·K ms"]
    too_few = latency_over_k(with_latency(grid(retrievers=1, rerankers=1), ["p99_ms"]))
    assert np.isnan(lines(too_few.axes[0], style=":")[0][1]).all()


def test_the_frontier_holds_what_no_other_beats(make_results):
    quality = {"a": 0.5, "b": 0.6, "c": 0.6, "d": 0.55, "e": 0.6, "f": 0.4}
    spent = {"a": 1.0, "b": 3.0, "c": 3.0, "d": 3.5, "e": 4.0, "f": 1.0}
    cells = {(name, "none", None, None): {"nDCG@10": [q, q]} for name, q in quality.items()}
    points = [Spent(s, spent[s.retriever]) for s in make_results(cells).systems]
    kept = frontier(make_results(cells), "nDCG@10", points)
    assert [points[i].system.retriever for i in kept] == ["a", "b", "c"]


def test_the_frontier_is_that_of_the_tables(grid):
    from evalkit.efficiency.fronts import axes_of, pareto_section

    results = with_latency(grid(retrievers=2, rerankers=2))
    section = pareto_section(results, results.efficiency)["axes"][0]["systems"]
    axis = axes_of(results.efficiency)[0]
    points = [Spent(s, axis.of(s.run_name)[0]) for s in results.uncut]
    kept = frontier(results, "nDCG@10", points)
    ours = {points[i].system.run_name for i in kept}
    assert ours == {s["system"] for s in section if not s["dominated"]}
    assert 0 < len(ours) < len(section)


def test_the_pareto_plot_numbers_the_frontier_and_greys_the_rest(figures, grid):
    results = with_latency(grid(retrievers=2, rerankers=1))
    figure = pareto_plots(results, "nDCG@10")["latency"]
    (axes,) = figure.axes
    named = texts(figure)[:-1]
    assert named == ["1  r1", "2  r1 + rr0, K=10", "3  r1 + rr0, K=20", "4  r1 + rr0, K=50"]
    assert [t.get_text() for t in axes.texts] == ["1", "2", "3", "4"]
    points = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert [to_hex(p.get_color()) for p in points].count("#a0a0a0") == 4
    whiskers = [x for x in lines(axes, PALETTE[0]) if x.shape == (2, 2)]
    first = next(s for s in results.uncut if s.run_name == "r1")
    value, ends = first.measures["nDCG@10"], first.ci["nDCG@10"]
    assert any(np.allclose(x, [[5, 5], ends]) for x in whiskers)
    assert any(np.allclose(x, [[3, 7], [value, value]]) for x in whiskers)


def test_all_of_it_twice_gives_the_same_bytes(grid):
    made = lambda: plots(with_latency(grid(retrievers=1, rerankers=1, ns=NS)))  # noqa: E731
    first, second = made(), made()
    assert list(first) == list(second)
    assert [name for name in first if first[name] != second[name]] == []
    for name, data in first.items():
        if name.endswith(".svg"):
            assert b"<dc:date>" not in data
            assert b"matplotlib.org" not in data.split(b"</metadata>")[0].split(b"<metadata>")[-1]


def test_every_plot_has_a_caption_of_its_own_with_the_measures_name(grid, figures):
    results = with_latency(grid(retrievers=1, rerankers=1, ns=NS))
    names = [f"{stem}.{kind}" for stem in pictures(results) for kind in ("png", "svg")]
    found = {name: caption(results, name) for name in names}
    assert len(set(found.values())) == len(names) / 2 == 7
    assert all(len(text) > 60 for text in found.values())
    assert all("NDCG@10" in text for name, text in found.items() if "ndcg" in name)
    assert found["latency_over_k.png"].startswith("Latency of a query over")
    assert "mean latency" in found["ndcg_10_by_latency.svg"]


def test_chinese_names_have_letters_where_a_font_is_installed(grid):
    from matplotlib.font_manager import FontProperties, findfont, get_font

    if len(fonts()) == 1:
        pytest.skip("no font for Chinese is installed")
    with_letters = get_font(findfont(FontProperties(family=fonts()[1])))
    assert all(ord(letter) in with_letters.get_charmap() for letter in "稀疏检索重排")
