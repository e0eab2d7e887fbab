"""What people write, and what it becomes."""

from __future__ import annotations

import pytest

from evalkit.errors import ConfigError
from evalkit.measures import parse_measures
from evalkit.measures.names import COMMON, deepest_rank


def names(*written: str, **settings) -> list[str]:
    return [str(measure) for measure in parse_measures(written, **settings)]


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("MRR@10", "RR@10"),
        ("MRR", "RR"),
        ("NDCG@10", "nDCG@10"),
        ("Recall@100", "R@100"),
        ("MAP", "AP"),
        ("MAP@100", "AP@100"),
        ("Precision@5", "P@5"),
        ("nDCG@10", "nDCG@10"),
        ("AP(rel=2)@100", "AP(rel=2)@100"),
        ("nDCG", "nDCG"),
    ],
)
def test_aliases(written, canonical):
    assert names(written) == [canonical]


def test_every_common_measure_can_be_computed():
    assert names(*COMMON) == list(COMMON)


def test_each_once_in_the_order_given():
    assert names("R@100", "nDCG@10", "MRR@10", "NDCG@10", "RR@10") == ["R@100", "nDCG@10", "RR@10"]


def test_k_and_n_stand_for_every_value_of_the_sweep():
    expanded = names("nDCG@K", "P@N", "RR@10", ks=[10, 50], ns=[5])
    assert expanded == ["nDCG@10", "nDCG@50", "P@5", "RR@10"]
    assert names("nDCG@10", "nDCG@K", ks=[5, 10]) == ["nDCG@10", "nDCG@5"]
    assert names("AP(rel=2)@N", ns=[5, 7]) == ["AP(rel=2)@5", "AP(rel=2)@7"]


def test_no_measures_at_all():
    with pytest.raises(ConfigError, match=r"no measures; .*measures=\[nDCG@10\]"):
        parse_measures([])


def test_a_symbol_that_stands_for_nothing_is_refused_and_no_measure_vanishes():
    with pytest.raises(ConfigError, match=r"'R@K' stands for every K of sweep\.k, which is empty"):
        parse_measures(["nDCG@10", "R@K"], ns=[5])


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("ndcg@10", "'nDCG@10'"),
        ("mrr@10", "'MRR@10'"),
        ("map", "'MAP'"),
        ("ap(rel=2)@100", "'AP(rel=2)@100'"),
        ("Recal@100", "'Recall'"),
        ("nDGC@10", "'nDCG'"),
        ("Succes@1", "'Success'"),
    ],
)
def test_an_unknown_measure_is_answered_with_the_nearest(written, hint):
    with pytest.raises(ConfigError) as caught:
        parse_measures(["nDCG@10", written])
    message = str(caught.value)
    assert f"measure '{written}' is unknown. Did you mean {hint}?" in message
    assert "Common ones: nDCG@10" in message
    assert "\n" not in message


def test_a_measure_that_nothing_resembles_gets_the_common_ones():
    with pytest.raises(ConfigError, match=r"'zzz' is unknown\. Common ones: nDCG@10, RR@10"):
        parse_measures(["zzz"])


@pytest.mark.parametrize("written", ["nDCG@0", "RR@0", "AP(rel=2)@0"])
def test_a_cutoff_of_zero_is_refused(written):
    with pytest.raises(ConfigError, match="rel, the lowest relevant grade, must be at least 1"):
        parse_measures(["P(rel=0)@10"])
    with pytest.raises(ConfigError, match="the cutoff must be at least 1"):
        parse_measures([written])


@pytest.mark.parametrize(
    "written", ["nDCG@-1", "nDCG@x", "nDCG@", "nDCG@1.5", "P", "", "nDCG@10, RR", "nDCG(gains=5)"]
)
def test_a_measure_that_cannot_be_read(written):
    with pytest.raises(ConfigError, match=r"cannot be read; write it like nDCG@10"):
        parse_measures([written])


def test_a_measure_without_a_provider_says_so():
    with pytest.raises(ConfigError, match=r"'SDCG\(max_rel=2\)@10' has no provider installed"):
        parse_measures(["SDCG(max_rel=2)@10"])


def test_the_relevance_level_reaches_binary_measures_that_have_none_of_their_own():
    written = ["nDCG@10", "RR", "AP@100", "R(rel=3)@100", "P@5", "Judged@10"]
    assert names(*written, relevance_level=2) == [
        "nDCG@10", "RR(rel=2)", "AP(rel=2)@100", "R(rel=3)@100", "P(rel=2)@5", "Judged@10",
    ]  # fmt: skip
    assert names(*written, relevance_level=1)[1] == "RR"


def test_exponential_gains_are_two_to_the_grade_minus_one():
    (measure,) = parse_measures(["nDCG@10"], gains="exponential", max_grade=3)
    assert measure.params["gains"] == {1: 1, 2: 3, 3: 7}
    own = parse_measures(["nDCG(gains={1:5})@10", "RR"], gains="exponential")
    assert own[0].params["gains"] == {1: 5}
    assert "gains" not in own[1].params
    assert "gains" not in parse_measures(["nDCG@10"])[0].params
    with pytest.raises(ConfigError, match="gains=log: expected one of linear, exponential"):
        parse_measures(["nDCG@10"], gains="log")


def test_the_deepest_rank_is_that_of_whole_rankings_where_a_measure_has_no_cutoff():
    assert deepest_rank(parse_measures(["nDCG@10", "R@100", "RR@5"])) == 100
    for whole in ("RR", "AP", "nDCG", "Rprec"):
        assert deepest_rank(parse_measures(["nDCG@10", whole])) == 1000
