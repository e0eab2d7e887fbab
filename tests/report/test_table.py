import re
from dataclasses import replace

import numpy as np
import pytest

from evalkit.report.layout import Cell, Column, Table, printable, width
from evalkit.report.table import cutoff_table, grid_table, table_files
from evalkit.types import Qrel

BM25, CE10, CE20 = (
    ("bm25", "none", None, None),
    ("bm25", "ce", 10, None),
    ("bm25", "ce", 20, None),
)


def column(table, title):
    at = [c.title for c in table.columns].index(title)
    return [row[at] for group in table.groups for row in group]


def two_retrievers(make_results, **more):
    cells = {
        ("dense", "ce", 20, None): {"nDCG@10": [0.9, 0.7], "R@100": [1.0, 1.0]},
        BM25: {"nDCG@10": [0.5, 0.3], "R@100": [0.8, 0.6]},
        ("dense", "none", None, None): {"nDCG@10": [0.6, 0.4], "R@100": [0.9, 0.7]},
        CE20: {"nDCG@10": [0.8, 0.6], "R@100": [0.8, 0.6]},
        CE10: {"nDCG@10": [0.7, 0.7], "R@100": [0.8, 0.6]},
    }
    return make_results(cells, **more)


def test_rows_are_grouped_by_retriever_then_reranker_then_k(make_results):
    table = grid_table(two_retrievers(make_results))
    shown = [[tuple(cell.text for cell in row[:3]) for row in group] for group in table.groups]
    assert shown == [
        [("dense", "none", "–"), ("dense", "ce", "20")],
        [("bm25", "none", "–"), ("bm25", "ce", "10"), ("bm25", "ce", "20")],
    ]
    assert [c.title for c in table.columns[3:]] == ["NDCG@10", "Recall@100"]


def test_best_is_marked_once_and_ties_for_second_all(make_results):
    cells = column(grid_table(two_retrievers(make_results)), "NDCG@10")
    assert [c.text for c in cells] == ["0.5000", "0.8000", "0.4000", "0.7000", "0.7000"]
    assert [c.is_best for c in cells] == [False, True, False, False, False]
    assert [c.is_second for c in cells] == [False, False, False, True, True]


def test_ties_for_best_to_four_digits_are_all_marked(make_results):
    results = make_results(
        {BM25: {"RR@10": [0.5]}, CE10: {"RR@10": [0.70004]}, CE20: {"RR@10": [0.70001]}}
    )
    cells = column(grid_table(results), "MRR@10")
    assert [c.is_best for c in cells] == [False, True, True]
    assert [c.is_second for c in cells] == [True, False, False]


def test_nothing_is_marked_in_a_lone_row_or_for_judged(make_results):
    lone = grid_table(make_results({BM25: {"nDCG@10": [0.5]}}))
    judged = grid_table(make_results({BM25: {"Judged@10": [0.5]}, CE10: {"Judged@10": [0.9]}}))
    assert not lone.is_marked
    assert not judged.is_marked


def test_single_query_shows_values_without_intervals(make_results):
    table = grid_table(make_results({BM25: {"nDCG@10": [0.7139]}}, intervals=False))
    (cell,) = column(table, "NDCG@10")
    assert (cell.text, cell.interval, cell.interval_text) == ("0.7139", None, "")
    assert "1 query," in table.caption
    assert "No intervals" in table.caption
    assert "bootstrap" not in table.caption


def test_undefined_value_is_a_dash_and_never_best(make_results):
    results = make_results({BM25: {"P@5": [0.2]}, CE10: {"P@5": [np.nan]}, CE20: {"P@5": [0.1]}})
    cells = column(grid_table(results), "P@5")
    assert [c.text for c in cells] == ["0.2000", "–", "0.1000"]
    assert [c.is_best for c in cells] == [True, False, False]


@pytest.mark.parametrize(
    ("tail", "words"), [("keep", "keep their order"), ("drop", "are dropped"), (None, "reranked.")]
)
def test_caption_says_what_the_numbers_are(make_results, tail, words):
    manifest = {"created": "2025-06-30T12:00:00", "config": {"sweep": {"tail": tail}}}
    caption = grid_table(two_retrievers(make_results, manifest=manifest)).caption
    assert caption.startswith("sample: 2 queries, 1,000 documents. K (10, 20): ")
    assert words in caption
    assert "up to 100 documents a query" in caption
    assert "95 % bootstrap intervals over queries" in caption
    assert caption.endswith("Measured 2025-06-30.")


@pytest.mark.parametrize(
    ("queries", "method", "said"),
    [(49, "percentile", True), (50, "percentile", False), (49, "expanded", False)],
)
def test_intervals_of_few_queries_are_said_to_be_too_narrow(make_results, queries, method, said):
    made = make_results({BM25: {"nDCG@10": np.linspace(0, 1, queries).tolist()}})
    caption = grid_table(replace(made, interval_method=method)).caption
    assert ("too narrow below 50 queries (bootstrap.method=expanded is not)." in caption) is said


def test_without_reranker_the_caption_does_not_speak_of_k(make_results):
    assert "K" not in grid_table(make_results({BM25: {"nDCG@10": [0.5, 0.6]}})).caption


def test_notes_on_unjudged_documents_short_rankings_and_ties(make_results):
    cells = {BM25: {"Judged@10": [0.9, 1.0]}, CE10: {"Judged@10": [1.0, 1.0]}}
    (note,) = grid_table(make_results(cells)).notes
    assert note.startswith("Judged@10 is below 1 for 1 of 2 systems (lowest: bm25, 0.9500)")
    assert grid_table(make_results({CE10: {"Judged@10": [1.0]}})).notes == ()

    (note,) = grid_table(make_results({BM25: {"R@100": [0.5]}}, depth=20)).notes
    assert "reads deeper than 1 of 1 rankings (bm25 holds at most 20 documents" in note
    assert grid_table(make_results({BM25: {"R@100": [0.5]}}, depth=20, num_docs=20)).notes == ()

    (note,) = grid_table(make_results({BM25: {"P@5": [0.5]}}, tied_share=0.25)).notes
    assert "up to 25.0 % of a system's results (bm25)" in note


def test_queries_without_a_relevant_document_are_counted(make_results):
    qrels = [Qrel("q1", "d1", 2), Qrel("q1", "d2", 0), Qrel("q2", "d1", 0), Qrel("q3", "d1", -1)]
    results = make_results({BM25: {"RR@10": [1, 0, 0]}}, qrels=qrels)
    words = "2 of 3 queries have no document of grade 1 or higher"
    assert [note for note in grid_table(results).notes if words in note]
    all_have = replace(results, qrels=[Qrel(q, "d1", 1) for q in results.query_ids])
    unknown = replace(results, qrels=())  # an output of before judgements were saved
    for each in (all_have, unknown):
        assert not [note for note in grid_table(each).notes if "no document of grade" in note]


def test_a_reranker_that_passes_queries_over_says_how_many(make_results):
    cells = {BM25: {"RR@10": [1, 0, 0]}, CE10: {"RR@10": [1, 0, 0]}}
    shares = {"truncated_share": 0.0, "queries_left_out_share": 0.489583}
    told = {"reranker.ce": {"bm25": shares}, "reranker.other": {"truncated_share": 0.1}}
    (note,) = grid_table(make_results(cells, details=told)).notes
    assert note.startswith("ce reranks queries of its language only: 49.0 % of them stay")
    none = {"reranker.ce": {"bm25": {**shares, "queries_left_out_share": 0.0}}}
    assert grid_table(make_results(cells, details=none)).notes == ()


def test_files_of_several_outputs_have_names_of_their_own(make_results):
    outputs = [make_results({BM25: {"RR@10": values}}) for values in ([1, 0], [0, 1])]
    files = table_files(outputs, ["grid"])
    assert sorted(files) == ["table.md", "table.tex", "tables/grid.csv", "tables/grid_2.csv"]
    # LaTeX takes the last of two labels for both.
    assert re.findall(r"label\{(.*?)\}", files["table.tex"]) == ["tab:grid", "tab:grid-2"]


def test_judgements_without_texts_are_called_so_and_short_rankings_still_noted(make_results):
    cells = {BM25: {m: [0.5, 0.6] for m in ("RR@10", "R@50", "R@100")}}
    table = grid_table(make_results(cells, depth=20, num_docs=0))
    assert table.caption.startswith("sample: 2 queries, judgements without texts. N: ")
    (note,) = table.notes
    assert note.startswith("Recall@50, Recall@100 read deeper than 1 of 1 rankings (bm25 holds")


def test_cutoff_table_has_a_column_for_every_n_and_uncut(make_results):
    cells = {
        BM25: {"nDCG@10": [0.5], "P@5": [0.1], "R@100": [0.8]},
        ("bm25", "none", None, 10): {"nDCG@10": [0.45], "P@5": [0.1], "R@100": [0.6]},
        ("bm25", "none", None, 5): {"nDCG@10": [0.4], "P@5": [0.1], "R@100": [0.4]},
        CE10: {"nDCG@10": [0.7], "P@5": [0.1], "R@100": [0.8]},
        ("bm25", "ce", 10, 5): {"nDCG@10": [0.6], "P@5": [0.1], "R@100": [0.5]},
    }
    table = cutoff_table(make_results(cells))
    assert [c.title for c in table.columns[3:]] == [
        "NDCG@10, N=5",
        "NDCG@10, N=10",
        "NDCG@10, uncut",
        "Recall@100, N=5",
        "Recall@100, N=10",
        "Recall@100, uncut",
    ]
    assert [[c.text for c in row] for row in table.groups[0]] == [
        ["bm25", "none", "–", "0.4000", "0.4500", "0.5000", "0.4000", "0.6000", "0.8000"],
        ["bm25", "ce", "10", "0.6000", "–", "0.7000", "0.5000", "–", "0.8000"],
    ]
    assert "N (5, 10): a ranking is cut to its first N documents" in table.caption
    assert [c.is_best for c in column(table, "NDCG@10, N=10")] == [False, False]


def test_a_cut_that_a_measure_does_not_reach_has_no_column_but_a_note(make_results):
    cells = {
        BM25: {"nDCG@10": [0.5, 0.3], "R@100": [0.8, 0.6]},
        ("bm25", "none", None, 5): {"nDCG@10": [0.4, 0.3], "R@100": [0.3, 0.1]},
        ("bm25", "none", None, 10): {"nDCG@10": [0.5, 0.3], "R@100": [0.6, 0.2]},
    }
    table = cutoff_table(make_results(cells))
    shown = ["NDCG@10, N=5", "NDCG@10, uncut", "Recall@100, N=5", "Recall@100, N=10"]
    assert [c.title for c in table.columns[3:-1]] == shown
    assert table.notes == ("N=10: as uncut, NDCG@10 reads no further.",)
    # One that skips what is not judged reads on, and is another number.
    cells["bm25", "none", None, 10] = {"nDCG@10": [0.5, 0.2], "R@100": [0.6, 0.2]}
    table = cutoff_table(make_results(cells))
    assert "NDCG@10, N=10" in [c.title for c in table.columns]
    assert table.notes == ()


def test_marks_that_no_value_has_are_named(make_results):
    cells = {BM25: {"nDCG@10": [0.5, 0.3]}, CE10: {"nDCG@10": [0.5, 0.3]}}
    rows = [{"measure": "nDCG@10", "significant": True, "better": True}]
    section = {
        "baselines": ["bm25", "dense"], "test": "t", "correction": "none", "family": "1 comparison",
        "exact": False, "level": 0.05, "resamples": 0,
        "comparisons": [{**rows[0], "system": "bm25+ce+k10", "base": "bm25"}],
    }  # fmt: skip
    table = grid_table(make_results(cells, significance=section))
    assert table.notes[:2] == (
        "Significantly better than: † bm25, ‡ dense.", "No value here is marked ‡.",
    )  # fmt: skip


def test_primary_recall_is_shown_once(make_results):
    table = cutoff_table(make_results({BM25: {"R@10": [0.5], "R@100": [0.6]}}))
    assert [c.title for c in table.columns[3:]] == ["Recall@10, uncut"]


def test_text_is_one_printable_line_and_wide_characters_take_two_columns():
    assert printable(" a\nb\x1b[31m\ud800 ") == "a b�[31m�"
    assert width("重排 e\u0301") == 6
    assert Table("", (Column("A"),), (((Cell("x"),),),)).marks("b", "s") == ()
