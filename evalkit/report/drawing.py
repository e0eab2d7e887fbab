"""How every plot looks: size, fonts, colours, legend, and the way to PNG and SVG bytes.

Drawn on Figure objects, so that no window or global state of pyplot is touched. Colours are Okabe
and Ito's (jfly.uni-koeln.de/color), told apart by most colour-blind readers; markers and line
styles differ too, for print in grey.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evalkit.report.cells import interval
from evalkit.report.compare import reranked
from evalkit.report.fonts import fonts
from evalkit.report.layout import percent, printable, width
from evalkit.report.names import display_name, synthetic_note
from evalkit.results import NO_RERANKER, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH_IN = 3.4  # a column of a paper
DPI = 300  # what printers of papers ask for
FONT_PT = 8
SMALL_PT = 6.5  # inside panels and cells; at least the 6 points that stay legible on paper
LINE_IN = 0.15
LOG_FROM = 20.0  # ratio of values; a linear axis would press some into its first twentieth
# Decades × letters of the longest figure that a column has room for at 1, 2 and 5: two decades of
# four letters.
_LOG_ROOM = 9
Pipeline = tuple[str, str]
Styles = dict[Pipeline, dict[str, Any]]
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
GREY = "#555555"
FAINT = "#CFCFCF"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
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
    # Letters as outlines: Chinese names look the same where no font has them.
    "svg.fonttype": "path",
    "svg.hashsalt": "evalkit",
}


class Picture(NamedTuple):
    """A plot in both formats: PNG for pages, SVG for print."""

    png: bytes
    svg: bytes


def interval_words(results: Results, measure: str, shown_as: str) -> str:
    """A line for the title, such as "bands: 95 % bootstrap intervals"; "" without intervals."""
    known = any(interval(s, measure) for s in results.systems)
    return f"{shown_as}: {percent(results.level)} bootstrap intervals" if known else ""


@contextmanager
def drawing(
    results: Results, measure: str, line: str, height: float = 2.3
) -> Iterator[tuple[Figure, Axes]]:
    """An empty plot of a measure under `line`; height: inches, without legend."""
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
    settings["font.family"] = fonts()
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


def log_scale(axis: Axis) -> None:
    """A logarithmic axis with plain figures at 1, 2, 5, 10, …, or at 1, 10, … where those have no
    room: over many decades, or across where the figures are long."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    across = axis is axis.axes.xaxis
    (axis.axes.set_xscale if across else axis.axes.set_yscale)("log")
    low, high = axis.get_view_interval()
    decades = float(np.log10(high / low))
    longest = max(len(plain(10.0 ** np.floor(np.log10(end)))) for end in (low, high))
    fits = not across or decades * longest < _LOG_ROOM
    steps = (1.0, 2.0, 5.0) if decades < 2.5 and fits else (1.0,)
    axis.set_major_locator(LogLocator(base=10, subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axis.set_minor_formatter(NullFormatter())


def plain(value: float) -> str:
    """A tick's figure, never as a power of ten: 20, 0.00002."""
    return np.format_float_positional(value, precision=6, fractional=False, trim="-")


def styles_of(results: Results) -> Styles:
    """(retriever, reranker) → how it is drawn: a colour per retriever, first stages dashed.

    A lone retriever is grey instead, and its rerankers have a colour each.
    """
    retrievers = list(dict.fromkeys(s.retriever for s in results.systems))
    rerankers = list(dict.fromkeys(s.reranker for s in reranked(results)))
    lone = len(retrievers) == 1 and bool(rerankers)
    styles: Styles = {}
    for i, retriever in enumerate(retrievers):
        color = GREY if lone else PALETTE[i % len(PALETTE)]
        styles[retriever, NO_RERANKER] = {"color": color, "ls": "--"}
        for j, reranker in enumerate(rerankers):
            styles[retriever, reranker] = {
                "color": PALETTE[(j if lone else i) % len(PALETTE)],
                "ls": "-",
                "marker": MARKERS[(i * len(rerankers) + j) % len(MARKERS)],
            }
    return styles


def place_legend(
    figure: Figure,
    styles: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    small: bool = False,
    xlabel: str = "",
) -> None:
    """Below the plot, which grows by its height; one column where names are long.

    small: for many entries. xlabel: of all panels, above the legend: constrained layout would put
    matplotlib's own over it.
    """
    from matplotlib.lines import Line2D

    columns = 2 if max(map(width, labels), default=0) <= 22 and len(labels) > 1 else 1
    size = SMALL_PT if small else FONT_PT
    texts = [wrapped(label, round(46 * FONT_PT / size)) for label in labels]
    handles = [Line2D([], [], **style) for style in styles]
    # matplotlib leaves out labels that start with "_", so the real ones are set afterwards.
    legend = figure.legend(
        handles, ["."] * len(handles), loc="outside lower center", ncols=columns, frameon=False,
        fontsize=size, title=xlabel or None, title_fontsize=FONT_PT,
    )  # fmt: skip
    for entry, text in zip(legend.get_texts(), texts, strict=True):
        entry.set_text(text)
        entry.set_parse_math(False)
    lines = sum(text.count("\n") + 1 for text in texts)
    height = LINE_IN * size / FONT_PT * -(-lines // columns)
    figure.set_figheight(figure.get_figheight() + height + LINE_IN * bool(xlabel))


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


def picture(figure: Figure) -> Picture:
    """The figure in both formats; the same results give the same bytes."""
    # Laid out once: it takes longer than to draw.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return Picture(png(figure), _saved(figure, "svg", {"Date": None, "Creator": None}))


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same results give the same bytes."""
    return _saved(figure, "png", {"Software": None})


def _saved(figure: Figure, format: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=format, dpi=DPI, metadata=metadata)
    return buffer.getvalue()
