"""The whole experiment on one HTML page that asks nothing of any network."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from html import escape

from evalkit.report.compare import Comparison, best_of, compare, own_first_stage, reranked
from evalkit.report.details import details_html
from evalkit.report.headline import difference, headline
from evalkit.report.layout import Cell, Column, Table, number, printable
from evalkit.report.names import display_name, synthetic_note
from evalkit.report.page import page
from evalkit.report.plots import slug
from evalkit.report.reliability import calibration_caption
from evalkit.report.render import to_html
from evalkit.report.table import cutoff_table, grid_table
from evalkit.results import Results

QUERIES_SHOWN = 10


def report_html(
    results: Results, plots: Mapping[str, bytes], query_texts: Mapping[str, str] | None = None
) -> str:
    """The report as one self-contained page.

    plots: file name → PNG, as `plots()` makes them. query_texts: query_id → text, shown beside the
    queries that gain or lose most.
    """
    sections = [
        ("result", "Result", _headline(results)),
        ("systems", "All systems", to_html(grid_table(results))),
    ]
    if any(s.n is not None for s in results.systems):
        sections.append(("cutoffs", "Cut to N documents", to_html(cutoff_table(results))))
    if plots:
        sections.append(("plots", "Plots", _plots(results, plots)))
    if reranked(results):
        sections.append(("queries", "Query by query", _queries(results, query_texts or {})))
    if results.details:
        sections.append(("details", "Details", details_html(results)))
    sections += [
        ("dataset", "Dataset", _dataset(results)),
        ("provenance", "Where the numbers come from", _manifest(results)),
    ]
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
        ]
    )
    return page(f"{name}: evalkit report", body)


def _headline(results: Results) -> str:
    lead, *rest = headline(results)
    paragraphs = "".join(f"\n<p>{escape(text)}</p>" for text in rest)
    return f'<p class="lead">{escape(lead)}</p>{paragraphs}'


def _plots(results: Results, plots: Mapping[str, bytes]) -> str:
    figures = []
    for name, png in plots.items():
        caption = escape(_plot_caption(results, name))
        data = base64.b64encode(png).decode("ascii")
        figures.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return '<div class="plots">\n' + "\n".join(figures) + "\n</div>"


def _plot_caption(results: Results, file_name: str) -> str:
    caption = calibration_caption(file_name) or _quality_caption(results, file_name)
    return " ".join(filter(None, [caption, synthetic_note(results.dataset)]))


def _quality_caption(results: Results, file_name: str) -> str:
    kinds = ("_over_k", "_over_n", "_systems")
    stem = file_name.removesuffix(".png")
    kind = next((kind for kind in kinds if stem.endswith(kind)), "")
    names = {slug(m): display_name(m) for m in results.measure_names}
    measure = names.get(stem.removesuffix(kind), stem)
    return {
        "_over_k": f"{measure} over the number K of candidates reranked; first stages dashed, "
        "their intervals not drawn.",
        "_over_n": f"{measure} when rankings are cut to N documents; first stages dashed, "
        "rerankers at their largest K.",
        "_systems": f"{measure} of every system; bars without a fill are first stages.",
    }.get(kind, measure)


def _queries(results: Results, texts: Mapping[str, str]) -> str:
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
    parts = [f"<p>{escape(intro)}</p>"]
    for gains, word in ((True, "gain"), (False, "loss")):
        at = found.largest(QUERIES_SHOWN, gains=gains)
        table = to_html(_query_table(results, found, at, texts, word)) if at else ""
        title = "Largest gains" if gains else "Largest losses"
        parts.append(f"<h3>{title}</h3>\n{table or f'<p>No query has a {word}.</p>'}")
    return "\n".join(parts)


def _query_table(
    results: Results, found: Comparison, at: list[int], texts: Mapping[str, str], word: str
) -> Table:
    ids = [results.query_ids[i] for i in at]
    tagged = any(results.tags.get(query_id) for query_id in ids)
    worded = any(query_id in texts for query_id in ids)
    columns = [Column("Query", "left")]
    columns += [Column("Text", "left")] if worded else []
    columns += [Column("First stage"), Column("Reranked"), Column("Difference")]
    columns += [Column("Tags", "left")] if tagged else []
    rows = []
    for i, query_id in zip(at, ids, strict=True):
        row = [Cell(printable(query_id))]
        row += [Cell(printable(texts.get(query_id, "")))] if worded else []
        row += [Cell(number(s.values[found.measure][i])) for s in (found.base, found.system)]
        row += [Cell(f"{found.differences[i]:+.4f}")]
        row += [Cell(printable(", ".join(results.tags.get(query_id, ()))))] if tagged else []
        rows.append(tuple(row))
    counted = found.counts[0 if word == "gain" else 1]
    measure = display_name(found.measure)
    caption = f"Queries with a {word} in {measure}: {counted:,}; shown: {len(at)}."
    caption = " ".join(filter(None, [caption, synthetic_note(results.dataset)]))
    return Table(caption, tuple(columns), (tuple(rows),))


def _dataset(results: Results) -> str:
    info = results.dataset
    facts = {
        "Dataset": info.dataset_id,
        **({"Not made by people": synthetic_note(info)} if info.synthetic else {}),
        **({"Not made by people": synthetic_note(info)} if info.synthetic else {}),
        "Digest": info.digest,
        "Documents": f"{info.num_docs:,}" if info.num_docs else "none: judgements without texts",
        "Queries": f"{len(results.query_ids):,}",
        "Judgements": f"{info.num_qrels:,}",
        "Counts as relevant": f"grade {info.relevance_level} and above, unless a measure says "
        "otherwise",
        "A query's own document": "is no answer" if info.exclude_self else "is ranked like others",
        **{
            f"Pairs for {reranker}": f"{count:,} distinct (query, document) pairs serve its cells"
            for reranker, count in results.union_pairs.items()
        },
    }
    rows = "".join(
        f"<dt>{escape(printable(name))}</dt><dd>{escape(printable(text))}</dd>"
        for name, text in facts.items()
    )
    warnings = results.manifest.get("warnings") or []
    warnings = [warnings] if isinstance(warnings, str) else warnings
    items = "".join(f"<li>{escape(printable(str(text)))}</li>" for text in warnings)
    return f"<dl>{rows}</dl>" + (f"\n<h3>Warnings</h3>\n<ul>{items}</ul>" if items else "")


def _manifest(results: Results) -> str:
    if not results.manifest:
        return "<p>No manifest was recorded.</p>"
    text = json.dumps(results.manifest, ensure_ascii=False, indent=2, default=str)
    return f'<pre tabindex="0" role="region" aria-label="Manifest">{escape(text)}</pre>'
