"""The whole experiment on one HTML page that asks nothing of any network."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from html import escape

from evalkit.report.captions import caption as caption_of
from evalkit.report.compare import best_of, compare, own_first_stage, reranked
from evalkit.report.details import details_html
from evalkit.report.explorer import SCRIPTS, explorer_html
from evalkit.report.headline import difference, headline
from evalkit.report.layout import printable, unbroken
from evalkit.report.names import display_name, synthetic_note
from evalkit.report.page import page
from evalkit.report.provenance import configuration_html, dataset_html, environment_html
from evalkit.report.queries import extreme_queries
from evalkit.report.render import to_html
from evalkit.report.table import tables
from evalkit.results import Results

QUERIES_SHOWN = 10
_Sections = tuple[tuple[str, str, tuple[str, ...]], ...]
# Sections of tables: key, title, names of `presets.PRESETS`. What was measured is shown, whatever
# the setting `tables` chose for table.md.
_FIRST: _Sections = (
    ("systems", "All systems", ("grid",)),
    ("cutoffs", "Cut to N documents", ("cutoffs",)),
)
_MEASURED: _Sections = (
    (
        "efficiency",
        "Time, memory and money",
        (
            "cost_quality", "knees", "k_latency", "latency_breakdown", "latency_model",
            "indexes", "vectors", "energy", "break_even", "prices",
        ),
    ),
    ("significance", "Differences tested", ("significance",)),
)  # fmt: skip


def report_html(
    results: Results, plots: Mapping[str, bytes], query_texts: Mapping[str, str] | None = None
) -> str:
    """The report as one self-contained page.

    plots: file name → image, as `plots()` makes them; the PNGs are shown. query_texts: query_id →
    text, shown beside the queries that gain or lose most.
    """
    texts = query_texts or {}
    explorer, explorer_data = explorer_html(results, texts)
    sections = [
        ("result", "Result", _headline(results)),
        *_table_sections(results, _FIRST),
        ("plots", "Plots", _plots(results, plots) if plots else ""),
        *_table_sections(results, _MEASURED),
        ("more", "More tables", _other_tables(results)),
        ("queries", "Queries that gain or lose", _queries(results, texts)),
        ("explorer-section", "All queries", explorer),
        ("details", "Details", details_html(results)),
        ("dataset", "Dataset", dataset_html(results)),
        ("configuration", "Configuration", configuration_html(results)),
        ("environment", "Environment", environment_html(results)),
    ]
    sections = [section for section in sections if section[2]]
    links = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, title, _ in sections)
    name = printable(results.dataset.dataset_id)
    body = "\n".join(
        [
            f"<header>\n<h1>{escape(name)}: retrieval and reranking</h1>",
            f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n</header>\n<main>',
            *(
                f'<section id="{key}" aria-labelledby="{key}-title">\n'
                f'<h2 id="{key}-title">{title}</h2>\n{content}\n</section>'
                for key, title, content in sections
            ),
            "</main>",
            explorer_data,
        ]
    )
    return page(f"{name}: evalkit report", body, SCRIPTS)


def _table_sections(results: Results, sections: _Sections) -> list[tuple[str, str, str]]:
    """Key, title and content; the content is "" where no table can be made."""
    return [
        (key, title, "\n".join(map(to_html, tables(results, names))))
        for key, title, names in sections
    ]


def _other_tables(results: Results) -> str:
    """What the setting `tables` chose besides."""
    shown = {name for _, _, names in (*_FIRST, *_MEASURED) for name in names}
    return "\n".join(to_html(table) for table in tables(results) if table.name not in shown)


def _headline(results: Results) -> str:
    lead, *rest = headline(results)
    paragraphs = "".join(f"\n<p>{escape(unbroken(text))}</p>" for text in rest)
    return f'<p class="lead">{escape(unbroken(lead))}</p>{paragraphs}'


def _plots(results: Results, plots: Mapping[str, bytes]) -> str:
    figures = []
    for name, image in plots.items():
        if not name.endswith(".png"):
            continue
        caption = escape(unbroken(caption_of(results, name)))
        data = base64.b64encode(image).decode("ascii")
        figures.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return '<div class="plots">\n' + "\n".join(figures) + "\n</div>"


def _queries(results: Results, texts: Mapping[str, str]) -> str:
    if not reranked(results):
        return ""
    measure = results.measure_names[0]
    best = best_of(reranked(results), measure)
    base = own_first_stage(results, best[0]) if best else None
    if base is None:
        return "<p>The first stage of the best reranked system was not measured.</p>"
    found = compare(results, best[0], base, measure)
    intro = (
        f"{display_name(measure)} of the best reranked system against its own first stage: "
        f"{difference(found)}"
    )
    shown = extreme_queries(
        results, found, best[0].system, measure, best[0].values[measure], texts, QUERIES_SHOWN
    )
    mark = synthetic_note(results.dataset)
    figures = [to_html(replace(t, caption=f"{t.caption} {mark}".strip())) for t in shown]
    none = {0: "No query gains or loses.", 1: "All that differ, differ the same way."}
    last = [f"<p>{none[len(shown)]}</p>"] if len(shown) in none else []
    return "\n".join([f"<p>{escape(unbroken(intro))}</p>", *figures, *last])
