"""Buckets: how queries are sorted, and that a bucket where a system loses is found."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from evalkit.datasets.folder import FolderDataset
from evalkit.inspection.buckets import NO_TAG, bucket_results, groupings, number_buckets
from evalkit.measures.bootstrap import bootstrap_intervals
from evalkit.results import Results, SystemResult
from evalkit.run import Run
from evalkit.types import DatasetInfo


def system(retriever, values):
    values = {"nDCG@10": np.asarray(values, dtype=float)}
    return SystemResult(retriever, "none", None, None, values, {}, {})


@pytest.fixture
def planted(tmp_path) -> tuple[Results, FolderDataset]:
    """Thirty English and ten Chinese queries; "dense" is better on the former by .3, and loses .5
    on the latter."""
    folder = tmp_path / "planted"
    (folder / "qrels").mkdir(parents=True)
    queries = [{"_id": f"e{i}", "text": "a query of words" + " more" * (i % 3)} for i in range(30)]
    queries += [{"_id": f"z{i}", "text": "缓存失效", "tags": ["zh", "short"]} for i in range(10)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "doc"}', encoding="utf-8")
    qrels = [f"{query['_id']} 0 d1 1" for query in queries]
    (folder / "qrels" / "test.trec").write_text("\n".join(qrels), encoding="utf-8")
    dataset = FolderDataset(folder)
    base = np.linspace(0.5, 0.6, 40)
    gain = np.r_[np.full(30, 0.3), np.full(10, -0.5)] + np.linspace(-0.01, 0.01, 40)
    ids = [query["_id"] for query in queries]
    run = Run.from_dict({q: {"d1": float(i)} for i, q in enumerate(ids)})
    systems = [system("bm25", base), system("dense", base + gain)]
    info = DatasetInfo("planted", dataset.digest, 1, 40, 40, 1, False)
    runs = {"bm25": run, "dense": run}
    return Results(info, ids, ["nDCG@10"], systems, runs, {}, tags=dataset.tags), dataset


def found_in(results, dataset, name):
    bm25, dense = results.systems
    grouping = next(g for g in groupings(results, dataset, "nDCG@10", bm25) if g.name == name)
    rows = bucket_results(results, grouping, "nDCG@10", dense, bm25)
    return {row.label: row for row in rows}


def test_the_language_in_which_a_system_loses_is_found(planted):
    rows = found_in(*planted, "Language")
    chinese, english = rows["Chinese"], rows["English or other"]
    assert (chinese.num_queries, english.num_queries) == (10, 30)
    assert chinese.difference == pytest.approx(-0.5, abs=0.011)
    assert chinese.difference_interval is not None
    assert chinese.difference_interval[1] < 0
    assert (chinese.wins, chinese.losses) == (0, 10)
    assert english.difference_interval is not None
    assert english.difference_interval[0] > 0.25
    assert chinese.means["bm25"] + chinese.difference == pytest.approx(chinese.means["dense"])


def test_intervals_are_those_of_the_outputs_own_tables(planted):
    """Buckets have few queries: of means the method that the output was run with, of differences
    Student's t, as everywhere else."""
    results, dataset = planted
    expanded = replace(results, interval_method="expanded", resamples=500, level=0.9)
    bm25, dense = results.systems
    own = found_in(expanded, dataset, "Language")["Chinese"]
    values, base = (each.values["nDCG@10"][30:] for each in (dense, bm25))
    settings = {"resamples": 500, "level": 0.9, "method": "expanded"}
    assert own.interval == tuple(bootstrap_intervals(values[:, None], **settings)[0])
    theirs = scipy.stats.ttest_rel(values, base).confidence_interval(0.9)
    assert own.difference_interval == pytest.approx(tuple(theirs))


def test_tags_overlap_and_queries_without_one_are_a_bucket(planted):
    rows = found_in(*planted, "Tag")
    assert {label: row.num_queries for label, row in rows.items()} == {
        NO_TAG: 30, "short": 10, "zh": 10,
    }  # fmt: skip


def test_length_counts_words_of_both_languages(planted):
    rows = found_in(*planted, "Query length")
    assert {label: row.num_queries for label, row in rows.items()} == {
        # "缓存" and "失效"; four English words of which "a" has one letter only.
        "2": 10, "3": 10, "4": 10, "5": 10,
    }  # fmt: skip


def test_what_is_alike_for_all_queries_is_no_grouping(planted):
    results, dataset = planted
    names = [g.name for g in groupings(results, dataset, "nDCG@10", results.systems[0])]
    assert "Relevant documents" not in names
    assert names == ["Query length", "Language", "Tag", "Difficulty for bm25", "Best score of bm25"]


def test_difficulty_is_by_the_values_of_the_first_stage(planted):
    rows = list(found_in(*planted, "Difficulty for bm25").values())
    assert [row.num_queries for row in rows] == [10, 10, 10, 10]
    means = [row.means["bm25"] for row in rows]
    assert means == sorted(means)


def test_without_a_baseline_there_are_means_only(planted):
    results, dataset = planted
    grouping = groupings(results, dataset, "nDCG@10", results.systems[0])[1]
    rows = bucket_results(results, grouping, "nDCG@10", results.systems[0], None)
    assert all(row.difference is None and row.interval is not None for row in rows)


def test_a_measure_of_which_less_is_better_is_won_by_less(planted):
    results, dataset = planted
    bm25, dense = results.systems
    for each in (bm25, dense):
        each.values["redundancy@10"] = each.values["nDCG@10"]
    grouping = groupings(results, dataset, "nDCG@10", bm25)[1]
    rows = bucket_results(results, grouping, "redundancy@10", dense, bm25)
    assert {row.label: row.wins for row in rows} == {"Chinese": 10, "English or other": 0}


def test_number_buckets_by_hand():
    assert number_buckets([5, 1, 1, 1, 9, 7, 3, 3], 4) == {
        "1": [1, 2, 3], "3": [6, 7], "5": [0], "7–9": [4, 5],
    }  # fmt: skip
    assert number_buckets([2, 2, 2], 4) == {"2": [0, 1, 2]}


@given(st.lists(st.integers(0, 9), min_size=1, max_size=50), st.integers(2, 6))
def test_number_buckets_part_all_and_no_equals(values, bins):
    buckets = list(number_buckets(values, bins).values())
    assert sorted(chain.from_iterable(buckets)) == list(range(len(values)))
    assert len(buckets) <= bins
    edges = [(min(values[i] for i in at), max(values[i] for i in at)) for at in buckets]
    assert all(low[1] < high[0] for low, high in pairwise(edges))
