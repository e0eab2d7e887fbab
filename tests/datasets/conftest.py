"""A small BEIR folder made on the spot, the shared collections, a home for ir_datasets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
DOCS = [
    {"_id": "d1", "title": "Alpha", "text": "first text"},
    {"_id": "d2", "title": "", "text": "zweiter Text, größer"},
    {"_id": "d3", "text": "third text"},
]
QUERIES = [
    {"_id": "q2", "text": "second query", "tags": ["negation"]},
    {"_id": "q1", "text": "first query"},
    {"_id": "q9", "text": "nobody judged me"},
]
QRELS = [("q1", "d1", 1), ("q2", "d3", 2), ("q2", "d1", 0)]


def jsonl(rows: list[Any]) -> str:
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)


@pytest.fixture
def beir_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a BEIR folder; a row given as a string is written as it is."""

    def build(
        docs: list[Any] = DOCS,
        queries: list[Any] = QUERIES,
        qrels: list[tuple[str, str, int]] = QRELS,
        name: str = "mini",
        split: str = "test",
    ) -> Path:
        folder = tmp_path / name
        (folder / "qrels").mkdir(parents=True, exist_ok=True)
        (folder / "corpus.jsonl").write_text(jsonl(docs), encoding="utf-8")
        (folder / "queries.jsonl").write_text(jsonl(queries), encoding="utf-8")
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in qrels)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder

    return build


@pytest.fixture
def shared_beir() -> Callable[[str], Path]:
    """A collection of the shared data folder; its test is skipped where the folder is absent."""

    def find(name: str) -> Path:
        folder = SHARED / "beir" / name
        if not folder.is_dir():
            pytest.skip(f"NOT CHECKED: the shared collection '{name}' is missing ({folder})")
        return folder

    return find


@pytest.fixture(scope="session", autouse=True)
def _ir_datasets_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the library's downloads and docstores out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IR_DATASETS_HOME", str(tmp_path_factory.mktemp("ir_datasets")))
        yield
