"""Probes on real components: what is changed, what it costs, and that the store serves the rest."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError
from evalkit.experiment import Experiment
from evalkit.inspection.probed import ProbedDataset
from evalkit.inspection.probes import PROBES, disturbance
from evalkit.inspection.robustness import check_probed, probe_systems
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.retrievers.remembering import RememberingRetriever
from evalkit.retrievers.run_file import RunFileRetriever
from evalkit.settings import BootstrapSettings, MeasureSettings, SweepSettings

WORDS = ["search", "vector", "cache", "shard", "merge", "retry", "schema", "deploy"]


@pytest.fixture
def dataset(tmp_path) -> FolderDataset:
    """Eight queries of a word, each with a relevant doc and, far below, docs that hold it once."""
    folder = tmp_path / "collection"
    (folder / "qrels").mkdir(parents=True)
    docs, queries, qrels = {}, {}, []
    for i, word in enumerate(WORDS):
        docs[f"right{i}"] = f"{word} {word} is best in 2019 with 5 nodes"
        docs[f"wrong{i}"] = f"{word} stands here among a great many other words about rain and snow"
        queries[f"q{i}"] = f"{word} best"
        qrels += [f"q{i} 0 right{i} 2", f"q{i} 0 wrong{i} 0"]
    for file, texts in (("corpus.jsonl", docs), ("queries.jsonl", queries)):
        rows = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / file).write_text("\n".join(rows), encoding="utf-8")
    (folder / "qrels" / "test.trec").write_text("\n".join(qrels), encoding="utf-8")
    return FolderDataset(folder)


class CountingScorer:
    """Scores a pair by the shared words' share of the doc; remembers what it was asked."""

    fingerprint = "counting"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def score(self, pairs):
        self.asked += pairs
        return [
            len(set(query.split()) & set(doc.split())) / (1 + len(doc.split()))
            for query, doc in pairs
        ]


@pytest.fixture
def scorer() -> CountingScorer:
    return CountingScorer()


@pytest.fixture
def experiment(dataset, scorer, tmp_path) -> Experiment:
    cache = tmp_path / "cache"
    return Experiment(
        dataset,
        {"bm25": RememberingRetriever(BM25Retriever(cache_dir=cache))},
        {"none": NoReranker(), "counting": PointwiseReranker(scorer, cache_dir=cache)},
        SweepSettings(k=[4], depth=10),
        MeasureSettings(["RR@10", "nDCG@10"]),
        BootstrapSettings(resamples=200),
    )


def probe(experiment, name, n=1):
    (found,) = probe_systems(experiment, [PROBES[name]], seed=0, n=n)
    return found, {effect.system: effect for effect in found.effects}


def test_a_stuffed_document_rises_under_bm25_and_the_loss_is_reported(experiment):
    found, effects = probe(experiment, "stuffing")
    assert len(found.changed) == len(WORDS)
    for line in found.changed:
        query = next(q for q in experiment.dataset.queries if q.query_id == line.query_id)
        assert line.doc_id.startswith("wrong") or line.doc_id.startswith("right")
        assert line.doc_id != f"right{line.query_id[1:]}"
        assert line.after == f"{line.before} {query.text} {query.text} {query.text}"
    bm25 = effects["bm25"]
    assert bm25.before["RR@10"] == 1
    loss, interval = bm25.loss["RR@10"]
    assert loss == bm25.before["RR@10"] - bm25.after["RR@10"] >= 0.4
    assert interval is not None
    assert interval[0] > 0
    targets = bm25.targets
    assert (targets.top_before, targets.top_after) == (0, 1)
    assert targets.rank_after == 1 < targets.rank_before
    assert (targets.fell, targets.scored) == (0, len(WORDS))
    assert targets.shift > 1
    assert targets.shift_interval[0] > 0


def test_rerankers_score_the_changed_texts_and_the_store_serves_the_others(experiment, scorer):
    probe_systems(experiment, [], seed=0, n=1)
    known = set(scorer.asked)
    scorer.asked.clear()
    found, effects = probe(experiment, "stuffing")
    assert effects["bm25+counting+k4"].targets.top_after > 0
    stuffed = {line.after for line in found.changed}
    assert scorer.asked
    # Some candidates are new: a stuffed doc drives another one out of, or into, the best four.
    assert not known & set(scorer.asked)
    assert {doc for _, doc in scorer.asked} & stuffed


def test_a_first_stage_that_does_not_read_on_is_deaf_to_negation(experiment):
    found, effects = probe(experiment, "negation")
    assert len(found.changed) == len(WORDS)
    assert all(line.doc_id == f"right{line.query_id[1:]}" for line in found.changed)
    assert "is not best" in found.changed[0].after
    bm25 = effects["bm25"]
    assert bm25.loss["RR@10"][0] == 0
    assert bm25.targets.top_after == 1


def test_typos_cost_a_lexical_system(experiment):
    found, effects = probe(experiment, "typos")
    assert {line.doc_id for line in found.changed} == {None}
    assert effects["bm25"].loss["RR@10"][0] > 0
    assert effects["bm25"].targets is None


def test_capitals_cost_bm25_nothing(experiment):
    found, effects = probe(experiment, "casing")
    assert found.changed[0].after == "SEARCH BEST"
    assert effects["bm25"].loss["nDCG@10"] == (0, (0, 0))


def test_the_same_seed_changes_the_same_texts(experiment):
    run = RememberingRetriever(BM25Retriever(cache_dir=experiment.dataset.path / "cache"))
    run.index(experiment.dataset)
    candidates = run.retrieve(experiment.dataset.queries, 10)
    for each in PROBES.values():
        first, again, other = (
            disturbance(each, experiment.dataset, candidates, seed) for seed in (3, 3, 4)
        )
        assert first.changed == again.changed
        assert first.dataset.digest == again.dataset.digest
        if each.name in ("typos", "numbers"):
            assert first.changed != other.changed
    # Nothing is named in these texts.
    assert not disturbance(PROBES["entities"], experiment.dataset, candidates, 0).changed


def test_a_probe_without_anything_to_change_has_no_effects(experiment):
    found, effects = probe(experiment, "entities")
    assert (len(found.changed), effects) == (0, {})


def test_no_document_is_changed_for_two_queries(experiment):
    found, _ = probe(experiment, "stuffing")
    targets = [line.doc_id for line in found.changed]
    assert len(set(targets)) == len(targets)


def test_a_probed_dataset_is_another_one_and_keeps_its_judgements(dataset):
    doc = dataset.lookup(["right0"])["right0"]
    probed = ProbedDataset(dataset, {"right0": doc._replace(text="new")}, {})
    assert probed.docs_digest != dataset.docs_digest
    assert probed.lookup(["right0", "wrong0"])["right0"].text == "new"
    assert [d.text for d in probed.docs_iter()].count("new") == 1
    assert probed.qrels == dataset.qrels
    query = dataset.queries[0]
    asked = ProbedDataset(dataset, {}, {query.query_id: query._replace(text="new")})
    assert asked.docs_digest == dataset.docs_digest
    assert asked.digest != dataset.digest
    assert asked.queries[0].text == "new"
    assert asked.queries[1:] == list(dataset.queries[1:])


def test_run_files_are_refused(experiment, tmp_path):
    path = tmp_path / "a.trec"
    path.write_text("q0 Q0 right0 1 1.0 a\n", encoding="utf-8")
    retrievers = {"a": RememberingRetriever(RunFileRetriever(path))}
    with pytest.raises(ConfigError, match="'a' is a run file"):
        check_probed(Experiment(**{**vars(experiment), "retrievers": retrievers}))


def test_what_a_kill_cuts_short_goes_on_from_the_store_and_the_indexes(
    experiment, scorer, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, logger="evalkit")
    score, probes = scorer.score, [PROBES["stuffing"], PROBES["casing"]]

    def killed_in_the_second(pairs):
        if any(query.isupper() for query, _ in pairs):
            raise KeyboardInterrupt
        return score(pairs)

    monkeypatch.setattr(scorer, "score", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        probe_systems(experiment, probes, seed=0, n=1)
    assert [r.getMessage().split(":")[0] for r in caplog.records] == ["probe 1 of 2, stuffing"]
    monkeypatch.setattr(scorer, "score", score)
    assert scorer.asked
    scorer.asked.clear()
    # As a new process has it: nothing in memory.
    cache = tmp_path / "cache"
    again = replace(
        experiment,
        retrievers={"bm25": RememberingRetriever(BM25Retriever(cache_dir=cache))},
        rerankers={"none": NoReranker(), "counting": PointwiseReranker(scorer, cache_dir=cache)},
    )
    before = {path: path.stat().st_mtime_ns for path in (cache / "bm25").rglob("*")}
    probe_systems(again, probes[:1], seed=0, n=1)
    assert scorer.asked == []
    assert {path: path.stat().st_mtime_ns for path in (cache / "bm25").rglob("*")} == before
    assert before
    assert len(probe_systems(again, probes, seed=0, n=1)) == 2
    assert all(query.isupper() for query, _ in scorer.asked)
