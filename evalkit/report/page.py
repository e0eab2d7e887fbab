"""The frame of the HTML report: head, style and the script that sorts tables."""

from __future__ import annotations

import html

# The page may load nothing at all: what it shows is inside it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --line: #d0d7de;
  --shade: #f6f8fa; --accent: #0550ae; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --paper: #0d1117;
  --line: #30363d; --shade: #161b22; --accent: #79b8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 78rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; margin: .5rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-bottom: .2rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p, li, dd, figcaption { max-width: 48rem; overflow-wrap: anywhere; }
a { color: var(--accent); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: 0; padding: 0;
  list-style: none; }
figure { margin: 1rem 0; }
figcaption, .notes { color: var(--soft); font-size: .875em; }
figcaption { margin-bottom: .5rem; }
.lead { font-size: 1.15rem; font-weight: 600; }
.notes { padding-left: 1.2rem; margin: .5rem 0; }
.scroll { overflow-x: auto; max-width: 100%; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; vertical-align: top; text-align: left; font-weight: normal; }
th.right, td.right { text-align: right; white-space: nowrap; }
th.left, td.left { max-width: 22rem; overflow-wrap: break-word; }
thead th, thead th.right { font-weight: 600; white-space: normal; vertical-align: bottom;
  border-bottom: 2px solid var(--line); }
tbody { border-bottom: 1px solid var(--line); }
tbody tr:hover { background: var(--shade); }
td small { display: block; color: var(--soft); font-size: .86em; }
thead button { all: unset; cursor: pointer; }
thead button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
thead button::after { content: "\\a0\\2195"; color: var(--soft); font-weight: normal; }
thead [aria-sort=descending] button::after { content: "\\a0\\2193"; color: inherit; }
thead [aria-sort=ascending] button::after { content: "\\a0\\2191"; color: inherit; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr));
  gap: 1rem; align-items: start; }
.plots figure { margin: 0; }
.plots img { display: block; width: 100%; max-width: 34rem; height: auto; background: #fff;
  border: 1px solid var(--line); }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .2rem 1rem; }
dt { color: var(--soft); }
dd { margin: 0; }
pre { max-height: 32rem; overflow: auto; padding: .8rem; background: var(--shade);
  border: 1px solid var(--line); font-size: .8rem; line-height: 1.4; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #333; --paper: #fff;
    --line: #999; --shade: #fff; }
  @page { size: landscape; margin: 12mm; }
  body { max-width: none; padding: 0; font-size: 9pt; }
  nav, thead button::after { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: 1pt 4pt; }
  tr, thead, .plots figure { break-inside: avoid; }
  h2, h3, figcaption { break-after: avoid; }
  h2 { margin-top: 1.2rem; }
  .plots { display: block; }
  .plots figure { display: inline-block; width: 49%; margin-bottom: 1rem; }
  pre { max-height: none; overflow: visible; white-space: pre-wrap; overflow-wrap: anywhere;
    font-size: 7pt; } }
"""

_SCRIPT = """
"use strict";
// A click, Enter or Space on a header sorts: numbers from the highest, names from A; then the
// other way round; then as written.
for (const table of document.querySelectorAll("table")) {
  const home = [...table.tBodies].flatMap(body => [...body.rows].map(row => ({ row, body })));
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, i) => {
    const cell = row.cells[i];
    const text = (cell.querySelector("strong, u") ?? cell).firstChild?.textContent.trim() ?? "";
    return text === "" || text === "\\u2013" ? null : isNaN(text) ? text : Number(text);
  };
  const order = (a, b) => typeof a === "number" && typeof b === "number"
    ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const ways = ["descending", "ascending"];
      if (head.classList.contains("left")) ways.reverse();
      const next = [...ways, null][ways.indexOf(head.getAttribute("aria-sort")) + 1];
      heads.forEach(other => other.removeAttribute("aria-sort"));
      if (next === null) {
        home.forEach(({ row, body }) => body.append(row));
        return;
      }
      head.setAttribute("aria-sort", next);
      const sign = next === "descending" ? -1 : 1;
      const rows = home.map(({ row }) => row).sort((a, b) => {
        const [x, y] = [key(a, i), key(b, i)];
        // What is missing comes last either way.
        return x === null || y === null ? (x === null) - (y === null) : sign * order(x, y);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
"""


def page(title: str, body: str) -> str:
    """A whole HTML document around `body`, which is HTML already; `title` is plain text."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
<script>{_SCRIPT}</script>
</body>
</html>
"""
