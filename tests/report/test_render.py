import re
from html.parser import HTMLParser

from rich.console import Console

from evalkit.report.layout import Cell, Column, Table
from evalkit.report.render import to_html, to_latex, to_markdown, to_rich
from evalkit.report.table import grid_table
from evalkit.results import Results

TABLE = Table(
    "sample: 2 queries. 95 % intervals.",
    (Column("Retriever", "left"), Column("K"), Column("NDCG@10")),
    (
        ((Cell("bm25"), Cell("–"), Cell("0.5000", (0.4, 0.6), is_second=True)),),
        ((Cell("重排"), Cell("10"), Cell("0.7139", None, is_best=True)),),
    ),
    ("A note.",),
)
NASTY = r"a|b_[bold]x[/bold] <i>&amp;</i> 50% #1 $x$ {y} \z ~^ *s* _u `c`"


def one_cell(text: str) -> Table:
    return Table("c", (Column("A", "left"),), (((Cell(text),),),))


def test_markdown():
    assert to_markdown(TABLE) == (
        "sample: 2 queries. 95 % intervals.\n"
        "\n"
        "| Retriever |   K |                   NDCG@10 |\n"
        "| --------- | --: | ------------------------: |\n"
        "| bm25      |   – | _0.5000_ [0.4000, 0.6000] |\n"
        "| 重排      |  10 |                **0.7139** |\n"
        "\n"
        "- **Bold**: highest value of a column; _italic_: second highest; "
        "values equal to 4 digits are marked alike.\n"
        "- A note.\n"
    )


def test_markdown_escapes_what_would_be_markup():
    assert to_markdown(one_cell(NASTY)).splitlines()[4] == (
        r"| a\|b\_\[bold\]x\[/bold\] \<i\>\&amp;\</i\> 50% #1 \$x\$ {y} \\z \~^ \*s\* \_u \`c\` |"
    )
    assert "| bi_encoder |" in to_markdown(one_cell("bi_encoder"))


def test_rich_shows_names_as_they_are_and_marks_the_best():
    console = Console(width=120)
    shown = [part for table in (one_cell(NASTY), TABLE) for part in console.render(to_rich(table))]
    text = "".join(part.text for part in shown)
    assert NASTY in text
    assert "[0.4000, 0.6000]" in text
    assert [part.style.bold for part in shown if "0.7139" in part.text] == [True]
    assert [part.style.underline for part in shown if "0.5000" in part.text] == [True]


def test_rich_without_intervals():
    console = Console(width=80)
    with console.capture() as capture:
        console.print(to_rich(TABLE, intervals=0))
    assert "0.5000" in capture.get()
    assert "0.4000" not in capture.get()


def test_rich_never_breaks_a_number(realistic: Results):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(to_rich(grid_table(realistic)))
    assert "[0.4933," in capture.get()
    assert " 0.5935]" in capture.get()


class Texts(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_html_shows_names_as_they_are():
    found = Texts(to_html(one_cell(NASTY)))
    assert NASTY in found.texts
    assert "i" not in found.tags


def test_html_marks_and_groups():
    html = to_html(TABLE)
    assert '<td class="right"><u>0.5000</u> <small>[0.4000, 0.6000]</small></td>' in html
    assert '<td class="right"><strong>0.7139</strong></td>' in html
    assert html.count("<tbody>") == 2
    assert '<th scope="row" class="left">bm25</th>' in html
    # No line ends between a number and its sign.
    assert "<figcaption>sample: 2 queries. 95\N{NO-BREAK SPACE}% intervals.</figcaption>" in html
    assert "<li>A note.</li>" in html


def test_a_table_without_rows_is_still_a_table():
    empty = Table("c", (Column("A", "left"), Column("B")), ())
    assert to_markdown(empty).endswith("| --- | --: |\n")
    assert "\\midrule\n\\bottomrule" in to_latex(empty)
    assert len(to_rich(empty).columns) == 2


def test_signs_of_significance_and_arrows_are_in_every_format():
    table = Table(
        "c",
        (Column("Total (ms)", lower_is_better=True),),
        (((Cell("3.2", (3.0, 3.5), is_best=True, digits=1, sign="†‡"),),),),
    )
    assert "| **3.2**†‡ [3.0, 3.5] |" in to_markdown(table)
    assert re.search(r"\| +Total \(ms\) ↓ \|", to_markdown(table))
    assert "<strong>3.2</strong><sup>†‡</sup> <small>[3.0, 3.5]</small>" in to_html(table)
    assert "the lowest where its heading has ↓" in to_html(table)
    console = Console(width=60)
    with console.capture() as capture:
        console.print(to_rich(table))
    assert "3.2†‡" in capture.get()
