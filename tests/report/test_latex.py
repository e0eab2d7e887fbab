"""LaTeX: what is escaped, what form a table takes, and that it compiles and fits the page."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.report.grid import cutoff_table, grid_table
from evalkit.report.latex import to_latex
from evalkit.report.latex_text import escaped, with_minus
from evalkit.report.layout import Cell, Column, Table
from evalkit.results import Results
from evalkit.settings import SignificanceSettings
from evalkit.statistics.section import significance_section

NASTY = r"a|b_[bold]x[/bold] <i>&amp;</i> 50% #1 $x$ {y} \z ~^ *s* _u `c`"
TABLE = Table(
    "sample: 2 queries. 95 % intervals.",
    (Column("Retriever", "left"), Column("K"), Column("NDCG@10")),
    (
        (
            (Cell("bm25"), Cell("–"), Cell("0.5000", (0.4, 0.6), is_second=True, sign="†")),
            (Cell("bm25"), Cell("10"), Cell("-0.1000", (-0.2, 0.1), sign="†‡")),
        ),
        ((Cell("重排"), Cell("10"), Cell("0.7139", None, is_best=True)),),
    ),
    ("A note.",),
    "my_table",
)
UGLY = {
    "bm25": "bm25_k1=0.9_b=0.4 & 100%",
    "dense": "稠密检索~模型",
    "hybrid": "hybrid_of_bm25_and_dense_with_reciprocal_rank_fusion#60",
    "bi_encoder": "cross-encoder/ms-marco_MiniLM-L-12-v2_with_{a}_long_name",
}


def one_cell(text: str) -> Table:
    return Table("c", (Column("A", "left"),), (((Cell(text),),),))


def test_latex():
    assert to_latex(TABLE).splitlines()[4:] == [
        r"\begin{table}",
        r"\centering",
        r"\setlength{\belowcaptionskip}{4pt}",
        r"\caption{sample: 2 queries. 95~\% intervals.}",
        r"\label{tab:my-table}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"Retriever & K & NDCG@10 \\",
        r"\midrule",
        r"bm25 & -- & \evalkitci{\underline{0.5000}\textsuperscript{\dag{}}"
        r"\phantom{\textsuperscript{\ddag{}}}}{{[}0.4000, 0.6000{]}} \\",
        r" & 10 & \evalkitci{$-$0.1000\textsuperscript{\dag{}\ddag{}}}"
        r"{{[}$-$0.2000, 0.1000{]}} \\",
        r"\addlinespace",
        r"\evalkitcjk{重排} & 10 & \textbf{0.7139}\phantom{\textsuperscript{\dag{}\ddag{}}} \\",
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip\raggedright\footnotesize \textbf{Bold}: highest value of a column; "
        r"\underline{underlined}: second highest; values equal to 4 digits are marked alike. "
        r"A note.",
        r"\end{table}",
    ]


def test_what_would_be_markup_is_escaped():
    assert escaped(NASTY) == (
        r"a\textbar{}b\_{[}bold{]}x{[}/bold{]} \textless{}i\textgreater{}\&amp;\textless{}/i"
        r"\textgreater{} 50\% \#1 \$x\$ \{y\} \textbackslash{}z \textasciitilde{}"
        r"\textasciicircum{} {*}s{*} \_u `c`"
    )


def test_only_numbers_have_minus_signs():
    assert with_minus("-0.5") == "$-$0.5"
    assert with_minus("[-0.5, 0.1]") == "{[}$-$0.5, 0.1{]}"
    assert with_minus("1–2") == "1--2"
    assert with_minus("MiniLM-6") == "MiniLM-6"


def test_wide_tables_span_both_columns_and_wider_ones_are_turned():
    def of(columns: int) -> str:
        row = tuple(Cell("0.5000", (0.4, 0.6)) for _ in range(columns))
        table = Table("c", tuple(Column(f"M{i}") for i in range(columns)), ((row,),))
        return re.search(r"\\begin\{(\w+\*?)\}\n", to_latex(table))[1]

    assert [of(n) for n in (2, 6, 12)] == ["table", "table*", "sidewaystable*"]
    assert "rotating" not in to_latex(TABLE)


def test_a_heading_wider_than_its_column_has_several_lines_which_break_at_spaces():
    table = Table(
        "c",
        (Column("Query processing (ms)", lower_is_better=True), Column("R [a] *b*", "left")),
        (((Cell("0.07"), Cell("x")),),),
    )
    assert r"\shortstack[r]{Query\\processing (ms) $\downarrow$} & " in to_latex(table)
    # A bracket or a star after a line break would be the break's own argument.
    assert r"\shortstack[l]{R\\{[}a{]}\\{*}b{*}} \\" in to_latex(table)
    wide = replace(table, groups=(((Cell("12345678901234567890123"), Cell("a long name")),),))
    assert r"Query processing (ms) $\downarrow$ & R {[}a{]} {*}b{*} \\" in to_latex(wide)


def test_a_mark_stays_with_its_name_and_a_number_with_its_sign():
    text = to_latex(replace(TABLE, notes=("Better than: † bm25. At 5 % of all.",)))
    assert r"Better than: \dag{}~bm25. At 5~\% of all." in text


def test_a_long_name_is_broken_at_its_signs_and_only_there():
    text = to_latex(one_cell("averyveryverylongname_with+signs/inside"))
    assert r"averyveryverylongname\_\allowbreak{}with+\allowbreak{}signs/\allowbreak{}in" in text
    assert r">{\raggedright\arraybackslash}p{12em}" in text


def test_a_table_longer_than_a_page_goes_on_in_another_one():
    rows = tuple((Cell(f"s{i}"), Cell("0.5000", (0.4, 0.6))) for i in range(70))
    table = Table("Many.", (Column("S", "left"), Column("M")), (rows,), ("The note.",), "many")
    text = to_latex(table)
    parts = text.count(r"\begin{table}")
    assert parts == 3
    assert [f"Part {i} of 3." in text for i in (1, 2, 3)] == [True] * 3
    assert all(text.count(f"\ns{i} &") == 1 for i in range(70))
    assert text.count("The note.") == text.count(r"\label") == 1


@pytest.mark.parametrize("groups", [(27,), (20, 7), (9, 9, 9)])
def test_parts_are_about_as_long_as_one_another(groups):
    # 26 rows of 1.85 lines fill a page of 48: the 27th does not stand alone on the next one.
    rows = iter(range(sum(groups)))
    cells = tuple(
        tuple((Cell(f"s{next(rows)}"), Cell("0.5000", (0.4, 0.6))) for _ in range(size))
        for size in groups
    )
    text = to_latex(Table("Many.", (Column("S", "left"), Column("M")), cells))
    parts = text.split(r"\end{table}")[:-1]
    assert [part.count(r"\evalkitci{0.5000}") for part in parts] == [14, 13]


def test_comments_say_what_the_preamble_needs():
    assert "CJKutf8" in to_latex(one_cell("中文"))
    assert "CJKutf8" not in to_latex(one_cell("plain é ü ß"))
    assert "U+0416: compile with XeLaTeX" in to_latex(one_cell("Ж"))


def with_ugly_names(results: Results) -> Results:
    """The same numbers under names that LaTeX has to work for; significance tested."""
    systems = [
        replace(s, retriever=UGLY[s.retriever], reranker=UGLY.get(s.reranker, s.reranker))
        for s in results.systems
    ]
    run = next(iter(results.runs.values()))
    named = replace(results, systems=systems, runs={s.run_name: run for s in systems})
    return replace(named, significance=significance_section(named, SignificanceSettings()))


def compiled(folder: Path, tables: str, packages: str, columns: str) -> str:
    """The log of pdfLaTeX on an article with these tables; fails where it does."""
    (folder / "paper.tex").write_text(
        rf"\documentclass[10pt,{columns}]{{article}}"
        "\n"
        r"\usepackage[margin=1in]{geometry}"
        "\n"
        rf"\usepackage{{{packages}}}"
        "\n"
        rf"\begin{{document}}{tables}\end{{document}}",
        encoding="utf-8",
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=folder, capture_output=True, text=True, errors="replace", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:]
    return done.stdout


def has(*files: str) -> bool:
    """Whether pdfLaTeX and these of its packages are installed."""
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        return False
    return all(subprocess.run(["kpsewhich", f], capture_output=True).returncode == 0 for f in files)


@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_it_compiles_and_fits_the_page(realistic: Results, tmp_path, columns):
    if not has("booktabs.sty", "rotating.sty", "CJKutf8.sty"):
        pytest.skip("needs pdflatex with booktabs, rotating and CJKutf8")
    ugly = with_ugly_names(realistic)
    shown = [grid_table(realistic), grid_table(ugly), cutoff_table(ugly), one_cell(NASTY), TABLE]
    text = "\n".join(map(to_latex, shown))
    log = compiled(tmp_path, text, "array,booktabs,graphicx,rotating,CJKutf8", columns)
    assert "Overfull" not in log
    assert "Float too large" not in log
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
