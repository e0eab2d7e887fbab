"""The report's explorer: every query's values under chosen systems, searched and sorted.

The page holds the numbers once, as JSON; explorer.js draws the rows that are looked at, and
explorer_details.js what an opened one shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evalkit.report.explorer_data import TOP_DOCS, explorer_data
from evalkit.report.page import json_script
from evalkit.results import Results

SCRIPTS = ("explorer_details.js", "explorer.js")


def explorer_html(results: Results, texts: Mapping[str, str]) -> tuple[str, str]:
    """Controls with an empty place for the table; and the data, which belongs at the page's end,
    so that what stands before it is painted first. A page with both runs `SCRIPTS`.

    texts: query_id → text, of those that are known.
    """
    data = explorer_data(results, texts)
    return _controls(data, bool(texts)), json_script("explorer-data", data)


def _controls(data: Mapping[str, Any], has_texts: bool) -> str:
    notes = _notes(data["docs"], data["left_out"], has_texts)
    return f"""
<p>{" ".join(map(escape, notes))}</p>
<noscript><p>The table of all queries needs JavaScript; per_query.parquet has its values, and the
tables above those queries that gain or lose most.</p></noscript>
<div id="explorer" hidden>
<div class="controls" role="search" aria-label="Queries">
<label class="find">Search queries<input type="search" id="explorer-find" autocomplete="off"
  spellcheck="false" placeholder="id, words or tag"></label>
<label>Measure<select id="explorer-measure"></select></label>
<label>Baseline<select id="explorer-base"></select></label>
<details class="systems"><summary id="explorer-chosen"></summary>
<div id="explorer-systems" role="group" aria-label="Systems shown"></div>
<button type="button" id="explorer-all">All systems</button>
<button type="button" id="explorer-none">None</button>
</details>
</div>
<p id="explorer-shown" role="status"></p>
<div class="scroll" id="explorer-rows" role="region" aria-label="Queries, scrolls sideways"
  tabindex="0"></div>
<div class="pager"><button type="button" id="explorer-previous">Previous</button>
<button type="button" id="explorer-next">Next</button><span id="explorer-pages"></span></div>
</div>"""


def _notes(docs: Mapping[str, Any] | None, left_out: Sequence[str], has_texts: bool) -> list[str]:
    listed = ""
    if docs:
        graded = ", with their grades" if docs["judged"] else ""
        listed = f" and the first {TOP_DOCS} documents of each system{graded}"
    notes = [
        "Every query under the systems that you choose, each against a baseline. Search takes a "
        "query's id" + (", its words" if has_texts else "") + " or a tag; open a query for all its "
        f"measures{listed}."
    ]
    if not docs:
        notes.append("Its documents are too many for a page: they are in runs/.")
    elif not docs["judged"]:
        notes.append("Their grades were not saved with this output: run it again to see them.")
    if left_out:
        notes.append(f"Not on this page, but in per_query.parquet: {', '.join(left_out)}.")
    notes.append("Why a document is where it is: task=explain path=OUTPUT query_id=ID.")
    return notes
