"""Training data: a row per (query, doc), in a Parquet file that anybody can open and trace.

data.parquet   the rows
data.json      what they were made from: settings, dataset, retrievers, counts; and their digest
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evalkit import __version__
from evalkit.errors import DataError, ScoreError
from evalkit.io import read_json, write_json, write_parquet
from evalkit.types import Query

Split = Literal["train", "validation"]
SPLITS = ("train", "validation")
ROLES = ("positive", "negative", "random")
ROWS_FILE, ORIGIN_FILE = "data.parquet", "data.json"
_TEXTS = ("query_id", "query", "doc_id", "doc", "role", "source", "split")
_NUMBERS = {"label": "<f4", "rank": "<i4", "teacher": "<f4"}
_DIGEST_BYTES = 16


@dataclass(frozen=True, eq=False)
class TrainingData:
    """n rows, each a (query, doc) once; columns are arrays of shape (n,), texts of dtype object.

    doc: the text that a model reads. label: the grade in the qrels, 0 for what is not relevant.
    role: "positive", "negative" (found by a retriever) or "random" (drawn from the corpus). source:
    "qrels", "cloze" (a sentence's own doc), the retriever's name, or "random". rank: in the source,
    from 1; 0 where there is none. split: "train" or "validation", the same for all rows of a query.
    teacher: another model's score, NaN where it gave none. origin: what the rows were made from,
    plain JSON data.
    """

    query_id: np.ndarray
    query: np.ndarray
    doc_id: np.ndarray
    doc: np.ndarray
    label: np.ndarray
    role: np.ndarray
    source: np.ndarray
    rank: np.ndarray
    split: np.ndarray
    teacher: np.ndarray
    origin: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_columns(
        cls, columns: Mapping[str, Sequence[Any] | np.ndarray], origin: Mapping[str, Any]
    ) -> TrainingData:
        """The checked rows of these columns; DataError. Without "teacher" there is no score yet."""
        size = len(next(iter(columns.values()), ()))
        given = {"teacher": np.full(size, np.nan), **columns}
        expected = {each.name for each in fields(cls)} - {"origin"}
        if given.keys() != expected or any(len(column) != size for column in given.values()):
            sizes = ", ".join(f"{name} ({len(column)})" for name, column in given.items())
            raise DataError(
                f"training data: columns {sizes}; expected {', '.join(sorted(expected))} of one "
                "length"
            )
        arrays: dict[str, np.ndarray] = {name: _texts(given[name]) for name in _TEXTS}
        arrays |= {name: np.asarray(given[name], dtype=_NUMBERS[name]) for name in _NUMBERS}
        data = cls(**arrays, origin=origin)
        data._check()
        return data

    def __len__(self) -> int:
        return len(self.doc_id)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """name → array, in the order of the file."""
        return {each.name: getattr(self, each.name) for each in fields(self)[:-1]}

    @property
    def queries(self) -> list[Query]:
        """The distinct queries, in the order of the rows."""
        texts = dict(zip(self.query_id.tolist(), self.query.tolist(), strict=True))
        return [Query(query_id, text) for query_id, text in texts.items()]

    @cached_property
    def digest(self) -> str:
        """Of the content, 32 hex digits, the same on every machine; `origin` is not in it."""
        content = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for name in _TEXTS:
            encoded = [text.encode() for text in getattr(self, name).tolist()]
            # The lengths in front keep ("ab", "c") and ("a", "bc") apart.
            content.update(np.array([len(text) for text in encoded], dtype="<i8").tobytes())
            content.update(b"".join(encoded))
        for name, dtype in _NUMBERS.items():
            column = getattr(self, name)
            # Of the many bit patterns of NaN, and the two of zero, one each.
            plain = np.where(np.isnan(column), np.nan, column + 0)
            content.update(plain.astype(dtype).tobytes())
        return content.hexdigest()

    def groups(self, split: Split) -> list[np.ndarray]:
        """The rows of each query of this split: int64 arrays, in the order of the rows."""
        if split not in SPLITS:
            raise DataError(f"split '{split}': expected {' or '.join(SPLITS)}")
        found: dict[str, list[int]] = {}
        for row in np.flatnonzero(self.split == split).tolist():
            found.setdefault(self.query_id[row], []).append(row)
        return [np.array(rows, dtype=np.int64) for rows in found.values()]

    def where(self, keep: np.ndarray) -> TrainingData:
        """The rows where the boolean mask `keep`, shape (n,), holds."""
        return replace(self, **{name: column[keep] for name, column in self.columns.items()})

    def without_queries(self, query_ids: Iterable[str]) -> TrainingData:
        """Without all rows of these queries, such as those that leaked into an evaluation; `origin`
        keeps their ids."""
        dropped = sorted(set(query_ids) & set(self.query_id.tolist()))
        kept = self.where(~np.isin(self.query_id.astype(np.str_), dropped))
        before = self.origin.get("left_out_queries", [])
        return replace(kept, origin={**self.origin, "left_out_queries": [*before, *dropped]})

    def with_teacher(self, scores: np.ndarray) -> TrainingData:
        """With another model's scores, floats of shape (n,), finite where they are learned from."""
        teacher = np.asarray(scores, dtype=np.float32)
        if teacher.shape != (len(self),):
            raise ScoreError(
                f"teacher scores of shape {teacher.shape} for {len(self)} rows of training data; "
                "expected one a row"
            )
        wrong = ~np.isfinite(teacher) & (self.split == "train")
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ScoreError(
                f"teacher score {teacher[row]} for query '{self.query_id[row]}', doc "
                f"'{self.doc_id[row]}'; expected finite scores: look for an overflow in half "
                "precision (dtype=float32)"
            )
        return replace(self, teacher=teacher)

    def save(self, folder: Path) -> None:
        """Write both files; data.json last, so that a folder without it is known to be cut short.

        The same rows give the same files to the last byte: they hold no times.
        """
        write_parquet(folder / ROWS_FILE, {**self.columns})
        origin = {**self.origin, "rows": len(self), "digest": self.digest, "evalkit": __version__}
        write_json(folder / ORIGIN_FILE, {"schema": 1, **origin})

    @classmethod
    def load(cls, folder: Path) -> TrainingData:
        """What `save` wrote; DataError where a file is missing, damaged or changed since."""
        origin = read_json(folder / ORIGIN_FILE)
        if not isinstance(origin, dict) or origin.pop("schema", None) != 1:
            raise DataError(f"{folder / ORIGIN_FILE}: no description of training data; mine again")
        data = cls.from_columns(_read_columns(folder / ROWS_FILE), origin)
        if data.digest != origin.get("digest"):
            raise DataError(
                f"{folder / ROWS_FILE}: digest {data.digest}, expected {origin.get('digest')}; it "
                "was changed or cut short since it was written: mine again"
            )
        return data

    def _check(self) -> None:
        """DataError for rows that no trainer could use as they are."""
        for name, known in (("split", SPLITS), ("role", ROLES)):
            if unknown := sorted(set(getattr(self, name).tolist()) - set(known)):
                raise DataError(
                    f"training data: {name} '{unknown[0]}'; expected one of {', '.join(known)}"
                )
        seen: set[tuple[str, str]] = set()
        first: dict[str, tuple[str, str]] = {}
        columns = (self.query_id, self.doc_id, self.query, self.split)
        for query_id, doc_id, *of_query in zip(*(c.tolist() for c in columns), strict=True):
            if (query_id, doc_id) in seen:
                raise DataError(
                    f"training data: query '{query_id}', doc '{doc_id}' a second time; a pair has "
                    "one row"
                )
            seen.add((query_id, doc_id))
            if first.setdefault(query_id, tuple(of_query)) != tuple(of_query):
                raise DataError(
                    f"training data: query '{query_id}' has two texts or is in two splits; a query "
                    "has one text and is in one split"
                )
        if not (np.isfinite(self.label) & (self.label >= 0)).all():
            raise DataError("training data: a label is no grade; expected numbers, 0 and above")


def _texts(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """dtype object: texts differ in length too much for numpy's fixed width."""
    array = np.empty(len(values), dtype=object)
    array[:] = list(values)
    return array


def _read_columns(path: Path) -> dict[str, np.ndarray]:
    """The columns of a Parquet file; a text that stands in many rows is in memory once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, read_dictionary=list(_TEXTS))
        return {name: table[name].to_numpy() for name in table.column_names}
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read ({reason}); mine again") from error
