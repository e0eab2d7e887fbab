"""The file that marks a collection whose queries or judgements a language model made.

synthetic.json lies beside the corpus: {"evalkit_synthetic": 1, "mark": "synthetic queries and
judgements (MODEL)", ...}. What is read with it says so in every table, plot and tracked run.
"""

from __future__ import annotations

from pathlib import Path

from evalkit.errors import DataError
from evalkit.io import read_json

SYNTHETIC_FILE = "synthetic.json"
KEY, VERSION = "evalkit_synthetic", 1
# Of the grades 0 to 3, the lowest that a doc has which answers the query (1: on its topic).
ANSWERS_FROM = 2


def synthetic_mark(folder: Path) -> str:
    """The mark of a collection; "" for one that no language model made.

    A file of that name without evalkit's key is another program's, and says nothing. DataError for
    one of evalkit's that has lost its mark: figures without it would pass for a person's.
    """
    path = folder / SYNTHETIC_FILE
    if not path.is_file():
        return ""
    content = read_json(path)
    if not isinstance(content, dict) or KEY not in content:
        return ""
    mark = content.get("mark")
    if content[KEY] != VERSION or not isinstance(mark, str) or not mark.strip():
        raise DataError(
            f'{path}: expected "{KEY}": {VERSION} and a "mark", a text; make the collection '
            "again with task=synthesize"
        )
    return mark.strip()


def low_level_warning(mark: str, relevance_level: int) -> tuple[str, ...]:
    """A line where measures that count relevant docs would count those that answer nothing."""
    if not mark or relevance_level >= ANSWERS_FROM:
        return ()
    return (
        f"{mark}: grade 1 is on the topic and answers nothing, and counts as relevant for RR, AP "
        f"and R; to count answers only: dataset.relevance_level={ANSWERS_FROM}",
    )
