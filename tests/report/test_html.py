import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from evalkit.report.explorer_data import explorer_data
from evalkit.report.html import report_html
from evalkit.report.names import display_name
from evalkit.report.plots import plots
from evalkit.settings import SignificanceSettings
from evalkit.statistics.section import significance_section
from evalkit.types import Qrel

BM25, CE10 = ("bm25", "none", None, None), ("bm25", "ce", 10, None)
INDEX = {
    "retriever": "bm25", "built": True, "seconds": 8.8, "bytes": 1 << 20, "peak_rss_bytes": 1 << 28,
    "tokens": 15301, "num_docs": 288, "bytes_per_doc": 775.5, "note": "memory: resident set",
}  # fmt: skip
VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """What a browser would load, and whether every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.attributes: dict[str, list[dict]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.attributes.setdefault(tag, []).append(given)
        for key in ("src", "srcset", "href", "action", "data"):
            if key in given:
                (self.links if given[key].startswith("#") else self.loads).append(given[key])
        if "id" in given:
            self.ids.append(given["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data + "\n"


def data_of(html: str) -> dict:
    """What the page holds for its explorer, as a browser reads it."""
    block = re.search(r'<script type="application/json" id="explorer-data">(.*?)</script>', html)
    return json.loads(block[1])


@pytest.fixture(scope="module")
def whole(realistic) -> str:
    """The report with all its plots."""
    return report_html(realistic, plots(realistic))


def test_nothing_is_loaded_from_anywhere(whole):
    page = Page(whole)
    assert page.open == []
    assert len(page.loads) == 7  # six plots and the icon
    assert all(url.startswith("data:") for url in page.loads)
    assert not re.search(r"https?://|@import|url\(", whole)


def test_page_has_all_sections_and_its_links_lead_to_them(whole):
    page = Page(whole)
    assert page.attributes["html"] == [{"lang": "en"}]
    assert [link.removeprefix("#") for link in page.links] == [
        "result",
        "systems",
        "cutoffs",
        "plots",
        "queries",
        "explorer-section",
        "dataset",
        "configuration",
        "environment",
    ]
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert all(image["alt"] for image in page.attributes["img"])
    assert "3 queries have no relevant document" in page.text
    assert "9,120 distinct (query, document) pairs" in page.text
    assert "bi_encoder\n77aa\n" in page.text
    assert '"tail": "keep"' in page.text


def test_plots_are_embedded_whole(make_results):
    page = Page(report_html(make_results({BM25: {"P@5": [0.5]}}), {"p_5_systems.png": b"\x89PNG!"}))
    assert base64.b64decode(page.attributes["img"][0]["src"].split(",")[1]) == b"\x89PNG!"
    assert page.attributes["img"][0]["alt"].startswith("P@5 of every system")


def test_queries_with_the_largest_gains_and_losses(make_results):
    results = make_results(
        {
            BM25: {"P@5": [0.5] * 14},
            CE10: {"P@5": [0.5, 0.1, *(0.55 + 0.01 * i for i in range(12))]},
        },
        tags={"q14": ["negation"]},
    )
    page = Page(report_html(results, {}, {"q14": "is it <b>not</b>?"}))
    assert "Largest gains of bm25+ce+k10 over bm25 in P@5; shown: 10 of 12." in page.text
    assert "Largest losses of bm25+ce+k10 over bm25 in P@5; shown: 1 of 1." in page.text
    gains = page.text.split("Largest gains")[1].split("Largest losses")[0]
    assert re.findall(r"q\d+", gains) == [f"q{i}" for i in range(14, 4, -1)]
    assert "is it <b>not</b>?" in gains
    assert "negation" in gains
    assert "-0.4000" in page.text.split("Largest losses")[1]


def test_a_query_with_less_of_what_should_be_low_has_gained(make_results):
    values = {BM25: {"redundancy@5": [0.5, 0.5, 0.5]}, CE10: {"redundancy@5": [0.1, 0.2, 0.9]}}
    text = Page(report_html(make_results(values), {})).text
    gains, losses = text.split("Largest gains")[1].split("Largest losses")
    assert "in Redundancy@5; shown: 2 of 2." in gains
    assert re.findall(r"q\d", gains) == ["q1", "q2"]
    assert re.findall(r"q\d", losses.split("All queries")[0]) == ["q3"]


def test_without_rerankers_plots_or_n_their_sections_are_gone(make_results):
    page = Page(report_html(make_results({BM25: {"P@5": [0.5]}}, intervals=False), {}))
    assert page.links == [
        "#result", "#systems", "#explorer-section", "#dataset", "#configuration", "#environment",
    ]  # fmt: skip
    assert "nan" not in page.text
    assert "No manifest" in page.text
    assert "No configuration" in page.text


def test_a_dataset_without_texts_does_not_claim_0_documents(make_results):
    page = Page(report_html(make_results({BM25: {"P@5": [0.5, 0.4]}}, num_docs=0), {}))
    assert "Documents\nnone: judgements without texts\n" in page.text


def test_reranker_without_its_first_stage(make_results):
    page = Page(report_html(make_results({CE10: {"P@5": [0.5, 0.4]}}), {}))
    assert "The first stage of the best reranked system was not measured." in page.text


def test_names_cannot_add_markup(make_results):
    evil = "</pre><script>alert(1)</script>"
    results = make_results(
        {(evil, "none", None, None): {"P@5": [0.5, 0.1]}, (evil, evil, 5, None): {"P@5": [1, 0.2]}},
        dataset_id=evil,
        manifest={"warnings": [evil], evil: evil},
        tags={"q1": [evil]},
    )
    html = report_html(results, {evil: b"png"}, {"q1": evil})
    page = Page(html)
    assert len(page.attributes["script"]) == 2  # the data and our own
    assert page.open == []
    assert page.text.count(evil) > 10
    assert data_of(html)["texts"][0] == evil


def test_only_its_own_script_and_style_may_run(realistic):
    html = report_html(realistic, {})
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == "'none'"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_efficiency_and_significance_have_sections_where_they_were_measured(make_results):
    values = {BM25: {"P@5": [0.5, 0.1, 0.2, 0.4]}, CE10: {"P@5": [0.9, 0.3, 0.2, 0.8]}}
    plain = make_results(values, manifest={"config": {"tables": ["ablation"]}})
    measured = replace(
        plain,
        significance=significance_section(plain, SignificanceSettings(baselines=["bm25"])),
        efficiency={"index": [INDEX]},
    )
    page = Page(report_html(measured, {}))
    assert "#significance" in page.links
    assert "#efficiency" in page.links
    assert "#more" in page.links  # the ablation, which the settings chose
    assert "p corrected" in page.text
    assert "#significance" not in Page(report_html(plain, {})).links


def test_data_of_the_explorer_is_that_of_the_results(realistic):
    texts = {"q1": "first\nquery", "q2": "</script>\ud800"}
    data = data_of(report_html(realistic, {}, texts))
    assert data["ids"] == list(realistic.query_ids)
    assert data["texts"][:3] == ["first query", "</script>\ufffd", ""]
    assert data["tags"][2] == "negation, rare terms"
    systems = realistic.uncut
    assert data["systems"] == [s.system for s in systems]
    assert data["systems"][data["base"]] == systems[data["system"]].retriever
    for m, (name, values) in enumerate(zip(realistic.measure_names, data["values"], strict=True)):
        assert data["measures"][m]["name"] == display_name(name)
        for system, cells in zip(systems, values["cells"], strict=True):
            found = [values["distinct"][cell] for cell in cells]
            np.testing.assert_allclose(found, system.values[name], atol=6e-7)
    docs = data["docs"]
    assert [docs["ids"][i] for i in docs["runs"][0][0]] == [f"d{i}" for i in range(10)]


def test_the_explorer_knows_which_of_the_listed_documents_are_judged(make_results):
    qrels = [
        Qrel("q1", "d0", 1), Qrel("q1", "d3", 2), Qrel("q1", "d3", 0, "7"), Qrel("q1", "d99", 3),
        Qrel("q2", "d1", -1), Qrel("q9", "d2", 2),
    ]  # fmt: skip
    results = make_results({BM25: {"P@5": [0.2, 0.0]}}, qrels=qrels)
    info = results.dataset._replace(relevance_level=2)
    html = report_html(replace(results, dataset=info), {})
    docs = data_of(html)["docs"]
    # d99 is relevant, too, and in no list; of several judgements of a doc the highest counts.
    assert (docs["judged"]["level"], docs["judged"]["relevant"]) == (2, [2, 0])
    named = [
        [(docs["ids"][place], grade) for place, grade in zip(flat[::2], flat[1::2], strict=True)]
        for flat in docs["judged"]["grades"]
    ]
    assert [sorted(pairs) for pairs in named] == [[("d0", 1), ("d3", 2)], [("d1", -1)]]
    assert "documents of each system, with their grades." in Page(html).text


def test_an_output_without_judgements_says_so(make_results):
    html = report_html(make_results({BM25: {"P@5": [0.2, 0.0]}}), {})
    assert data_of(html)["docs"]["judged"] is None
    assert "Their grades were not saved with this output" in Page(html).text


def test_frequent_values_have_the_short_numbers_and_nan_is_null(make_results):
    results = make_results({BM25: {"P@5": [0.2, 0.0, 1.0, 0.0, np.nan, 0.0, 1.0]}})
    (values,) = explorer_data(results, {})["values"]
    assert values["distinct"] == [0, 1, 0.2, None]
    assert values["cells"] == [[2, 0, 1, 0, 3, 0, 1]]


def test_what_would_make_the_page_too_large_is_left_out_and_named(make_results, monkeypatch):
    results = make_results({BM25: {"P@5": [0.5, 0.1], "RR": [1, 0]}})
    monkeypatch.setattr("evalkit.report.explorer_data.MOST_CELLS", 3)
    monkeypatch.setattr("evalkit.report.explorer_data.MOST_DOCS", 19)
    html = report_html(results, {})
    data = data_of(html)
    assert [measure["name"] for measure in data["measures"]] == ["P@5"]
    assert data["docs"] is None
    text = Page(html).text
    assert "Not on this page, but in per_query.parquet: MRR." in text
    assert "they are in runs/" in text
