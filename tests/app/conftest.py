"""The command line, run in this process or in its own, and a collection of a dozen docs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra

import evalkit
from evalkit import app

SOURCE = Path(evalkit.__file__).parents[1]
DOCS = {
    "d1": "the cat sat on the mat",
    "d2": "a dog barked at the cat",
    "d3": "birds fly south in winter",
    "d4": "fish swim in the sea",
    "d5": "winter brings snow and ice",
    "d6": "dogs and cats are pets",
    "d7": "the sea is deep and blue",
    "d8": "snow leopards live in mountains",
    "d9": "mountains are high",
    "d10": "pets need food and water",
    "d11": "water turns into ice",
    "d12": "birds eat fish",
}
QUERIES = {"q1": "cat on mat", "q2": "birds in winter", "q3": "deep sea fish", "q4": "ice and snow"}
QRELS = [("q1", "d1", 1), ("q2", "d3", 1), ("q3", "d4", 1), ("q3", "d7", 1), ("q4", "d5", 1)]
PLAIN = (
    "retriever=[bm25]", "reranker=[none]", "sweep.k=[2]", "sweep.n=[]", "tracking=off",
    "bootstrap.resamples=100", "plots=false",
)  # fmt: skip


class Outcome(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


class Collection(NamedTuple):
    """A BEIR folder whose files a test may spoil."""

    path: Path

    @property
    def corpus(self) -> Path:
        return self.path / "corpus.jsonl"

    @property
    def queries(self) -> Path:
        return self.path / "queries.jsonl"

    @property
    def qrels(self) -> Path:
        return self.path / "qrels" / "test.tsv"

    @staticmethod
    def add(file: Path, line: str) -> None:
        with open(file, "a", encoding="utf-8") as stream:
            stream.write(line + "\n")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def collection(place: Path) -> Collection:
    made = Collection(place / "tiny")
    made.qrels.parent.mkdir(parents=True)
    for file, texts in ((made.corpus, DOCS), (made.queries, QUERIES)):
        lines = (json.dumps({"_id": key, "text": text}) for key, text in texts.items())
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in QRELS)]
    made.qrels.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return made


@pytest.fixture
def small(collection: Collection) -> tuple[str, ...]:
    """The overrides of a run of a second: BM25 alone on the small collection, no pictures."""
    return ("dataset=folder", f"dataset.path={collection.path}", *PLAIN)


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Outcome]]:
    """`cli(*arguments)` runs the command line in this process; logging is put back after."""
    root, ours = logging.getLogger(), logging.getLogger("evalkit")
    before = root.handlers[:], root.level, ours.level
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*arguments: str) -> Outcome:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["evalkit", *arguments])
        capfd.readouterr()
        code = 0
        try:
            app.main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        return Outcome(code, *capfd.readouterr())

    yield run
    root.handlers[:], root.level = before[:2]
    ours.setLevel(before[2])
    GlobalHydra.instance().clear()


@pytest.fixture
def shell(place: Path) -> Callable[..., subprocess.Popen[str]]:
    """`shell(*arguments)` starts `python -m evalkit` as a process of its own."""

    def start(*arguments: str, program: tuple[str, ...] = ("-m", "evalkit")) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def _everything_in(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def everything_in() -> Callable[[Path], dict[str, bytes | None]]:
    """`everything_in(folder)`: every file with its content, and every folder, hidden ones too."""
    return _everything_in


@pytest.fixture
def refused(place: Path, cli: Callable[..., Outcome]) -> Callable[..., str]:
    """Runs a command that must be refused: exit code 2, one line, nothing written. The line."""

    def run(*arguments: str) -> str:
        before = _everything_in(place)
        code, out, err = cli(*arguments)
        assert code == 2, err
        assert "Traceback" not in err
        assert err.startswith("evalkit: "), err
        assert err.endswith("\n")
        assert err.count("\n") == 1, err
        assert out == ""
        assert _everything_in(place) == before
        return err

    return run


@pytest.fixture
def tiny_model(tmp_path: Path) -> Callable[..., Path]:
    """`tiny_model(name, ...)` saves a small cross-encoder outside the working directory."""
    from tiny import save_cross_encoder

    return lambda name, **settings: save_cross_encoder(tmp_path / name, **settings)
