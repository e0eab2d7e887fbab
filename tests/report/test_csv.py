import csv
import io

from evalkit.report.csv import to_csv
from evalkit.report.grid import grid_table
from evalkit.report.layout import Cell, Column, Table
from evalkit.results import Results

TABLE = Table(
    "caption, not in the file",
    (Column("Name", "left"), Column("NDCG@10"), Column("ms", lower_is_better=True)),
    (
        ((Cell('a, "b"'), Cell("0.5000", (0.4, 0.6), sign="†"), Cell("12")),),
        ((Cell("重排"), Cell("0.7000"), Cell("–")),),
    ),
    ("note",),
)


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_intervals_and_signs_have_columns_of_their_own_and_what_is_missing_is_empty():
    assert read(to_csv(TABLE)) == [
        ["Name", "NDCG@10", "NDCG@10 low", "NDCG@10 high", "NDCG@10 sign", "ms"],
        ['a, "b"', "0.5000", "0.4000", "0.6000", "†", "12"],
        ["重排", "0.7000", "", "", "", ""],
    ]


def test_numbers_are_written_without_commas_and_texts_with_theirs():
    cells = tuple(Cell(text) for text in ("12,345.6", "1,234", "bm25, dense", "1,23"))
    table = Table("c", tuple(Column(f"c{i}") for i in range(4)), ((cells,),))
    assert read(to_csv(table))[1] == ["12345.6", "1234", "bm25, dense", "1,23"]


def test_the_grid_as_csv_holds_the_numbers_of_the_results(realistic: Results):
    header, *rows = read(to_csv(grid_table(realistic)))
    assert len(rows) == len(realistic.uncut)
    assert len(set(header)) == len(header)
    at = [header.index(name) for name in ("NDCG@10", "NDCG@10 low", "NDCG@10 high")]
    system = next(s for s in realistic.uncut if (s.retriever, s.k) == ("dense", 20))
    (row,) = (r for r in rows if r[:3] == ["dense", "bi_encoder", "20"])
    value, low, high = (float(row[i]) for i in at)
    assert abs(value - system.measures["nDCG@10"]) < 5e-5
    assert low < value < high
