"""Reading an output folder back gives the results that were written."""

import numpy as np
import pytest
from tiny import HashScorer, toy_dataset

from evalkit.errors import DataError
from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.io import read_json, write_json
from evalkit.output import write_output
from evalkit.report.html import report_html
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.saved import load_results, query_texts
from evalkit.settings import BootstrapSettings, MeasureSettings, SweepSettings

BOOTSTRAP = {"resamples": 500, "level": 0.9, "seed": 3, "method": "expanded"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    dataset = toy_dataset(folder / "toy", docs=60, queries=8)
    retriever = BM25Retriever(cache_dir=folder / "cache")
    results = Experiment(
        dataset,
        {"bm25": retriever},
        {"none": NoReranker(), "hash": PointwiseReranker(HashScorer(), cache_dir=folder / "cache")},
        SweepSettings(k=[5, 10], n=[3]),
        MeasureSettings(["nDCG@10", "R@20"]),
        BootstrapSettings(**BOOTSTRAP),
        manifest={"config": {"bootstrap": BOOTSTRAP}},
    ).run()
    write_output(folder / "out", results, dataset.queries, ExecutionLog())
    return folder / "out", results, dataset


def test_what_was_written_is_read_back(saved):
    folder, results, dataset = saved
    found = load_results(folder)
    assert found.as_json() == results.as_json()
    assert tuple(found.query_ids) == tuple(results.query_ids)
    kept = found.level, found.resamples, found.seed, found.interval_method
    assert kept == (0.9, 500, 3, "expanded")
    assert found.significance["comparisons"] == results.significance["comparisons"]
    assert len(found.significance["comparisons"]) == 2 * 2
    for ours, theirs in zip(results.systems, found.systems, strict=True):
        assert ours.system == theirs.system
        for measure in results.measure_names:
            np.testing.assert_array_equal(ours.values[measure], theirs.values[measure])
    assert set(found.runs) == set(results.runs)
    assert len(found.runs) == len(results.runs)
    for name, run in results.runs.items():
        assert dict(found.runs[name]) == dict(run)
        assert found.runs[name].query_ids == run.query_ids
    assert list(found.qrels) == list(dataset.qrels)
    assert query_texts(folder) == {q.query_id: q.text for q in dataset.queries}


def test_a_report_can_be_made_of_it(saved):
    folder, results, _ = saved
    assert report_html(load_results(folder), {}) == report_html(results, {})


def test_an_output_of_before_judgements_were_saved_is_read(saved, tmp_path):
    folder, results, _ = saved
    for name in ("results.json", "per_query.parquet", "queries.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    found = load_results(tmp_path)
    assert found.qrels == []
    assert found.as_json() == results.as_json()


def test_the_saved_runs_and_judgements_give_the_saved_figures(saved):
    """Whoever does not trust this program measures its files with another one."""
    ir_measures = pytest.importorskip("ir_measures")
    folder, results, _ = saved
    run = ir_measures.read_trec_run(str(folder / "runs" / "bm25.trec"))
    qrels = list(ir_measures.read_trec_qrels(str(folder / "qrels.txt")))
    found = ir_measures.calc_aggregate([ir_measures.R @ 20], qrels, run)
    (bm25,) = [s for s in results.uncut if s.system == "bm25"]
    assert found[ir_measures.R @ 20] == pytest.approx(bm25.measures["R@20"])


def test_files_that_do_not_belong_together_are_refused(saved, tmp_path):
    folder, _, _ = saved
    (tmp_path / "per_query.parquet").write_bytes((folder / "per_query.parquet").read_bytes())
    (tmp_path / "queries.jsonl").write_bytes((folder / "queries.jsonl").read_bytes())
    content = read_json(folder / "results.json")
    write_json(tmp_path / "results.json", {**content, "systems": content["systems"][::-1]})
    with pytest.raises(DataError, match="does not belong to the results"):
        load_results(tmp_path)
    write_json(tmp_path / "results.json", {"schema": 1})
    with pytest.raises(DataError, match="not what evalkit writes"):
        load_results(tmp_path)
    (tmp_path / "INCOMPLETE").write_text("running\n")
    with pytest.raises(DataError, match="not a finished output folder"):
        load_results(tmp_path)
