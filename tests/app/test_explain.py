"""task=explain: a page that holds all, escaped; what it refuses."""

from __future__ import annotations

import json
import re

import pytest

NASTY = "<script>alert('x')</script> cat & **mat**"


@pytest.fixture
def explained(cli, small, collection, place):
    """`explained(*settings)` after a run of BM25 over a collection with markup in a document."""
    collection.add(collection.corpus, json.dumps({"_id": "d13", "text": NASTY}))
    code, _, err = cli(*small, f"hydra.run.dir={place}/out")
    assert (code, err) == (0, "")

    def run(*settings):
        return cli(
            "task=explain", f"path={place}/out", *small[:2], f"hydra.run.dir={place}/why", *settings
        )

    return run


def test_what_is_written_and_shown(explained, place):
    code, out, err = explained("query_id=q1", "docs=2")
    assert (code, err) == (0, "")
    written = {path.name for path in (place / "why").iterdir()}
    assert written == {"explain.md", "explain.html", "explain.json"}
    found = json.loads((place / "why" / "explain.json").read_text(encoding="utf-8"))
    run = (place / "out" / "runs" / "bm25.trec").read_text(encoding="utf-8")
    scores = {line.split()[2]: float(line.split()[4]) for line in run.splitlines()[:3]}
    assert found["docs"][0]["doc_id"] == "d1"
    for doc in found["docs"]:
        assert doc["bm25_score"] == pytest.approx(scores[doc["doc_id"]])
        assert sum(doc["terms"].values()) == pytest.approx(doc["bm25_score"])
        assert doc["stages"]["bm25"]["score"] == pytest.approx(scores[doc["doc_id"]])
    assert found["docs"][0]["matches"] == ["cat", "mat"]
    assert "#1: d1, grade 1, relevant" in out
    assert found["docs"][0]["relevant"] is True
    # Of what data, and when: the table may be shown alone.
    assert re.search(r"the system is bm25\. \S+: \d+ queries, \d+ documents\. Measured \d{4}-", out)
    # Plain text for a terminal and a pipe; the files are escaped.
    assert "**cat**" in out
    assert not re.search("</?(p|b|h3)>|&amp;|&lt;", out)


def test_the_page_is_escaped_and_asks_nothing_of_a_network(explained, place):
    assert explained("query_id=q1", "docs=5").code == 0
    for name, tag in (("explain.html", "mark"), ("explain.md", "b")):
        text = (place / "why" / name).read_text(encoding="utf-8")
        assert "alert(&#x27;x&#x27;)&lt;/script&gt;" in text
        assert "<script>alert" not in text
        assert f"<{tag}>cat</{tag}> &amp; **<{tag}>mat</{tag}>**" in text
    page = (place / "why" / "explain.html").read_text(encoding="utf-8")
    assert "http" not in page.split("</style>")[1]
    assert page.count("<html") == 1


def test_markup_of_a_document_is_printed_as_it_is(explained, place):
    code, out, _ = explained("query_id=q1", "docs=5")
    assert code == 0
    assert "<script>alert('x')</script> **cat** & ****mat****" in out


def test_a_long_document_is_an_excerpt_except_on_the_page(explained, place):
    assert explained("query_id=q1", "docs=1", "doc_chars=10").code == 0
    assert "…" in (place / "why" / "explain.md").read_text(encoding="utf-8")
    page = (place / "why" / "explain.html").read_text(encoding="utf-8")
    assert "the <mark>cat</mark> sat on the <mark>mat</mark>" in page


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("query_id=q9",), "query_id=q9 is no judged query"),
        (("query_id=q1", "docs=0"), "docs=0"),
        (("query_id=q1", "system=dense"), "system=dense is no system of the output"),
        ((), "query_id"),
    ],
)
def test_mistakes_are_one_line(explained, settings, words):
    code, _, err = explained(*settings)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
