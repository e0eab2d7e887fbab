"""The collection as a folder in BEIR layout, whole or not there at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evalkit.datasets.synthetic import KEY, SYNTHETIC_FILE, VERSION
from evalkit.errors import OutputError
from evalkit.io import BEIR_QRELS_HEADER, write_json, write_jsonl, write_text
from evalkit.synthesis.making import Made
from evalkit.types import Doc

CORPUS = "corpus.jsonl"


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block succeeds, and else is removed.

    OutputError where `out` is there already: nobody's collection is written over.
    """
    staged = out.parent / f".{out.name}.partial"
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out}: exists already; give another out=DIR, or remove it")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        try:
            yield staged
            if out.is_dir():
                out.rmdir()  # empty, as checked above; Windows renames onto nothing only
            os.replace(staged, out)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}); give another out=DIR"
        ) from error


def write_corpus(folder: Path, docs: Iterable[Doc]) -> Path:
    """corpus.jsonl in BEIR layout."""
    path = folder / CORPUS
    write_jsonl(path, ({"_id": d.doc_id, "title": d.title, "text": d.text} for d in docs))
    return path


def write_judged(folder: Path, made: Made, mark: str, about: Mapping[str, Any]) -> None:
    """queries.jsonl, qrels/test.tsv, and the synthetic.json that marks them.

    Each query's line names its doc (source_doc), and has its kind and language as tags.
    """
    write_jsonl(
        folder / "queries.jsonl",
        (
            {
                "_id": draft.query_id,
                "text": draft.text,
                "tags": [draft.kind, draft.language],
                "source_doc": draft.doc.doc_id,
            }
            for draft in made.drafts
        ),
    )
    rows = [BEIR_QRELS_HEADER, *((q.query_id, q.doc_id, str(q.relevance)) for q in made.qrels)]
    write_text(folder / "qrels" / "test.tsv", "".join("\t".join(row) + "\n" for row in rows))
    write_json(folder / SYNTHETIC_FILE, {KEY: VERSION, "mark": mark, **about})
