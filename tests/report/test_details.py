"""The facts that components report, as a reader sees them."""

from evalkit.report.details import details_html, details_lines, details_markdown

CELLS = {("bm25", "ltr", 10, None): {"nDCG@10": [0.5, 0.7]}}
DETAILS = {
    "reranker.ltr": {
        "trained_on": "train, 809 queries",
        "importance": {"bm25_score": 0.61234567, "doc_terms": 0.1},
        "truncated_share": 0.1234,
        "cross_validated": False,
        "bytes": 1234567,
    },
    "reranker.fused": {
        "by_retriever": {"bm25": {"weight": 0.25}, "dense": {"weight": None}},
        "curve": {"0": 0.5},
        "weights": [i / 100 for i in range(20)],
    },
}


def test_facts_read_as_words_numbers_and_shares(make_results):
    lines = details_lines(make_results(CELLS, details=DETAILS))
    assert lines["reranker.ltr"] == [
        "trained on: train, 809 queries",
        "importance: bm25 score 0.6123, doc terms 0.1",
        "truncated: 12.3 %",
        "cross validated: no",
        "bytes: 1,234,567",
    ]
    assert lines["reranker.fused"][:2] == [
        "by retriever, bm25: weight 0.25",
        "by retriever, dense: weight none",
    ]
    assert lines["reranker.fused"][2].endswith("0.11 and 8 more (results.json)")


def test_markdown_and_html_hold_every_component_and_escape_what_is_not_markup(make_results):
    results = make_results(CELLS, details={"reranker.<b>": {"note": "a < b"}})
    assert details_markdown(results) == "**reranker.<b>**\n\n- note: a < b"
    assert details_html(results) == (
        "<h3>reranker.&lt;b&gt;</h3>\n<ul><li>note: a &lt; b</li></ul>"
    )
    assert details_markdown(make_results(CELLS)) == details_html(make_results(CELLS)) == ""
