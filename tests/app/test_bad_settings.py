"""Mistakes on the command line: one line that says what to type instead, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

UNKNOWN_NAMES = {
    "retriever=[bm52]": ("retriever 'bm52' is unknown. Did you mean 'bm25'?", "hybrid_weighted"),
    "reranker=[crossencoder]": ("reranker 'crossencoder'", "Did you mean 'cross_encoder'?"),
    "dataset=foldr": ("dataset 'foldr' is unknown. Did you mean 'folder'?",),
    "dataset=my_docs": ("For a folder: dataset=folder dataset.path=my_docs.", "Known: beir_"),
    "task=recommend path=x budget.p95=9": ("Did you mean 'budget.p95_ms'?",),
    "budget.p95_ms=9": ("'budget.p95_ms' belongs to a task that is not selected",),
    "llm.url=x": ("'llm.url' is not a setting of the llm selected; it belongs to another llm=",),
    "sweep=deeep": ("sweep 'deeep' is unknown. Did you mean 'deep'?",),
    "tracking=mlflw": ("tracking 'mlflw' is unknown. Did you mean 'mlflow'?",),
    "task=lgo": ("task 'lgo' is unknown. Did you mean 'log'?",),
    "+experiment=scifct": ("experiment 'scifct' is unknown. Did you mean 'scifact'?",),
    "experiment=scifact": ("chosen with a plus sign: +experiment=NAME",),
    "measures=[nDGC@10]": ("measure 'nDGC@10' is unknown. Did you mean 'nDCG'?",),
    "swep.k=[1]": ("'swep.k' is not a setting. Did you mean 'sweep.k'?",),
    "sweep.kk=[1]": ("'sweep.kk' is not a setting. Did you mean 'sweep.k'?",),
    "retriever.bm25.kk=1": ("'retriever.bm25.kk'", "Did you mean 'retriever.bm25.k1'?"),
    "retriever.dense.modl=x": ("'retriever.dense.modl'", "'retriever.dense.model'?"),
    "retriever.dense.model=x": ("'dense' is not selected; add it: retriever=[...,dense]",),
    "dataset.id=beir/scifact": ("'dataset.id' is not a setting of the dataset selected",),
    "bm25.k1=1": ("Did you mean 'retriever.bm25.k1'?",),
    "hydra.run.dirr=x": ("Did you mean 'hydra.run.dir'?",),
    "+foo=1": ("'foo' is not a setting.", "--help"),
    "+mesures=[nDCG@10]": ("'mesures' is not a setting. Did you mean 'measures'?",),
    "+retriever.bm25.k3=1": ("retriever.bm25.k3 is not a setting. Did you mean 'k1'?",),
    "+tracking.urii=x": ("tracking.urii is not a setting. Did you mean 'uri'?",),
    "+retriever.bm25.k1=2": ("retriever.bm25.k1 exists already; write", "without the '+'"),
    "~foo": ("foo",),
    "--config-name=nope": ("nope",),
}

WRONG_VALUES = {
    "retriever.bm25.k1=abc": ("retriever.bm25.k1=abc", "number"),
    "retriever.bm25.k1=-1": ("k1=-1", "k1 ≥ 0"),
    "retriever.bm25.method=lucen": ("method=lucen", "lucene, atire"),
    "retriever.bm25=null": ("retriever.bm25=", "leave it out"),
    "retriever.bm25._target_=os.system": ("'os.system'", "expected a class under evalkit."),
    "retriever.bm25._target_=evalkit.no.X": ("'evalkit.no.X'", "no such class"),
    "sweep.k=10": ("sweep.k=10: expected a list; write sweep.k=[10]",),
    "sweep.k=null": ("sweep.k=null: expected a list",),
    "sweep.k=[a]": ("sweep.k[0]=a", "integer"),
    "sweep.k=[0]": ("sweep.k=0: expected at least 1",),
    "reranker=[bi_encoder] sweep.k=[5,13]": (
        "sweep.k=13 is above the corpus of 12 docs; set sweep.k=[5]",
    ),
    "sweep.n=[13]": ("sweep.n=13 is above the corpus of 12 docs",),
    "reranker=[bi_encoder] sweep.depth=1": ("sweep.depth=1: expected at least 2",),
    "sweep.tail=kep": ("sweep.tail=kep", "'keep' or 'drop'"),
    "measures=nDCG@10": ("measures=nDCG@10: expected a list; write measures=[nDCG@10]",),
    "measures=[]": ("no measures",),
    "measures=[nDCG@x]": ("'nDCG@x' cannot be read",),
    "bootstrap=null": ("bootstrap=null: expected settings",),
    "dry_run=maybe": ("dry_run=maybe: expected true or false",),
    "plots=svg": ("plots=svg: expected true or false",),
    "name=": ("name is empty",),
    "name=${nothing}": ("refers to '${nothing}', which is not a setting",),
    "hydra.run.dir=${nothing}/x": ("hydra.run.dir refers to '${nothing}'",),
    "retriever=[]": ("retriever has no value; give it as retriever=[bm25]",),
    "reranker=[]": ("reranker has no value; give it as reranker=[none]",),
    "retriever=null": ("a group takes names", "retriever=[bm25]"),
    "retriever=[bm25] parts=[bm25]": ("parts=[bm25] hides every retriever",),
    "reranker=[none] parts=[none]": ("parts=[none] hides every reranker",),
    "parts=[bm52]": ("parts: 'bm52' is no selected", "Did you mean 'bm25'?"),
    "retriever=[hybrid]": ("fuses at least two other retrievers",),
    "retriever=[run_file]": ("retriever.run_file.paths has no value",),
    "retriever=[run_file] retriever.run_file.paths=[a.trec]": ("a.trec: cannot be read",),
    "dataset.path=nowhere": ("nowhere: no such folder", "corpus.jsonl"),
    "dataset.split=dev": ("no qrels/dev.tsv; splits here: test",),
    "tracking.kind=mlflow": ("tracking.uri is empty",),
    "tracking.kind=wandb": ("tracking.kind=wandb", "'mlflow' or 'off'"),
    "tracking=mlflow tracking.uri=./mlruns": ("./mlruns", "expected sqlite:///mlflow.db"),
    "task=log": ("path has no value; give it as path=VALUE",),
    "task=log path=tiny": ("task=log needs tracking=mlflow",),
    "task=log path=tiny tracking=mlflow": ("tiny: not a finished output folder",),
}

SYNTAX = {
    "sweep.k=[1,": ("override 'sweep.k=[1,' cannot be read", "key=[10,50]"),
    "sweep.k": ("override 'sweep.k' cannot be read", "key=value"),
    "doc_template={title} {text}": ("doc_template={title} {text}", "quotes"),
    "name='a": ("name='a", "cannot be read"),
    "=3": ("a group takes names",),
    "sweep.k=1,2": ("write sweep.k=[1,2] for a list, or add -m",),
    "retriever=bm25,dense": ("write retriever=[bm25,dense] for a list, or add -m",),
}


@pytest.mark.parametrize(("overrides", "said"), {**UNKNOWN_NAMES, **WRONG_VALUES}.items())
def test_a_mistake_is_one_line_and_leaves_nothing(refused, small, overrides, said):
    line = refused(*small, *overrides.split(" "))
    for part in said:
        assert part in line


@pytest.mark.parametrize(("override", "said"), SYNTAX.items())
def test_broken_syntax_is_one_line(refused, small, override, said):
    line = refused(*small, override)
    for part in said:
        assert part in line


def test_a_folder_without_its_path_is_a_missing_value(refused):
    line = refused("dataset=folder", "retriever=[bm25]", "reranker=[none]", "tracking=off")
    assert "dataset.path has no value; give it as dataset.path=VALUE" in line


def test_a_model_that_is_not_there_comes_with_three_remedies(refused, small, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    line = refused(*small, "retriever=[dense]", "retriever.dense.model=no/such-model")
    assert "model 'no/such-model' is neither a folder, nor in the hub cache" in line
    for remedy in ("(1)", "(2)", "(3)", 'pip install "evalkit[offline]"', "HF_HUB_OFFLINE"):
        assert remedy in line


@pytest.mark.parametrize("below_a_file", ["hydra.run.dir={}/x", "hydra.run.dir={}", "cache_dir={}"])
def test_a_folder_that_cannot_be_written_is_named(refused, small, place, below_a_file):
    (place / "file").write_text("here", encoding="utf-8")
    line = refused(*small, below_a_file.format(place / "file"))
    assert "cannot be written" in line
    assert str(place / "file") in line


def test_an_output_folder_that_was_there_is_left_as_it_was(cli, refused, small, place):
    there = f"hydra.run.dir={place}/out"
    assert cli(*small, there).code == 0
    assert (place / "out" / "results.json").is_file()
    refused(*small, there, "dataset.path=nowhere")
    refused(*small, there, "sweep.n=[13]")
    refused(*small, there, "retriever=[bm52]")


def test_a_multirun_that_fails_at_once_leaves_nothing(cli, small, place):
    code, _, err = cli(*small, "-m", "retriever.bm25.k1=abc,1.2", f"hydra.sweep.dir={place}/many")
    assert code == 2
    assert err.splitlines()[-1].startswith("evalkit: retriever.bm25.k1=abc")
    assert not (place / "many").exists()


def test_the_shell_sees_the_exit_code_and_the_line(shell, place: Path):
    process = shell("retriever=[bm52]")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert err.startswith("evalkit: retriever 'bm52' is unknown. Did you mean 'bm25'?")
    assert err.count("\n") == 1
    assert list(place.iterdir()) == []
