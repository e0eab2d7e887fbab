import base64
import re
from html.parser import HTMLParser

from evalkit.report.html import report_html
from evalkit.report.plots import plots

BM25, CE10 = ("bm25", "none", None, None), ("bm25", "ce", 10, None)
VOID = {"meta", "link", "img", "br"}


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


def test_nothing_is_loaded_from_anywhere(realistic):
    html = report_html(realistic, plots(realistic))
    page = Page(html)
    assert page.open == []
    assert len(page.loads) == 5
    assert all(url.startswith("data:") for url in page.loads)
    assert not re.search(r"https?://|@import|url\(", html)


def test_page_has_all_sections_and_its_links_lead_to_them(realistic):
    page = Page(report_html(realistic, plots(realistic)))
    assert page.attributes["html"] == [{"lang": "en"}]
    assert [link.removeprefix("#") for link in page.links] == [
        "result",
        "systems",
        "cutoffs",
        "plots",
        "queries",
        "dataset",
        "provenance",
    ]
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert all(image["alt"] for image in page.attributes["img"])
    assert "3 queries have no relevant document" in page.text
    assert "9,120 distinct (query, document) pairs" in page.text
    assert '"bi_encoder": "77aa"' in page.text


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
    assert "Queries with a gain in P@5: 12; shown: 10." in page.text
    assert "Queries with a loss in P@5: 1; shown: 1." in page.text
    gains = page.text.split("Largest gains")[1].split("Largest losses")[0]
    assert re.findall(r"q\d+", gains) == [f"q{i}" for i in range(14, 4, -1)]
    assert "is it <b>not</b>?" in gains
    assert "negation" in gains
    assert "-0.4000" in page.text.split("Largest losses")[1]


def test_without_rerankers_plots_or_n_their_sections_are_gone(make_results):
    page = Page(report_html(make_results({BM25: {"P@5": [0.5]}}, intervals=False), {}))
    assert page.links == ["#result", "#systems", "#dataset", "#provenance"]
    assert "nan" not in page.text
    assert "No manifest" in page.text


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
    page = Page(report_html(results, {evil: b"png"}, {"q1": evil}))
    assert len(page.attributes["script"]) == 1
    assert page.open == []
    assert page.text.count(evil) > 10
