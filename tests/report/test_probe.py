"""What probes did to systems, as tables."""

from evalkit.inspection.probes import PROBES, Perturbed
from evalkit.inspection.robustness import Effect, ProbeResult, TargetMoves
from evalkit.report.probe import probe_tables


def test_every_column_has_a_heading_of_its_own_and_intervals_their_values_digits():
    moves = TargetMoves(20, 1, 0.0, 1.0, 300, 10.8, (9.9622, 11.6974), 0.0)
    loss = {"nDCG@10": (0.234, (0.2123, 0.2553))}
    effect = Effect("bm25", {"nDCG@10": 0.6791}, {"nDCG@10": 0.4451}, loss, moves)
    changed = [Perturbed("q1", "d1", "before", "after")]
    (table,) = probe_tables(
        [ProbeResult(PROBES["stuffing"], changed, [effect])], "nDCG@10", 10, 0.95
    )
    titles = [column.title for column in table.columns]
    assert len(set(titles)) == len(titles)
    (row,) = table.rows
    shown = dict(zip(titles, row, strict=True))
    assert shown["NDCG@10, probed"].text == "0.4451"
    assert (shown["Median rank"].text, shown["Median rank, probed"].text) == ("20", "1")
    assert (shown["In top 10"].text, shown["In top 10, probed"].text) == ("0 %", "100 %")
    score = shown["Change of score, in σ"]
    assert (score.text, score.interval_text) == ("+10.80", "[9.96, 11.70]")
