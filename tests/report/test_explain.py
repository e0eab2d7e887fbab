"""Why a document is on top: the figures of the table of stages."""

from evalkit.inspection.explanation import ExplainedDoc, Explanation, Standing
from evalkit.report.explain import stage_table
from evalkit.types import Query


def doc(name, **standings):
    places = {stage: Standing(*at) for stage, at in standings.items()}
    return ExplainedDoc(name, "text", None, False, places, {}, [], False)


def test_scores_of_a_stage_have_as_many_digits_so_that_their_points_are_aligned():
    docs = [
        doc("d1", bm25=(1, 12.2907), dense=(1, 0.72091)),
        doc("d2", bm25=(3, 8.2247), dense=(5, 0.49902)),
        doc("d3", bm25=(7, None)),
    ]
    query = Query("q1", "words")
    found = Explanation(query, [], {}, "dense", {"P@5": 0.2}, ["bm25", "dense"], docs, 0, 0, None)
    table = stage_table(found)
    assert [[cell.text for cell in row[2:]] for row in table.rows] == [
        ["#1", "12.291", "#1", "0.7209"],
        ["#3", "8.225", "#5", "0.4990"],
        ["#7", "–", "–", "–"],
    ]
    assert "Without a score: below the K documents that the reranker saw." in table.notes
