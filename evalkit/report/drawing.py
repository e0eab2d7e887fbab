"""How every plot looks: size, fonts, colours, legend, and the way to PNG bytes.

Drawn on Figure objects, so that no window or global state of pyplot is touched. Colours are Okabe
and Ito's (jfly.uni-koeln.de/color), told apart by most colour-blind readers; markers and line
styles differ too, for print in grey.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from evalkit.report.compare import reranked
from evalkit.report.layout import percent, printable, width
from evalkit.report.names import display_name, synthetic_note
from evalkit.report.table import interval
from evalkit.results import NO_RERANKER, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 3.4
DPI = 200
FONT_PT = 8
LINE_IN = 0.15
Pipeline = tuple[str, str]
Styles = dict[Pipeline, dict[str, Any]]
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_LONE_FIRST_STAGE = "#555555"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Arial Unicode MS",
)
_LOOK = {
    "font.size": FONT_PT,
    "axes.labelsize": FONT_PT,
    "axes.titlesize": FONT_PT,
    "legend.fontsize": FONT_PT,
    "xtick.labelsize": FONT_PT,
    "ytick.labelsize": FONT_PT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
}


@contextmanager
def drawing(
    results: Results, measure: str, intervals: str, height: float = 2.3
) -> Iterator[tuple[Figure, Axes]]:
    """An empty plot of a measure.

    intervals: what shows the intervals ("bands"), for the title. height: inches, without legend.
    """
    known = any(interval(s, measure) for s in results.systems)
    line = f"{intervals}: {percent(results.level)} bootstrap intervals" if known else ""
    with titled(results, line, height) as figure:
        axes = figure.add_subplot()
        axes.set_ylabel(display_name(measure))
        yield figure, axes


@contextmanager
def titled(results: Results, line: str, height: float) -> Iterator[Figure]:
    """An empty figure under the dataset's name and a line of its own, which may be empty."""
    title = "\n".join(filter(None, [wrapped(_title(results), 52), line]))
    with canvas(title, height) as figure:
        yield figure


@contextmanager
def canvas(title: str, height: float) -> Iterator[Figure]:
    """An empty figure under our own settings, whatever the reader's matplotlibrc says."""
    import warnings

    import matplotlib
    from matplotlib.figure import Figure

    # The backend is no setting of the drawing, and setting it would close a notebook's figures.
    settings: Any = {
        key: value
        for key, value in matplotlib.rcParamsDefault.items()
        if not key.startswith(("backend", "toolbar"))
    }
    settings.update(_LOOK)
    settings["font.family"] = _fonts()
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Without a CJK font such characters become boxes; the tables still have the names.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH_IN, height), dpi=DPI, layout="constrained")
        figure.suptitle(title, fontsize=FONT_PT, parse_math=False)
        yield figure


def _title(results: Results) -> str:
    count = len(results.query_ids)
    title = f"{printable(results.dataset.dataset_id)}, {count:,} quer{'y' if count == 1 else 'ies'}"
    return ". ".join(filter(None, [title, synthetic_note(results.dataset).rstrip(".")]))


def _fonts() -> list[str]:
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *[font for font in _CJK_FONTS if font in installed][:1]]


def styles_of(results: Results) -> Styles:
    """(retriever, reranker) → how it is drawn: a colour per retriever, first stages dashed.

    A lone retriever is grey instead, and its rerankers have a colour each.
    """
    retrievers = list(dict.fromkeys(s.retriever for s in results.systems))
    rerankers = list(dict.fromkeys(s.reranker for s in reranked(results)))
    lone = len(retrievers) == 1 and bool(rerankers)
    styles: Styles = {}
    for i, retriever in enumerate(retrievers):
        color = _LONE_FIRST_STAGE if lone else PALETTE[i % len(PALETTE)]
        styles[retriever, NO_RERANKER] = {"color": color, "ls": "--"}
        for j, reranker in enumerate(rerankers):
            styles[retriever, reranker] = {
                "color": PALETTE[(j if lone else i) % len(PALETTE)],
                "ls": "-",
                "marker": _MARKERS[(i * len(rerankers) + j) % len(_MARKERS)],
            }
    return styles


def add_legend(
    figure: Figure, pipelines: Sequence[Pipeline], labels: Sequence[str], styles: Styles
) -> None:
    """Below the plot, which grows by its height; one column where names are long."""
    from matplotlib.lines import Line2D

    columns = 2 if max(map(width, labels), default=0) <= 22 and len(labels) > 1 else 1
    texts = [wrapped(label, 46) for label in labels]
    handles = [Line2D([], [], **styles[pipeline]) for pipeline in pipelines]
    # matplotlib leaves out labels that start with "_", so the real ones are set afterwards.
    legend = figure.legend(
        handles, ["."] * len(handles), loc="outside lower center", ncols=columns, frameon=False
    )
    for entry, text in zip(legend.get_texts(), texts, strict=True):
        entry.set_text(text)
        entry.set_parse_math(False)
    lines = sum(text.count("\n") + 1 for text in texts)
    figure.set_figheight(figure.get_figheight() + LINE_IN * -(-lines // columns))


def wrapped(text: str, columns: int) -> str:
    """`text` in lines of at most `columns` terminal columns, broken after " ", "-", "_" or "/".

    A piece that is longer than a line is broken anywhere; nothing is left out.
    """
    lines = [""]
    for piece in re.findall(r"[^ \-_/]*[ \-_/]?", text):
        for part in [piece] if width(piece) <= columns else list(piece):
            if width(lines[-1]) + width(part.rstrip()) > columns:
                lines.append("")
            lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same results give the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
