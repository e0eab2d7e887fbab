import ir_measures
import pytest

from evalkit.report.names import (
    cutoff_of,
    display_name,
    is_judged,
    is_quality,
    is_recall,
    label,
)


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("nDCG@10", "NDCG@10"),
        ("nDCG", "NDCG"),
        ("RR@10", "MRR@10"),
        ("RR", "MRR"),
        ("R@100", "Recall@100"),
        ("AP@100", "MAP@100"),
        ("P@5", "P@5"),
        ("AP(rel=2)@100", "MAP@100 (rel≥2)"),
        ("RR(judged_only=True)@10", "MRR@10 (judged only)"),
        ("R(judged_only=True,rel=2)@10", "Recall@10 (judged only, rel≥2)"),
        ("Judged@10", "Judged@10"),
        ("Rprec", "R-Prec"),
        ("RBP(p=0.5)", "RBP (p=0.5)"),
        ("IPrec@0.1", "IPrec@0.1"),
        ("alpha_nDCG@10", "α-NDCG@10"),
        ("nDCG(dcg='exp-log2')@10", "NDCG@10 (exp gains)"),
        ("nDCG(gains={1:1, 2:3, 3:7})@10", "NDCG@10 (exp gains)"),
        ("nDCG(gains={2:5})@10", "NDCG@10 (gains 2→5)"),
        ("nDCG(gains={3:7})@10", "NDCG@10 (gains 3→7)"),
        ("my own measure", "my own measure"),
        ("odd(=)@10", "odd(=)@10"),
    ],
)
def test_display_name(measure, expected):
    assert display_name(measure) == expected


def test_ir_measures_spelling_of_exponential_gains_is_read():
    measure = ir_measures.nDCG(gains={g: 2**g - 1 for g in range(1, 5)}) @ 10
    assert display_name(str(measure)) == "NDCG@10 (exp gains)"


def test_different_measures_have_different_names():
    measures = ["RR@10", "RR(rel=2)@10", "RR(judged_only=True)@10", "RR", "RR@100"]
    assert len({display_name(m) for m in measures}) == len(measures)


def test_kinds_of_measures():
    assert is_quality("nDCG@10")
    assert not any(is_quality(m) for m in ("Judged@10", "NumRet(rel=1)"))
    assert is_judged("Judged@10")
    assert not is_judged("P@10")
    assert all(is_recall(m) for m in ("R@100", "R(rel=2)@10"))
    assert not any(is_recall(m) for m in ("RR@10", "Rprec"))
    assert [cutoff_of(m) for m in ("nDCG@10", "RR", "IPrec@0.1")] == [10, None, None]


def test_label_of_a_system():
    assert label("bm25", "none") == "bm25"
    assert label("none", "none") == "none"
    assert label("bm25", "cross\nencoder") == "bm25 + cross encoder"
    assert label("bm25", "cross_encoder", 50) == "bm25 + cross_encoder, K=50"
