"""The report in a real browser: what it asks for, sorts, finds, and how it looks narrow."""

from __future__ import annotations

import json

import browser
import numpy as np
import pytest

from evalkit.report.html import report_html
from evalkit.types import Qrel

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason=browser.ABSENT)
EVIL = "</script><img src=x onerror=\"document.title='broken'\"><b>'中文'</b>"
ROWS = "#explorer-rows tbody"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser.browser(tmp_path_factory.mktemp("profile")) as page:
        page.resize(1280, 900)
        yield page


@pytest.fixture
def show(tab, tmp_path):
    """Opens the report of results, and gives the tab."""

    def opened(results, texts=None):
        path = tmp_path / "report.html"
        path.write_text(report_html(results, {}, texts), encoding="utf-8")
        tab.requests.clear()
        tab.errors.clear()
        tab.open(path)
        return tab

    return opened


def texts_of(tab, selector: str) -> list[str]:
    return tab.run(
        f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)"
    )


def column(tab, table: str, i: int) -> list[float]:
    return [float(t.split()[0]) for t in texts_of(tab, f"{table} tbody tr > :nth-child({i})")]


def sorted_as(tab, table: str) -> list[str | None]:
    return tab.run(
        f"[...document.querySelectorAll('{table} thead th')].map(h => h.getAttribute('aria-sort'))"
    )


def test_7000_queries_of_12_systems_open_quickly_and_ask_for_nothing(show, tab, make_results):
    generator = np.random.default_rng(3)
    grid = [(r, "none", None, None) for r in ("bm25", "dense", "hybrid")]
    grid += [(r, "ce", k, None) for r, *_ in grid for k in (10, 20, 50)]
    measures = ("nDCG@10", "RR@10", "R@100", "AP@100")
    cells = {cell: {m: generator.random(7000).round(3) for m in measures} for cell in grid}
    results = make_results(cells, depth=2, resamples=100)
    # What the page costs itself, whatever else the machine is doing.
    tab.call("Performance.enable", timeDomain="threadTicks")
    show(results, {q: f"query number {q}" for q in results.query_ids})
    metrics = {m["name"]: m["value"] for m in tab.call("Performance.getMetrics")["metrics"]}
    tab.call("Performance.disable")
    assert metrics["TaskDuration"] < 1.0
    assert texts_of(tab, "#explorer-shown") == ["NDCG@10, 7,000 queries; rows 1 to 50."]
    assert tab.run("document.querySelectorAll('tr').length") < 200  # of 7,000: drawn when looked at
    assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
    assert tab.errors == []


def test_tables_sort_by_click_and_by_keyboard(show, realistic):
    tab = show(realistic)
    head = "#systems thead"
    written = column(tab, "#systems", 4)
    tab.click(f"{head} th:nth-child(4) button")
    assert column(tab, "#systems", 4) == sorted(written, reverse=True)
    assert sorted_as(tab, "#systems")[3] == "descending"
    tab.press("Enter")
    assert column(tab, "#systems", 4) == sorted(written)
    assert sorted_as(tab, "#systems")[3] == "ascending"
    tab.press(" ")
    assert column(tab, "#systems", 4) == written
    assert set(sorted_as(tab, "#systems")) == {None}
    # The next header is a Tab away.
    tab.press("Tab")
    tab.press("Enter")
    assert sorted_as(tab, "#systems")[4] == "descending"


def test_a_column_sorts_by_its_numbers_and_what_is_missing_comes_last(show, realistic):
    tab = show(realistic)
    head = "#systems thead th:nth-child(3) button"
    for _ in range(2):
        tab.click(head)
    ks = texts_of(tab, "#systems tbody td:nth-child(3)")
    assert ks == ["10"] * 3 + ["20"] * 3 + ["50"] * 3 + ["–"] * 3


def test_queries_are_found_sorted_paged_and_opened_by_keyboard(show, make_results):
    values = {("bm25", "none", None, None): {"P@5": np.linspace(0, 1, 120)}}
    values["bm25", "ce", 10, None] = {"P@5": np.linspace(0, 1, 120)[::-1]}
    tags = {"q7": ["negation"]}
    texts = {f"q{i}": f"about {'cats' if i % 2 else '狗'}" for i in range(1, 121)}
    tab = show(make_results(values, tags=tags), texts)
    assert texts_of(tab, f"{ROWS} th")[:2] == ["Mean of 120", "q1"]
    assert texts_of(tab, f"{ROWS} tr:first-child small") == ["better 60, worse 60"]

    tab.click("#explorer-next")
    tab.press("Enter")  # the focus stays on the button
    assert texts_of(tab, "#explorer-shown") == ["P@5, 120 queries; rows 101 to 120."]

    tab.click("#explorer-find")
    for key in "q7":
        tab.press(key)
    assert texts_of(tab, f"{ROWS} th") == ["Mean of 11", "q7", *(f"q7{i}" for i in range(10))]
    for word in (" ", "n", "e", "g"):
        tab.press(word)
    assert texts_of(tab, f"{ROWS} th") == ["Mean of 1", "q7"]
    assert texts_of(tab, "#explorer-shown") == ["P@5, 1 of 120 queries; rows 1 to 1."]

    tab.run(f"document.querySelector('{ROWS} button').focus()")
    tab.press("Enter")
    assert tab.run(f"document.querySelector('{ROWS} button').ariaExpanded") == "true"
    assert texts_of(tab, ".more caption") == ["Every measure", "First 10 documents"]
    assert texts_of(tab, ".more table:last-of-type tbody tr:first-child > *") == [
        "#1", "d0", "d0same place",
    ]  # fmt: skip
    tab.press(" ")
    assert texts_of(tab, ".more caption") == []

    for _ in "q7 neg":
        tab.run("document.getElementById('explorer-find').focus()")
        tab.press("Backspace")
    last = "#explorer-rows thead th:last-child button"
    tab.click(last)
    assert texts_of(tab, f"{ROWS} tr:nth-child(2) > *") == [
        "q1", "about cats", "", "0.0000", "1.0000", "+1.0000",
    ]  # fmt: skip
    tab.click(last)
    assert texts_of(tab, f"{ROWS} tr:nth-child(2) > *")[-1] == "−1.0000"


def test_an_opened_query_shows_which_of_its_documents_are_relevant(show, make_results):
    cells = {("bm25", "none", None, None): {"P@5": [0.5]}, ("bm25", "ce", 5, None): {"P@5": [1]}}
    qrels = [Qrel("q1", "d0", 0), Qrel("q1", "d2", 1), Qrel("q1", "d77", 1)]
    tab = show(make_results(cells, qrels=qrels))
    tab.click(f"{ROWS} button")
    table = ".more table:last-of-type"
    assert texts_of(tab, f"{table} caption") == [
        "First 10 documents; bold: relevant, grade 1 or higher"
    ]
    rows = [texts_of(tab, f"{table} tbody tr:nth-child({i}) > *") for i in (1, 2, 3, 4)]
    assert rows == [
        ["Relevant", "1 of 2", "1 of 2"],
        ["#1", "d0grade 0", "d0grade 0, same place"],
        ["#2", "d1not judged", "d1not judged, same place"],
        ["#3", "d2grade 1", "d2grade 1, same place"],
    ]
    assert texts_of(tab, f"{table} strong") == ["d2", "d2"]
    assert tab.errors == []


def test_systems_measure_and_baseline_are_chosen(show, realistic):
    tab = show(realistic)
    systems = [s.system for s in realistic.uncut]
    assert texts_of(tab, "#explorer-chosen") == ["Systems shown: 2 of 12"]
    tab.click("details.systems summary")
    tab.click("#explorer-all")
    heads = texts_of(tab, "#explorer-rows thead th")
    assert len(heads) == 2 + 1 + 2 * 11  # query, tags, the baseline, values and Δ of the others
    tab.click("#explorer-none")
    assert texts_of(tab, "#explorer-rows thead th")[2:] == ["hybrid (baseline)"]
    for control, choice in (("base", systems.index("bm25")), ("measure", 1)):
        tab.run(
            f"(() => {{ const e = document.getElementById('explorer-{control}'); "
            f"e.value = {choice}; e.dispatchEvent(new Event('change')); }})()"
        )
    assert texts_of(tab, "#explorer-rows thead th")[2:] == ["bm25 (baseline)"]
    expected = realistic.uncut[systems.index("bm25")]
    assert texts_of(tab, f"{ROWS} tr:first-child td") == [f"{expected.measures['RR@10']:.4f}"]
    shown = [float(x) for x in texts_of(tab, f"{ROWS} tr td:last-child")[1:]]
    np.testing.assert_allclose(shown, expected.values["RR@10"][:50], atol=6e-5)


def test_hostile_names_run_nothing(show, make_results):
    cells = {
        (EVIL, "none", None, None): {"P@5": [0.5, 0.1]},
        (EVIL, EVIL, 5, None): {"P@5": [1, 0]},
    }
    results = make_results(cells, dataset_id=EVIL, tags={"q1": [EVIL]})
    tab = show(results, {"q1": EVIL})
    tab.click(f"{ROWS} button")
    assert tab.run("document.title") != "broken"
    assert tab.run("document.querySelectorAll('b, img').length") == 0
    assert texts_of(tab, ".more p")[0] == EVIL
    assert tab.errors == []


def test_markup_that_slipped_through_could_not_run(tab, tmp_path, make_results):
    html = report_html(make_results({("bm25", "none", None, None): {"P@5": [0.5]}}), {})
    slipped = "<script>document.title='broken'</script>"
    path = tmp_path / "slipped.html"
    path.write_text(html.replace("<main>", f"<main>{slipped}"), encoding="utf-8")
    tab.errors.clear()
    tab.open(path)
    assert tab.run("document.title") == "sample: evalkit report"
    assert "Content Security Policy" in tab.errors[0]


def test_a_narrow_window_scrolls_down_only(show, tab, realistic):
    try:
        tab.resize(360, 800)
        show(realistic, {"q1": "a query " * 40})
        tab.click("details.systems summary")
        tab.click(f"{ROWS} button")
        width = tab.run("document.documentElement.scrollWidth")
    finally:
        tab.resize(1280, 900)
    assert width <= 360


def test_print_has_the_tables_and_no_controls(show, tab, realistic):
    show(realistic)
    assert tab.pdf().startswith(b"%PDF")
    tab.call("Emulation.setEmulatedMedia", media="print")
    try:
        displays = [
            tab.run(f"getComputedStyle(document.querySelector('{selector}')).display")
            for selector in ("nav", ".controls", ".pager button", "#systems", "thead button")
        ]
    finally:
        tab.call("Emulation.setEmulatedMedia", media="")
    # Chromium repeats a heading on the next page only if no button in it has a box of its own.
    assert displays == ["none", "none", "none", "block", "contents"]


def test_without_javascript_all_but_the_explorer_is_there(show, tab, realistic):
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        show(realistic)
        seen = tab.run("document.body.innerText")
        hidden = tab.run("getComputedStyle(document.getElementById('explorer')).display")
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
    assert hidden == "none"
    assert "The table of all queries needs JavaScript" in seen
    assert "Largest gains" in seen
    assert '"tail": "keep"' in seen
