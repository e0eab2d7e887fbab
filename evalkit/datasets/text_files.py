"""A folder of .txt and .md files as docs: the collection of someone who has nothing but documents.

A doc's id is the file's path inside the folder, white space in it turned into "_". Its title is
the first heading of a Markdown file, or the file's name; a heading that opens the file is not
repeated in the text.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from evalkit.datasets.collection import counted
from evalkit.errors import DataError
from evalkit.io import read_text
from evalkit.types import Doc

TEXT_SUFFIXES, MARKDOWN_SUFFIXES = (".txt",), (".md", ".markdown")
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(?P<title>.*?)[ \t]*#*[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"^ {0,3}(```|~~~).*?(?:^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
# A file's first lines between two rules: settings of a site generator.
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_SHOWN = 5


class TextFiles(NamedTuple):
    """docs: a doc a file, sorted by path. empty: files without a text. others: suffix → files
    of another kind, which are left out."""

    docs: list[Doc]
    empty: int
    others: dict[str, int]


def read_text_files(folder: Path) -> TextFiles:
    """Every text of a folder and the folders in it; what starts with "." is passed over.

    DataError for a file that is not UTF-8, for two files of one id, and where there is no text.
    """
    found: dict[str, Path] = {}
    docs: list[Doc] = []
    empty, others = 0, Counter[str]()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            continue
        if path.suffix.lower() not in (*TEXT_SUFFIXES, *MARKDOWN_SUFFIXES):
            others[path.suffix.lower() or "no suffix"] += 1
            continue
        doc_id = re.sub(r"\s", "_", inside.as_posix())
        if doc_id in found:
            raise DataError(
                f"{path} and {found[doc_id]} would both have the id '{doc_id}'; rename one"
            )
        found[doc_id] = path
        doc = _doc(doc_id, path)
        if doc.text.strip():
            docs.append(doc)
        else:
            empty += 1
    if not docs:
        raise DataError(_nothing(folder, empty, others))
    return TextFiles(docs, empty, dict(others.most_common()))


def _doc(doc_id: str, path: Path) -> Doc:
    text = read_text(path).strip()
    if path.suffix.lower() not in MARKDOWN_SUFFIXES:
        return Doc(doc_id, path.stem, text)
    text = _FRONT_MATTER.sub("", text).strip()
    # A comment in a shell script is no heading; the blanks keep every other place as it is.
    bare = _FENCE.sub(lambda fence: " " * len(fence[0]), text)
    heading = _HEADING.search(bare)
    if heading is None or not heading["title"]:
        return Doc(doc_id, path.stem, text)
    if not text[: heading.start()].strip():
        # A file of nothing but a heading keeps it.
        text = text[heading.end() :].strip() or text
    return Doc(doc_id, heading["title"], text)


def _nothing(folder: Path, empty: int, others: dict[str, int]) -> str:
    here = [f"{counted(empty, 'empty file')}"] if empty else []
    here += [f"{count} × {suffix}" for suffix, count in list(others.items())[:_SHOWN]]
    return (
        f"{folder}: no text in any {', '.join((*TEXT_SUFFIXES, *MARKDOWN_SUFFIXES))} file (found: "
        f"{', '.join(here) or 'nothing'}); convert other files to text first, for instance with "
        "pandoc or pdftotext"
    )
